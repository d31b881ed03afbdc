//! What is sent again and again, and which of its times have been dealt with.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use lovage_model::{EntryName, PeriodicTask, TenantId, Timestamp};

use super::Result;

/// A periodic task, as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Periodic {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its name.
    pub name: EntryName,
    /// What is sent, and when.
    pub entry: PeriodicTask,
    /// Whether the configuration declares it: then only the configuration changes it.
    pub of_config: bool,
    /// The hosts whose configurations do, where several may; a store that one host has need not keep them.
    pub declared_by: BTreeSet<String>,
    /// Since when it is as it is: times before that are not its own.
    pub since: Timestamp,
    /// When it was sent last; none: never.
    pub last_run: Option<LastRun>,
    /// For how many of its times it was sent.
    pub total_run_count: u64,
}

/// The last time that was dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRun {
    /// When it was due.
    pub slot: Timestamp,
    /// When it was sent.
    pub at: Timestamp,
}

/// What is noted for times further ahead of now than this was noted by a clock that was wrong, and counts no more. If it is less the
/// clock was set, and what was sent is not sent again; cron draws the line there, too.
const WRONG_CLOCK: Duration = Duration::from_secs(3 * 3600);

/// From which time on what is noted is of a clock that was wrong.
pub fn wrong_from(now: Timestamp) -> Timestamp {
    now.after(WRONG_CLOCK)
}

/// Periodic tasks: what beat goes by.
#[async_trait]
pub trait Schedules: Send + Sync {
    /// Every periodic task of a tenant, or of all of them, by tenant and name.
    async fn periodic(&self, of: Option<&TenantId>) -> Result<Vec<Periodic>>;

    /// One periodic task; none: there is none, or it cannot be read.
    async fn periodic_one(&self, tenant: &TenantId, name: &EntryName) -> Result<Option<Periodic>>;

    /// A number that is another one after each change of what periodic tasks there are, by whatever host. That one was sent is
    /// no such change.
    async fn periodic_version(&self) -> Result<u64>;

    /// Stores a periodic task as it is from `since` on; when it was sent last, and how often, stays as it was.
    async fn set_periodic(&self, periodic: Periodic) -> Result<()>;

    /// Drops a periodic task; whether there was one.
    async fn remove_periodic(&self, tenant: &TenantId, name: &EntryName) -> Result<bool>;

    /// Drops all periodic tasks of a tenant, also those that cannot be read.
    async fn drop_periodic(&self, tenant: &TenantId) -> Result<()>;

    /// Notes that a periodic task was sent for one of its times, and counts it; unless that time, or a later one before
    /// [`wrong_from`] of when it was sent, has been noted before. Whether it was noted now.
    async fn note_run(&self, tenant: &TenantId, name: &EntryName, run: LastRun) -> Result<bool>;
}

/// Says that a periodic task is left out of an answer, since it cannot be read.
pub(super) fn skipped(tenant: &str, name: &str, error: &dyn std::fmt::Display) {
    tracing::error!(tenant, name, %error, "a periodic task cannot be read, and is not sent: set it again, or remove it");
}
