//! Results of groups that somebody asked to keep.

use async_trait::async_trait;
use lovage_model::{ResultTuple, TaskId, TenantId, Timestamp};

use super::{Inner, MemoryStore};
use crate::store::values::written_group;
use crate::store::{Groups, Result};

#[async_trait]
impl Groups for MemoryStore {
    async fn save_group(
        &self,
        tenant: &TenantId,
        id: &TaskId,
        group: &ResultTuple,
        most_bytes: u64,
        now: Timestamp,
    ) -> Result<bool> {
        let (key, (_, size)) = ((tenant.clone(), id.clone()), written_group(id, group)?);
        let inner = &mut *self.open()?;
        let before = inner.groups.get(&key).map_or(0, |(_, _, size)| *size);
        let has_room = inner.take_room(tenant, before, size, most_bytes);
        if has_room {
            inner.groups.insert(key, (now, group.clone(), size));
        }
        Ok(has_room)
    }

    async fn group(&self, tenant: &TenantId, id: &TaskId) -> Result<Option<ResultTuple>> {
        Ok(self.open()?.groups.get(&(tenant.clone(), id.clone())).map(|(_, group, _)| group.clone()))
    }

    async fn delete_group(&self, tenant: &TenantId, id: &TaskId) -> Result<bool> {
        Ok(self.open()?.drop_group(&(tenant.clone(), id.clone())))
    }

    async fn expire_groups(&self, before: Timestamp, max: usize) -> Result<u64> {
        let inner = &mut *self.open()?;
        let old = inner.groups.iter().filter(|(_, (at, _, _))| *at < before);
        let mut old: Vec<_> = old.map(|(key, (at, _, _))| (*at, key.clone())).collect();
        old.sort_unstable();
        old.truncate(max);
        for (_, key) in &old {
            inner.drop_group(key);
        }
        Ok(old.len() as u64)
    }
}

impl Inner {
    fn drop_group(&mut self, key: &(TenantId, TaskId)) -> bool {
        let Some((_, _, size)) = self.groups.remove(key) else { return false };
        *self.value_room.entry(key.0.clone()).or_default() -= size;
        true
    }
}
