//! Results of groups that somebody asked to keep.

use async_trait::async_trait;
use lovage_model::{ResultTuple, TaskId, TenantId, Timestamp};
use rusqlite::{OptionalExtension, params};

use super::FileStore;
use super::ledger::Ledger;
use super::writer::Need;
use crate::store::{Groups, Result, StoreError};

const OF_TENANT: &str = "tenant = (SELECT id FROM tenant WHERE name = ?1)";

#[async_trait]
impl Groups for FileStore {
    async fn save_group(&self, tenant: &TenantId, id: &TaskId, group: &ResultTuple, now: Timestamp) -> Result<()> {
        let body = serde_json::to_string(group).map_err(|error| StoreError::Failed(error.to_string()))?;
        let (tenant, id) = (tenant.clone(), id.clone());
        let save = move |ledger: &mut Ledger| {
            let tenant = ledger.tenant(&tenant)?;
            ledger.run(
                "INSERT INTO saved_group (tenant, id, saved, body) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (tenant, id) DO UPDATE SET saved = excluded.saved, body = excluded.body",
                params![tenant, id.as_str(), now.as_micros(), body],
            )
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
        let sql = format!("DELETE FROM saved_group WHERE {OF_TENANT} AND id = ?2");
        let delete = move |ledger: &mut Ledger| ledger.count(&sql, [tenant.as_str(), id.as_str()]);
        Ok(self.writer.run(Need::DURABLE, delete).await? > 0)
    }

    async fn expire_groups(&self, before: Timestamp, max: usize) -> Result<u64> {
        let most = i64::try_from(max).unwrap_or(i64::MAX);
        let expire = move |ledger: &mut Ledger| {
            ledger.count(
                "DELETE FROM saved_group WHERE rowid IN
                 (SELECT rowid FROM saved_group WHERE saved < ?1 ORDER BY saved, rowid LIMIT ?2)",
                [before.as_micros(), most],
            )
        };
        Ok(self.writer.run(Need { durable: true, weight: max }, expire).await? as u64)
    }
}
