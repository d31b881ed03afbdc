//! Many results together.
//!
//! What is asked of all of them is one request: which of those that are not known to have ended have done so since.

use std::ops::Index;
use std::time::Duration;

use lovage_model::State;
use lovage_model::api::RevokeReply;

use super::join::Arrivals;
use super::{AnyResult, AsyncResult, GetOptions, RevokeOptions};
use crate::{Client, Result};

/// Celery's `ResultSet`: results of tasks and groups, in order, each once.
#[derive(Debug, Clone)]
pub struct ResultSet {
    client: Client,
    results: Vec<AnyResult>,
}

impl PartialEq for ResultSet {
    fn eq(&self, other: &Self) -> bool {
        self.results == other.results
    }
}

impl Index<usize> for ResultSet {
    type Output = AnyResult;
    fn index(&self, index: usize) -> &AnyResult {
        &self.results[index]
    }
}

impl Client {
    /// A set of results.
    pub fn result_set(&self, results: impl IntoIterator<Item = impl Into<AnyResult>>) -> ResultSet {
        let mut set = ResultSet::of(self.clone(), Vec::new());
        set.update(results);
        set
    }
}

impl ResultSet {
    pub(super) fn of(client: Client, results: Vec<AnyResult>) -> Self {
        Self { client, results }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The results.
    pub fn results(&self) -> &[AnyResult] {
        &self.results
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.results.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.results.is_empty()
    }

    /// Adds one, unless it is there.
    pub fn add(&mut self, result: impl Into<AnyResult>) {
        let result = result.into();
        if !self.results.contains(&result) {
            self.results.push(result);
        }
    }

    /// Takes one out; whether it was there. (Celery raises KeyError if not.)
    pub fn remove(&mut self, result: &AnyResult) -> bool {
        let place = self.results.iter().position(|other| other == result);
        place.map(|place| self.results.remove(place)).is_some()
    }

    /// Takes one out, if it is there.
    pub fn discard(&mut self, result: &AnyResult) {
        self.remove(result);
    }

    /// Adds several, each unless it is there.
    pub fn update(&mut self, results: impl IntoIterator<Item = impl Into<AnyResult>>) {
        results.into_iter().for_each(|result| self.add(result));
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        self.results.clear();
    }

    /// Whether all succeeded.
    pub async fn successful(&self) -> Result<bool> {
        self.refresh().await?;
        Ok(self.results.iter().all(is_successful))
    }

    /// Whether any failed.
    pub async fn failed(&self) -> Result<bool> {
        self.refresh().await?;
        Ok(self.leaves().into_iter().any(|task| is_in(task, |state| *state == State::Failure)))
    }

    /// Whether any is not ready.
    pub async fn waiting(&self) -> Result<bool> {
        Ok(!self.ready().await?)
    }

    /// Whether all succeeded, failed or were revoked.
    pub async fn ready(&self) -> Result<bool> {
        self.refresh().await?;
        Ok(self.leaves().into_iter().all(|task| is_in(task, State::is_ready)))
    }

    /// How many succeeded. A group among them counts as one.
    pub async fn completed_count(&self) -> Result<usize> {
        self.refresh().await?;
        Ok(self.results.iter().filter(|result| is_successful(result)).count())
    }

    /// Raises the first failure there is, in order; calls back with the value of each other that has ended.
    pub async fn maybe_throw<'a>(&self, options: impl Into<GetOptions<'a>>) -> Result<()> {
        let mut options = options.into();
        self.refresh().await?;
        for task in self.leaves() {
            let Some(meta) = task.known() else { continue };
            super::join::raise(&meta, options.propagate)?;
            if let Some(callback) = &mut options.callback {
                callback(task.id(), &meta.result);
            }
        }
        Ok(())
    }

    /// The same; Celery's other name for it.
    pub async fn maybe_reraise<'a>(&self, options: impl Into<GetOptions<'a>>) -> Result<()> {
        self.maybe_throw(options).await
    }

    /// Drops all that are still there, with what came before them in their chains. All must have ended.
    pub async fn forget(&self) -> Result<()> {
        for task in self.leaves() {
            for before in task.lineage() {
                before.drop_if_there().await?;
            }
            task.drop_if_there().await?;
        }
        Ok(())
    }

    /// Keeps all from running, by one request; with `true`, stops those that run.
    pub async fn revoke(&self, options: impl Into<RevokeOptions>) -> Result<RevokeReply> {
        let RevokeOptions { terminate, wait, timeout } = options.into();
        let ids = self.leaves().into_iter().map(|task| task.id().clone()).collect();
        let reply = self.client.revoke_many(ids, terminate).await?;
        if wait {
            self.all_ended(timeout).await?;
        }
        Ok(reply)
    }

    /// Calls one of two once all have ended: with their values, or with why there are none.
    pub fn then(
        &self,
        callback: impl FnOnce(&Self, Vec<lovage_model::Json>) + Send + 'static,
        on_error: impl FnOnce(&Self, crate::Error) + Send + 'static,
    ) -> tokio::task::JoinHandle<()> {
        let this = self.clone();
        tokio::spawn(async move {
            match this.join_native(GetOptions::new()).await {
                Ok(values) => callback(&this, values),
                Err(error) => on_error(&this, error),
            }
        })
    }

    /// Its tasks, in order; those of groups in their places.
    pub fn leaves(&self) -> Vec<&AsyncResult> {
        self.results.iter().flat_map(AnyResult::leaves).collect()
    }

    /// Learns which have ended.
    async fn refresh(&self) -> Result<()> {
        let mut arrivals = Arrivals::of(self, Some(Duration::ZERO));
        while arrivals.next().await?.is_some() {}
        Ok(())
    }

    async fn all_ended(&self, timeout: Option<Duration>) -> Result<()> {
        let mut arrivals = Arrivals::of(self, timeout);
        while arrivals.next().await?.is_some() {}
        match self.leaves().into_iter().find(|task| task.known().is_none()) {
            Some(task) => Err(task.late(timeout).await),
            None => Ok(()),
        }
    }
}

fn is_in(task: &AsyncResult, test: impl Fn(&State) -> bool) -> bool {
    task.known().is_some_and(|meta| test(&meta.status))
}

fn is_successful(result: &AnyResult) -> bool {
    result.leaves().into_iter().all(|task| is_in(task, |state| *state == State::Success))
}
