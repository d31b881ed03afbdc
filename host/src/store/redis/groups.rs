//! Results of groups that somebody asked to keep: under Celery's keys, so that its clients find them too.

use async_trait::async_trait;
use lovage_model::{ResultTuple, TaskId, TenantId, Timestamp};
use serde::Serialize;

use super::RedisStore;
use super::script::Script;
use super::texts;
use super::values::MOST;
use crate::store::values::written_group;
use crate::store::{Groups, Result};

#[derive(Default, Serialize)]
struct Args<'a> {
    what: &'a str,
    tenant: Option<&'a TenantId>,
    id: Option<&'a TaskId>,
    text: Option<String>,
    /// What it takes of what its tenant may keep, and how much that is.
    size: u64,
    most_bytes: u64,
    now: i64,
    before: i64,
    max: usize,
    /// Where a page of all groups begins.
    cursor: &'a str,
}

#[async_trait]
impl Groups for RedisStore {
    async fn save_group(
        &self,
        tenant: &TenantId,
        id: &TaskId,
        group: &ResultTuple,
        most_bytes: u64,
        now: Timestamp,
    ) -> Result<bool> {
        let (text, (_, size)) = (Some(texts::group(group)?), written_group(id, group)?);
        let (tenant, id, most_bytes) = (Some(tenant), Some(id), most_bytes.min(MOST));
        let args = Args { what: "save", tenant, id, text, size, most_bytes, now: now.as_micros(), ..Args::default() };
        self.link.ask(Script::Groups, &args).await
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

impl RedisStore {
    /// Drops the groups of a tenant, in pieces: others get their turn in between.
    pub(super) async fn drop_groups(&self, tenant: &TenantId) -> Result<()> {
        let args = Args { what: "clear", tenant: Some(tenant), ..Args::default() };
        while self.link.ask::<bool>(Script::Groups, &args).await? {}
        let mut cursor = "0".to_owned();
        loop {
            let args = Args { what: "sweep", tenant: Some(tenant), cursor: &cursor, ..Args::default() };
            cursor = self.link.ask(Script::Groups, &args).await?;
            if cursor == "0" {
                return Ok(());
            }
        }
    }
}
