//! What is ordered about tasks?
//!
//! Revoke, run again, forget, purge: each changes the store first, then tells the attempt that runs here and those who
//! listen. What a call finds is a value; only a store that fails is an error. Orders about this host and its limits for
//! tasks stand until it restarts.
//!
//! Where others share the store, a revoke is told to all of them: only the host that runs a task can stop it.
//!
//! Absent: HTTP, and what running attempts do when they are told to stop.

mod celeryev;
mod elsewhere;
mod inspect;
mod pidbox;
mod stamped;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use lovage_model::{Event, EventKind, QueueName, Room, State, TaskId, TenantId, Timestamp};

use crate::attempt::Stop;
use crate::celery::pidbox::Request;
use crate::clock::Logical;
use crate::events::Hub;
use crate::modules::Modules;
use crate::pipeline::{self, Running, Standing};
use crate::store::{Paused, Quota, Redone, Result, Revoked, Store, StoreError};

pub use celeryev::Celeryev;
pub use pidbox::Pidbox;

/// How often a task is looked for that is neither waiting, nor running here, nor at its end.
const TRIES: usize = 5;
/// Orders about tasks that are given to the store at once: it takes many for the price of one.
const AT_ONCE: usize = 256;

/// What is told about this host.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its name, as workers are named.
    pub hostname: String,
    /// The most tasks it may run at once, whatever it is told.
    pub concurrency: usize,
    /// Since when it runs.
    pub since: Timestamp,
    /// The longest a task may take: if it does not say, and whatever it says.
    pub timeouts: [Duration; 2],
    /// How long results are kept.
    pub result_expires: Duration,
}

/// Gives orders.
#[derive(Clone)]
pub struct Control {
    /// What is remembered.
    pub store: Arc<dyn Store>,
    /// What runs here.
    pub running: Arc<Running>,
    /// Who is told.
    pub hub: Arc<Hub>,
    /// Which tasks there are.
    pub modules: Arc<Modules>,
    /// What has been ordered of this host.
    pub standing: Arc<Standing>,
    /// Counts what is said to other hosts.
    pub clock: Arc<Logical>,
    /// What this host is.
    pub host: Host,
}

/// What is said of a task that runs elsewhere.
const TOLD: &str = "another host has it, and was told to stop it";

