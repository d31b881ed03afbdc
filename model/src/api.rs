//! What crosses the HTTP API besides metas, modules and events: the bodies of requests and replies. The client and the
//! daemon read and write the same types, and the OpenAPI document is made from them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    AttemptLog, EntryName, Json, PeriodicTask, RateLimit, ResultMeta, ResultTuple, Seconds, Signature,
    SignatureOptions, State, TaskId, TaskName, Timestamp,
};

/// `POST /v1/tasks`: a task with its arguments, or a signature as Celery serialises it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SubmitRequest {
    /// Name of the task; its last part is enough while only one task ends in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "wordcount.count"))]
    pub task: Option<TaskName>,
    /// Positional arguments: a JSON array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<Object>>))]
    pub args: Option<Json>,
    /// Keyword arguments: a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub kwargs: Option<Json>,
    /// Celery's options: countdown, eta, expires, priority, queue, time_limit, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub options: Option<SignatureOptions>,
    /// Instead of all the above: a signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub signature: Option<Signature>,
}

/// The answer to a submit: the task is stored, and survives a crash.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SubmitReply {
    /// Its id.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: TaskId,
    /// Its state: PENDING when it is new.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub state: State,
    /// What Celery's `result_from_tuple` takes.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub result_tuple: ResultTuple,
}

/// `POST /v1/tasks:batch`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BatchRequest {
    /// At most 1,000.
    pub tasks: Vec<SubmitRequest>,
}

/// The answer to a batch: one for each, in order. What is right is stored even if another is not.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchReply {
    /// One for each task.
    pub results: Vec<BatchItem>,
}

/// One of a batch.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum BatchItem {
    /// Stored.
    Accepted(SubmitReply),
    /// Refused.
    Refused(Problem),
}

/// An error, as RFC 9457 (`application/problem+json`) has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// `about:blank`, or the address of a page about this kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What is wrong here, and what to do.
    pub detail: String,
    /// Stable name of the kind, such as `unknown_task`, for programs to branch on.
    pub code: String,
    /// Whether the same request may go through later.
    pub retryable: bool,
}

/// `GET /v1/tasks`: newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskPage {
    /// The tasks.
    pub tasks: Vec<ResultMeta>,
    /// Pass it as `cursor` for the next page; none on the last one.
    pub next: Option<String>,
}

/// `GET /v1/tasks/{id}/logs`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskLogs {
    /// One for each attempt that ended and wrote anything, the first first.
    pub attempts: Vec<AttemptLog>,
    /// What the running attempt has written so far.
    pub running: Option<AttemptLog>,
}

/// `POST /v1/tasks/{id}/revoke`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RevokeRequest {
    /// Stop it too if it is running.
    #[serde(default)]
    pub terminate: bool,
}

/// `POST /v1/tasks:watch`: answered with server-sent events, one for each task once it has ended, in the order in which they
/// end; those that have ended before come first.
///
/// `result` is a [`ResultMeta`]; `large` and `unknown` are a [`Watched`]: a result to be read by itself, an id that there is
/// not; `problem` is a [`Problem`], after which nothing comes; `end` is a [`WatchEnd`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct WatchRequest {
    /// At most 10,000.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub ids: Vec<TaskId>,
    /// Seconds to wait; 0: only for those that have ended already; none: until all have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<f64>,
}

/// One of the tasks that are watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Watched {
    /// Which one.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub task_id: TaskId,
}

/// The end of a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WatchEnd {
    /// How many tasks have not ended.
    pub left: usize,
}

/// `POST /v1/tasks:revoke`: tasks by their ids, by their stamps, or both.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RevokeManyRequest {
    /// These: at most 10,000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub ids: Vec<TaskId>,
    /// Those that have any of these stamps: one value, or a list of which any will do, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub stamped_headers: BTreeMap<String, Json>,
    /// Stop those too that are running.
    #[serde(default)]
    pub terminate: bool,
}

