//! What must be sent again and again?
//!
//! Celery's beat, in the daemon: periodic tasks that the configuration or the API declares, sent when they are due.
//!
//! Invariants:
//! - A task is sent once for each of its times: the id is made of tenant, name and time, the submit is idempotent, and the
//!   time is noted after it. So neither a restart nor a crash in between sends it twice, or not at all.
//! - Of the times that came while no daemon ran, the latest is made up for (none with `catch_up = false`).
//! - What cannot be sent, because its task is not known or the queue is full, is tried again until its next time.
//!
//! Absent: tasks that are sent once at a time (`eta`), and whether an earlier run is still going on.

mod due;
mod fields;
mod sending;
mod timetable;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lovage_model::{EntryName, PeriodicTask, ResultTuple, TaskId, TenantId, Timestamp};
use tokio::sync::Notify;

use crate::access::Access;
use crate::clock;
use crate::events::Hub;
use crate::modules::Modules;
use crate::queue::{self, Refusal};
use crate::store::{Periodic, Store, StoreError};

pub use due::{Due, check, due};
use sending::{Failing, Known};
pub use timetable::Timetable;

/// Why something about a periodic task cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum BeatError {
    /// There is none of this name.
    #[error("there is no periodic task {0}; `lovage beat list` shows what there is")]
    Unknown(EntryName),
    /// It is the operator's.
    #[error("{0} is declared in the configuration of the daemon: change it there")]
    OfConfig(EntryName),
    /// It cannot be what it is said to be.
    #[error("{0}")]
    Invalid(String),
    /// Its task cannot be called so.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// As many tasks wait as may.
    #[error("as many tasks wait as may ({0} of the tenant, or limits.{0})")]
    Full(&'static str),
    /// The tenant has as many periodic tasks as it may, or as large ones.
    #[error(
        "the tenant has {entries} other periodic tasks of {bytes} bytes, and may have {MOST_ENTRIES} of {MOST_BYTES} bytes together: remove some"
    )]
    TooMany {
        /// How many it has.
        entries: usize,
        /// Arguments and options of all.
        bytes: usize,
    },
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What one tenant's entries may be, in number and in bytes of their arguments and options: all of them are looked at each time.
const MOST_ENTRIES: usize = 1000;
const MOST_BYTES: usize = 16 << 20;

/// About how large an entry is.
fn bytes(entry: &PeriodicTask) -> usize {
    let options = serde_json::to_vec(&entry.options).map_or(0, |text| text.len());
    entry.args.as_str().len() + entry.kwargs.as_str().len() + options
}

/// A periodic task as it is shown.
#[derive(Debug, Clone)]
pub struct Shown {
    /// As it is kept.
    pub periodic: Periodic,
    /// When it is due next; none: it is not enabled.
    pub next_run_at: Option<Timestamp>,
    /// Why it could not be sent when it was due, if it could not.
    pub last_error: Option<String>,
}

/// Sends what is due.
pub struct Beat {
    store: Arc<dyn Store>,
    modules: Arc<Modules>,
    hub: Arc<Hub>,
    access: Arc<Access>,
    limits: queue::Limits,
    /// Since when this daemon runs, in microseconds since 1970.
    awake: AtomicI64,
    changed: Notify,
    failing: Mutex<HashMap<(TenantId, EntryName), Failing>>,
    /// What there is, as it was read last.
    known: Mutex<Option<Known>>,
    /// What the configuration of this host declares.
    declared: Mutex<BTreeSet<EntryName>>,
}

impl Beat {
    /// A beat that is not running yet.
    pub fn new(
        store: Arc<dyn Store>,
        modules: Arc<Modules>,
        hub: Arc<Hub>,
        access: Arc<Access>,
        limits: queue::Limits,
    ) -> Self {
        let awake = AtomicI64::new(clock::now().as_micros());
        let (changed, failing, known, declared) = Default::default();
        Self { store, modules, hub, access, limits, awake, changed, failing, known, declared }
    }

    /// Makes what the configuration declares what there is: for the default tenant, beside what the API has set; and where
    /// several hosts share the store, of which this is `host`, beside what the configurations of the others declare.
    pub async fn declare(
        &self,
        entries: &BTreeMap<EntryName, PeriodicTask>,
        host: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let tenant = TenantId::default();
        let known = self.store.periodic(None).await?;
        for old in known.iter().filter(|old| old.of_config && !entries.contains_key(&old.name)) {
            self.declare_no_more(old, host).await?;
        }
        for (name, entry) in entries {
            let old = known.iter().find(|old| old.tenant == tenant && old.name == *name);
            let mut new = changed(old, (&tenant, name), entry.clone(), true, now);
            new.declared_by.extend(host.map(str::to_owned));
            if old != Some(&new) {
                self.store.set_periodic(new).await?;
            }
        }
        *self.declared.lock().unwrap_or_else(PoisonError::into_inner) = entries.keys().cloned().collect();
        Ok(())
    }

    /// Drops what this host does not declare, unless another one does.
    async fn declare_no_more(&self, old: &Periodic, host: Option<&str>) -> Result<(), StoreError> {
        let mut by = old.declared_by.clone();
        if host.is_some_and(|host| !by.remove(host)) {
            return Ok(());
        }
        if host.is_some() && !by.is_empty() {
            return self.store.set_periodic(Periodic { declared_by: by, ..old.clone() }).await;
        }
        tracing::info!(name = %old.name, "a periodic task is gone: no configuration declares it any more");
        self.store.remove_periodic(&old.tenant, &old.name).await.map(drop)
    }

