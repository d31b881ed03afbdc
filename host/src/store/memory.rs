//! Which answers are right? The reference: plain structures behind one lock, for tests, `exec` and `memory:` daemons.
//!
//! Invariants: each call takes the lock once, so it is atomic; nothing is awaited while it is held.
//!
//! Absent: durability.

mod access;
mod broker;
mod groups;
mod joins;
mod metering;
mod modules;
mod moves;
mod orders;
mod results;
mod schedules;
mod settle;
mod tasks;
mod values;
mod waiting;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use lovage_model::{
    Digest, EntryName, ModuleName, ModuleVersion, ResultTuple, TaskId, TenantId, TenantView, Timestamp, TokenId,
};
use tokio::sync::Notify;

use super::{Periodic, Place, Result, Store, StoreError, Token};
use tasks::Tasks;

/// A store that is gone when the process is.
#[derive(Default)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
    /// Rings when messages may have become ready.
    bell: Notify,
    /// Rings when something has ended that others wait for.
    ends: Notify,
}

#[derive(Default)]
struct Inner {
    closed: bool,
    tasks: Tasks,
    /// When each was saved, what, and how much that takes.
    groups: BTreeMap<(TenantId, TaskId), (Timestamp, ResultTuple, u64)>,
    /// Versions of each module, the oldest first.
    modules: BTreeMap<(TenantId, ModuleName), Vec<ModuleVersion>>,
    components: BTreeMap<Digest, Bytes>,
    periodic: BTreeMap<(TenantId, EntryName), Periodic>,
    periodic_version: u64,
    tenants: BTreeMap<TenantId, TenantView>,
    tokens: BTreeMap<TokenId, Token>,
    values: BTreeMap<Place, Bytes>,
    /// How much each tenant's take, with its saved groups.
    value_room: BTreeMap<TenantId, u64>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn open(&self) -> Result<MutexGuard<'_, Inner>> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.closed { Err(StoreError::Failed("the store is closed".to_owned())) } else { Ok(inner) }
    }

    /// Tells those who wait for messages, and for ends if there are new ones.
    fn ring(&self, tasks: &mut Tasks) {
        self.bell.notify_one();
        if std::mem::take(&mut tasks.joins.rings) {
            self.ends.notify_one();
        }
    }

    /// What a restart of the process does to a durable store: every lease ends, and who listens is told what is there.
    #[cfg(test)]
    pub(super) fn restart(&self) {
        let tasks = &mut self.open().expect("an open store").tasks;
        tasks.lapse(Timestamp::from_micros(i64::MAX));
        tasks.joins.reopen();
        self.ring(tasks);
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn healthy(&self) -> Result<()> {
        self.open().map(drop)
    }

    async fn close(&self) -> Result<()> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.bell.notify_one();
        Ok(())
    }
}
