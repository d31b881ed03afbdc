//! Waiting for one task. The daemon answers when there is something to say; if it is restarted meanwhile, the wait goes on.

use std::sync::Arc;
use std::time::Duration;

use lovage_model::{Json, ResultMeta, State};
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{AsyncResult, GetOptions};
use crate::http::Patience;
use crate::watch::Seen;
use crate::{Error, Polled, Result, TaskFailure};

/// How long one request of a wait is held open.
const HOLD: Duration = Duration::from_secs(30);
/// The pause after an answer that was not held back as asked: from a daemon that is draining, or a proxy.
const EARLY: Duration = Duration::from_millis(250);

impl AsyncResult {
    /// Waits for its value: at most a given time, or `None`: as long as it takes; for more see [`GetOptions`].
    ///
    /// A task that failed or was revoked is [`Error::Task`], and so is one before it in its chain; the end of the time is
    /// [`Error::Timeout`], and the task goes on; a value of another type is [`Error::Decode`]. One that left no result
    /// (IGNORED) yields JSON's `null`.
    pub async fn get<'a, T: DeserializeOwned>(&self, options: impl Into<GetOptions<'a>>) -> Result<T> {
        let value = self.get_json(options).await?;
        value.read().map_err(|error| Error::decode(format!("result of {}", self.id), error))
    }

    /// As [`AsyncResult::get`], with the value as the text the task returned.
    pub async fn get_json<'a>(&self, options: impl Into<GetOptions<'a>>) -> Result<Json> {
        let mut options = options.into();
        if self.ignored {
            return Ok(Json::null());
        }
        let follows = options.propagate && options.follow_parents && self.parent.is_some();
        let meta = match self.known() {
            Some(known) => known,
            None if follows => self.wait_with_parents(options.timeout).await?,
            None => self.ended(options.timeout).await?,
        };
        self.give(&meta, &mut options)
    }

    /// Raises the failure of a task that failed or was revoked; else what is there now, which is `null` for a task that has
    /// not begun.
    pub async fn maybe_throw<'a>(&self, options: impl Into<GetOptions<'a>>) -> Result<Json> {
        let meta = self.asked().await?;
        self.give(&meta, &mut options.into())
    }

    /// The same; Celery's other name for it.
    pub async fn maybe_reraise<'a>(&self, options: impl Into<GetOptions<'a>>) -> Result<Json> {
        self.maybe_throw(options).await
    }

    /// Calls one of two once it has ended: with its value, or with why there is none. The wait goes on in the background, and
    /// can be awaited or aborted by what is returned.
    pub fn then(
        &self,
        callback: impl FnOnce(&Self, Json) + Send + 'static,
        on_error: impl FnOnce(&Self, Error) + Send + 'static,
    ) -> JoinHandle<()> {
        let this = self.clone();
        tokio::spawn(async move {
            match this.get_json(GetOptions::new()).await {
                Ok(value) => callback(&this, value),
                Err(error) => on_error(&this, error),
            }
        })
    }

    fn give(&self, meta: &ResultMeta, options: &mut GetOptions<'_>) -> Result<Json> {
        if let Some(failure) = TaskFailure::of(meta).filter(|_| options.propagate) {
            return Err(failure.into());
        }
        if let Some(callback) = &mut options.callback {
            callback(&self.id, &meta.result);
        }
        Ok(meta.result.clone())
    }

    /// Waits until it has ended, however it ended, and returns everything about it. (Celery's `wait` is another name for
    /// [`AsyncResult::get`].)
    pub async fn wait(&self, timeout: Option<Duration>) -> Result<ResultMeta> {
        self.ended(timeout).await.map(Arc::unwrap_or_clone)
    }

    async fn ended(&self, timeout: Option<Duration>) -> Result<Arc<ResultMeta>> {
        if let Some(known) = self.known() {
            return Ok(known);
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut last = State::Pending;
        let waiting = self.wait_through(deadline, &mut last);
        let ended = match deadline {
            // The daemon's own clock ends a hold on time; the margin is for its answer.
            Some(deadline) => tokio::time::timeout_at(deadline + Duration::from_secs(2), waiting).await.ok(),
            None => Some(waiting.await),
        };
        match ended {
            Some(Ok(Some(meta))) => Ok(self.learn(meta)),
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

    /// Waits for it, or for the failure of something before it.
    async fn wait_with_parents(&self, timeout: Option<Duration>) -> Result<Arc<ResultMeta>> {
        let before = self.lineage();
        let ids = before.iter().map(|result| &result.id).chain([&self.id]).cloned();
        let mut watch = self.client.watch(ids, timeout);
        while let Some(seen) = watch.next().await? {
            match seen {
                Seen::Ended(meta) if meta.task_id == self.id => return Ok(self.learn(*meta)),
                Seen::Ended(meta) => {
                    if let Some(failure) = TaskFailure::of(&meta) {
                        return Err(failure.into());
                    }
                    before
                        .iter()
                        .filter(|result| result.id == meta.task_id)
                        .for_each(|one| _ = one.learn((*meta).clone()));
                }
                Seen::Unknown(id) if id == self.id => return Ok(self.learn(self.client.task(&id).await?)),
                // Forgotten or expired: it is no hindrance any more.
                Seen::Unknown(_) => {}
            }
        }
        Err(self.late(timeout).await)
    }

    /// That the time was over before it had ended.
    pub(super) async fn late(&self, timeout: Option<Duration>) -> Error {
        let state = self.client.task(&self.id).await.map_or(State::Pending, |meta| meta.status);
        Error::Timeout { id: self.id.clone(), state, seconds: timeout.unwrap_or_default().as_secs_f64() }
    }
}