    /// Declares a periodic task; whether there was none of its name.
    pub async fn set(
        &self,
        tenant: &TenantId,
        name: &EntryName,
        entry: PeriodicTask,
        now: Timestamp,
    ) -> Result<bool, BeatError> {
        check(&entry).map_err(BeatError::Invalid)?;
        self.admit(tenant, &entry, TaskId::from_uuid(uuid::Uuid::nil()), now).await?;
        let (others, old) = self.others(tenant, name).await?;
        let bytes = others.iter().map(bytes).sum();
        if others.len() >= MOST_ENTRIES || bytes + self::bytes(&entry) > MOST_BYTES {
            return Err(BeatError::TooMany { entries: others.len(), bytes });
        }
        if old.as_ref().is_some_and(|old| old.of_config) {
            return Err(BeatError::OfConfig(name.clone()));
        }
        self.store.set_periodic(changed(old.as_ref(), (tenant, name), entry, false, now)).await?;
        self.forget_error(tenant, name);
        self.changed.notify_one();
        Ok(old.is_none())
    }

    /// Drops a periodic task. One that the configuration of another host declares is back when that starts again.
    pub async fn remove(&self, tenant: &TenantId, name: &EntryName) -> Result<(), BeatError> {
        let found = self.store.periodic_one(tenant, name).await?;
        if found.is_some_and(|found| found.of_config) && self.declares(name) {
            return Err(BeatError::OfConfig(name.clone()));
        }
        // Also one that is there and cannot be read.
        if !self.store.remove_periodic(tenant, name).await? {
            return Err(BeatError::Unknown(name.clone()));
        }
        self.forget_error(tenant, name);
        Ok(())
    }

    /// Sends a periodic task now, beside its times.
    pub async fn run_now(&self, tenant: &TenantId, name: &EntryName) -> Result<ResultTuple, BeatError> {
        let Periodic { entry, .. } = self.get(tenant, name).await?;
        self.send(tenant, &entry, TaskId::from_uuid(uuid::Uuid::now_v7()), clock::now()).await
    }

    /// The periodic tasks of a tenant, by name.
    pub async fn list(&self, tenant: &TenantId, now: Timestamp) -> Result<Vec<Shown>, StoreError> {
        let all = self.store.periodic(Some(tenant)).await?;
        Ok(all.into_iter().map(|one| self.shown(one, now)).collect())
    }

    /// One periodic task.
    pub async fn show(&self, tenant: &TenantId, name: &EntryName, now: Timestamp) -> Result<Shown, BeatError> {
        Ok(self.shown(self.get(tenant, name).await?, now))
    }

    /// The entries of a tenant besides one, and that one.
    async fn others(
        &self,
        tenant: &TenantId,
        name: &EntryName,
    ) -> Result<(Vec<PeriodicTask>, Option<Periodic>), StoreError> {
        let all = self.store.periodic(Some(tenant)).await?.into_iter();
        let (mut own, others): (Vec<_>, Vec<_>) = all.partition(|one| one.name == *name);
        Ok((others.into_iter().map(|one| one.entry).collect(), own.pop()))
    }

    async fn get(&self, tenant: &TenantId, name: &EntryName) -> Result<Periodic, BeatError> {
        self.store.periodic_one(tenant, name).await?.ok_or_else(|| BeatError::Unknown(name.clone()))
    }

    /// Whether the configuration of this host does.
    fn declares(&self, name: &EntryName) -> bool {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    fn shown(&self, periodic: Periodic, now: Timestamp) -> Shown {
        let key = (periodic.tenant.clone(), periodic.name.clone());
        let last_error = self.failing().get(&key).map(|failing| failing.why.clone());
        let next_run_at = match due(&periodic, self.awake(now), now) {
            Due::Now(slot) => Some(slot),
            other => other.later(),
        };
        Shown { periodic, next_run_at, last_error }
    }

    /// Since when this daemon runs, by the clock as it is: it may have been set back since.
    fn awake(&self, now: Timestamp) -> Timestamp {
        let now = now.as_micros();
        Timestamp::from_micros(self.awake.fetch_min(now, Ordering::Relaxed).min(now))
    }

    fn forget_error(&self, tenant: &TenantId, name: &EntryName) {
        self.failing().remove(&(tenant.clone(), name.clone()));
    }

    fn failing(&self) -> MutexGuard<'_, HashMap<(TenantId, EntryName), Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is kept once an entry is what it is said to be now: times that are not its own any more are not made up for.
fn changed(
    old: Option<&Periodic>,
    (tenant, name): (&TenantId, &EntryName),
    entry: PeriodicTask,
    of_config: bool,
    now: Timestamp,
) -> Periodic {
    let kept = old.filter(|old| old.entry.schedule == entry.schedule && old.entry.enabled == entry.enabled);
    Periodic {
        tenant: tenant.clone(),
        name: name.clone(),
        entry,
        of_config,
        declared_by: old.filter(|_| of_config).map(|old| old.declared_by.clone()).unwrap_or_default(),
        // Not one of a clock that was ahead.
        since: kept.map_or(now, |old| old.since.min(now)),
        last_run: old.and_then(|old| old.last_run),
        total_run_count: old.map_or(0, |old| old.total_run_count),
    }
}

#[cfg(test)]
mod tests;
