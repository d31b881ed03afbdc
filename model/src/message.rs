//! What waits in a queue: a call with everything needed to run it, as Celery's message protocol 2 has it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Json, QueueName, Seconds, TaskId, TaskName, Timestamp};

/// Soft and hard limit of one run, in seconds of wall time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct TimeLimit {
    /// After this the task is told, if set.
    pub soft: Option<Seconds>,
    /// After this the task is killed, if set.
    pub hard: Option<Seconds>,
}

/// A message: one task waiting to run. See
/// <https://docs.celeryq.dev/en/stable/internals/protocol.html> for the meaning of each field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The task's id, the same for all its attempts.
    pub id: TaskId,
    /// Name of the task.
    pub task: TaskName,
    /// Positional arguments: a JSON array.
    pub args: Json,
    /// Keyword arguments: a JSON object.
    pub kwargs: Json,
    /// Queue it waits in.
    pub queue: QueueName,
    /// 0 (first) to 9 (last).
    #[serde(default)]
    pub priority: u8,
    /// How often it has been retried.
    #[serde(default)]
    pub retries: u32,
    /// Not to be run before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta: Option<Timestamp>,
    /// Not to be started after this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Limits asked for; the operator's and the task's own apply as well.
    #[serde(default)]
    pub timelimit: TimeLimit,
    /// Fuel asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// The first ancestor; the task itself if it has no parent.
    pub root_id: TaskId,
    /// The task that sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<TaskId>,
    /// Whether its result is dropped; the task's own declaration holds if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_result: Option<bool>,
    /// Another name for logs and lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<String>,
    /// Who sent it, for people to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// How often the task had been delivered before this message was made: an attempt that a crash undid is told apart
    /// from a retry by it.
    #[serde(default)]
    pub earlier_deliveries: u32,
    /// How many times it has been replaced by another task.
    #[serde(default)]
    pub replaced_task_nesting: u32,
    /// Headers of the sender's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Json>,
}
