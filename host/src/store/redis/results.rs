//! Results: from submit to expiry.

use async_trait::async_trait;
use lovage_model::{AttemptLog, QueueName, ResultMeta, State, TaskId, TaskName, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use super::RedisStore;
use super::joins::unexpected;
use super::row::Row;
use super::script::Script;
use crate::store::record::{MAX_LISTED_BYTES, json_bytes};
use crate::store::{Filter, Page, Redone, Result, Results};

/// The most tasks that one step of a list looks at.
const PAGE: usize = 500;

#[derive(Deserialize)]
struct Rows {
    rows: Vec<Row>,
    last: Option<i64>,
    #[serde(default)]
    over: bool,
}

#[async_trait]
impl Results for RedisStore {
    async fn task(&self, tenant: &TenantId, id: &TaskId) -> Result<Option<ResultMeta>> {
        let row = self.row(tenant, id).await?;
        row.map(|row| row.record(&self.link.faults).map(|record| record.meta())).transpose()
    }

    async fn list(&self, tenant: &TenantId, filter: Filter) -> Result<Page> {
        #[derive(Serialize)]
        struct Args<'a> {
            tenant: &'a TenantId,
            state: Option<&'a str>,
            name: Option<&'a TaskName>,
            queue: Option<&'a QueueName>,
            before: Option<String>,
            limit: usize,
            page: usize,
        }
        let mut page = Page::default();
        if filter.limit == 0 {
            return Ok(page);
        }
        let (mut before, mut last_number, mut bytes) = (filter.before, None, 0);
        loop {
            // One more, to know whether there is another page.
            let limit = filter.limit + 1 - page.tasks.len();
            let args = Args {
                tenant,
                state: filter.state.as_ref().map(State::as_str),
                name: filter.name.as_ref(),
                queue: filter.queue.as_ref(),
                before: before.map(|number| number.to_string()),
                limit,
                page: PAGE.min(limit.saturating_mul(4).max(50)),
            };
            let found: Rows = self.link.call(Script::Tasks, &args).await?;
            for row in found.rows {
                if page.tasks.len() == filter.limit || bytes >= MAX_LISTED_BYTES {
                    page.next = last_number;
                    return Ok(page);
                }
                last_number = row.n.parse().ok();
                match row.record(&self.link.faults) {
                    Ok(record) => {
                        let meta = record.meta();
                        bytes += json_bytes(&meta);
                        page.tasks.push(meta);
                    }
                    // It does not hide the others.
                    Err(error) => tracing::error!(%tenant, %error, "a task is left out of a list"),
                }
            }
            if found.over || found.last.is_none() {
                return Ok(page);
            }
            before = found.last;
        }
    }

    async fn logs(&self, tenant: &TenantId, id: &TaskId) -> Result<Option<Vec<AttemptLog>>> {
        #[derive(Serialize)]
        struct Args<'a> {
            tenant: &'a TenantId,
            id: &'a TaskId,
        }
        #[derive(Deserialize)]
        struct Logs {
            logs: Option<Vec<String>>,
        }
        let found: Logs = self.link.call(Script::Logs, &Args { tenant, id }).await?;
        let Some(logs) = found.logs else { return Ok(None) };
        let logs = logs.iter().map(|text| serde_json::from_str(text));
        let logs = logs.collect::<std::result::Result<_, _>>();
        logs.map(Some).map_err(|error| self.link.faults.garbled(&format!("the logs of task {id}"), &error))
    }

    async fn forget(&self, tenant: &TenantId, id: &TaskId) -> Result<Redone> {
        #[derive(Serialize)]
        struct Args<'a> {
            tenant: &'a TenantId,
            id: &'a TaskId,
        }
        #[derive(Deserialize)]
        struct Answer {
            kind: String,
            state: Option<String>,
        }
        let answer: Answer = self.link.call(Script::Forget, &Args { tenant, id }).await?;
        match answer.kind.as_str() {
            "done" => Ok(Redone::Done),
            "unknown" => Ok(Redone::Unknown),
            "busy" => Ok(Redone::Busy(State::from_name(&answer.state.unwrap_or_default()))),
            other => Err(unexpected("an order to forget", other)),
        }
    }

    async fn expire(&self, before: Timestamp, max: usize) -> Result<u64> {
        #[derive(Serialize)]
        struct Args {
            before: i64,
            max: usize,
        }
        if max == 0 {
            return Ok(0);
        }
        self.link.ask(Script::Expire, &Args { before: before.as_micros(), max }).await
    }
}

impl RedisStore {
    /// What is known of a task.
    pub(super) async fn row(&self, tenant: &TenantId, id: &TaskId) -> Result<Option<Row>> {
        Ok(self.rows(tenant, &[id]).await?.pop())
    }

    /// What is known of those of some tasks that there are.
    pub(super) async fn rows(&self, tenant: &TenantId, ids: &[&TaskId]) -> Result<Vec<Row>> {
        #[derive(Serialize)]
        struct Args<'a> {
            tenant: &'a TenantId,
            ids: &'a [&'a TaskId],
        }
        let found: Rows = self.link.call(Script::Tasks, &Args { tenant, ids }).await?;
        Ok(found.rows)
    }
}
