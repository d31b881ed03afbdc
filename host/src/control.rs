//! What is ordered about tasks?
//!
//! Revoke, run again, forget, purge: each changes the store first, then tells the attempt that runs here and those who
//! listen. What a call finds is a value; only a store that fails is an error.
//!
//! Absent: HTTP, and what running attempts do when they are told to stop.

mod stamped;

use std::sync::Arc;

use lovage_model::{Event, EventKind, QueueName, State, TaskId, TenantId, Timestamp};

use crate::attempt::Stop;
use crate::events::Hub;
use crate::pipeline::Running;
use crate::store::{Redone, Result, Revoked, Store};

/// How often a task is looked for that is neither waiting, nor running here, nor at its end.
const TRIES: usize = 5;

/// Gives orders.
pub struct Control {
    /// What is remembered.
    pub store: Arc<dyn Store>,
    /// What runs here.
    pub running: Arc<Running>,
    /// Who is told.
    pub hub: Arc<Hub>,
}

/// What an order found.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// It was carried out: the state now, and what was done in words.
    Done(State, &'static str),
    /// Nothing was changed, and nothing needs to be: the state, and why.
    Unchanged(State, &'static str),
    /// The task is in a state in which this cannot be done.
    Busy(State),
    /// There is no such task.
    Unknown,
}

impl Control {
    /// Revokes a task that waits; with `terminate` also one that runs here.
    pub async fn revoke(&self, tenant: &TenantId, id: &TaskId, terminate: bool, now: Timestamp) -> Result<Found> {
        for _ in 0..TRIES {
            match self.store.revoke(tenant, id, now).await? {
                Revoked::Waiting => {
                    self.tell(tenant, id, now, EventKind::Revoked { terminated: false, expired: false }).await?;
                    return Ok(Found::Done(State::Revoked, "it was waiting, and will not run"));
                }
                Revoked::Ended(state) => return Ok(Found::Unchanged(state, "it had ended already")),
                Revoked::Unknown => return Ok(Found::Unknown),
                Revoked::Running(_) if !terminate => {
                    let state = self.state(tenant, id).await?;
                    return Ok(Found::Unchanged(state, "it is running; revoke it with terminate to stop it"));
                }
                Revoked::Running(_) if self.running.stop(tenant, id, Stop::Revoked) => {
                    let state = self.state(tenant, id).await?;
                    return Ok(Found::Done(state, "it was running, and is being stopped"));
                }
                // Leased and not listed yet, or listed no more and not committed yet: look again.
                Revoked::Running(_) => tokio::task::yield_now().await,
            }
        }
        Ok(Found::Busy(self.state(tenant, id).await?))
    }

    /// Queues a task that has ended once more, under its id.
    pub async fn retry(&self, tenant: &TenantId, id: &TaskId, now: Timestamp) -> Result<Found> {
        let redone = self.store.resubmit(tenant, id, now).await?;
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
        self.hub.recheck(tenant);
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
        Redone::Unknown => Found::Unknown,
    }
}
