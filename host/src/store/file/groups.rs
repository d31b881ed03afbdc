//! Results of groups that somebody asked to keep.

use async_trait::async_trait;
use lovage_model::{ResultTuple, TaskId, TenantId, Timestamp};
use rusqlite::{OptionalExtension, params};

use super::FileStore;
use super::ledger::Ledger;
use super::writer::Need;
use crate::store::values::written_group;
use crate::store::{Groups, Result, StoreError, VALUE_OVERHEAD_BYTES};

const OF_TENANT: &str = "tenant = (SELECT id FROM tenant WHERE name = ?1)";

/// How much a row takes of what its tenant may keep: what `written_group` says of the group.
pub(super) fn size() -> String {
    format!("octet_length(id) + octet_length(body) + {VALUE_OVERHEAD_BYTES}")
}

#[async_trait]
impl Groups for FileStore {
    async fn save_group(
        &self,
        tenant: &TenantId,
        id: &TaskId,
        group: &ResultTuple,
        most_bytes: u64,
        now: Timestamp,
    ) -> Result<bool> {
        let (body, size) = written_group(id, group)?;
        let (tenant, id) = (tenant.clone(), id.clone());
        let save = move |ledger: &mut Ledger| {
            let tenant = ledger.tenant(&tenant)?;
            let before = ledger.size_of_group(tenant, &id)?.unwrap_or_default();
            if !ledger.take_room(tenant, before, size, most_bytes)? {
                return Ok(false);
            }
            ledger.run(
                "INSERT INTO saved_group (tenant, id, saved, body) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (tenant, id) DO UPDATE SET saved = excluded.saved, body = excluded.body",
                params![tenant, id.as_str(), now.as_micros(), body],
            )?;
            Ok(true)
        };
        self.writer.run(Need::DURABLE, save).await
    }

    async fn group(&self, tenant: &TenantId, id: &TaskId) -> Result<Option<ResultTuple>> {
        let (tenant, id) = (tenant.clone(), id.clone());
        let read = move |db: &rusqlite::Connection| {
            let sql = format!("SELECT body FROM saved_group WHERE {OF_TENANT} AND id = ?2");
            let mut statement = db.prepare_cached(&sql)?;
            statement.query_row([tenant.as_str(), id.as_str()], |row| row.get::<_, String>(0)).optional()
        };
        let body = self.readers.run(read).await?;
        let unreadable = |error| StoreError::Corrupt(format!("a saved group cannot be read: {error}"));
        body.map(|body| serde_json::from_str(&body).map_err(unreadable)).transpose()
    }

    async fn delete_group(&self, tenant: &TenantId, id: &TaskId) -> Result<bool> {
        let (tenant, id) = (tenant.clone(), id.clone());
        let delete = move |ledger: &mut Ledger| {
            let Some(tenant) = ledger.book.tenant(&tenant) else { return Ok(false) };
            let Some(size) = ledger.size_of_group(tenant, &id)? else { return Ok(false) };
            ledger.run("DELETE FROM saved_group WHERE tenant = ?1 AND id = ?2", params![tenant, id.as_str()])?;
            ledger.add_to_room(tenant, -i64::try_from(size).unwrap_or(i64::MAX))?;
            Ok(true)
        };
        self.writer.run(Need::DURABLE, delete).await
    }

    async fn expire_groups(&self, before: Timestamp, max: usize) -> Result<u64> {
        const OLD: &str = "rowid IN (SELECT rowid FROM saved_group WHERE saved < ?1 ORDER BY saved, rowid LIMIT ?2)";
        let most = i64::try_from(max).unwrap_or(i64::MAX);
        let expire = move |ledger: &mut Ledger| {
            let of = [before.as_micros(), most];
            let free = format!(
                "UPDATE value_room SET bytes = value_room.bytes - old.bytes FROM (SELECT tenant, sum({}) AS bytes
                 FROM saved_group WHERE {OLD} GROUP BY tenant) AS old WHERE old.tenant = value_room.tenant",
                size()
            );
            ledger.run(&free, of)?;
            ledger.count(&format!("DELETE FROM saved_group WHERE {OLD}"), of)
        };
        Ok(self.writer.run(Need { durable: true, weight: max }, expire).await? as u64)
    }
}

impl Ledger {
    fn size_of_group(&self, tenant: i64, id: &TaskId) -> rusqlite::Result<Option<u64>> {
        let sql = format!("SELECT {} FROM saved_group WHERE tenant = ?1 AND id = ?2", size());
        let mut statement = self.db.prepare_cached(&sql)?;
        let bytes = statement.query_row(params![tenant, id.as_str()], |row| row.get::<_, i64>(0)).optional()?;
        Ok(bytes.map(i64::unsigned_abs))
    }
}
