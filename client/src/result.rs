//! What is known of what was sent: Celery's `celery.result`.
//!
//! A handle is an id, what came before it, and the meta of a task that has ended, once it was read. Everything else is asked
//! of the daemon.

mod any;
mod asked;
mod eager;
mod get;
mod graph;
mod group;
mod join;
mod options;
mod set;

use std::sync::{Arc, Mutex, PoisonError};

use lovage_model::api::{ControlReply, TaskLogs};
use lovage_model::{Json, ResultMeta, ResultTuple, TaskId};

use crate::{Client, EventStream, Result};

pub use any::AnyResult;
pub use eager::EagerResult;
pub use graph::{Collect, DependencyGraph, Deps};
pub use group::GroupResult;
pub use join::IterNative;
pub use options::{Callback, GetOptions, RevokeOptions};
pub use set::ResultSet;

/// A task, and a way to ask for it: Celery's `AsyncResult`. Clones share what they know; two are equal if their ids are.
#[derive(Debug, Clone)]
pub struct AsyncResult {
    client: Client,
    id: TaskId,
    parent: Option<Arc<AnyResult>>,
    ignored: bool,
    /// The meta of a task that has ended.
    known: Arc<Mutex<Option<Arc<ResultMeta>>>>,
}

impl PartialEq for AsyncResult {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for AsyncResult {}

impl std::fmt::Display for AsyncResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.id.fmt(f)
    }
}

impl AsyncResult {
    pub(crate) fn new(client: Client, id: TaskId) -> Self {
        Self { client, id, parent: None, ignored: false, known: Arc::default() }
    }

    pub(crate) fn after(self, parent: Option<Arc<AnyResult>>) -> Self {
        Self { parent, ..self }
    }

    /// The task's id.
    pub fn id(&self) -> &TaskId {
        &self.id
    }

    /// The task's id; Celery's older name for it.
    pub fn task_id(&self) -> &TaskId {
        &self.id
    }

    /// What came before it in its chain.
    pub fn parent(&self) -> Option<&AnyResult> {
        self.parent.as_deref()
    }

    /// Whether nobody waits for its result: then `get` is `null` at once.
    pub fn ignored(&self) -> bool {
        self.ignored
    }

    /// The same, with its result ignored or not.
    #[must_use]
    pub fn with_ignored(self, ignored: bool) -> Self {
        Self { ignored, ..self }
    }

    /// As Celery passes it around: `[[id, parent], null]`.
    pub fn as_tuple(&self) -> ResultTuple {
        let parent = self.parent().map(|parent| Box::new(parent.as_tuple()));
        ResultTuple { parent, ..ResultTuple::of(self.id.clone()) }
    }

    /// Its id and those of what came before it, the last first.
    pub fn as_list(&self) -> Vec<TaskId> {
        let before = std::iter::successors(self.parent(), |result| result.parent());
        std::iter::once(&self.id).chain(before.map(AnyResult::id)).cloned().collect()
    }

    /// What happens to it, from now on, until it ends.
    pub fn events(&self) -> EventStream {
        self.client.events(&self.id)
    }

    /// What each attempt wrote.
    pub async fn logs(&self) -> Result<TaskLogs> {
        self.client.logs(&self.id).await
    }

    /// Keeps it from running; with `true`, stops it too if it runs. What to wait for: see [`RevokeOptions`].
    pub async fn revoke(&self, options: impl Into<RevokeOptions>) -> Result<ControlReply> {
        let RevokeOptions { terminate, wait, timeout } = options.into();
        let mut reply = self.client.revoke(&self.id, terminate).await?;
        if wait {
            reply.state = self.wait(timeout).await?.status;
        }
        Ok(reply)
    }

    /// Queues it once more, after it has ended.
    pub async fn retry(&self) -> Result<ControlReply> {
        let reply = self.client.retry(&self.id).await?;
        self.unlearn();
        Ok(reply)
    }

    /// Drops it with its result and log, after it has ended; and what came before it in its chain, as far as that is still
    /// there.
    pub async fn forget(&self) -> Result<ControlReply> {
        for before in self.lineage() {
            before.drop_if_there().await?;
        }
        let reply = self.client.forget(&self.id).await?;
        self.unlearn();
        Ok(reply)
    }

    async fn drop_if_there(&self) -> Result<()> {
        self.unlearn();
        match self.client.forget(&self.id).await {
            Err(error) if error.code() != Some("unknown_id") => Err(error),
            _ => Ok(()),
        }
    }

    /// The tasks of what came before it in its chain, the first first.
    fn lineage(&self) -> Vec<&Self> {
        let mut before: Vec<_> = std::iter::successors(self.parent(), |result| result.parent()).collect();
        before.reverse();
        before.into_iter().flat_map(AnyResult::leaves).collect()
    }

    /// Its meta, if it is known to have ended.
    fn known(&self) -> Option<Arc<ResultMeta>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn(&self, meta: ResultMeta) -> Arc<ResultMeta> {
        let meta = Arc::new(meta);
        if meta.status.is_terminal() {
            *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&meta));
        }
        meta
    }

    fn unlearn(&self) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What it ended with, without asking anybody: `null` of one that is ignored or not known to have ended.
    fn value(&self) -> Json {
        match self.known() {
            Some(meta) if !self.ignored => meta.result.clone(),
            _ => Json::null(),
        }
    }
}
