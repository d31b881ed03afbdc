//! The main path of one message: lease > grant > run > settle > commit > announce.
//!
//! The only room that sees sandbox, trace and store together. It decides nothing: the grant, the settlement and the
//! messages that follow come from pure functions, the store applies them in one step, and only then is anybody told.

mod attending;
mod grant;
mod running;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use lovage_model::{Event, EventKind, Request, Settlement};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub use grant::{Caps, grant, timelimit};
pub use running::{Active, Listed, Running};

use crate::attempt::{Attempt, Grants, Report, Stop};
use crate::clock;
use crate::events::Hub;
use crate::modules::{Code, Modules};
use crate::sandbox::Sandbox;
use crate::store::{Fenced, Lease, Store, StoreError};
use crate::trace::{self, Attempted, Unrun};
use attending::Attending;

/// What the main path needs.
pub struct Pipeline {
    /// Where messages come from and settlements go.
    pub store: Arc<dyn Store>,
    /// Where tasks run.
    pub sandbox: Arc<Sandbox>,
    /// Which code a task name is.
    pub modules: Arc<Modules>,
    /// What runs now.
    pub running: Arc<Running>,
    /// Who must be told.
    pub hub: Arc<Hub>,
    /// Attempts at once.
    pub slots: Arc<Semaphore>,
    /// What the operator allows.
    pub caps: Caps,
    /// Name of this host.
    pub hostname: String,
    /// Whether this is no daemon: retries do not wait, and tasks are told.
    pub eager: bool,
}

/// Leave to run one attempt, until it is dropped.
pub struct Slot {
    _permit: Option<OwnedSemaphorePermit>,
}

/// How a message's attempt begins.
enum Start {
    Run(Arc<Code>, Grants),
    Unrun(Unrun),
}

impl Pipeline {
    /// Stands in line for a slot from the first poll on; yields when the slot is free.
    pub fn slot(&self) -> impl Future<Output = Slot> + Send + use<> {
        let slots = Arc::clone(&self.slots);
        async move { Slot { _permit: slots.acquire_owned().await.ok() } }
    }

    /// Takes one message from its lease to its end, once it has its slot. `ran` is called as soon as the slot is free
    /// again.
    pub async fn deliver(&self, lease: Lease, slot: impl Future<Output = Slot>, ran: impl FnOnce()) {
        let Lease { key, tenant, message, .. } = &lease;
        let listed = self.running.list(tenant, &message.id, &message.task, *key, clock::now());
        let settlement = self.settle(&lease, &listed, slot).await;
        ran();
        let committed = match settlement {
            Some(settlement) => self.commit(&lease, settlement, &listed).await,
            None => self.store.release(*key).await.map(drop),
        };
        if let Err(error) = committed {
            // The lease lapses, and the message is delivered again: to a host with a working store.
            tracing::error!(task_id = %message.id, %error, "an attempt could not be recorded");
        }
    }

    async fn settle(&self, lease: &Lease, listed: &Listed, slot: impl Future<Output = Slot>) -> Option<Settlement> {
        let _slot = slot.await;
        if *listed.stopped.borrow() == Some(Stop::Interrupted) {
            return None;
        }
        let now = clock::now();
        let start = self.start(lease, now).await;
        let (task, start) = match start {
            Start::Run(code, grants) => (Some(Arc::clone(&code)), Ok((code, grants))),
            Start::Unrun(why) => (None, Err(why)),
        };
        let declared = task.is_some_and(|code| code.definition.options.ignore_result);
        let attempted = Attempted {
            message: &lease.message,
            worker: &self.hostname,
            ignore_result: lease.message.ignore_result.unwrap_or(declared),
            eager: self.eager,
        };
        match start {
            Ok((code, grants)) => {
                let report = self.run(lease, listed, &code, grants, attempted.ignore_result).await;
                trace::settle(attempted, report, clock::now())
            }
            Err(why) => Some(trace::settle_unrun(attempted, why, now)),
        }
    }

    async fn start(&self, lease: &Lease, now: lovage_model::Timestamp) -> Start {
        let message = &lease.message;
        if message.expires.is_some_and(|expires| expires <= now) {
            return Start::Unrun(Unrun::Expired);
        }
        let Some(code) = self.modules.code(&lease.tenant, &message.task) else {
            return Start::Unrun(Unrun::NotRegistered);
        };
        let grants = grant(&self.caps, &code.definition.options, message);
        match self.modules.ready(&code.digest, grants.fuel.is_some()).await {
            Ok(()) => Start::Run(code, grants),
            Err(why) => Start::Unrun(Unrun::Unusable(why)),
        }
    }

    async fn run(&self, lease: &Lease, listed: &Listed, code: &Code, grants: Grants, ignore_result: bool) -> Report {
        let Lease { key, tenant, message, deliveries } = lease;
        let attending = Arc::new(Attending {
            hub: Arc::clone(&self.hub),
            tenant: tenant.clone(),
            id: message.id.clone(),
            name: message.task.clone(),
            live: Arc::clone(&listed.log),
            latest: std::sync::Mutex::default(),
            changed: tokio::sync::Notify::new(),
        });
        self.announce_start(lease);
        let redelivered = *deliveries > 1;
        let request = Request {
            timelimit: timelimit(&grants),
            fuel: grants.fuel,
            ignore_result,
            is_eager: self.eager,
            ..Request::of(message, &self.hostname, redelivered)
        };
        let attempt = Attempt { module: code.digest.clone(), request, options: code.definition.options.clone() };
        let stopped: watch::Receiver<Option<Stop>> = listed.stopped.clone();
        tokio::select! {
            biased;
            report = self.sandbox.run(attempt, grants, Arc::clone(&attending) as _, stopped) => report,
            () = attending.store_states(&*self.store, *key) => unreachable!("it listens until it is dropped"),
        }
    }

    async fn commit(&self, lease: &Lease, mut settlement: Settlement, listed: &Listed) -> Result<(), StoreError> {
        let events = std::mem::take(&mut settlement.events);
        loop {
            match self.store.commit(lease.key, settlement.clone()).await {
                Ok(Fenced::Applied) => {
                    self.hub.announce(&lease.tenant, &events);
                    return Ok(());
                }
                Ok(Fenced::Refused) => {
                    tracing::warn!(task_id = %lease.message.id, "an outcome came too late: its lease was lost");
                    return Ok(());
                }
                // The result is kept, and its lease renewed, until there is room; others can still be read and revoked.
                Err(StoreError::Full(why)) if listed.stopped.borrow().is_none() => {
                    tracing::warn!(task_id = %lease.message.id, why, "the store is full; trying again");
                    tokio::time::sleep(FULL_STORE_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn announce_start(&self, lease: &Lease) {
        let Lease { tenant, message, .. } = lease;
        let (uuid, name) = (message.id.clone(), message.task.clone());
        self.hub.announce(tenant, &[Event { uuid, name, timestamp: clock::now(), kind: EventKind::Started }]);
    }
}

/// How long a host waits for a full disk to have room again.
const FULL_STORE_PAUSE: Duration = Duration::from_secs(1);
