//! What can be asked of a host: Celery's `inspect`. Every answer is a map from the host's name to what it says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{DeliveryInfo, Json, RateLimit, TaskId, TaskName, TimeLimit, Timestamp};

/// A task that a host has, or has seen. See <https://docs.celeryq.dev/en/stable/userguide/workers.html#inspecting-workers>.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskInfo {
    /// Its id.
    pub id: TaskId,
    /// Its name.
    pub name: TaskName,
    /// Another name for it in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<String>,
    /// Positional arguments.
    pub args: Json,
    /// Keyword arguments.
    pub kwargs: Json,
    /// Its name, once more.
    #[serde(rename = "type")]
    pub kind: TaskName,
    /// The host.
    pub hostname: String,
    /// When it began; none: it has not.
    pub time_start: Option<Timestamp>,
    /// Whether its message is gone already, so that it would not run again.
    pub acknowledged: bool,
    /// How it came.
    pub delivery_info: DeliveryInfo,
    /// Process of the host.
    pub worker_pid: u32,
}

/// A task that waits for its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScheduledInfo {
    /// Which time.
    pub eta: Timestamp,
    /// 0 (first) to 9 (last).
    pub priority: u8,
    /// The task.
    pub request: TaskInfo,
}

/// What a host has done, and what it is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// How many runs have begun, by task.
    pub total: BTreeMap<TaskName, u64>,
    /// Its process.
    pub pid: u32,
    /// For how many seconds it runs.
    pub uptime: u64,
    /// Where tasks run.
    pub pool: Pool,
    /// Tasks it may take at once.
    pub prefetch_count: usize,
    /// What was ordered of it and holds until it restarts, by task.
    pub orders: BTreeMap<TaskName, OrderedLimits>,
}

/// Where tasks run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// `sandbox`: each task in an instance of its own.
    pub implementation: String,
    /// Tasks at once.
    #[serde(rename = "max-concurrency")]
    pub max_concurrency: usize,
    /// Processes.
    pub processes: Vec<u32>,
    /// Tasks that one instance runs: always 1.
    #[serde(rename = "max-tasks-per-child")]
    pub max_tasks_per_child: u32,
    /// The longest a task may take, in seconds: if it does not say, and whatever it says.
    pub timeouts: [u64; 2],
}

/// Limits that were ordered for a task.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OrderedLimits {
    /// Its rate limit; 0 is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Its time limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_limit: Option<TimeLimit>,
}
