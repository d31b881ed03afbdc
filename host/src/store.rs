//! What must be remembered?
//!
//! A few narrow traits, and one atomic step that ends an attempt ([`Broker::commit`]). Backends differ in where they
//! keep things, never in what happens: one suite and one differential test run over all of them.
//!
//! Invariants every backend keeps:
//! - A task has at most one message: ready, scheduled, blocked or leased. A terminal task has none.
//! - A task that is blocked waits for a task or a join that has not ended, or whose end is in [`Joins::ended`].
//! - `commit`, `report`, `release` and `postpone` change something only while the lease's token is the current one.
//! - SUCCESS is never overwritten, except by an order to run again (`resubmit`) or to forget.
//! - What a call returned `Ok` for survives a crash, if the backend is durable; leases and custom states need not.
//!
//! Absent: clocks (every call that needs one is told the time), policies, HTTP, Celery's wire.

mod access;
mod admission;
mod advance;
mod fanout;
/// Files: SQLite in a directory.
pub mod file;
mod joins;
/// The reference, in memory.
pub mod memory;
mod metering;
mod record;
/// Redis, as Celery uses it.
pub mod redis;
mod schedules;
mod sharing;
#[cfg(test)]
mod suite;
mod transition;
mod values;
mod waiting;

use std::collections::BTreeSet;

use async_trait::async_trait;
use lovage_model::api::QueueView;
use lovage_model::{
    AttemptLog, Digest, Json, Message, ModuleName, ModuleVersion, Plan, QueueName, ResultMeta, ResultTuple, Room,
    Settlement, State, TaskDefinition, TaskId, TaskName, TenantId, Timestamp,
};

pub use access::{Access, Token};
pub use fanout::Fanout;
pub use joins::{ChordEnd, Completed, Ended, FollowUp, Joins};
pub use metering::Metering;
pub use record::{MAX_LISTED_BYTES, json_bytes};
pub use schedules::{LastRun, Periodic, Schedules, wrong_from};
pub use sharing::{Share, Shares};
pub use values::{Place, Unkept, VALUE_OVERHEAD_BYTES, Values};
pub use waiting::Waiting;

/// What a store can fail with. Callers branch on these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk is full. Nothing of the call was stored.
    #[error("the store is full: {0}")]
    Full(String),
    /// The store was written by a newer version.
    #[error("the store has schema {found}, this version of lovage reads up to {known}: use a newer lovage")]
    Newer {
        /// Its schema version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Another daemon has it open.
    #[error("{0} is in use by another lovage daemon")]
    Busy(String),
    /// It holds what it cannot hold.
    #[error("the store is corrupt: {0}")]
    Corrupt(String),
    /// It cannot be asked for now, which is no fault of what it was asked: ask again. It may have been done all the same.
    #[error("{0}")]
    Away(String),
    /// Anything else: the text says what happened and what to check.
    #[error("{0}")]
    Failed(String),
}

/// What a store call returns.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Which limit leaves no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// [`Room::queued_tasks`](lovage_model::Room::queued_tasks).
    QueuedTasks,
    /// [`Room::scheduled_tasks`](lovage_model::Room::scheduled_tasks).
    ScheduledTasks,
    /// [`Room::descendants`](lovage_model::Room::descendants).
    Descendants,
}

impl Quota {
    /// What it is called in the settings, and in the policy of a tenant that can have its own.
    pub fn field(self) -> &'static str {
        match self {
            Self::QueuedTasks => "queued_tasks",
            Self::ScheduledTasks => "scheduled_tasks",
            Self::Descendants => "lineage_tasks",
        }
    }
}

/// What became of one plan of a submit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// Stored.
    Stored,
    /// All its tasks exist; nothing was changed.
    Exists,
    /// One of its tasks exists, and others do not; nothing was changed.
    Taken(TaskId),
    /// There is no room for it; nothing was stored.
    Full(Quota),
    /// The store failed once others of the submit were stored. This one was not, unless the error says that it may have been.
    Failed(StoreError),
}

