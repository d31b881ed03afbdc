//! What can go wrong between a client and its daemon, told apart by what the caller can do about it.

use std::fmt;

use lovage_model::api::Problem;
use lovage_model::{Exception, Json, ResultMeta, State, TaskId, TaskName, exc_module};
use serde::de::DeserializeOwned;

use crate::GroupResult;

/// What a call returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call did not give what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The daemon's address cannot be used; nothing was sent.
    #[error("{url:?} is not an address of a daemon: {why}; use one such as http://127.0.0.1:7380")]
    Address {
        /// The address.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// A value of the call cannot be sent; nothing was sent.
    #[error("{field}: {why}")]
    Invalid {
        /// Which value: `task`, `args`, `countdown`, ...
        field: String,
        /// What is wrong with it.
        why: String,
    },
    /// The call was sent, and its result is that of a group, which is here: not one task, as was asked for.
    #[error("the call was sent, and ends in a group, {}, not in one task: use submit", .0.id())]
    EndsInGroup(Box<GroupResult>),
    /// A value came, and is not of the type that was asked for. As it is: `get_json`.
    #[error("{what}: {why}")]
    Decode {
        /// Which value.
        what: String,
        /// Why it is no such type.
        why: String,
    },
    /// The daemon did not answer, or the connection broke. Whether it got the request is not known.
    #[error("no answer from the daemon at {url}: {why}; is it running there (`lovage serve`)?")]
    Unreachable {
        /// The address.
        url: String,
        /// What happened.
        why: String,
    },
    /// The daemon refused; the problem says why and what to do.
    #[error("{} ({})", .0.detail, .0.code)]
    Problem(Box<Problem>),
    /// The task failed or was revoked.
    #[error(transparent)]
    Task(Box<TaskFailure>),
    /// The time to wait was over before the task had ended. It goes on.
    #[error("task {id} is still {state} after {seconds} s; wait longer, or revoke it")]
    Timeout {
        /// The task.
        id: TaskId,
        /// Its state when last heard of.
        state: State,
        /// How long was waited.
        seconds: f64,
    },
    /// What a task will come to is not known before it has ended.
    #[error("task {id} has not ended, so what it sends is not known yet: wait for it, or ask for intermediate results")]
    IncompleteStream {
        /// The task.
        id: TaskId,
    },
    /// The answer is not what this version of the client understands.
    #[error("{url} answered with something else than expected: {why}; is it a lovage daemon of the same version?")]
    Protocol {
        /// What was asked.
        url: String,
        /// What is wrong with the answer.
        why: String,
    },
}

impl Error {
    /// Whether the same call may go through later. (A batch that got no answer may have been stored: what is in it without a
    /// `task_id` would be another task, sent again.)
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Problem(problem) => problem.retryable,
            _ => false,
        }
    }

    /// The name of the problem, such as `unknown_id`, if the daemon refused.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Problem(problem) => Some(&problem.code),
            _ => None,
        }
    }

    /// The failure, if it is that of a task.
    pub fn task(&self) -> Option<&TaskFailure> {
        match self {
            Self::Task(failure) => Some(failure),
            _ => None,
        }
    }

    /// Whether it is the failure of a task by this exception: `KeyError`, `mymodule.Error`, or `Exception` for any.
    pub fn is(&self, exception: &str) -> bool {
        self.task().is_some_and(|failure| failure.is(exception))
    }

    pub(crate) fn decode(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self::Decode { what: what.into(), why: why.to_string() }
    }

    pub(crate) fn invalid(field: impl Into<String>, why: impl fmt::Display) -> Self {
        Self::Invalid { field: field.into(), why: why.to_string() }
    }
}

/// A task that failed or was revoked: what Celery raises from `AsyncResult.get()`.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskFailure {
    /// The task.
    pub id: TaskId,
    /// Its name.
    pub name: TaskName,
    /// FAILURE or REVOKED.
    pub state: State,
    /// What it raised, or what stands for what stopped it.
    pub exception: Exception,
    /// Where, if it is known: the guest's functions.
    pub traceback: Option<String>,
    /// Stable name of the sandbox's wall it ran into, such as `memory-limit`; none when it raised by itself.
    pub fault: Option<String>,
}

impl TaskFailure {
    /// The failure in a meta; none if the task neither failed nor was revoked.
    pub fn of(meta: &ResultMeta) -> Option<Self> {
        meta.status.propagates().then(|| Self {
            id: meta.task_id.clone(),
            name: meta.name.clone(),
            state: meta.status.clone(),
            exception: Self::exception_in(&meta.result),
            traceback: meta.traceback.clone(),
            fault: meta.fault.clone(),
        })
    }

    /// A daemon writes an exception here; what is not one (a foreign writer's) is kept as the message of a plain one.
    pub(crate) fn exception_in(result: &Json) -> Exception {
        result.read().unwrap_or_else(|_| Exception::new(exc_module::BUILTINS, "Exception", result.as_str()))
    }

    /// Whether it was raised as this exception: `KeyError`, `mymodule.Error`, or `Exception` for any.
    pub fn is(&self, exception: &str) -> bool {
        self.exception.is_a(exception)
    }

    /// What its exception was made of, if it is this one: `failure.downcast::<(String, i64)>("mymodule.TooMany")`.
    ///
    /// None if it is another exception, or was made of something else.
    pub fn downcast<T: DeserializeOwned>(&self, exception: &str) -> Option<T> {
        if self.is(exception) { self.exception.exc_message.read().ok() } else { None }
    }
}

impl From<TaskFailure> for Error {
    fn from(failure: TaskFailure) -> Self {
        Self::Task(Box::new(failure))
    }
}

impl fmt::Display for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.state == State::Revoked { "was revoked" } else { "failed" };
        write!(f, "task {} ({}) {verb}: {}", self.id, self.name, self.exception)
    }
}

impl std::error::Error for TaskFailure {}
