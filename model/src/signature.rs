//! A call that is described, not made: Celery's signature.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Json, QueueName, Seconds, TaskId, TaskName, Timestamp};

/// One task with its arguments and options, in Celery's own JSON.
/// See <https://docs.celeryq.dev/en/stable/userguide/canvas.html>.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Name of the task.
    pub task: TaskName,
    /// Positional arguments: a JSON array.
    #[serde(default = "Json::empty_array")]
    pub args: Json,
    /// Keyword arguments: a JSON object.
    #[serde(default = "Json::empty_object")]
    pub kwargs: Json,
    /// How to run it.
    #[serde(default)]
    pub options: SignatureOptions,
    /// Which canvas this is; always `null` for a plain task.
    #[serde(default)]
    pub subtask_type: Option<String>,
    /// Whether a parent's result is left out of its arguments (`si`).
    #[serde(default)]
    pub immutable: bool,
}

impl Signature {
    /// A call of a task with nothing but positional arguments.
    pub fn new(task: TaskName, args: Json) -> Self {
        Self {
            task,
            args,
            kwargs: Json::empty_object(),
            options: SignatureOptions::default(),
            subtask_type: None,
            immutable: false,
        }
    }
}

/// What `apply_async` takes besides arguments. Names and units are Celery's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignatureOptions {
    /// The id the task will have; a new one if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// Queue to go to; that of the sender's choice if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueName>,
    /// 0 (first) to 9 (last), as on Celery's Redis transport.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Run no earlier than this many seconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub countdown: Option<Seconds>,
    /// Run no earlier than at this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta: Option<Timestamp>,
    /// Revoke instead of starting it after this: seconds from now, or a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Expires>,
    /// Hard limit in seconds: the task is killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_limit: Option<Seconds>,
    /// Soft limit in seconds: the task is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soft_time_limit: Option<Seconds>,
    /// Units of fuel the task may burn; see docs on limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// Keep no result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_result: Option<bool>,
    /// Another name for logs and lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<String>,
    /// Headers of the author's own, kept across retries.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Json>,
}

/// When a message expires: Celery takes a number of seconds or a time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected seconds (0 to a year) or a time in ISO 8601")]
pub enum Expires {
    /// Seconds after it is sent.
    In(Seconds),
    /// At a time.
    At(Timestamp),
}
