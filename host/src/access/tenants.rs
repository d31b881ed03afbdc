//! Which tenants are there, and what must be gone before one comes or goes?
//!
//! Invariant: whoever gets a name finds nothing that another has left under it.

use lovage_model::api::QueueView;
use lovage_model::{TenantId, TenantPolicy, TenantView, Timestamp};

use super::{Access, AccessError};
use crate::store::Filter;

impl Access {
    /// Adds a tenant, or changes what it may use; whether it is new.
    pub async fn set_tenant(
        &self,
        name: TenantId,
        policy: TenantPolicy,
        now: Timestamp,
    ) -> Result<(TenantView, bool), AccessError> {
        policy.check().map_err(AccessError::Invalid)?;
        self.refresh().await?;
        let known = self.book().tenants.get(&name).cloned();
        if known.is_none() && name != TenantId::default() {
            self.check_nothing_is_left(&name, now).await?;
        }
        let created_at = known.as_ref().map_or(now, |known| known.created_at);
        let tenant = TenantView { name, created_at, policy };
        self.store.register(tenant.clone()).await?;
        self.refresh().await?;
        Ok((tenant, known.is_none()))
    }

    /// Who gets a name must not find what one before it has left there.
    async fn check_nothing_is_left(&self, name: &TenantId, now: Timestamp) -> Result<(), AccessError> {
        let busy = |what: &str, cure| AccessError::TenantBusy { tenant: name.clone(), what: what.to_owned(), cure };
        let any = Filter { limit: 1, ..Filter::default() };
        if !self.store.list(name, any).await?.tasks.is_empty() {
            let cure = "take another name, or wait until they have expired (results.expires_seconds)";
            return Err(busy("results of one that had its name before", cure));
        }
        // What was used is kept by the day: of this one it could not be told whose it is. (Days that are yet to come were noted by a
        // clock that was wrong: to wait for them could take years.)
        if self.store.is_metered(name, now).await? {
            let cure = "take another name, or wait until the next day, by UTC";
            return Err(busy("usage of today, of one that had its name before", cure));
        }
        Ok(())
    }

    /// Since when there is a tenant; none: since ever.
    pub fn created(&self, tenant: &TenantId) -> Option<Timestamp> {
        self.book().tenants.get(tenant).filter(|_| *tenant != TenantId::default()).map(|tenant| tenant.created_at)
    }

    /// Takes a tenant away that has nothing left; its tokens are revoked; what its tasks kept, its secrets, its saved groups and its
    /// periodic tasks are dropped.
    pub async fn remove_tenant(&self, name: &TenantId, now: Timestamp) -> Result<(), AccessError> {
        if *name == TenantId::default() {
            return Err(AccessError::Invalid(
                "the tenant default is always there; set what it may use instead".to_owned(),
            ));
        }
        self.refresh().await?;
        let book = self.book();
        if !book.tenants.contains_key(name) {
            return Err(AccessError::UnknownTenant(name.clone()));
        }
        let busy = |what: String, cure| AccessError::TenantBusy { tenant: name.clone(), what, cure };
        let modules = self.store.active(name).await?.len();
        if modules > 0 {
            let what = if modules == 1 { "1 module".to_owned() } else { format!("{modules} modules") };
            return Err(busy(what, "remove what it has first, with a token of its own"));
        }
        let tasks = || busy("tasks that have not ended".to_owned(), "wait for them, or purge its queues, first");
        if has_tasks(&self.store.queues(name, now).await?) {
            return Err(tasks());
        }
        for id in book.tokens.values().filter(|token| token.view.tenant == *name).map(|token| &token.view.id) {
            self.revoke(id, now).await?;
        }
        // What was sent meanwhile would run as that of a tenant without limits.
        let queues = self.store.queues(name, now).await?;
        if has_tasks(&queues) {
            return Err(tasks());
        }
        // Before its name is free: who gets that next must not find them, nor have them sent.
        for queue in queues.iter().filter(|queue| queue.paused).filter_map(|queue| queue.name.parse().ok()) {
            self.store.pause(name, &queue, false).await?;
        }
        self.store.drop_values(name.clone()).await?;
        self.store.drop_periodic(name).await?;
        self.store.unregister(name).await?;
        self.refresh().await?;
        Ok(())
    }

    /// The tenants that were added, by name.
    pub fn tenants(&self) -> Vec<TenantView> {
        self.book().tenants.values().cloned().collect()
    }
}

/// Whether a queue has tasks that have not ended.
fn has_tasks(queues: &[QueueView]) -> bool {
    queues.iter().any(|queue| queue.ready + queue.scheduled + queue.blocked + queue.leased > 0)
}
