//! Messages that a host has taken and does not run yet: those that wait for a slot, or for their turn.

use lovage_model::{Event, EventKind, RateLimit, TaskName, TenantId, Timestamp};

use super::{Delivery, Pipeline};
use crate::attempt::Stop;
use crate::clock;
use crate::store::{Fenced, Revoked};

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
        let limit = self.standing.ordered(tenant, task).rate_limit.or_else(declared);
        limit.filter(|limit| limit.per_second().is_some())
    }

    /// Gives a message back that has not begun: to the place that it had, or to be leased again at a later time.
    pub async fn put_back(&self, Delivery { lease, listed }: Delivery, until: Option<Timestamp>) {
        let given_back = match until {
            Some(until) => self.store.postpone(lease.key, until).await,
            None => self.store.release(lease.key, false).await,
        };
        // From here on whoever revokes it finds it in the store.
        let order = listed.end();
        match given_back {
            Ok(Fenced::Applied) if order == Some(Stop::Revoked) => self.revoke_unbegun(&lease).await,
            Ok(_) => {}
            // The lease lapses, and the message is delivered again.
            Err(error) => tracing::error!(%error, "a message could not be given back"),
        }
    }

    /// The order came while the message was given back.
    async fn revoke_unbegun(&self, lease: &crate::store::Lease) {
        let now = clock::now();
        match self.store.revoke(&lease.tenant, &lease.message.id, now).await {
            Ok(Revoked::Waiting) => {
                let kind = EventKind::Revoked { terminated: false, expired: false };
                self.hub.announce_with(&lease.tenant, || vec![Event::of(&lease.message, now, kind)]);
            }
            Ok(_) => {}
            Err(error) => tracing::error!(task_id = %lease.message.id, %error, "a task could not be revoked"),
        }
    }
}
