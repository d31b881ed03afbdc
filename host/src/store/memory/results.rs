//! Results: from submit to expiry.

use async_trait::async_trait;
use lovage_model::{AttemptLog, ResultMeta, TaskId, TenantId, Timestamp};

use super::MemoryStore;
use super::tasks::Task;
use crate::store::record::{MAX_LISTED_BYTES, json_bytes};
use crate::store::{Filter, Page, Redone, Result, Results};

#[async_trait]
impl Results for MemoryStore {
    async fn task(&self, tenant: &TenantId, id: &TaskId) -> Result<Option<ResultMeta>> {
        Ok(self.open()?.tasks.find(tenant, id).map(|task| task.record.clone().meta()))
    }

    async fn list(&self, tenant: &TenantId, filter: Filter) -> Result<Page> {
        let inner = self.open()?;
        let before = filter.before.unwrap_or(i64::MAX);
        let mut found = inner
            .tasks
            .all()
            .rev()
            .filter(|(number, task)| *number < before && task.tenant == *tenant && matches(&filter, task))
            .peekable();
        let (mut page, mut bytes) = (Page::default(), 0);
        while page.tasks.len() < filter.limit
            && bytes < MAX_LISTED_BYTES
            && let Some((number, task)) = found.next()
        {
            let meta = task.record.clone().meta();
            bytes += json_bytes(&meta);
            page.tasks.push(meta);
            page.next = found.peek().map(|_| number);
        }
        Ok(page)
    }

    async fn logs(&self, tenant: &TenantId, id: &TaskId) -> Result<Option<Vec<AttemptLog>>> {
        Ok(self.open()?.tasks.find(tenant, id).map(|task| task.logs.clone()))
    }

    async fn forget(&self, tenant: &TenantId, id: &TaskId) -> Result<Redone> {
        let tasks = &mut self.open()?.tasks;
        let Some(number) = tasks.number(tenant, id) else { return Ok(Redone::Unknown) };
        if let Some(state) = tasks.unfinished(number) {
            return Ok(Redone::Busy(state));
        }
        tasks.drop_ended(number);
        Ok(Redone::Done)
    }

    async fn expire(&self, before: Timestamp, max: usize) -> Result<u64> {
        let tasks = &mut self.open()?.tasks;
        let mut old: Vec<(Timestamp, i64)> = tasks
            .all()
            .filter_map(|(number, task)| Some((task.record.ended.filter(|&ended| ended < before)?, number)))
            .collect();
        old.sort_unstable();
        old.truncate(max);
        for &(_, number) in &old {
            tasks.drop_ended(number);
        }
        tasks.drop_orphans(before);
        Ok(old.len() as u64)
    }
}

fn matches(filter: &Filter, task: &Task) -> bool {
    let message = &task.record.message;
    filter.state.as_ref().is_none_or(|state| *state == task.record.status())
        && filter.name.as_ref().is_none_or(|name| *name == message.task)
        && filter.queue.as_ref().is_none_or(|queue| *queue == message.queue)
}
