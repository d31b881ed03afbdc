//! What an attempt means: the transition it makes, what it publishes, what it leaves behind. A store applies a
//! settlement whole or not at all.

use serde::{Deserialize, Serialize};

use crate::{
    Arrival, Event, Exception, Inline, Json, Message, Plan, Planned, ResultTuple, TaskId, TaskName, Timestamp, Usage,
};

/// The transition that ends an attempt. Each carries what it legally can, so no other combination can be written.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It returned a value.
    Success {
        /// The value; `null` when the result is ignored.
        result: Json,
    },
    /// It raised, or was stopped by a fault.
    Failure {
        /// What it raised, or what stands for the fault.
        exception: Exception,
        /// Where, as text for people.
        traceback: Option<String>,
        /// Stable name of the fault, such as `memory-limit`; none when the task raised by itself.
        fault: Option<String>,
    },
    /// It will run again, under the same id.
    Retry {
        /// Why.
        exception: Exception,
        /// Where.
        traceback: Option<String>,
        /// The next attempt.
        again: Box<Message>,
    },
    /// It will not run, or was stopped by an order.
    Revoked {
        /// `revoked`, `expired` or `terminated`.
        reason: &'static str,
    },
    /// It ended and leaves no result.
    Ignored,
    /// Another task takes its place, under the same id.
    Replaced {
        /// The replacement: it may wait for others, which the settlement publishes.
        by: Box<Planned>,
    },
    /// It asked to be queued again, at the end of the line.
    Requeued,
    /// It goes on under the same id, in what the settlement sends in Celery's own form: it was replaced. Nobody here has it
    /// any more.
    HandedOn {
        /// What runs first in its place.
        to: TaskName,
    },
}

/// Everything that follows from one attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Settlement {
    /// The transition.
    pub verdict: Verdict,
    /// When it was decided; the `date_done` of a ready state.
    pub at: Timestamp,
    /// Which host ran the attempt.
    pub worker: String,
    /// Whether the result is dropped: the state is kept, the value is not.
    pub ignore_result: bool,
    /// Whether an exception is dropped as well.
    pub ignore_errors: bool,
    /// Tasks to be stored in the same step: what the attempt sent, and its callbacks or errbacks.
    pub publish: Plan,
    /// What is listed among the task's children.
    pub children: Vec<ResultTuple>,
    /// Parts that the attempt added to a join, which must not complete before they end.
    pub grown: Vec<(TaskId, u32)>,
    /// What those that wait for the task get; set exactly if it has ended and its message says that it is for something.
    pub arrival: Option<Arrival>,
    /// What follows in Celery's own form; nothing, unless the message is in that form.
    pub inline: Inline,
    /// How much may be published.
    pub room: Room,
    /// What the attempt used.
    pub usage: Usage,
    /// What it printed and logged.
    pub log: AttemptLog,
    /// What to tell those who listen.
    pub events: Vec<Event>,
}

/// What becomes of a task that waited for something that ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Followed {
    /// It can run, with this message.
    Released(Box<Message>),
    /// It ends without having run.
    Settled(Box<Settlement>),
}

/// How much more may be stored. Counted in the same step that stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The most tasks of one tenant that wait, whatever for.
    pub queued_tasks: u64,
    /// The most of them that wait for their time alone.
    pub scheduled_tasks: u64,
    /// The most tasks that come from one client's call.
    pub descendants: u64,
}

impl Settlement {
    /// Of a verdict alone, by no host: nothing was run.
    pub fn of(verdict: Verdict, at: Timestamp) -> Self {
        Self {
            verdict,
            at,
            worker: String::new(),
            ignore_result: false,
            ignore_errors: false,
            publish: Plan::default(),
            children: Vec::new(),
            grown: Vec::new(),
            arrival: None,
            inline: Inline::default(),
            room: Room::UNLIMITED,
            usage: Usage::default(),
            log: AttemptLog::default(),
            events: Vec::new(),
        }
    }
}

impl Room {
    /// For as much as anybody likes.
    pub const UNLIMITED: Self = Self { queued_tasks: u64::MAX, scheduled_tasks: u64::MAX, descendants: u64::MAX };
}

/// What one attempt wrote. Lossy UTF-8; each stream keeps its first bytes up to the limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AttemptLog {
    /// Which attempt, counting from 0 as `retries` does.
    pub retries: u32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Log records.
    pub records: Vec<LogRecord>,
    /// Bytes (and records) that were over the limit and dropped.
    pub dropped: u64,
}

impl AttemptLog {
    /// Whether the attempt wrote nothing.
    pub fn is_empty(&self) -> bool {
        self.stdout.is_empty() && self.stderr.is_empty() && self.records.is_empty() && self.dropped == 0
    }
}

/// One record a task logged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogRecord {
    /// When.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// How grave.
    pub level: LogLevel,
    /// The text.
    pub message: String,
}

/// How grave a record is; Python's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum LogLevel {
    /// For who looks for a fault.
    Debug,
    /// As expected.
    Info,
    /// Unexpected, and handled.
    Warning,
    /// Something failed.
    Error,
}

impl LogLevel {
    /// The level of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Debug, Self::Info, Self::Warning, Self::Error].into_iter().find(|level| level.name() == name)
    }

    /// Python's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
        }
    }
}