/// What is asked of a lease call.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Who asks: shown as the worker of the tasks it runs.
    pub worker: String,
    /// Lease from these queues only; none: from all.
    pub queues: Option<BTreeSet<QueueName>>,
    /// At most so many.
    pub max: usize,
    /// Which tenants come first, and how much each may get.
    pub shares: Shares,
    /// The time now: what is due, what has lapsed.
    pub now: Timestamp,
    /// Until when the leases hold unless renewed.
    pub until: Timestamp,
}

/// What a lease call found.
#[derive(Debug, Clone, Default)]
pub struct Leased {
    /// The messages: by what their tenants have used, then priority, then age.
    pub leases: Vec<Lease>,
    /// When to ask again at the latest: the earliest ETA or lapse of a lease. None: only a new message helps.
    pub next_due: Option<Timestamp>,
}

/// One message, taken for one attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    /// What proves that it is still ours.
    pub key: LeaseKey,
    /// Whose it is.
    pub tenant: TenantId,
    /// The message.
    pub message: Message,
    /// How often it was delivered, this time included.
    pub deliveries: u32,
}

/// Names a lease. The token is new for each delivery, so that an old holder can change nothing (fencing).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseKey {
    /// The store's number for the task.
    pub task: i64,
    /// The fencing token.
    pub token: u64,
}

/// Whether a call that needs a lease still had it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fenced {
    /// It did; the change is stored.
    Applied,
    /// The lease had lapsed or the task was revoked, re-leased or forgotten: nothing was changed.
    Refused,
    /// There is no room for what it publishes: nothing was changed, the lease holds.
    Full(Quota),
    /// It publishes a task under an id that exists: nothing was changed, the lease holds.
    Taken(TaskId),
}

/// What a revoke found.
#[derive(Debug, Clone, PartialEq)]
pub enum Revoked {
    /// It was waiting: it is REVOKED now.
    Waiting,
    /// A host has it. Nothing was changed: the host must be told.
    Running(LeaseKey),
    /// It had ended so already; nothing was changed.
    Ended(State),
    /// There is no such task.
    Unknown,
}

/// So many queues of a tenant may be paused: each is kept, and shown in each list, also if nothing is ever sent to it.
pub const MOST_PAUSED: usize = 1000;

/// What became of a queue that is to be paused, or to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paused {
    /// It is so now.
    Changed,
    /// It was so before.
    AsBefore,
    /// It is not: [`MOST_PAUSED`] others of the tenant are paused.
    Full,
}

/// What a resubmit or a forget found.
#[derive(Debug, Clone, PartialEq)]
pub enum Redone {
    /// Done.
    Done,
    /// It is waiting or running; nothing was changed.
    Busy(State),
    /// It never got what it waited for, so it cannot run again; nothing was changed.
    Unreleased(State),
    /// There is no room for one more that waits; nothing was changed.
    Full(Quota),
    /// There is no such task.
    Unknown,
}

/// Which tasks to list, newest first.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// In this state only.
    pub state: Option<State>,
    /// Of this name only.
    pub name: Option<TaskName>,
    /// Of this queue only.
    pub queue: Option<QueueName>,
    /// Older than the task of this number (from [`Page::next`]).
    pub before: Option<i64>,
    /// At most so many.
    pub limit: usize,
}

/// A page of tasks.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The tasks.
    pub tasks: Vec<ResultMeta>,
    /// Where the next page starts; none on the last.
    pub next: Option<i64>,
}

/// Messages: from submit to settlement.
#[async_trait]
pub trait Broker: Send + Sync {
    /// Stores plans, each whole or not at all: tasks that await something as blocked ones, those with an ETA after `now` as
    /// scheduled ones, the others as ready. One answer for each, in order; an error says that none of them is known to be stored.
    async fn submit(&self, tenant: &TenantId, plans: Vec<Plan>, now: Timestamp, room: Room) -> Result<Vec<Submitted>>;

    /// Takes messages that are due, from queues that are not paused. Leases that have lapsed go back to their queues first,
    /// their tokens void. Large messages are taken a few at a time: `next_due` is now then.
    async fn lease(&self, ask: Ask) -> Result<Leased>;

    /// Returns when messages may have become ready since the last call returned.
    async fn ready(&self);

