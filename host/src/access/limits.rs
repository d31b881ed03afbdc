//! How much may a tenant have of what all share?
//!
//! Absent: what one attempt may use, which is for `pipeline`; and who is leased next, which is for `scheduler`.

use std::sync::Arc;

use lovage_model::{Room, TenantId, TenantPolicy, TenantView, Timestamp};

use super::{Access, Later, OpenStream, TooMany};
use crate::store::StoreError;

impl Access {
    /// The tenants that may run only so much, or have a weight: found when they were read, since messages are leased often.
    pub fn limited(&self) -> Arc<Vec<TenantView>> {
        Arc::clone(&self.book().limited)
    }

    /// Whether any tenants were added: then several share this host.
    pub fn is_shared(&self) -> bool {
        !self.book().tenants.is_empty()
    }

    /// What a tenant may use.
    pub fn policy(&self, tenant: &TenantId) -> TenantPolicy {
        self.book().tenants.get(tenant).map(|tenant| tenant.policy.clone()).unwrap_or_default()
    }

    /// How much of a tenant's may wait, of what the operator lets wait of everybody's.
    pub fn room(&self, tenant: &TenantId, general: Room) -> Room {
        let policy = self.policy(tenant);
        let least = |own: Option<u64>, general: u64| own.map_or(general, |own| own.min(general));
        Room {
            queued_tasks: least(policy.queued_tasks, general.queued_tasks),
            scheduled_tasks: least(policy.scheduled_tasks, general.scheduled_tasks),
            ..general
        }
    }

    /// Whether a tenant may send so many tasks now; if not, when.
    pub fn may_submit(&self, tenant: &TenantId, tasks: usize, now: Timestamp) -> Result<(), Later> {
        match self.policy(tenant).submits_per_second {
            Some(rate) => self.rates.take(tenant, tasks, rate, now),
            None => Ok(()),
        }
    }

    /// Looks at how much fuel each tenant has left of what it may use in a day: what [`Access::fuel_left`] says from then on.
    pub async fn look_at_fuel(&self, now: Timestamp) -> Result<(), StoreError> {
        let limited = self.limited();
        self.fuel.look(&*self.store, limited.iter(), now).await
    }

    /// How much fuel a tenant had left when that was last looked at; none: it has no such limit.
    pub fn fuel_left(&self, tenant: &TenantId) -> Option<u64> {
        self.fuel.left(tenant)
    }

    /// Whether any tenant has none left.
    pub fn is_any_fuel_spent(&self) -> bool {
        self.fuel.is_any_spent()
    }

    /// Counts an upload of a tenant, until what is returned is dropped: of several tenants none has more than half of those that the host
    /// takes at once, since an upload may take its time.
    pub fn open_upload(&self, tenant: &TenantId, at_once: u32) -> Result<OpenStream, TooMany> {
        let most = if self.is_shared() { (at_once / 2).max(1) } else { at_once.saturating_mul(8) };
        self.uploads.open(tenant, most)
    }

    /// Counts an event stream of a tenant, until what is returned is dropped; of `general` at most, if nothing less is said.
    pub fn open_stream(&self, tenant: &TenantId, general: u32) -> Result<OpenStream, TooMany> {
        let most = self.policy(tenant).streams.unwrap_or(u32::MAX).min(general);
        self.streams.open(tenant, most)
    }

    /// Counts a request of a tenant that waits, until what is returned is dropped: where tenants share the host, `most` at once.
    pub fn wait(&self, tenant: &TenantId, most: u32) -> Result<OpenStream, TooMany> {
        self.waits.open(tenant, if self.is_shared() { most } else { u32::MAX })
    }
}
