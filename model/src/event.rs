//! What listeners are told: Celery's task events.

use serde::{Deserialize, Serialize};

use crate::{Exception, Json, TaskId, TaskName, Timestamp};

/// One event about one task. See <https://docs.celeryq.dev/en/stable/userguide/monitoring.html#event-reference>.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The task.
    pub uuid: TaskId,
    /// Its name.
    pub name: TaskName,
    /// When.
    pub timestamp: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened to a task. `type` and the fields are Celery's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum EventKind {
    /// It was queued.
    #[serde(rename = "task-sent")]
    Sent,
    /// It starts.
    #[serde(rename = "task-started")]
    Started,
    /// It set a state of its own, such as PROGRESS. (Celery tells its clients through the result's channel.)
    #[serde(rename = "task-progress")]
    Progress {
        /// The state's name.
        state: String,
        /// Its meta.
        meta: serde_json::Value,
    },
    /// It returned.
    #[serde(rename = "task-succeeded")]
    Succeeded {
        /// Seconds from start to end.
        runtime: f64,
    },
    /// It failed.
    #[serde(rename = "task-failed")]
    Failed {
        /// `ValueError: no`
        exception: String,
        /// Where.
        traceback: Option<String>,
    },
    /// It will run again.
    #[serde(rename = "task-retried")]
    Retried {
        /// Why.
        exception: String,
        /// Where.
        traceback: Option<String>,
    },
    /// It was revoked, expired or terminated.
    #[serde(rename = "task-revoked")]
    Revoked {
        /// Whether it was stopped while running.
        terminated: bool,
        /// Whether it was too late to start it.
        expired: bool,
    },
    /// Another task takes its place, under its id.
    #[serde(rename = "task-replaced")]
    Replaced {
        /// The other task.
        by: TaskName,
    },
    /// It ended without a result.
    #[serde(rename = "task-ignored")]
    Ignored,
    /// It asked to be queued again.
    #[serde(rename = "task-rejected")]
    Rejected {
        /// Whether it was queued again.
        requeue: bool,
    },
    /// The author's own event (`send_event`).
    #[serde(rename = "task-custom")]
    Custom {
        /// The author's name for it.
        event: String,
        /// The author's fields: a JSON object.
        fields: serde_json::Value,
    },
    /// It wrote something; only for who follows this task's log.
    #[serde(rename = "task-log")]
    Log {
        /// `stdout`, `stderr`, or a level.
        stream: String,
        /// The text.
        text: String,
    },
}

impl EventKind {
    /// The event's `type`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sent => "task-sent",
            Self::Started => "task-started",
            Self::Progress { .. } => "task-progress",
            Self::Succeeded { .. } => "task-succeeded",
            Self::Failed { .. } => "task-failed",
            Self::Retried { .. } => "task-retried",
            Self::Revoked { .. } => "task-revoked",
            Self::Replaced { .. } => "task-replaced",
            Self::Ignored => "task-ignored",
            Self::Rejected { .. } => "task-rejected",
            Self::Custom { .. } => "task-custom",
            Self::Log { .. } => "task-log",
        }
    }

    /// Whether nothing follows it for its task.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Succeeded { .. } | Self::Failed { .. } | Self::Revoked { .. } | Self::Ignored)
    }

    /// The most bytes of a text or a JSON text in an event: many events are kept, and what is larger is in the result.
    pub const MAX_BYTES: usize = 16 << 10;

    /// A failure of an exception; texts over [`EventKind::MAX_BYTES`] are cut.
    pub fn failed(exception: &Exception, traceback: Option<String>) -> Self {
        Self::Failed { exception: cut(exception.to_string()), traceback: traceback.map(cut) }
    }

    /// A retry because of an exception; texts over [`EventKind::MAX_BYTES`] are cut.
    pub fn retried(exception: &Exception, traceback: Option<String>) -> Self {
        Self::Retried { exception: cut(exception.to_string()), traceback: traceback.map(cut) }
    }

    /// A progress report; meta over [`EventKind::MAX_BYTES`], or that a `Value` cannot hold, becomes `null`.
    pub fn progress(state: &str, meta: &Json) -> Self {
        let fits = meta.as_str().len() <= Self::MAX_BYTES;
        let meta = if fits { meta.read().unwrap_or_default() } else { serde_json::Value::Null };
        Self::Progress { state: state.to_owned(), meta }
    }
}

fn cut(mut text: String) -> String {
    if text.len() > EventKind::MAX_BYTES {
        text.truncate(text.floor_char_boundary(EventKind::MAX_BYTES));
        text.shrink_to_fit();
        text.push('\u{2026}');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_stay_small_whatever_a_task_says() {
        let large = "\u{e9}".repeat(EventKind::MAX_BYTES);
        let exception = Exception::new("a", "B", &large);
        for kind in [
            EventKind::failed(&exception, Some(large.clone())),
            EventKind::retried(&exception, Some(large.clone())),
            EventKind::progress("PROGRESS", &Json::from(serde_json::Value::from(large.clone()))),
        ] {
            let bytes = serde_json::to_string(&kind).unwrap().len();
            assert!(bytes < 2 * EventKind::MAX_BYTES + 200, "{bytes}");
        }
        let small = EventKind::failed(&Exception::new("a", "B", "no"), None);
        assert_eq!(small, EventKind::Failed { exception: "B: no".to_owned(), traceback: None });
    }
}