    /// Extends leases; returns those that were lost.
    async fn renew(&self, keys: Vec<LeaseKey>, until: Timestamp) -> Result<Vec<LeaseKey>>;

    /// Notes that the attempt of a task begins that may be seen to run, for those who do not see leases: clients of Celery's. Nothing
    /// depends on it.
    async fn begun(&self, _key: LeaseKey) {}

    /// Sets a state of the task's own, such as PROGRESS. (A leased task without one is STARTED.)
    async fn report(&self, key: LeaseKey, state: String, meta: Json) -> Result<Fenced>;

    /// Applies everything that follows from an attempt, or nothing: the transition, the messages, the log. The task's own
    /// next message comes to its place first, then what is published, in order, then the one that waited for it. A
    /// settlement by no host (without a worker) leaves the worker and the usage of the last attempt.
    async fn commit(&self, key: LeaseKey, settlement: Settlement) -> Result<Fenced>;

    /// Applies several settlements, each whole or not at all, for the price of one step where the backend can; the answers
    /// are in order. An error says nothing about which were applied: commit them again one by one, those that were answer
    /// that they are refused.
    async fn commit_all(&self, batch: &[(LeaseKey, Settlement)]) -> Result<Vec<Fenced>> {
        let mut answers = Vec::with_capacity(batch.len());
        for (key, settlement) in batch {
            answers.push(self.commit(*key, settlement.clone()).await?);
        }
        Ok(answers)
    }

    /// Gives a message back without an outcome, at the front of its queue. One whose attempt had begun was delivered, and is
    /// redelivered next; else this lease does not count.
    async fn release(&self, key: LeaseKey, begun: bool) -> Result<Fenced>;

    /// Revokes a task that waits. What waits for it in turn is dealt with as for any end, see [`Joins`].
    async fn revoke(&self, tenant: &TenantId, id: &TaskId, now: Timestamp) -> Result<Revoked>;

    /// Queues a task that has ended once more, under its id, from retry 0, if there is room for it. Its result and log are dropped.
    async fn resubmit(&self, tenant: &TenantId, id: &TaskId, now: Timestamp, room: Room) -> Result<Redone>;

    /// Every queue that has a message or is paused, by name.
    async fn queues(&self, tenant: &TenantId, now: Timestamp) -> Result<Vec<QueueView>>;

    /// Revokes what is ready or scheduled in a queue; returns how many there were. What waits for something else stays.
    async fn purge(&self, tenant: &TenantId, queue: &QueueName, now: Timestamp) -> Result<u64>;
}

/// What a message waits for that is ready to be leased, as [`ResultMeta::waiting_for`] has it.
pub const FREE_SLOT: &str = "a free slot";

/// What is ordered about messages beside their main path.
#[async_trait]
pub trait Orders: Send + Sync {
    /// Gives a message back to be leased again no earlier than `until`, from its old place in the line. It was not
    /// delivered: its lease does not count.
    async fn postpone(&self, key: LeaseKey, until: Timestamp) -> Result<Fenced>;

    /// Stops leases from a queue, if [`MOST_PAUSED`] others of the tenant are not paused, or lets them go on. Survives a restart.
    async fn pause(&self, tenant: &TenantId, queue: &QueueName, paused: bool) -> Result<Paused>;

    /// Whether leases from a queue are stopped.
    async fn is_paused(&self, tenant: &TenantId, queue: &QueueName) -> Result<bool>;

    /// Revokes every task that has a stamp of this name and (one of) these values and has not ended: what [`Broker::revoke`]
    /// found for each, the older first. A stamp that is a list matches by any of its items.
    async fn revoke_stamped(
        &self,
        tenant: &TenantId,
        stamp: &str,
        values: &[Json],
        now: Timestamp,
    ) -> Result<Vec<(TaskId, Revoked)>>;
}

/// Results: from submit to expiry.
#[async_trait]
pub trait Results: Send + Sync {
    /// Everything about a task.
    async fn task(&self, tenant: &TenantId, id: &TaskId) -> Result<Option<ResultMeta>>;

    /// A page of tasks.
    async fn list(&self, tenant: &TenantId, filter: Filter) -> Result<Page>;

