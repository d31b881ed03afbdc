//! What do Celery's workers and clients read of a task? Its element on a list, and its result.

use lovage_model::{InlineEnd, Json, Message, ResultTuple, State, TaskId, Timestamp, exc_module};

use super::settle::Of;
use crate::celery::meta::{self, Extended, Meta, PartEnd};
use crate::celery::{Envelope, Limits, Poison, Received, read, write};
use crate::store::{Result, StoreError};

/// Who sends what nobody here knows the sender of.
const ORIGIN: &str = "lovage";
/// The most bytes of a message or a result that are unpacked.
const LIMITS: Limits = Limits { body_bytes: 64 << 20 };

/// The element of a message on its list.
pub(super) fn element(message: &Message, now: Timestamp) -> Result<String> {
    let tag = uuid::Uuid::new_v4().to_string();
    let envelope = Envelope { ours: None, tag: &tag, origin: ORIGIN, redelivered: false, now };
    write(message, &envelope).map_err(|error| unwritable(&error))
}

/// Reads the element of a list of this queue.
pub(super) fn received(raw: &[u8], queue: &lovage_model::QueueName) -> std::result::Result<Message, Box<Poison>> {
    let in_queue = |message: Message| Message { queue: queue.clone(), ..message };
    match read(raw, &LIMITS) {
        Ok(Received { message, .. }) => Ok(in_queue(message)),
        Err(mut poison) => {
            poison.message = poison.message.take().map(|message| Box::new(in_queue(*message)));
            Err(poison)
        }
    }
}

fn unwritable(error: &serde_json::Error) -> StoreError {
    StoreError::Failed(format!("it cannot be written as Celery does: {error}"))
}

/// The end of a task, or where it is on its way there.
pub(super) struct Outcome<'a> {
    pub(super) state: &'a State,
    pub(super) result: &'a Json,
    pub(super) traceback: Option<&'a str>,
    pub(super) children: &'a [ResultTuple],
    pub(super) worker: Option<&'a str>,
    pub(super) at: Timestamp,
}

impl Outcome<'_> {
    /// What is to be tried again without an exception that made it has no result in Celery. (Here it says when it comes again.)
    fn has_reason(&self) -> bool {
        let made_by_itself = || {
            let reason = meta::exception(self.result);
            reason.exc_module == exc_module::CELERY && reason.exc_type == "Retry"
        };
        *self.state != State::Retry || !made_by_itself()
    }

    fn meta(&self, id: &TaskId) -> Meta {
        Meta {
            task_id: id.clone(),
            status: self.state.clone(),
            result: if self.has_reason() { self.result.clone() } else { Json::null() },
            traceback: self.traceback.map(str::to_owned),
            children: self.children.to_vec(),
            date_done: self.state.is_ready().then_some(self.at),
            group_id: None,
            parent_id: None,
            extended: None,
        }
    }
}

/// The result of a task, as Celery's clients read it.
pub(super) fn meta(of: Of<'_>, outcome: &Outcome<'_>) -> Result<String> {
    let mut meta = outcome.meta(of.id);
    if let Some(message) = of.message {
        meta.group_id.clone_from(&message.group);
        meta.parent_id.clone_from(&message.parent_id);
        meta.extended = of.extended.then(|| Extended::of(message, outcome.worker));
    }
    meta::write(&meta).map_err(|error| unwritable(&error))
}

/// The same result under the id that its sender gave it.
pub(super) fn meta_under(id: &str, meta: &str) -> Result<String> {
    meta::under(id, meta).map_err(|error| unwritable(&error))
}

/// The result of a task that has not run.
pub(super) fn meta_of_other(end: &InlineEnd, outcome: &Outcome<'_>) -> Result<String> {
    let (group_id, parent_id) = (end.group.clone(), end.parent_id.clone());
    let meta = Meta { group_id, parent_id, ..outcome.meta(&end.id) };
    meta::write(&meta).map_err(|error| unwritable(&error))
}

/// What a result says: the state, and the value or the exception.
pub(super) fn read_meta(written: &[u8]) -> Option<(State, Json)> {
    meta::read(written, &LIMITS).ok().map(|Meta { status, result, .. }| (status, result))
}

/// The result of a group that is kept, as Celery's clients read it.
pub(super) fn group(group: &ResultTuple) -> Result<String> {
    meta::write_group(group).map_err(|error| unwritable(&error))
}

/// The same, read.
pub(super) fn read_group(written: &[u8]) -> Option<ResultTuple> {
    meta::read_group(written, &LIMITS).ok()
}

/// The end of one part of a chord.
pub(super) fn part(id: &TaskId, state: &State, result: &Json) -> Result<String> {
    let part = PartEnd { id: id.clone(), state: state.clone(), result: result.clone() };
    meta::write_part(&part).map_err(|error| unwritable(&error))
}

/// The same, read.
pub(super) fn read_part(written: &[u8]) -> std::result::Result<PartEnd, meta::Unreadable> {
    meta::read_part(written, &LIMITS)
}

#[cfg(test)]
mod tests {
    use lovage_model::Exception;
    use serde_json::Value;

    use super::*;

    fn written(state: State, exception: &Exception, worker: Option<&str>) -> Value {
        let message = Message::new("a".parse().unwrap(), "t.b".parse().unwrap());
        let (result, at) = (Json::of(exception).unwrap(), Timestamp::from_micros(1));
        let outcome = Outcome { state: &state, result: &result, traceback: None, children: &[], worker, at };
        let of = Of { message: Some(&message), id: &message.id, extended: true };
        serde_json::from_str(&meta(of, &outcome).unwrap()).unwrap()
    }

    #[test]
    fn what_nobody_ran_has_no_worker() {
        let revoked = Exception::revoked("revoked");
        assert_eq!(written(State::Revoked, &revoked, None)["worker"], Value::Null);
        assert_eq!(written(State::Revoked, &revoked, Some("w@h"))["worker"], "w@h");
    }

    #[test]
    fn a_retry_has_the_exception_that_made_it_and_else_none() {
        let again = Exception::new(exc_module::CELERY, "Retry", "Retry in 5s");
        let raised = Exception::new(exc_module::BUILTINS, "ValueError", "no");
        assert_eq!(written(State::Retry, &again, None)["result"], Value::Null);
        assert_eq!(written(State::Retry, &raised, None)["result"]["exc_type"], "ValueError");
        assert_eq!(written(State::Failure, &again, None)["result"]["exc_type"], "Retry");
    }
}
