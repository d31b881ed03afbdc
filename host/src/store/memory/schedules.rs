//! Periodic tasks, in memory.

use async_trait::async_trait;
use lovage_model::{EntryName, TenantId};

use super::MemoryStore;
use crate::store::{LastRun, Periodic, Result, Schedules, wrong_from};

#[async_trait]
impl Schedules for MemoryStore {
    async fn periodic(&self, of: Option<&TenantId>) -> Result<Vec<Periodic>> {
        let inner = self.open()?;
        let wanted = |one: &&Periodic| of.is_none_or(|tenant| one.tenant == *tenant);
        Ok(inner.periodic.values().filter(wanted).cloned().collect())
    }

    async fn periodic_one(&self, tenant: &TenantId, name: &EntryName) -> Result<Option<Periodic>> {
        Ok(self.open()?.periodic.get(&(tenant.clone(), name.clone())).cloned())
    }

    async fn periodic_version(&self) -> Result<u64> {
        Ok(self.open()?.periodic_version)
    }

    async fn set_periodic(&self, periodic: Periodic) -> Result<()> {
        let key = (periodic.tenant.clone(), periodic.name.clone());
        let mut inner = self.open()?;
        inner.periodic_version += 1;
        let all = &mut inner.periodic;
        let (last_run, total_run_count) = all.get(&key).map_or((None, 0), |old| (old.last_run, old.total_run_count));
        all.insert(key, Periodic { last_run, total_run_count, ..periodic });
        Ok(())
    }

    async fn remove_periodic(&self, tenant: &TenantId, name: &EntryName) -> Result<bool> {
        let mut inner = self.open()?;
        inner.periodic_version += 1;
        Ok(inner.periodic.remove(&(tenant.clone(), name.clone())).is_some())
    }

    async fn drop_periodic(&self, tenant: &TenantId) -> Result<()> {
        let mut inner = self.open()?;
        inner.periodic_version += 1;
        inner.periodic.retain(|(of, _), _| of != tenant);
        Ok(())
    }

    async fn note_run(&self, tenant: &TenantId, name: &EntryName, run: LastRun) -> Result<bool> {
        let mut inner = self.open()?;
        let Some(periodic) = inner.periodic.get_mut(&(tenant.clone(), name.clone())) else { return Ok(false) };
        let is_news = periodic.last_run.is_none_or(|last| last.slot < run.slot || last.slot >= wrong_from(run.at));
        if is_news {
            periodic.last_run = Some(run);
            periodic.total_run_count += 1;
        }
        Ok(is_news)
    }
}
