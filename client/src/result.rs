//! The handle of a task that was sent: Celery's `AsyncResult`.
//!
//! It keeps nothing but the id: every question goes to the daemon.

use std::time::Duration;

use lovage_model::api::{ControlReply, TaskLogs};
use lovage_model::{Json, ResultMeta, State, TaskId, Timestamp};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::http::Patience;
use crate::{Client, Error, EventStream, Polled, Result, TaskFailure};

/// How long one request of a wait is held open.
const HOLD: Duration = Duration::from_secs(30);
/// The pause after an answer that was not held back as asked: from a daemon that is draining, or a proxy.
const EARLY: Duration = Duration::from_millis(250);

/// A task, and a way to ask for it.
#[derive(Debug, Clone)]
pub struct AsyncResult {
    client: Client,
    id: TaskId,
}

impl AsyncResult {
    pub(crate) fn new(client: Client, id: TaskId) -> Self {
        Self { client, id }
    }

    /// The task's id.
    pub fn id(&self) -> &TaskId {
        &self.id
    }

    /// Everything about it.
    pub async fn meta(&self) -> Result<ResultMeta> {
        self.client.task(&self.id).await
    }

    /// Its state.
    pub async fn state(&self) -> Result<State> {
        Ok(self.meta().await?.status)
    }

    /// Its value, its exception, or what it last told about its progress.
    pub async fn info(&self) -> Result<Json> {
        Ok(self.meta().await?.result)
    }

    /// Whether it succeeded, failed or was revoked.
    pub async fn ready(&self) -> Result<bool> {
        Ok(self.state().await?.is_ready())
    }

    /// Whether it succeeded.
    pub async fn successful(&self) -> Result<bool> {
        Ok(self.state().await? == State::Success)
    }

    /// Whether it failed; a revoked task neither failed nor succeeded.
    pub async fn failed(&self) -> Result<bool> {
        Ok(self.state().await? == State::Failure)
    }

    /// Where it failed.
    pub async fn traceback(&self) -> Result<Option<String>> {
        Ok(self.meta().await?.traceback)
    }

    /// When it became ready.
    pub async fn date_done(&self) -> Result<Option<Timestamp>> {
        Ok(self.meta().await?.date_done)
    }

    /// The task that sent it.
    pub async fn parent_id(&self) -> Result<Option<TaskId>> {
        Ok(self.meta().await?.parent_id)
    }

    /// The tasks it sent.
    pub async fn children(&self) -> Result<Vec<Self>> {
        let children = self.meta().await?.children.into_iter();
        Ok(children.map(|tuple| Self::new(self.client.clone(), tuple.id)).collect())
    }

    /// Waits for its value, as long as it takes if there is no `timeout`.
    ///
    /// A task that failed or was revoked is [`Error::Task`]; the end of the time is [`Error::Timeout`], and the task
    /// goes on. One that left no result (IGNORED) yields JSON's `null`.
    pub async fn get<T: DeserializeOwned>(&self, timeout: Option<Duration>) -> Result<T> {
        let value = self.get_json(timeout).await?;
        value.read().map_err(|error| Error::invalid(format!("result of {}", self.id), error))
    }

    /// As [`AsyncResult::get`], with the value as the text the task returned.
    pub async fn get_json(&self, timeout: Option<Duration>) -> Result<Json> {
        let meta = self.wait(timeout).await?;
        match TaskFailure::of(&meta) {
            Some(failure) => Err(Error::Task(Box::new(failure))),
            None => Ok(meta.result),
        }
    }

    /// Waits until it has ended, however it ended. The daemon answers when it has; if the daemon is restarted
    /// meanwhile, the wait goes on.
    pub async fn wait(&self, timeout: Option<Duration>) -> Result<ResultMeta> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut last = State::Pending;
        let waiting = self.wait_through(deadline, &mut last);
        let ended = match deadline {
            // The daemon's own clock ends a hold on time; the margin is for its answer.
            Some(deadline) => tokio::time::timeout_at(deadline + Duration::from_secs(2), waiting).await.ok(),
            None => Some(waiting.await),
        };
        match ended {
            Some(Ok(Some(meta))) => Ok(meta),
            Some(Err(error)) => Err(error),
            Some(Ok(None)) | None => {
                let seconds = timeout.unwrap_or_default().as_secs_f64();
                Err(Error::Timeout { id: self.id.clone(), state: last, seconds })
            }
        }
    }

    /// None: the deadline has passed. Asks at least once.
    async fn wait_through(&self, deadline: Option<Instant>, last: &mut State) -> Result<Option<ResultMeta>> {
        let mut patience = Patience::new();
        loop {
            let asked_at = Instant::now();
            let hold = deadline.map_or(HOLD, |deadline| deadline.saturating_duration_since(asked_at).min(HOLD));
            match self.client.poll_result(&self.id, hold).await {
                Ok(Polled::Ended(meta)) => return Ok(Some(meta)),
                Ok(Polled::Running(meta)) => {
                    patience.renew();
                    *last = meta.status;
                    if asked_at.elapsed() < hold / 2 {
                        tokio::time::sleep(EARLY.min(hold)).await;
                    }
                }
                Err(error) => patience.after(error, &self.client).await?,
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(None);
            }
        }
    }

    /// What happens to it, from now on, until it ends.
    pub fn events(&self) -> EventStream {
        self.client.events(&self.id)
    }

    /// What each attempt wrote.
    pub async fn logs(&self) -> Result<TaskLogs> {
        self.client.logs(&self.id).await
    }

    /// Keeps it from running; with `terminate`, stops it too if it runs.
    pub async fn revoke(&self, terminate: bool) -> Result<ControlReply> {
        self.client.revoke(&self.id, terminate).await
    }

    /// Queues it once more, after it has ended.
    pub async fn retry(&self) -> Result<ControlReply> {
        self.client.retry(&self.id).await
    }

    /// Drops it with its result and log, after it has ended.
    pub async fn forget(&self) -> Result<ControlReply> {
        self.client.forget(&self.id).await
    }
}
