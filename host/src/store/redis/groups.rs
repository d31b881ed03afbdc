//! Results of groups that somebody asked to keep: under Celery's keys, so that its clients find them too.

use async_trait::async_trait;
use lovage_model::{ResultTuple, TaskId, TenantId, Timestamp};
use serde::Serialize;

use super::RedisStore;
use super::script::Script;
use super::texts;
use crate::store::{Groups, Result};

#[derive(Default, Serialize)]
struct Args<'a> {
    what: &'a str,
    tenant: Option<&'a TenantId>,
    id: Option<&'a TaskId>,
    text: Option<String>,
    now: i64,
    before: i64,
    max: usize,
}

#[async_trait]
impl Groups for RedisStore {
    async fn save_group(&self, tenant: &TenantId, id: &TaskId, group: &ResultTuple, now: Timestamp) -> Result<()> {
        let text = Some(texts::group(group)?);
        let (tenant, id) = (Some(tenant), Some(id));
        let args = Args { what: "save", tenant, id, text, now: now.as_micros(), ..Args::default() };
        self.link.ask::<i64>(Script::Groups, &args).await.map(drop)
    }

    async fn group(&self, tenant: &TenantId, id: &TaskId) -> Result<Option<ResultTuple>> {
        let args = Args { what: "read", tenant: Some(tenant), id: Some(id), ..Args::default() };
        let Some(text) = self.link.ask::<Option<Vec<u8>>>(Script::Groups, &args).await? else { return Ok(None) };
        let read = texts::read_group(&text);
        let garbled = || self.link.faults.garbled(&format!("group {id}"), &"no result tuple");
        read.map(Some).ok_or_else(garbled)
    }

    async fn delete_group(&self, tenant: &TenantId, id: &TaskId) -> Result<bool> {
        let args = Args { what: "delete", tenant: Some(tenant), id: Some(id), ..Args::default() };
        self.link.ask::<bool>(Script::Groups, &args).await
    }

    async fn expire_groups(&self, before: Timestamp, max: usize) -> Result<u64> {
        if max == 0 {
            return Ok(0);
        }
        let args = Args { what: "expire", before: before.as_micros(), max, ..Args::default() };
        self.link.ask(Script::Groups, &args).await
    }
}
