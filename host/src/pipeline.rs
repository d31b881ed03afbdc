//! The main path of one message: lease > grant > run > settle > commit > announce.
//!
//! The only room that sees sandbox, trace and store together. It decides nothing: the grant, the settlement and the
//! messages that follow come from pure functions, the store applies them in one step, and only then is anybody told.

mod arrival;
mod attending;
mod commit;
mod failure;
mod following;
mod grant;
mod mapped;
mod running;
mod scope;

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use lovage_model::{Event, EventKind, Message, Request, Room, Settlement, TaskOptions, Timestamp};
use tokio::sync::watch;

pub use commit::{Committer, Outcomes};
pub use following::{Arrived, Following};
pub use grant::{Caps, grant, timelimit};
pub use running::{Listed, Running};

use crate::attempt::{Attempt, Grants, Report, Stop};
use crate::canvas::Rules;
use crate::clock;
use crate::events::Hub;
use crate::modules::{Code, Modules, NotReady};
use crate::sandbox::Sandbox;
use crate::store::{Lease, LeaseKey, Store};
use crate::trace::{self, Attempted, Unrun};
use attending::Attending;
use commit::Settled;
use failure::log_failure;
use scope::{Exported, scoped};

/// How long a message stays here that this host could not run, though nobody had told it to stop: given back at once, it
/// would be back at once, and nothing would have changed.
const HOST_PAUSE: Duration = Duration::from_millis(500);

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
    /// Where settlements are recorded.
    pub outcomes: Outcomes,
    /// What the operator allows.
    pub caps: Caps,
    /// How far what tasks send may go.
    pub rules: Rules,
    /// How much of it may be stored.
    pub room: Room,
    /// Name of this host.
    pub hostname: String,
    /// Whether this is no daemon: retries do not wait, and tasks are told.
    pub eager: bool,
}

/// A message on its way.
pub struct Delivery {
    lease: Lease,
    listed: Listed,
}

/// An attempt that has no outcome: its message goes back.
struct Interrupted {
    begun: bool,
}

/// How a message's attempt begins.
enum Start {
    Run(Arc<Code>, Grants),
    Unrun(Unrun),
    /// It was told to stop before it began.
    Stopped(Stop),
}

impl Pipeline {
    /// Lists a message that was leased: from now on its lease is renewed, and it can be stopped.
    pub fn list(&self, lease: Lease) -> Delivery {
        let Lease { key, tenant, message, .. } = &lease;
        let listed = self.running.list(tenant, &message.id, *key);
        listed.log.lock().unwrap_or_else(PoisonError::into_inner).retries = message.retries;
        Delivery { lease, listed }
    }

    /// Takes one message to its settlement, which the `commit` room records. `slot` is dropped when the attempt has
    /// ended, `place` when another message may be leased for it.
    pub async fn deliver<S, P>(&self, Delivery { lease, listed }: Delivery, slot: S, place: P) {
        let settlement = self.settle(&lease, &listed).await;
        drop(slot);
        let settlement = match settlement {
            // By then only the order is settled: nothing runs. Boxed, since it is rare and as large as a whole run.
            Err(first) if told_to_stop(&listed).await => {
                Box::pin(self.settle(&lease, &listed)).await.map_err(|_again| first)
            }
            settlement => settlement,
        };
        match settlement {
            Ok(settlement) => self.outcomes.send(Settled { lease, settlement, listed }).await,
            Err(Interrupted { begun }) => self.give_back(lease.key, begun).await,
        }
        drop(place);
    }

    async fn give_back(&self, key: LeaseKey, begun: bool) {
        if let Err(error) = self.store.release(key, begun).await {
            // The lease lapses, and the message is delivered again.
            tracing::error!(%error, "a message could not be given back");
        }
    }

