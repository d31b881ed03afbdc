//! Modules: every version of every module of every tenant.

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;
use lovage_model::{Digest, ModuleName, ModuleVersion, TenantId, Timestamp};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::FileStore;
use super::book::read_name;
use super::components::Components;
use super::ledger::Ledger;
use super::writer::{Need, stopped};
use crate::store::{Modules, Result, StoreError, Upload};

const VERSION: &str = "SELECT m.name, m.version, m.digest, m.size, m.pushed, m.active, m.tasks
    FROM module AS m JOIN tenant AS t ON t.id = m.tenant WHERE t.name = ?1";

#[async_trait]
impl Modules for FileStore {
    async fn push(&self, tenant: &TenantId, upload: Upload, now: Timestamp) -> Result<ModuleVersion> {
        let Upload { name, digest, component, mut tasks } = upload;
        let _alone = self.shelf.lock().await;
        tasks.sort_by(|a, b| a.name.cmp(&b.name));
        let size_bytes = component.len() as u64;
        // The writer knows which number comes next.
        let new = ModuleVersion { name, version: 0, digest, size_bytes, pushed_at: now, active: true, tasks };
        let definitions = serde_json::to_string(&new.tasks).map_err(|error| StoreError::Failed(error.to_string()))?;
        let digest = new.digest.clone();
        self.on_disk(move |components| components.write(&digest, &component)).await?;
        let tenant = tenant.clone();
        self.writer.run(Need::DURABLE, move |ledger| ledger.push(&tenant, &new, &definitions)).await
    }

    async fn active(&self, tenant: &TenantId) -> Result<Vec<ModuleVersion>> {
        let tenant = tenant.clone();
        let sql = format!("{VERSION} AND m.active ORDER BY m.name");
        self.readers.run(move |db| versions(db, &sql, [tenant.as_str()])).await
    }

    async fn versions(&self, tenant: &TenantId, name: &ModuleName) -> Result<Vec<ModuleVersion>> {
        let (tenant, name) = (tenant.clone(), name.clone());
        let sql = format!("{VERSION} AND m.name = ?2 ORDER BY m.version DESC");
        self.readers.run(move |db| versions(db, &sql, [tenant.as_str(), name.as_str()])).await
    }

    async fn rollback(&self, tenant: &TenantId, name: &ModuleName) -> Result<Option<ModuleVersion>> {
        let (tenant, name) = (tenant.clone(), name.clone());
        self.writer.run(Need::DURABLE, move |ledger| ledger.rollback(&tenant, &name)).await
    }

    async fn remove(&self, tenant: &TenantId, name: &ModuleName) -> Result<bool> {
        let _alone = self.shelf.lock().await;
        let (tenant, name) = (tenant.clone(), name.clone());
        let (removed, unused) = self.writer.run(Need::DURABLE, move |ledger| ledger.remove(&tenant, &name)).await?;
        self.on_disk(move |components| unused.iter().try_for_each(|digest| components.remove(digest))).await?;
        Ok(removed)
    }

    async fn component(&self, digest: &Digest) -> Result<Option<Bytes>> {
        let _alone = self.shelf.lock().await;
        let named = digest.clone();
        if !self.readers.run(move |db| is_used(db, &named)).await? {
            return Ok(None);
        }
        let digest = digest.clone();
        self.on_disk(move |components| components.read(&digest)).await.map(Some)
    }

    async fn tenants(&self) -> Result<Vec<TenantId>> {
        self.readers.run(tenants).await
    }
}

impl FileStore {
    /// Works on component files where blocking is allowed.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Components) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let components = self.components.clone();
        tokio::task::spawn_blocking(move || work(&components)).await.map_err(|_| stopped())?
    }
}

/// The active version of a module.
pub(super) const ACTIVE: &str = "SELECT name, version, digest, size, pushed, active, tasks
    FROM module INDEXED BY module_active WHERE tenant = ?1 AND name = ?2 AND active";

/// The version before one.
pub(super) const OLDER: &str = "SELECT name, version, digest, size, pushed, active, tasks
    FROM module WHERE tenant = ?1 AND name = ?2 AND version < ?3 ORDER BY version DESC LIMIT 1";

