//! Results, as Celery's backends keep them.

use serde::{Deserialize, Serialize};

use crate::{Json, ResultTuple, State, TaskId, TaskName, Timestamp, Usage};

/// A result meta with the extended fields (`result_extended`), and what only a sandbox knows.
/// See <https://docs.celeryq.dev/en/stable/userguide/configuration.html#result-extended>.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResultMeta {
    /// The task.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub task_id: TaskId,
    /// Its state.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub status: State,
    /// The value, the exception (`exc_type`, `exc_message`, `exc_module`), or the meta of a custom state.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub result: Json,
    /// Where it failed, as text.
    pub traceback: Option<String>,
    /// The tasks it sent, each as Celery's result tuple `[[id, parent], null]`.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub children: Vec<ResultTuple>,
    /// When it became ready.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub date_done: Option<Timestamp>,
    /// The task that sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub parent_id: Option<TaskId>,
    /// Name of the task.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: TaskName,
    /// Another name for it in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<String>,
    /// Positional arguments.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub args: Json,
    /// Keyword arguments.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub kwargs: Json,
    /// The host that ran it last.
    pub worker: Option<String>,
    /// How often it was retried.
    pub retries: u32,
    /// Its queue.
    pub queue: String,
    /// Stable name of what stopped it, such as `memory-limit`; none when the task raised by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// The first ancestor; the task itself if it has no parent.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub root_id: TaskId,
    /// When it was queued first.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub submitted_at: Timestamp,
    /// Not to be run before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub eta: Option<Timestamp>,
    /// Why it is not running: `eta`, `rate limit`, `task ID`, `group ID`, `a free slot`; of one task, and not in lists, also
    /// that its queue is paused, or that the host that was asked drains or takes nothing from it. None when it runs or has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// How often it was handed to a host: more than `retries + 1` when a host was killed under it.
    pub deliveries: u32,
    /// What its last attempt used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}
