//! Which answers are right? The reference: plain structures behind one lock, for tests, `exec` and `memory:` daemons.
//!
//! Invariants: each call takes the lock once, so it is atomic; nothing is awaited while it is held.
//!
//! Absent: durability.

mod broker;
mod modules;
mod results;
mod schedules;
mod tasks;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use lovage_model::{Digest, EntryName, ModuleName, ModuleVersion, TenantId};
use tokio::sync::Notify;

use super::{Periodic, Result, Store, StoreError};
use tasks::Tasks;

/// A store that is gone when the process is.
#[derive(Default)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
    bell: Notify,
}

#[derive(Default)]
struct Inner {
    closed: bool,
    tasks: Tasks,
    /// Versions of each module, the oldest first.
    modules: BTreeMap<(TenantId, ModuleName), Vec<ModuleVersion>>,
    components: BTreeMap<Digest, Bytes>,
    periodic: BTreeMap<(TenantId, EntryName), Periodic>,
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

    /// What a restart of the process does to a durable store: every lease ends.
    #[cfg(test)]
    pub(super) fn restart(&self) {
        self.open().expect("an open store").tasks.lapse(lovage_model::Timestamp::from_micros(i64::MAX));
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
