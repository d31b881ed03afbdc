//! Periodic tasks, in a table of their own.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use lovage_model::{EntryName, TenantId, Timestamp};
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params, params_from_iter};

use super::FileStore;
use super::book::read_name;
use super::ledger::Ledger;
use super::writer::Need;
use crate::store::schedules::skipped;
use crate::store::{LastRun, Periodic, Result, Schedules, StoreError, wrong_from};

#[async_trait]
impl Schedules for FileStore {
    async fn periodic(&self, of: Option<&TenantId>) -> Result<Vec<Periodic>> {
        let of = of.cloned();
        // What beat goes by does not wait for lists.
        let readers = if of.is_some() { &self.lists } else { &self.readers };
        readers.run(move |db| read(db, of.as_ref(), None)).await
    }

    async fn periodic_one(&self, tenant: &TenantId, name: &EntryName) -> Result<Option<Periodic>> {
        let (tenant, name) = (tenant.clone(), name.clone());
        Ok(self.readers.run(move |db| read(db, Some(&tenant), Some(&name))).await?.pop())
    }

    async fn periodic_version(&self) -> Result<u64> {
        Ok(self.periodic_version.load(Ordering::Acquire))
    }

    async fn set_periodic(&self, periodic: Periodic) -> Result<()> {
        let entry = serde_json::to_string(&periodic.entry).map_err(|error| StoreError::Failed(error.to_string()))?;
        self.writer.run(Need::DURABLE, move |ledger| ledger.set_periodic(&periodic, &entry)).await
    }

    async fn remove_periodic(&self, tenant: &TenantId, name: &EntryName) -> Result<bool> {
        let (tenant, name) = (tenant.clone(), name.clone());
        self.writer
            .run(Need::DURABLE, move |ledger| {
                let Some(number) = ledger.book.tenant(&tenant) else { return Ok(false) };
                let sql = "DELETE FROM periodic WHERE tenant = ?1 AND name = ?2";
                let removed = ledger.count(sql, params![number, name.as_str()])? > 0;
                ledger.book.periodic |= removed;
                Ok(removed)
            })
            .await
    }

    async fn drop_periodic(&self, tenant: &TenantId) -> Result<()> {
        let tenant = tenant.clone();
        self.writer
            .run(Need::DURABLE, move |ledger| {
                let Some(number) = ledger.book.tenant(&tenant) else { return Ok(()) };
                ledger.book.periodic |= ledger.count("DELETE FROM periodic WHERE tenant = ?1", [number])? > 0;
                Ok(())
            })
            .await
    }

    async fn note_run(&self, tenant: &TenantId, name: &EntryName, run: LastRun) -> Result<bool> {
        let (tenant, name) = (tenant.clone(), name.clone());
        self.writer
            .run(Need::DURABLE, move |ledger| {
                let Some(number) = ledger.book.tenant(&tenant) else { return Ok(false) };
                let sql = "UPDATE periodic SET slot = ?3, sent = ?4, count = count + 1
                    WHERE tenant = ?1 AND name = ?2 AND (slot IS NULL OR slot < ?3 OR slot >= ?5)";
                let (slot, at, wrong) = (run.slot.as_micros(), run.at.as_micros(), wrong_from(run.at).as_micros());
                let of = params![number, name.as_str(), slot, at, wrong];
                Ok(ledger.count(sql, of)? > 0)
            })
            .await
    }
}

impl Ledger {
    fn set_periodic(&mut self, periodic: &Periodic, entry: &str) -> rusqlite::Result<()> {
        let Periodic { tenant, name, of_config, since, .. } = periodic;
        let number = self.tenant(tenant)?;
        self.book.periodic = true;
        self.run(
            "INSERT INTO periodic (tenant, name, entry, of_config, since) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET entry = ?3, of_config = ?4, since = ?5",
            params![number, name.as_str(), entry, of_config, since.as_micros()],
        )
    }
}

/// Those of all tenants, of one, or one of those.
fn read(db: &Connection, of: Option<&TenantId>, name: Option<&EntryName>) -> rusqlite::Result<Vec<Periodic>> {
    const ROWS: &str = "SELECT t.name, p.name, p.entry, p.of_config, p.since, p.slot, p.sent, p.count
        FROM periodic AS p JOIN tenant AS t ON t.id = p.tenant";
    let sql = match (of, name) {
        (Some(_), Some(_)) => format!("{ROWS} WHERE t.name = ?1 AND p.name = ?2"),
        (Some(_), None) => format!("{ROWS} WHERE t.name = ?1 ORDER BY p.name"),
        (None, _) => format!("{ROWS} ORDER BY t.name, p.name"),
    };
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows =
        statement.query(params_from_iter(of.map(TenantId::as_str).into_iter().chain(name.map(EntryName::as_str))))?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        // One that cannot be read must not keep the others from being sent.
        match periodic(row) {
            Ok(one) => all.push(one),
            Err(error) => skipped(&row.get::<_, String>(0)?, &row.get::<_, String>(1)?, &error),
        }
    }
    Ok(all)
}

fn periodic(row: &Row<'_>) -> rusqlite::Result<Periodic> {
    let broken = |error: serde_json::Error| rusqlite::Error::FromSqlConversionFailure(2, Type::Text, error.into());
    let slot = row.get::<_, Option<i64>>(5)?.zip(row.get::<_, Option<i64>>(6)?);
    Ok(Periodic {
        tenant: read_name(TenantId::try_from(row.get::<_, String>(0)?))?,
        name: read_name(EntryName::try_from(row.get::<_, String>(1)?))?,
        entry: serde_json::from_str(&row.get::<_, String>(2)?).map_err(broken)?,
        of_config: row.get(3)?,
        declared_by: BTreeSet::new(),
        since: Timestamp::from_micros(row.get(4)?),
        last_run: slot.map(|(slot, at)| LastRun { slot: Timestamp::from_micros(slot), at: Timestamp::from_micros(at) }),
        total_run_count: row.get::<_, i64>(7)?.unsigned_abs(),
    })
}
