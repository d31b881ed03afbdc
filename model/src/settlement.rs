//! What an attempt means: the transition it makes, what it publishes, what it leaves behind. A store applies a
//! settlement whole or not at all.

use serde::{Deserialize, Serialize};

use crate::{Event, Exception, Json, Message, Timestamp, Usage};

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
        /// The replacement.
        by: Box<Message>,
    },
    /// It asked to be queued again, at the end of the line.
    Requeued,
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
    /// Messages to be queued in the same step: the subtasks of the attempt.
    pub publish: Vec<Message>,
    /// What the attempt used.
    pub usage: Usage,
    /// What it printed and logged.
    pub log: AttemptLog,
    /// What to tell those who listen.
    pub events: Vec<Event>,
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
