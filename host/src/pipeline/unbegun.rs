//! Messages that a host has taken and does not run yet: those that wait for a slot, or for their turn. And those that it gives back.

use lovage_model::{Event, RateLimit, TaskName, TenantId, Timestamp};

use super::commit::unlist;
use super::{Delivery, Listed, Pipeline};
use crate::clock;
use crate::events::Hub;
use crate::store::{Fenced, Lease, Result, Store};

impl Delivery {
    /// Whether it was told to stop.
    pub fn is_stopped(&self) -> bool {
        self.listed.is_stopped()
    }

    /// Of which task of which tenant.
    pub fn task(&self) -> (&TenantId, &TaskName) {
        (&self.lease.tenant, &self.lease.message.task)
    }

    /// The store's number for its task.
    pub fn number(&self) -> i64 {
        self.lease.key.task
    }
}

impl Pipeline {
    /// Tells that messages were received.
    pub fn announce_received(&self, deliveries: &[Delivery]) {
        let now = clock::now();
        for of_one_tenant in deliveries.chunk_by(|a, b| a.lease.tenant == b.lease.tenant) {
            let Some(first) = of_one_tenant.first() else { continue };
            self.hub.announce_with(&first.lease.tenant, || {
                of_one_tenant.iter().map(|delivery| Event::received(&delivery.lease.message, now)).collect()
            });
        }
    }

    /// The rate limit in force for a message; none: it may be started at any time.
    pub fn rate_limit(&self, Delivery { lease, .. }: &Delivery) -> Option<RateLimit> {
        let code = self.modules.code(&lease.tenant, &lease.message.task)?;
        self.standing.rate_limit(&lease.tenant, &lease.message, &code.definition.options)
    }

    /// The rate limit in force for messages of a task that ask for none of their own.
    pub fn rate_limit_of(&self, tenant: &TenantId, task: &TaskName) -> Option<RateLimit> {
        let declared = || self.modules.code(tenant, task).and_then(|code| code.definition.options.rate_limit);
        self.standing.rate_limit_or(tenant, task, declared)
    }

    /// Gives a message back that has not begun: to the place that it had, or to be leased again at a later time.
    pub async fn put_back(&self, Delivery { lease, listed }: Delivery, until: Option<Timestamp>) {
        match until {
            Some(until) => {
                let answer = self.store.postpone(lease.key, until).await;
                given_back(&*self.store, &self.hub, &lease, listed, answer).await;
            }
            None => give_back(&*self.store, &self.hub, &lease, listed, false).await,
        }
    }
}

/// Gives a message back without an outcome.
pub(super) async fn give_back(store: &dyn Store, hub: &Hub, lease: &Lease, listed: Listed, begun: bool) {
    let answer = store.release(lease.key, begun).await;
    given_back(store, hub, lease, listed, answer).await;
}

async fn given_back(store: &dyn Store, hub: &Hub, lease: &Lease, listed: Listed, answer: Result<Fenced>) {
    // Refused: the lease was lost, and it is delivered again all the same.
    let runs_again = matches!(answer, Ok(Fenced::Applied | Fenced::Refused));
    unlist(store, hub, lease, listed, runs_again).await;
    if let Err(error) = answer {
        // The lease lapses, and the message is delivered again.
        tracing::error!(%error, "a message could not be given back");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use lovage_model::{Message, Plan, Room, State, TaskId};

    use super::*;
    use crate::attempt::Stop;
    use crate::pipeline::Running;
    use crate::store::memory::MemoryStore;
    use crate::store::{Ask, Broker, Results, Shares};

    #[tokio::test]
    async fn an_order_that_comes_while_a_message_is_given_back_is_carried_out() {
        for (begun, lost, order, state) in [
            (false, false, Some(Stop::Revoked), State::Revoked),
            (true, false, Some(Stop::Revoked), State::Revoked),
            (true, true, Some(Stop::Revoked), State::Revoked),
            (true, false, Some(Stop::Interrupted), State::Pending),
            (true, true, None, State::Pending),
        ] {
            let (store, running, now) = (MemoryStore::new(), Arc::new(Running::default()), clock::now());
            let (tenant, id) = (TenantId::default(), TaskId::new("a").unwrap());
            let message = Message::new(id.clone(), "t".parse().unwrap());
            store.submit(&tenant, vec![Plan::of(message)], now, Room::UNLIMITED).await.unwrap();
            let ask = Ask {
                worker: "here".to_owned(),
                queues: None,
                max: 1,
                shares: Shares::default(),
                now,
                until: now.after(Duration::from_secs(60)),
            };
            let lease = store.lease(ask).await.unwrap().leases.remove(0);
            let listed = running.list(&lease);
            if let Some(order) = order {
                assert!(running.stop(&tenant, &id, order), "it is listed until it is back");
            }
            if lost {
                store.release(lease.key, begun).await.unwrap();
            }
            give_back(&store, &Hub::new(now), &lease, listed, begun).await;
            let task = store.task(&tenant, &id).await.unwrap().unwrap();
            assert_eq!((task.status, running.is_empty()), (state, true), "{begun} {lost} {order:?}");
        }
    }
}
