//! What is ordered about messages beside their main path.

use async_trait::async_trait;
use lovage_model::{Json, QueueName, TaskId, TenantId, Timestamp};

use super::MemoryStore;
use super::tasks::Tasks;
use crate::store::record::canonical;
use crate::store::{Fenced, LeaseKey, MOST_PAUSED, Orders, Paused, Result, Revoked};

#[async_trait]
impl Orders for MemoryStore {
    async fn postpone(&self, key: LeaseKey, until: Timestamp) -> Result<Fenced> {
        let tasks = &mut self.open()?.tasks;
        let fenced = tasks.postpone(key, until);
        self.ring(tasks);
        Ok(fenced)
    }

    async fn pause(&self, tenant: &TenantId, queue: &QueueName, paused: bool) -> Result<Paused> {
        let tasks = &mut self.open()?.tasks;
        let which = (tenant.clone(), queue.clone());
        if tasks.paused.contains(&which) == paused {
            return Ok(Paused::AsBefore);
        }
        if !paused {
            tasks.paused.remove(&which);
        } else if tasks.paused.iter().filter(|(owner, _)| owner == tenant).count() < MOST_PAUSED {
            tasks.paused.insert(which);
        } else {
            return Ok(Paused::Full);
        }
        self.ring(tasks);
        Ok(Paused::Changed)
    }

    async fn is_paused(&self, tenant: &TenantId, queue: &QueueName) -> Result<bool> {
        Ok(self.open()?.tasks.paused.contains(&(tenant.clone(), queue.clone())))
    }

    async fn revoke_stamped(
        &self,
        tenant: &TenantId,
        stamp: &str,
        values: &[Json],
        now: Timestamp,
    ) -> Result<Vec<(TaskId, Revoked)>> {
        let tasks = &mut self.open()?.tasks;
        let mut found: Vec<i64> = Vec::new();
        for value in values {
            let label = (tenant.clone(), stamp.to_owned(), canonical(value));
            found.extend(tasks.stamped.get(&label).into_iter().flatten());
        }
        found.sort_unstable();
        found.dedup();
        let answers = found.into_iter().map(|number| revoke(tasks, number, now)).collect();
        self.ring(tasks);
        Ok(answers)
    }
}

fn revoke(tasks: &mut Tasks, number: i64, now: Timestamp) -> (TaskId, Revoked) {
    (tasks.get(number).record.message.id.clone(), tasks.order_end(number, now))
}
