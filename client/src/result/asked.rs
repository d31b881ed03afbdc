//! What the daemon knows of a task, by Celery's names. One that has ended is asked for once.

use std::sync::Arc;

use lovage_model::{Json, ResultMeta, State, TaskId, TaskName, Timestamp};

use super::{AnyResult, AsyncResult};
use crate::Result;

impl AsyncResult {
    /// Everything about it.
    pub async fn meta(&self) -> Result<ResultMeta> {
        self.asked().await.map(Arc::unwrap_or_clone)
    }

    pub(super) async fn asked(&self) -> Result<Arc<ResultMeta>> {
        match self.known() {
            Some(known) => Ok(known),
            None => Ok(self.learn(self.client.task(&self.id).await?)),
        }
    }

    /// Its state.
    pub async fn state(&self) -> Result<State> {
        Ok(self.asked().await?.status.clone())
    }

    /// Its state; Celery's other name for it.
    pub async fn status(&self) -> Result<State> {
        self.state().await
    }

    /// Its value, its exception, or what it last told about its progress.
    pub async fn result(&self) -> Result<Json> {
        Ok(self.asked().await?.result.clone())
    }

    /// The same; Celery's other name for it.
    pub async fn info(&self) -> Result<Json> {
        self.result().await
    }

    /// Whether it succeeded, failed or was revoked.
    pub async fn ready(&self) -> Result<bool> {
        Ok(self.state().await?.is_ready())
    }

    /// Whether it succeeded.
    pub async fn successful(&self) -> Result<bool> {
        Ok(self.state().await? == State::Success)
    }

    /// Whether it succeeded, as Celery's first versions called it.
    pub async fn is_done(&self) -> Result<bool> {
        self.successful().await
    }

    /// Whether it failed; a revoked task neither failed nor succeeded.
    pub async fn failed(&self) -> Result<bool> {
        Ok(self.state().await? == State::Failure)
    }

    /// Whether there is such a task: one that was sent, and neither forgotten nor expired.
    pub async fn exists(&self) -> Result<bool> {
        match self.client.task(&self.id).await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some("unknown_id") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Where it failed.
    pub async fn traceback(&self) -> Result<Option<String>> {
        Ok(self.asked().await?.traceback.clone())
    }

    /// When it became ready.
    pub async fn date_done(&self) -> Result<Option<Timestamp>> {
        Ok(self.asked().await?.date_done)
    }

    /// Name of the task.
    pub async fn name(&self) -> Result<TaskName> {
        Ok(self.asked().await?.name.clone())
    }

    /// Its positional arguments.
    pub async fn args(&self) -> Result<Json> {
        Ok(self.asked().await?.args.clone())
    }

    /// Its keyword arguments.
    pub async fn kwargs(&self) -> Result<Json> {
        Ok(self.asked().await?.kwargs.clone())
    }

    /// The host that ran it last.
    pub async fn worker(&self) -> Result<Option<String>> {
        Ok(self.asked().await?.worker.clone())
    }

    /// How often it was retried.
    pub async fn retries(&self) -> Result<u32> {
        Ok(self.asked().await?.retries)
    }

    /// Its queue.
    pub async fn queue(&self) -> Result<String> {
        Ok(self.asked().await?.queue.clone())
    }

    /// The task that sent it.
    pub async fn parent_id(&self) -> Result<Option<TaskId>> {
        Ok(self.asked().await?.parent_id.clone())
    }

    /// What it sent.
    pub async fn children(&self) -> Result<Vec<AnyResult>> {
        Ok(self.children_in(&*self.asked().await?))
    }

    pub(super) fn children_in(&self, meta: &ResultMeta) -> Vec<AnyResult> {
        meta.children.iter().map(|tuple| self.client.result_from_tuple(tuple.clone())).collect()
    }
}
