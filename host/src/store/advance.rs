//! What does the end of a task mean for those that wait for it?
//!
//! The common case, one task that waits for the value, is decided here and needs nobody else. All others are kept for
//! [`Joins`](super::Joins). Pure, and the same for every backend.

use lovage_model::{Arrival, Exception, Message, TaskId, Timestamp, exc_module};

use super::record::MAX_LEASED_BYTES;

/// The longest value, in bytes of JSON, that is handed on within the step that ends a task.
const MAX_VALUE: usize = 64 * 1024;

/// The longest message of a follower that is read, and written anew, within that step: others wait meanwhile.
pub(super) const MAX_FOLLOWER: usize = 64 * 1024;

/// Tasks whose names start so are run by the host, not by a module.
const BUILTIN: &str = "celery.";

/// Who waits for something that has ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Following {
    /// Nobody: they were revoked, or dealt with when it ended before.
    Nobody,
    /// One task, with this message.
    One(Box<Message>),
    /// Several.
    Several,
}

/// What is done about them in the step that ends it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Advance {
    /// Nothing.
    Nothing,
    /// The one that waits can run, with this message.
    Release(Box<Message>),
    /// The end is kept as [`Ended`](super::Ended).
    Keep(Arrival),
}

/// Decides about those that wait for a task. The next one is at hand only if it was worth reading, see [`is_brief`].
pub(super) fn advance(arrival: Arrival, following: Following, now: Timestamp) -> Advance {
    match (arrival, following) {
        (_, Following::Nobody) => Advance::Nothing,
        (Arrival::Value(value), Following::One(next))
            if is_brief(&value) && !next.task.as_str().starts_with(BUILTIN) =>
        {
            match next.receive(&value, now) {
                Ok(next) => Advance::Release(Box::new(next)),
                Err(_) => Advance::Keep(Arrival::Value(value)),
            }
        }
        (arrival, Following::One(_) | Following::Several) => Advance::Keep(arrival),
    }
}

/// Whether a value is short enough to be handed on at once.
fn is_brief(value: &lovage_model::Json) -> bool {
    value.as_str().len() <= MAX_VALUE
}

/// What those get that wait for a task that was revoked before it ran.
pub(super) fn revoked(task: &TaskId) -> Arrival {
    Arrival::Failed { task: task.clone(), exception: Exception::revoked("revoked") }
}

/// Whether a join has all its parts.
pub(super) fn is_complete(parts: u64, size: u64) -> bool {
    parts >= size
}

/// The most bytes of parts of a join that are kept. Of what comes beyond only the number is: nobody could read it, now or ever.
pub(super) const MAX_PARTS_BYTES: usize = MAX_LEASED_BYTES;

/// What a join has come to whose parts are more than that: this stands for all of them.
pub(super) fn too_large(group: TaskId) -> Arrival {
    let text = format!("the results of group {group} are more than {MAX_PARTS_BYTES} bytes together: return less");
    Arrival::Failed { exception: Exception::new(exc_module::BUILTINS, "ValueError", text), task: group }
}

#[cfg(test)]
mod tests {
    use lovage_model::{Json, TaskName};

    use super::*;

    fn waiting(task: &str, args: &str) -> Following {
        let message = Message::new(TaskId::new("b").unwrap(), TaskName::new(task).unwrap());
        Following::One(Box::new(Message { args: Json::parse(args.to_owned()).unwrap(), ..message }))
    }

    fn decided(value: &str, following: Following) -> Advance {
        advance(Arrival::Value(Json::parse(value.to_owned()).unwrap()), following, Timestamp::from_micros(0))
    }

    #[test]
    fn one_task_gets_a_brief_value_at_once() {
        let Advance::Release(message) = decided("7", waiting("tour.add", "[1]")) else { panic!("not released") };
        assert_eq!(message.args.as_str(), "[7,1]");
        assert_eq!(decided("7", Following::Nobody), Advance::Nothing);
    }

    #[test]
    fn whatever_needs_thought_is_kept() {
        let is_kept = |decision| matches!(decision, Advance::Keep(_));
        assert!(is_kept(decided("7", Following::Several)));
        assert!(is_kept(decided("7", waiting("celery.accumulate", "[]"))));
        let long = format!("\"{}\"", "x".repeat(MAX_VALUE - 2));
        assert!(!is_kept(decided(&long, waiting("tour.add", "[]"))));
        assert!(is_kept(decided(&format!("[{long}]"), waiting("tour.add", "[]"))));
        let deep = format!("{}{}", "[".repeat(Json::MAX_DEPTH), "]".repeat(Json::MAX_DEPTH));
        assert!(is_kept(decided(&deep, waiting("tour.add", "[]"))), "one level more cannot be read");
        let failed = revoked(&TaskId::new("a").unwrap());
        let now = Timestamp::from_micros(0);
        assert_eq!(advance(failed.clone(), waiting("tour.add", "[]"), now), Advance::Keep(failed));
    }
}
