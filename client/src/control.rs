//! The routes of hosts and queues: what they say of themselves, and what is ordered of them.

use std::collections::BTreeMap;

use lovage_model::api::{
    CleanupReply, DrainRequest, OrderReply, PauseReply, RateLimitRequest, TimeLimitRequest, WorkerView,
};
use lovage_model::inspect::{ScheduledInfo, Stats, TaskInfo};
use lovage_model::{Json, QueueName, RateLimit, Seconds, TaskId, TaskName};
use reqwest::Method;
use serde::de::DeserializeOwned;

use crate::http::PROMPT;
use crate::{Client, Result};

/// No body.
const NONE: Option<&()> = None;

/// What each host says, by its name.
pub type ByHost<T> = BTreeMap<String, T>;

impl Client {
    /// What each host says of itself, as it comes: `active`, `reserved`, `scheduled`, `revoked`, `registered`, `stats`,
    /// `query_task` (about these tasks), `ping` or `conf`. (Celery: `app.control.inspect`.)
    pub async fn inspect(&self, what: &str, ids: &[TaskId]) -> Result<ByHost<Json>> {
        self.inspected(what, ids).await
    }

    /// What runs, the oldest first.
    pub async fn active(&self) -> Result<ByHost<Vec<TaskInfo>>> {
        self.inspected("active", &[]).await
    }

    /// What hosts have taken and wait for a slot.
    pub async fn reserved(&self) -> Result<ByHost<Vec<TaskInfo>>> {
        self.inspected("reserved", &[]).await
    }

    /// What waits for its time, the earliest first.
    pub async fn scheduled(&self) -> Result<ByHost<Vec<ScheduledInfo>>> {
        self.inspected("scheduled", &[]).await
    }

    /// What was revoked, the newest first.
    pub async fn revoked(&self) -> Result<ByHost<Vec<TaskId>>> {
        self.inspected("revoked", &[]).await
    }

    /// The tasks there are.
    pub async fn registered(&self) -> Result<ByHost<Vec<String>>> {
        self.inspected("registered", &[]).await
    }

    /// What hosts have done, and what they are made of.
    pub async fn stats(&self) -> Result<ByHost<Stats>> {
        self.inspected("stats", &[]).await
    }

    /// Where tasks are: `active`, `reserved`, `scheduled` or `ready`, and what is known of them.
    pub async fn query_task(&self, ids: &[TaskId]) -> Result<ByHost<BTreeMap<TaskId, (String, TaskInfo)>>> {
        self.inspected("query_task", ids).await
    }

    async fn inspected<T: DeserializeOwned>(&self, what: &str, ids: &[TaskId]) -> Result<T> {
        let mut request = self.request(Method::GET, self.route(&["v1", "inspect", what])?).timeout(PROMPT);
        if !ids.is_empty() {
            let ids: Vec<_> = ids.iter().map(TaskId::as_str).collect();
            request = request.query(&[("ids", ids.join(","))]);
        }
        self.json(self.send(request).await?).await
    }

    /// Changes the rate limit of a task, until its host restarts; none: what the task declares holds again.
    pub async fn rate_limit(&self, task: TaskName, rate_limit: Option<RateLimit>) -> Result<OrderReply> {
        let body = RateLimitRequest { task, rate_limit };
        self.call(Method::POST, &["v1", "control", "rate_limit"], Some(&body)).await
    }

    /// Changes the time limits of a task, until its host restarts; none of both: what the task declares holds again.
    pub async fn time_limit(&self, task: TaskName, soft: Option<Seconds>, hard: Option<Seconds>) -> Result<OrderReply> {
        let body = TimeLimitRequest { task, soft, hard };
        self.call(Method::POST, &["v1", "control", "time_limit"], Some(&body)).await
    }

    /// Drops the results whose time is over, now.
    pub async fn cleanup(&self) -> Result<CleanupReply> {
        self.call(Method::POST, &["v1", "control", "cleanup"], NONE).await
    }

    /// The workers there are.
    pub async fn workers(&self) -> Result<Vec<WorkerView>> {
        self.get(&["v1", "workers"]).await
    }

    /// Lets the worker take no more messages, or with `resume` take them again; what runs goes on.
    pub async fn drain_worker(&self, resume: bool) -> Result<WorkerView> {
        self.call(Method::POST, &["v1", "worker", "drain"], Some(&DrainRequest { resume })).await
    }

    /// Lets no more tasks of a queue begin; what runs goes on, calls are accepted. Holds across restarts.
    pub async fn pause(&self, queue: &QueueName) -> Result<PauseReply> {
        self.call(Method::POST, &["v1", "queues", queue.as_str(), "pause"], NONE).await
    }

    /// Lets tasks of a queue begin again.
    pub async fn resume(&self, queue: &QueueName) -> Result<PauseReply> {
        self.call(Method::POST, &["v1", "queues", queue.as_str(), "resume"], NONE).await
    }
}
