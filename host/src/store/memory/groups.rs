//! Results of groups that somebody asked to keep.

use async_trait::async_trait;
use lovage_model::{ResultTuple, TaskId, TenantId, Timestamp};

use super::MemoryStore;
use crate::store::{Groups, Result};

#[async_trait]
impl Groups for MemoryStore {
    async fn save_group(&self, tenant: &TenantId, id: &TaskId, group: &ResultTuple, now: Timestamp) -> Result<()> {
        self.open()?.groups.insert((tenant.clone(), id.clone()), (now, group.clone()));
        Ok(())
    }

    async fn group(&self, tenant: &TenantId, id: &TaskId) -> Result<Option<ResultTuple>> {
        Ok(self.open()?.groups.get(&(tenant.clone(), id.clone())).map(|(_, group)| group.clone()))
    }

    async fn delete_group(&self, tenant: &TenantId, id: &TaskId) -> Result<bool> {
        Ok(self.open()?.groups.remove(&(tenant.clone(), id.clone())).is_some())
    }

    async fn expire_groups(&self, before: Timestamp, max: usize) -> Result<u64> {
        let groups = &mut self.open()?.groups;
        let mut old: Vec<_> =
            groups.iter().filter(|(_, (at, _))| *at < before).map(|(key, (at, _))| (*at, key.clone())).collect();
        old.sort_unstable();
        old.truncate(max);
        for (_, key) in &old {
            groups.remove(key);
        }
        Ok(old.len() as u64)
    }
}
