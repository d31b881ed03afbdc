//! The main path of one message: lease > grant > run > settle > commit > announce.
//!
//! The only room that sees sandbox, trace and store together. It decides nothing: the grant, the settlement and the
//! messages that follow come from pure functions, the store applies them in one step, and only then is anybody told.

mod attempting;
mod attending;
mod builtin;
mod canvases;
mod commit;
mod failure;
mod following;
mod grant;
#[cfg(test)]
mod histories;
mod mapped;
mod outcomes;
mod overhead;
mod running;
mod scope;
mod standing;
mod unbegun;

use std::sync::Arc;
use std::time::Duration;

use lovage_model::{Room, TaskId};

pub use builtin::expire;
pub use commit::Committer;
pub use following::{Arrived, Following};
pub use grant::{Caps, Granted, grant, timelimit};
pub use outcomes::Outcomes;
pub use overhead::Overhead;
pub use running::{Brief, Listed, Running};
pub use standing::{Foretold, Ordered, Share, Standing, TaskType};

use crate::access::Access;
use crate::canvas::Rules;
use crate::clock;
use crate::events::Hub;
use crate::modules::Modules;
use crate::outside::Outside;
use crate::sandbox::Sandbox;
use crate::store::{Lease, Store};
use outcomes::{Settled, of_message};
use unbegun::give_back;

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
    /// What has been ordered of this host.
    pub standing: Arc<Standing>,
    /// Who must be told.
    pub hub: Arc<Hub>,
    /// Where settlements are recorded.
    pub outcomes: Outcomes,
    /// What this host does itself for tasks.
    pub overhead: Arc<Overhead>,
    /// What each tenant may use.
    pub access: Arc<Access>,
    /// What the operator allows everybody.
    pub caps: Caps,
    /// What he grants to some modules beside.
    pub granted: Granted,
    /// Who does what tasks have done for them.
    pub outside: Arc<Outside>,
    /// How far what tasks send may go.
    pub rules: Rules,
    /// How much of it may be stored.
    pub room: Room,
    /// How long results are kept.
    pub result_expires: Duration,
    /// Name of this host.
    pub hostname: String,
    /// If this is no daemon, the one task that all is for: retries do not wait, and tasks are told.
    pub eager: Option<TaskId>,
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

impl Pipeline {
    /// Lists a message that was leased: from now on its lease is renewed, and it can be stopped. One that was revoked before
    /// it came is.
    pub fn list(&self, lease: Lease) -> Delivery {
        let listed = self.running.list(&lease);
        if self.standing.foretold.has(&lease.tenant, &lease.message, clock::now()) {
            self.running.stop_waiting(&lease.tenant, &lease.message.id);
        }
        Delivery { lease, listed }
    }

    /// Takes one message to its settlement, which the `commit` room records. `slot` is dropped when the attempt has
    /// ended, `place` when another message may be leased for it. Returns how long it used a processor, and this host one for it.
    pub async fn deliver<S, P>(&self, Delivery { lease, listed }: Delivery, slot: S, place: P) -> Duration {
        let settlement = self.settle(&lease, &listed).await;
        drop(slot);
        let settlement = match settlement {
            // By then only the order is settled: nothing runs. Boxed, since it is rare and as large as a whole run.
            Err(first) if told_to_stop(&listed).await => {
                Box::pin(self.settle(&lease, &listed)).await.map_err(|_again| first)
            }
            settlement => settlement,
        };
        let used = match settlement {
            Ok(settlement) => {
                let ran = Duration::try_from_secs_f64(settlement.usage.cpu_seconds).unwrap_or_default();
                let (tenant, weight) = (lease.tenant.clone(), self.access.policy(&lease.tenant).weight());
                let message_bytes = of_message(&lease.message);
                let bytes = self.outcomes.send(Settled { lease, weight, settlement, listed }).await;
                ran + self.overhead.of(&tenant, ran, message_bytes + bytes)
            }
            Err(Interrupted { begun }) => {
                give_back(&*self.store, &self.hub, &lease, listed, begun).await;
                Duration::ZERO
            }
        };
        drop(place);
        used
    }
}

/// Whether an attempt was told to stop, or is while it pauses.
async fn told_to_stop(listed: &Listed) -> bool {
    let mut stopped = listed.stopped.clone();
    matches!(tokio::time::timeout(HOST_PAUSE, stopped.wait_for(Option::is_some)).await, Ok(Ok(_)))
}