impl Ledger {
    fn push(&mut self, tenant: &TenantId, new: &ModuleVersion, definitions: &str) -> rusqlite::Result<ModuleVersion> {
        let (number, name) = (self.tenant(tenant)?, new.name.as_str());
        if let Some(same) = self.active(number, name)?.filter(|active| active.digest == new.digest) {
            return Ok(same);
        }
        let sql = "SELECT coalesce(max(version), 0) + 1 FROM module WHERE tenant = ?1 AND name = ?2";
        let version: u32 = self.db.prepare_cached(sql)?.query_row(params![number, name], |row| row.get(0))?;
        let sql = "UPDATE module INDEXED BY module_active SET active = 0 WHERE tenant = ?1 AND name = ?2 AND active";
        self.run(sql, params![number, name])?;
        self.run(
            "INSERT INTO module (tenant, name, version, digest, size, pushed, active, tasks)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7)",
            params![
                number,
                name,
                version,
                new.digest.as_str(),
                i64::try_from(new.size_bytes).unwrap_or(i64::MAX),
                new.pushed_at.as_micros(),
                definitions
            ],
        )?;
        Ok(ModuleVersion { version, ..new.clone() })
    }

    fn rollback(&mut self, tenant: &TenantId, name: &ModuleName) -> rusqlite::Result<Option<ModuleVersion>> {
        let Some(number) = self.book.tenant(tenant) else { return Ok(None) };
        let Some(active) = self.active(number, name.as_str())? else { return Ok(None) };
        let mut statement = self.db.prepare_cached(OLDER)?;
        let older = statement.query_row(params![number, name.as_str(), active.version], version).optional()?;
        if let Some(older) = &older {
            let sql =
                "UPDATE module SET active = (version = ?3) WHERE tenant = ?1 AND name = ?2 AND version IN (?3, ?4)";
            self.run(sql, params![number, name.as_str(), older.version, active.version])?;
        }
        Ok(older.map(|older| ModuleVersion { active: true, ..older }))
    }

    fn active(&self, tenant: i64, name: &str) -> rusqlite::Result<Option<ModuleVersion>> {
        self.db.prepare_cached(ACTIVE)?.query_row(params![tenant, name], version).optional()
    }

    /// Drops a module; whether there was one, and the components that nobody has any more.
    fn remove(&mut self, tenant: &TenantId, name: &ModuleName) -> rusqlite::Result<(bool, Vec<Digest>)> {
        let Some(number) = self.book.tenant(tenant) else { return Ok((false, Vec::new())) };
        let sql = "DELETE FROM module WHERE tenant = ?1 AND name = ?2 RETURNING digest";
        let mut statement = self.db.prepare_cached(sql)?;
        let read = |row: &Row<'_>| digest(row, 0);
        let removed =
            statement.query_map(params![number, name.as_str()], read)?.collect::<rusqlite::Result<BTreeSet<_>>>()?;
        let is_there = !removed.is_empty();
        let mut unused = Vec::new();
        for digest in removed {
            if !is_used(&self.db, &digest)? {
                unused.push(digest);
            }
        }
        Ok((is_there, unused))
    }
}

fn versions(db: &Connection, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<Vec<ModuleVersion>> {
    db.prepare_cached(sql)?.query_map(params, version)?.collect()
}

fn version(row: &Row<'_>) -> rusqlite::Result<ModuleVersion> {
    Ok(ModuleVersion {
        name: read_name(ModuleName::try_from(row.get::<_, String>(0)?))?,
        version: row.get(1)?,
        digest: digest(row, 2)?,
        size_bytes: row.get::<_, i64>(3)?.unsigned_abs(),
        pushed_at: Timestamp::from_micros(row.get(4)?),
        active: row.get(5)?,
        tasks: serde_json::from_str(&row.get::<_, String>(6)?).map_err(|error| broken(6, error.to_string()))?,
    })
}

fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    Digest::try_from(row.get::<_, String>(column)?).map_err(|why| broken(column, why))
}

fn broken(column: usize, why: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, why.into())
}

fn is_used(db: &Connection, digest: &Digest) -> rusqlite::Result<bool> {
    let mut statement = db.prepare_cached("SELECT 1 FROM module WHERE digest = ?1 LIMIT 1")?;
    Ok(statement.query_row([digest.as_str()], |_| Ok(())).optional()?.is_some())
}

fn tenants(db: &Connection) -> rusqlite::Result<Vec<TenantId>> {
    let mut statement = db.prepare_cached(
        "SELECT name FROM tenant AS t WHERE EXISTS (SELECT 1 FROM module WHERE tenant = t.id)
            OR EXISTS (SELECT 1 FROM task WHERE tenant = t.id) ORDER BY name",
    )?;
    let mut rows = statement.query([])?;
    let mut names = Vec::new();
    while let Some(row) = rows.next()? {
        names.push(read_name(TenantId::try_from(row.get::<_, String>(0)?))?);
    }
    Ok(names)
}
