//! What is known about one task, and how does a client read it?
//!
//! Backends keep these facts where they like; what a client sees is made of them here, so that it is the same for all.

use lovage_model::{Json, Message, ResultMeta, ResultTuple, State, Timestamp, Usage};

/// Everything a store knows about a task.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    pub(super) message: Message,
    pub(super) submitted_at: Timestamp,
    /// What the last settlement left; PENDING before the first. A lease covers it, and uncovers it when it lapses.
    pub(super) state: State,
    /// When it ended; set exactly while `state` is terminal.
    pub(super) ended: Option<Timestamp>,
    /// The host that ran it last, the present one not counted.
    pub(super) worker: Option<String>,
    pub(super) deliveries: u32,
    pub(super) kept: Kept,
    pub(super) place: Place,
}

/// What the last settlement kept.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kept {
    pub(super) result: Json,
    pub(super) traceback: Option<String>,
    pub(super) fault: Option<String>,
    /// The tasks that all its attempts so far have sent.
    pub(super) children: Vec<ResultTuple>,
    pub(super) usage: Option<Usage>,
}

impl Default for Kept {
    /// Nothing: no attempt has ended yet.
    fn default() -> Self {
        Self { result: Json::null(), traceback: None, fault: None, children: Vec::new(), usage: None }
    }
}

/// Where a task's message is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    /// It could run now.
    Ready,
    /// It waits for its ETA.
    Scheduled,
    /// A host has it.
    Leased(Leasehold),
    /// There is none: the task has ended.
    Nowhere,
}

/// What a lease covers a record with while it lasts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Leasehold {
    pub(super) worker: String,
    /// The state that the task set itself, with its meta.
    pub(super) own: Option<(String, Json)>,
}

impl Record {
    /// A task that was queued just now; the caller puts its message into its place.
    pub(super) fn new(message: Message, now: Timestamp, place: Place) -> Self {
        Self {
            message,
            submitted_at: now,
            state: State::Pending,
            ended: None,
            worker: None,
            deliveries: 0,
            kept: Kept::default(),
            place,
        }
    }

    /// The state, as a client reads it.
    pub(super) fn status(&self) -> State {
        match &self.place {
            Place::Leased(Leasehold { own: Some((name, _)), .. }) => State::from_name(name),
            Place::Leased(_) => State::Started,
            _ => self.state.clone(),
        }
    }

    /// Everything, as a client reads it.
    pub(super) fn meta(self) -> ResultMeta {
        let status = self.status();
        let waiting_for = match self.place {
            Place::Ready => Some("a free slot".to_owned()),
            Place::Scheduled => Some("eta".to_owned()),
            Place::Leased(_) | Place::Nowhere => None,
        };
        let Kept { result, traceback, fault, children, usage } = self.kept;
        let (worker, result, traceback, fault) = match self.place {
            Place::Leased(held) => (Some(held.worker), held.own.map_or_else(Json::null, |(_, meta)| meta), None, None),
            _ => (self.worker, result, traceback, fault),
        };
        ResultMeta {
            date_done: self.ended.filter(|_| status.is_ready()),
            task_id: self.message.id,
            status,
            result,
            traceback,
            children,
            parent_id: self.message.parent_id,
            name: self.message.task,
            args: self.message.args,
            kwargs: self.message.kwargs,
            worker,
            retries: self.message.retries,
            queue: self.message.queue.into(),
            fault,
            root_id: self.message.root_id,
            submitted_at: self.submitted_at,
            eta: self.message.eta,
            waiting_for,
            deliveries: self.deliveries,
            usage,
        }
    }
}
