//! What does a verdict make of a stored task?
//!
//! The same for every backend, and pure: a backend only has to write down what is decided here.

use lovage_model::{Exception, Json, Message, Planned, Settlement, State, Timestamp, Verdict};

/// What a task's row says once its attempt has ended, and where its message goes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Transition {
    pub(super) state: State,
    pub(super) result: Json,
    pub(super) traceback: Option<String>,
    pub(super) fault: Option<String>,
    pub(super) next: Next,
}

/// Where a task's message goes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Next {
    /// Nowhere: the task has ended.
    End,
    /// Into the queue that this message names, in place of the old one.
    Swap(Box<Planned>),
    /// To the end of its own line.
    Requeue,
    /// To others, under the same id: the row goes with it, and whoever takes its next message makes another.
    Leave,
}

impl Transition {
    /// What follows from a verdict. `ignore_result` drops a returned value, `ignore_errors` what a task raised; why it was
    /// revoked is kept, since no task says that.
    pub(super) fn of(verdict: Verdict, ignore_result: bool, ignore_errors: bool) -> Self {
        let transition = Self::whole(verdict, ignore_result);
        let raised = matches!(transition.state, State::Failure | State::Retry);
        if raised && ignore_errors { Self { result: Json::null(), traceback: None, ..transition } } else { transition }
    }

    fn whole(verdict: Verdict, ignore_result: bool) -> Self {
        match verdict {
            Verdict::Success { result } => {
                Self::quiet(State::Success, if ignore_result { Json::null() } else { result }, Next::End)
            }
            Verdict::Failure { exception, traceback, fault } => {
                Self { traceback, fault, ..Self::quiet(State::Failure, of_exception(&exception), Next::End) }
            }
            Verdict::Retry { exception, traceback, again } => Self {
                traceback,
                ..Self::quiet(
                    State::Retry,
                    of_exception(&exception),
                    Next::Swap(Box::new(Planned { message: *again, awaits: None })),
                )
            },
            Verdict::Revoked { reason } => Self::revoked(reason),
            Verdict::Ignored => Self::quiet(State::Ignored, Json::null(), Next::End),
            Verdict::Replaced { by } => Self::quiet(State::Pending, Json::null(), Next::Swap(by)),
            Verdict::Requeued => Self::quiet(State::Pending, Json::null(), Next::Requeue),
            Verdict::HandedOn { .. } => Self::quiet(State::Pending, Json::null(), Next::Leave),
        }
    }

    /// The end of a task that was revoked, for one of the reasons of [`Exception::revoked`].
    pub(super) fn revoked(reason: &str) -> Self {
        Self::quiet(State::Revoked, of_exception(&Exception::revoked(reason)), Next::End)
    }

    fn quiet(state: State, result: Json, next: Next) -> Self {
        Self { state, result, traceback: None, fault: None, next }
    }
}

fn of_exception(exception: &Exception) -> Json {
    Json::of(exception).unwrap_or_else(|_| Json::null())
}

/// The message of a task that is ordered to run again: from retry 0, now, and not stillborn by an expiry that passed.
pub(super) fn again(message: Message, now: Timestamp) -> Message {
    Message {
        retries: 0,
        earlier_deliveries: 0,
        eta: None,
        expires: message.expires.filter(|&expires| expires > now),
        ..message
    }
}

/// When a message must wait for its ETA: the ETA, if it is after `now`.
pub(super) fn due_later(message: &Message, now: Timestamp) -> Option<Timestamp> {
    message.eta.filter(|&eta| eta > now)
}

/// Refuses what follows in Celery's own form, for stores that do not speak its wire: no message in them is in that form.
pub(super) fn planned_only(settlement: &Settlement) -> Result<(), super::StoreError> {
    if settlement.inline.is_empty() && !matches!(settlement.verdict, Verdict::HandedOn { .. }) {
        return Ok(());
    }
    Err(super::StoreError::Failed("this store keeps no canvases in Celery's own form".to_owned()))
}

/// Why a running task cannot set a state of this name; none: it can.
pub(super) fn state_of_its_own(name: &str) -> Result<(), super::StoreError> {
    if State::from_name(name).is_terminal() {
        let why = format!("state {name:?} is how a task ends; a running task can set any other, such as PROGRESS");
        return Err(super::StoreError::Failed(why));
    }
    Ok(())
}