    async fn settle(&self, lease: &Lease, listed: &Listed) -> Result<Settlement, Interrupted> {
        let start = match *listed.stopped.borrow() {
            Some(stop) => Start::Stopped(stop),
            None => self.start(lease, clock::now()),
        };
        let begun = matches!(start, Start::Run(..));
        let options = match &start {
            Start::Run(code, _) => in_force(&code.definition.options, &lease.message),
            Start::Unrun(_) | Start::Stopped(_) => in_force(&TaskOptions::default(), &lease.message),
        };
        let attempted = Attempted {
            message: &lease.message,
            deliveries: lease.deliveries,
            worker: &self.hostname,
            options: &options,
            eager: self.eager,
            room: self.room,
        };
        let tasks = Exported { modules: &self.modules, tenant: &lease.tenant };
        let unrun = |why| scoped(&tasks, self.rules, |scope| trace::settle_unrun(attempted, why, scope));
        let logged = |settlement: Settlement| {
            log_failure(&lease.message, &settlement.verdict, &options);
            settlement
        };
        let report = match start {
            Start::Run(code, grants) => match self.modules.ready(&code.digest, grants.fuel.is_some()).await {
                Ok(()) => self.run(lease, listed, &code, grants, &options).await,
                Err(NotReady::Unusable(why)) => return Ok(logged(unrun(Unrun::Unusable(why)))),
                Err(NotReady::NotNow(why)) => {
                    tracing::error!(task_id = %lease.message.id, why, "a task cannot be run now; it goes back to its queue");
                    return Err(Interrupted { begun: false });
                }
            },
            Start::Unrun(why) => return Ok(logged(unrun(why))),
            Start::Stopped(stop) => Report::stopped(stop),
        };
        let settled = scoped(&tasks, self.rules, |scope| trace::settle(attempted, report, scope));
        settled.map(logged).ok_or(Interrupted { begun })
    }

    fn start(&self, lease: &Lease, now: Timestamp) -> Start {
        let message = &lease.message;
        if message.expires.is_some_and(|expires| expires <= now) {
            return Start::Unrun(Unrun::Expired);
        }
        match self.modules.code(&lease.tenant, &message.task) {
            Some(code) => {
                let grants = grant(&self.caps, &in_force(&code.definition.options, message), message);
                Start::Run(code, grants)
            }
            None => Start::Unrun(Unrun::NotRegistered),
        }
    }

    async fn run(&self, lease: &Lease, listed: &Listed, code: &Code, grants: Grants, options: &TaskOptions) -> Report {
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
        let redelivered = *deliveries > message.earlier_deliveries + 1;
        let request = Request {
            timelimit: timelimit(&grants),
            fuel: grants.fuel,
            ignore_result: message.ignore_result.unwrap_or(options.ignore_result),
            is_eager: self.eager,
            options: options.clone(),
            ..Request::of(message, &self.hostname, redelivered)
        };
        let attempt = Attempt { module: code.digest.clone(), request, handlers: code.definition.handlers.clone() };
        let stopped: watch::Receiver<Option<Stop>> = listed.stopped.clone();
        tokio::select! {
            biased;
            report = self.sandbox.run(attempt, grants, Arc::clone(&attending) as _, stopped) => report,
            () = attending.store_states(&*self.store, *key) => unreachable!("it listens until it is dropped"),
        }
    }

    fn announce_start(&self, lease: &Lease) {
        let started = || vec![Event::of(&lease.message, clock::now(), EventKind::Started)];
        self.hub.announce_with(&lease.tenant, started);
    }
}

/// The options of a task, as its message overrides them.
fn in_force(declared: &TaskOptions, message: &Message) -> TaskOptions {
    declared.overridden(&message.overrides).unwrap_or_else(|bad| {
        // It was checked when it was sent.
        tracing::warn!(task_id = %message.id, %bad, "an option is left as the task declares it");
        declared.clone()
    })
}

/// Whether an attempt was told to stop, or is while it pauses.
async fn told_to_stop(listed: &Listed) -> bool {
    let mut stopped = listed.stopped.clone();
    matches!(tokio::time::timeout(HOST_PAUSE, stopped.wait_for(Option::is_some)).await, Ok(Ok(_)))
}
