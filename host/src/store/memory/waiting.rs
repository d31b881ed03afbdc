//! Messages that wait for their time, in memory.

use async_trait::async_trait;
use lovage_model::{Message, TenantId, Timestamp};

use super::MemoryStore;
use crate::store::record::{MAX_LISTED_BYTES, json_bytes};
use crate::store::{Result, Waiting};

#[async_trait]
impl Waiting for MemoryStore {
    async fn scheduled(&self, tenant: &TenantId, max: usize) -> Result<Vec<(Timestamp, Message)>> {
        let tasks = &self.open()?.tasks;
        let all = tasks.scheduled.iter().map(|((until, _), &number)| (*until, tasks.get(number)));
        let own = all.filter(|(_, task)| task.tenant == *tenant);
        let within = own.take(max).scan(0, |bytes, (until, task)| {
            let message = &task.record.message;
            let is_in = *bytes < MAX_LISTED_BYTES;
            *bytes += json_bytes(message);
            is_in.then(|| (until, message.clone()))
        });
        Ok(within.collect())
    }

    async fn hasten(&self, postponed: Vec<(i64, Timestamp)>, now: Timestamp) -> Result<u64> {
        let tasks = &mut self.open()?.tasks;
        let mut hastened = 0;
        for (number, until) in postponed {
            hastened += u64::from(tasks.hasten(number, until, now));
        }
        self.ring(tasks);
        Ok(hastened)
    }
}