    /// The logs of the attempts that ended, the first first. None: no such task.
    async fn logs(&self, tenant: &TenantId, id: &TaskId) -> Result<Option<Vec<AttemptLog>>>;

    /// Drops a task that has ended, with its result and log.
    async fn forget(&self, tenant: &TenantId, id: &TaskId) -> Result<Redone>;

    /// Drops up to `max` tasks that ended before `before`, the oldest first; returns how many. What is counted of calls whose first
    /// task is gone, and of which nothing has come since then, goes with them.
    async fn expire(&self, before: Timestamp, max: usize) -> Result<u64>;
}

/// Results of groups that somebody asked to keep, so that who has the id alone can find the members again.
#[async_trait]
pub trait Groups: Send + Sync {
    /// Keeps the result of a group under its id, instead of what is there; whether there was room for it: groups and values of the
    /// tenant together may then take `most_bytes`. One that takes no more than what it replaces is always kept.
    async fn save_group(
        &self,
        tenant: &TenantId,
        id: &TaskId,
        group: &ResultTuple,
        most_bytes: u64,
        now: Timestamp,
    ) -> Result<bool>;

    /// What was kept under an id.
    async fn group(&self, tenant: &TenantId, id: &TaskId) -> Result<Option<ResultTuple>>;

    /// Drops it; whether there was one. Its members stay.
    async fn delete_group(&self, tenant: &TenantId, id: &TaskId) -> Result<bool>;

    /// Drops up to `max` that were saved before `before`, the oldest first; returns how many.
    async fn expire_groups(&self, before: Timestamp, max: usize) -> Result<u64>;
}

/// A component that was found to be acceptable.
#[derive(Debug, Clone)]
pub struct Upload {
    /// The module it is a version of.
    pub name: ModuleName,
    /// Of the component's bytes.
    pub digest: Digest,
    /// The bytes.
    pub component: bytes::Bytes,
    /// What it exports.
    pub tasks: Vec<TaskDefinition>,
}

/// Modules: every version of every module of every tenant.
#[async_trait]
pub trait Modules: Send + Sync {
    /// Stores a component and makes it the active version of its name, in one step. The same bytes as the active
    /// version's: that version is returned, and nothing changes but that they are written anew, which heals spoilt ones.
    async fn push(&self, tenant: &TenantId, upload: Upload, now: Timestamp) -> Result<ModuleVersion>;

    /// The active version of every module, by name.
    async fn active(&self, tenant: &TenantId) -> Result<Vec<ModuleVersion>>;

    /// The versions of one module, the newest first; empty if there is no such module.
    async fn versions(&self, tenant: &TenantId, name: &ModuleName) -> Result<Vec<ModuleVersion>>;

    /// Makes the version before the active one active. None: there is none before it, or no such module.
    async fn rollback(&self, tenant: &TenantId, name: &ModuleName) -> Result<Option<ModuleVersion>>;

    /// Drops a module with all its versions; whether there was one. Components that nobody else has are dropped too.
    async fn remove(&self, tenant: &TenantId, name: &ModuleName) -> Result<bool>;

    /// The bytes of a component. None: no version has it. One that a version has and that is lost is [`StoreError::Corrupt`].
    async fn component(&self, digest: &Digest) -> Result<Option<bytes::Bytes>>;

    /// Returns when another host may have changed modules since the last call returned. (Never, where there is no other.)
    async fn modules_changed(&self) {
        std::future::pending().await
    }

    /// Every tenant that has a module or a task.
    async fn tenants(&self) -> Result<Vec<TenantId>>;
}

/// A whole store.
#[async_trait]
pub trait Store:
    Broker + Orders + Joins + Results + Groups + Modules + Schedules + Waiting + Access + Metering + Values
{
    /// Whether it can store anything right now.
    async fn healthy(&self) -> Result<()>;

    /// Writes everything out and stops; later calls fail.
    async fn close(&self) -> Result<()>;

    /// How Celery's clients and workers, and other hosts, are spoken to; none: there are no others.
    fn fanout(&self) -> Option<&dyn Fanout> {
        None
    }

    /// Whether other hosts may have it open as well.
    fn is_shared(&self) -> bool {
        self.fanout().is_some()
    }
}