/// What was found of several tasks that were to be revoked: one answer for each id, in order, then one for each task that has
/// one of the stamps and had not ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RevokeReply {
    /// One for each task.
    pub results: Vec<RevokeItem>,
}

/// One of several.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum RevokeItem {
    /// What was found and done.
    Found(ControlReply),
    /// Why nothing could be done.
    Refused(Problem),
}

/// What a revoke, a retry or a forget found.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ControlReply {
    /// Its id.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: TaskId,
    /// Its state now.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub state: State,
    /// What was done, in words.
    pub outcome: String,
}

/// One queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QueueView {
    /// Its name.
    pub name: String,
    /// Messages that could run now.
    pub ready: u64,
    /// Messages that wait for their ETA.
    pub scheduled: u64,
    /// Messages that wait for another task, or for a group.
    #[serde(default)]
    pub blocked: u64,
    /// Messages that a host has taken.
    pub leased: u64,
    /// Whether nothing is taken from it now, by an order.
    #[serde(default)]
    pub paused: bool,
    /// Age in seconds of the oldest ready message.
    pub oldest_seconds: Option<f64>,
}

/// `POST /v1/queues/{name}/purge`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PurgeReply {
    /// How many waiting messages were revoked.
    pub purged: u64,
}

/// `POST /v1/queues/{name}/pause` and `resume`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PauseReply {
    /// The queue.
    pub name: String,
    /// Whether it is paused now.
    pub paused: bool,
    /// Whether that is a change.
    pub changed: bool,
}

/// `POST /v1/control/rate_limit`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RateLimitRequest {
    /// Name of the task; its last part is enough while only one task ends in it.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub task: TaskName,
    /// Such as `10/m`; 0 is no limit; left out, what the task declares holds again.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub rate_limit: Option<RateLimit>,
}

/// `POST /v1/control/time_limit`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TimeLimitRequest {
    /// Name of the task; its last part is enough while only one task ends in it.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub task: TaskName,
    /// Soft limit in seconds.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<f64>))]
    pub soft: Option<Seconds>,
    /// Hard limit in seconds. Both left out: what the task declares holds again.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<f64>))]
    pub hard: Option<Seconds>,
}

/// The answer to an order about a task type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OrderReply {
    /// What was done, in Celery's words.
    pub ok: String,
}

/// `POST /v1/control/cleanup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CleanupReply {
    /// How many results were dropped.
    pub expired: u64,
}

/// `POST /v1/worker/drain`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DrainRequest {
    /// Take messages again.
    #[serde(default)]
    pub resume: bool,
}

/// One worker: `GET /v1/workers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerView {
    /// Name of the host.
    pub hostname: String,
    /// `ok`; or `draining`: it takes no messages, and what runs goes on.
    pub status: String,
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// For how many seconds it runs.
    pub uptime_seconds: u64,
    /// Tasks running there now.
    pub active: usize,
    /// Tasks that it has taken and that wait for a slot.
    pub reserved: usize,
    /// Slots in all.
    pub concurrency: usize,
    /// The queues it takes messages from; none: all.
    pub queues: Option<Vec<String>>,
}

/// One periodic task: `GET /v1/beat`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PeriodicView {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: EntryName,
    /// What is sent, and when: as it is written.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub entry: PeriodicTask,
    /// Whether the configuration declares it: then only the configuration changes it.
    pub of_config: bool,
    /// When it was sent last for one of its times.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub last_run_at: Option<Timestamp>,
    /// When it is due next; none: it is not enabled.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub next_run_at: Option<Timestamp>,
    /// For how many of its times it was sent.
    pub total_run_count: u64,
    /// Why it could not be sent when it was due, if it could not; it is tried again.
    pub last_error: Option<String>,
}

/// `GET /livez` and `GET /readyz`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Health {
    /// `ok`, or what is wrong.
    pub status: String,
    /// Version of the daemon.
    pub version: String,
    /// Name of this host.
    pub hostname: String,
    /// Tasks running here now.
    pub running: u64,
    /// Slots in all.
    pub concurrency: u64,
}
