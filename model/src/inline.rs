//! Canvases in Celery's own form: each message carries what follows it.
//!
//! A call that a Celery client sends comes as messages with the rest of their chain, and with the body of their chord, in
//! them. Whoever runs one sends what is next, so Python workers and hosts may run parts of one canvas. (What comes over HTTP
//! or from a guest that was called so is a [`Plan`](crate::Plan) instead.)

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Exception, Json, Message, QueueName, ResultTuple, State, TaskId, WireName, WireSignature};

/// What a message in Celery's form carries beside its call.
/// See <https://docs.celeryq.dev/en/stable/internals/protocol.html#definition>.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Embed {
    /// Sent with its result once it has returned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub callbacks: Vec<WireSignature>,
    /// Told once it has failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errbacks: Vec<WireSignature>,
    /// What follows in its chain, the next one last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<WireSignature>,
    /// The body of the chord that it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chord: Option<Arc<WireSignature>>,
    /// The name of its task, where no task of ours can have it: then the message's own only resembles it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named: Option<WireName>,
    /// The message's properties as they came: a JSON object with `reply_to`, `correlation_id`, `app_id`, ...
    #[serde(default = "Json::empty_object")]
    pub properties: Json,
    /// The arguments as events and lists show them, if the sender says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argsrepr: Option<String>,
    /// The same for keyword arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kwargsrepr: Option<String>,
}

impl Default for Embed {
    /// Of a call that nothing follows.
    fn default() -> Self {
        Self {
            callbacks: Vec::new(),
            errbacks: Vec::new(),
            chain: Vec::new(),
            chord: None,
            named: None,
            properties: Json::empty_object(),
            argsrepr: None,
            kwargsrepr: None,
        }
    }
}

/// What follows from an attempt at a message in Celery's form. It is applied in the order of its fields, in the same step
/// as the settlement or the follow-up that it is part of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inline {
    /// Groups whose members' results are nested, kept so that who completes them can put the list together.
    pub groups: Vec<ResultTuple>,
    /// How many parts chords have whose headers are among the messages.
    pub sizes: Vec<(TaskId, u64)>,
    /// Chords that have one more part each than they had.
    pub grown: Vec<TaskId>,
    /// Messages for their queues, in order.
    pub messages: Vec<Message>,
    /// Results of tasks that have ended without having run.
    pub ends: Vec<InlineEnd>,
    /// What chords wait for.
    pub parts: Vec<Part>,
}

impl Inline {
    /// Whether nothing follows.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How much there is, to come back to.
    pub fn mark(&self) -> InlineMark {
        let Self { groups, sizes, grown, messages, ends, parts } = self;
        InlineMark([groups.len(), sizes.len(), grown.len(), messages.len(), ends.len(), parts.len()])
    }

    /// Drops what came after a mark.
    pub fn rewind(&mut self, InlineMark([groups, sizes, grown, messages, ends, parts]): InlineMark) {
        self.groups.truncate(groups);
        self.sizes.truncate(sizes);
        self.grown.truncate(grown);
        self.messages.truncate(messages);
        self.ends.truncate(ends);
        self.parts.truncate(parts);
    }

    /// Adds another one.
    pub fn append(&mut self, other: Self) {
        self.groups.extend(other.groups);
        self.sizes.extend(other.sizes);
        self.grown.extend(other.grown);
        self.messages.extend(other.messages);
        self.ends.extend(other.ends);
        self.parts.extend(other.parts);
    }
}

/// How much of each there was in an [`Inline`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InlineMark([usize; 6]);

/// The end of a task that has not run and never will: what was before it in its chain, or in its chord, has failed.
#[derive(Debug, Clone, PartialEq)]
pub struct InlineEnd {
    /// The task, or the group that is the body of a chord.
    pub id: TaskId,
    /// FAILURE or REVOKED.
    pub state: State,
    /// Why.
    pub exception: Exception,
    /// Where, as text.
    pub traceback: Option<String>,
    /// What was sent while it was written: as Celery has it, the children of whoever wrote it.
    pub children: Vec<ResultTuple>,
    /// The group it is a member of.
    pub group: Option<TaskId>,
    /// What came before it.
    pub parent_id: Option<TaskId>,
}

/// The end of one part of a chord.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The chord's header.
    pub group: TaskId,
    /// Its place in the list of results; none: behind all that have one.
    pub index: Option<u64>,
    /// The task.
    pub id: TaskId,
    /// SUCCESS, FAILURE or REVOKED.
    pub state: State,
    /// Its value, or its exception as result metas have it.
    pub result: Json,
    /// The body, as the part carried it.
    pub chord: Arc<WireSignature>,
    /// Whose end this was noted by: the parent of the body, if it is the last part.
    pub sender: Sender,
}

/// What is known of a task where something is sent in its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sender {
    /// The task: the parent of what it sends.
    pub id: TaskId,
    /// The first ancestor of both.
    pub root_id: TaskId,
    /// The queue that it came from.
    pub queue: QueueName,
}

impl Sender {
    /// The task of a message.
    pub fn of(message: &Message) -> Self {
        let Message { id, root_id, queue, .. } = message;
        Self { id: id.clone(), root_id: root_id.clone(), queue: queue.clone() }
    }
}