/// What an order found.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// It was carried out: the state now, and what was done in words.
    Done(State, &'static str),
    /// Nothing was changed, and nothing needs to be: the state, and why.
    Unchanged(State, &'static str),
    /// The task is in a state in which this cannot be done.
    Busy(State),
    /// There is no room for it.
    Full(Quota),
    /// It was taken, and this host does not have it.
    Elsewhere(State),
    /// There is no such task.
    Unknown,
}

impl Control {
    /// Revokes a task that waits; with `terminate` also one that runs, wherever it does.
    pub async fn revoke(&self, tenant: &TenantId, id: &TaskId, terminate: bool, now: Timestamp) -> Result<Found> {
        let mut found = self.revoke_many(tenant, std::slice::from_ref(id), terminate, now).await?;
        Ok(found.pop().unwrap_or(Found::Unknown))
    }

    /// Revokes several tasks; what was found of each, in order.
    pub async fn revoke_many(
        &self,
        tenant: &TenantId,
        ids: &[TaskId],
        terminate: bool,
        now: Timestamp,
    ) -> Result<Vec<Found>> {
        let mut found = self.revoke_here(tenant, ids, terminate, now).await?;
        if self.has_others(tenant) {
            self.revoke_elsewhere(tenant, ids, terminate, &mut found, now).await?;
        } else if terminate {
            self.stop_elsewhere(tenant, ids.iter().zip(&mut found)).await?;
        }
        for found in &mut found {
            if let Found::Elsewhere(state) = found
                && !terminate
            {
                *found = Found::Unchanged(state.clone(), "it is running; revoke it with terminate to stop it");
            }
        }
        Ok(found)
    }

    /// Tells the others of what this host could not revoke.
    async fn revoke_elsewhere(
        &self,
        tenant: &TenantId,
        ids: &[TaskId],
        terminate: bool,
        found: &mut [Found],
        now: Timestamp,
    ) -> Result<()> {
        let those = |which: fn(&Found) -> bool| -> Vec<TaskId> {
            ids.iter().zip(&*found).filter(|(_, found)| which(found)).map(|(id, _)| id.clone()).collect()
        };
        let unknown = those(|found| *found == Found::Unknown);
        let told = those(|found| matches!(found, Found::Elsewhere(_) | Found::Unknown));
        if told.is_empty() {
            return Ok(());
        }
        self.foretell(tenant, &unknown, now).await?;
        self.cast(Request::revoke(&told, terminate, self.clock.forward())).await?;
        for found in found {
            match found {
                Found::Unknown => {
                    *found = Found::Done(State::Revoked, "no host has had it yet; it will not run if it comes");
                }
                Found::Elsewhere(state) if terminate => {
                    *found = Found::Done(state.clone(), TOLD);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether there may be others that take tasks of this tenant's from this store. (Celery's exchanges are the default
    /// tenant's.)
    fn has_others(&self, tenant: &TenantId) -> bool {
        *tenant == TenantId::default() && self.store.fanout().is_some()
    }

    /// Says something to all hosts, and to Celery's workers.
    async fn cast(&self, request: serde_json::Result<Request>) -> Result<()> {
        let Some(fanout) = self.store.fanout() else { return Ok(()) };
        let envelope = request.and_then(|request| request.write(&uuid::Uuid::new_v4().to_string()));
        let envelope = envelope.map_err(|error| StoreError::Failed(format!("nothing to be told: {error}")))?;
        fanout.publish(crate::celery::pidbox::EXCHANGE, "", &envelope).await
    }

    /// Remembers tasks that nobody has heard of, and answers who waits for them.
    async fn foretell(&self, tenant: &TenantId, ids: &[TaskId], now: Timestamp) -> Result<()> {
        self.standing.foretold.revoke(tenant, ids, now);
        match self.store.fanout() {
            Some(fanout) => fanout.revoke_unseen(ids, now).await,
            None => Ok(()),
        }
    }

    /// Revokes tasks as far as this host can: those that wait, those that it has, and with `terminate` those that it runs.
    async fn revoke_here(
        &self,
        tenant: &TenantId,
        ids: &[TaskId],
        terminate: bool,
        now: Timestamp,
    ) -> Result<Vec<Found>> {
        let mut found = Vec::with_capacity(ids.len());
        for some in ids.chunks(AT_ONCE) {
            let mut each = Vec::with_capacity(some.len());
            for id in some {
                each.push(self.revoke_one(tenant, id, terminate, now));
            }
            found.append(&mut try_join_all(each).await?);
        }
        Ok(found)
    }

    async fn revoke_one(&self, tenant: &TenantId, id: &TaskId, terminate: bool, now: Timestamp) -> Result<Found> {
        for _ in 0..TRIES {
            match self.store.revoke(tenant, id, now).await? {
                Revoked::Waiting => {
                    self.tell(tenant, id, now, EventKind::Revoked { terminated: false, expired: false }).await?;
                    return Ok(Found::Done(State::Revoked, "it was waiting, and will not run"));
                }
                Revoked::Ended(state) => return Ok(Found::Unchanged(state, "it had ended already")),
                Revoked::Unknown => return Ok(Found::Unknown),
                Revoked::Running(_) if self.running.stop_waiting(tenant, id) => {
                    return Ok(Found::Done(State::Revoked, "it was about to run, and will not"));
                }
                Revoked::Running(_) if !terminate && self.running.has(tenant, id) => {
                    let state = self.state(tenant, id).await?;
                    return Ok(Found::Unchanged(state, "it is running; revoke it with terminate to stop it"));
                }
                Revoked::Running(_) if terminate && self.running.stop(tenant, id, Stop::Revoked) => {
                    let state = self.state(tenant, id).await?;
                    return Ok(Found::Done(state, "it was running, and is being stopped"));
                }
                // Leased and not listed yet, or listed no more and not committed yet, or at another host: look again.
                Revoked::Running(_) => tokio::task::yield_now().await,
            }
        }
        Ok(Found::Elsewhere(self.state(tenant, id).await?))
    }

    /// Stops leases from a queue, or lets them go on.
    pub async fn pause(&self, tenant: &TenantId, queue: &QueueName, paused: bool) -> Result<Paused> {
        self.store.pause(tenant, queue, paused).await
    }

    /// Drops the results whose time is over, of all tenants; returns how many there were.
    pub async fn cleanup(&self, now: Timestamp) -> Result<u64> {
        pipeline::expire(&*self.store, now.before(self.host.result_expires)).await
    }

    /// Queues a task that has ended once more, under its id.
    pub async fn retry(&self, tenant: &TenantId, id: &TaskId, room: Room, now: Timestamp) -> Result<Found> {
        self.standing.foretold.pardon(tenant, id);
        let redone = self.store.resubmit(tenant, id, now, room).await?;
        if redone == Redone::Done {
            self.tell(tenant, id, now, EventKind::Sent { call: None }).await?;
        }
        Ok(found(redone, State::Pending, "it is queued again"))
    }

    /// Drops a task that has ended, with its result and log.
    pub async fn forget(&self, tenant: &TenantId, id: &TaskId) -> Result<Found> {
        let before = self.state(tenant, id).await?;
        Ok(found(self.store.forget(tenant, id).await?, before, "its result and its log are gone"))
    }

    /// Revokes what waits in a queue; returns how many there were.
    pub async fn purge(&self, tenant: &TenantId, queue: &QueueName, now: Timestamp) -> Result<u64> {
        let purged = self.store.purge(tenant, queue, now).await?;
        if purged > 0 {
            self.hub.recheck(tenant);
        }
        Ok(purged)
    }

    /// PENDING, as Celery has it, if there is no such task.
    async fn state(&self, tenant: &TenantId, id: &TaskId) -> Result<State> {
        Ok(self.store.task(tenant, id).await?.map_or(State::Pending, |meta| meta.status))
    }

    async fn tell(&self, tenant: &TenantId, id: &TaskId, now: Timestamp, kind: EventKind) -> Result<()> {
        if let Some(meta) = self.store.task(tenant, id).await? {
            self.hub.announce(tenant, &[Event::new(id.clone(), meta.name, now, kind)]);
        }
        Ok(())
    }
}

fn found(redone: Redone, after: State, outcome: &'static str) -> Found {
    match redone {
        Redone::Done => Found::Done(after, outcome),
        Redone::Busy(state) => Found::Busy(state),
        Redone::Unreleased(state) => {
            Found::Unchanged(state, "it never got what it waited for, so it cannot run: send the whole call again")
        }
        Redone::Full(quota) => Found::Full(quota),
        Redone::Unknown => Found::Unknown,
    }
}
