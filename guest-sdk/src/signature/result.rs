//! What is known of a task that was sent?

use serde::Serialize;

use crate::{Json, TaskError, TaskResult};

/// Celery's reason, with where to read more.
const NEVER_WAIT: &str = "Never call result.get() within a task! See \
    https://docs.celeryq.dev/en/latest/userguide/tasks.html#avoid-launching-synchronous-subtasks";

/// A task that was sent. Whoever has its id can ask for the result later; the task that sent it cannot, see
/// [`AsyncResult::get`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsyncResult {
    id: String,
}

impl AsyncResult {
    pub(crate) fn new(id: String) -> Self {
        Self { id }
    }

    /// The id, by which anybody can ask for the result later.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// As Celery passes results around, `[[id, null], null]`: a client makes a result of it again (`result_from_tuple`). What came
    /// before it in its chain is filled in when a task returns it.
    pub fn as_tuple(&self) -> Json {
        Json::of(&((&self.id, ()), ())).expect("a text is JSON")
    }

    /// Always fails, with Celery's RuntimeError: a task never waits for another.
    ///
    /// A task that waits holds a sandbox, while the one that it waits for may find none: enough of them, and nothing runs
    /// any more. Besides, a subtask is sent when the attempt that sends it has ended, so there would be nothing to wait
    /// for. Let a task that is sent last take the results instead: `ctx.replace(chord(header, body))`, a chain, or a
    /// [`link`](crate::Signature::link).
    pub fn get(&self) -> TaskResult<Json> {
        Err(TaskError::unlocated("RuntimeError", NEVER_WAIT))
    }
}

impl Serialize for AsyncResult {
    /// Its id.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.id)
    }
}
