//! What tenants have used, in a table of its own.

use async_trait::async_trait;
use lovage_model::{DailyUsage, TenantId, Timestamp};
use rusqlite::{OptionalExtension, params};

use super::FileStore;
use super::ledger::Ledger;
use crate::store::metering::{Used, day};
use crate::store::{Metering, Result};

#[async_trait]
impl Metering for FileStore {
    async fn metered(&self, tenant: &TenantId, since: Timestamp) -> Result<Vec<DailyUsage>> {
        let (tenant, since) = (tenant.clone(), day(since));
        let sql = "SELECT day, attempts, fuel, cpu_micros, kib_millis FROM metered
                   WHERE tenant = (SELECT id FROM tenant WHERE name = ?1) AND day >= ?2 ORDER BY day DESC";
        let read = |row: &rusqlite::Row<'_>| {
            let number = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
            let (attempts, fuel) = (number(1)?, number(2)?);
            Ok(Used { attempts, fuel, cpu_micros: number(3)?, kib_millis: number(4)? }.on(row.get(0)?))
        };
        let all = move |db: &rusqlite::Connection| {
            let mut statement = db.prepare_cached(sql)?;
            statement.query_map(params![tenant.as_str(), since], read)?.collect()
        };
        self.readers.run(all).await
    }

    async fn fuel_used(&self, tenants: &[TenantId], on: Timestamp) -> Result<Vec<u64>> {
        let (tenants, on) = (tenants.to_vec(), day(on));
        let sql = "SELECT fuel FROM metered WHERE tenant = (SELECT id FROM tenant WHERE name = ?1) AND day = ?2";
        let all = move |db: &rusqlite::Connection| {
            let mut statement = db.prepare_cached(sql)?;
            let used = |tenant: &TenantId| -> rusqlite::Result<u64> {
                let fuel = statement.query_row(params![tenant.as_str(), on], |row| row.get::<_, i64>(0)).optional()?;
                Ok(fuel.map_or(0, i64::unsigned_abs))
            };
            tenants.iter().map(used).collect()
        };
        self.readers.run(all).await
    }
}

/// Adds what a tenant has used to a day. Sums end at the largest number that there is: in SQLite they would become floats.
pub(super) const ADD: &str = "
    INSERT INTO metered VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET attempts = attempts + ?3,
    fuel = min(fuel, 9223372036854775807 - ?4) + ?4, cpu_micros = cpu_micros + ?5, kib_millis = kib_millis + ?6";

impl Ledger {
    /// Counts what an attempt used on the day on which it ended.
    pub(super) fn meter(&mut self, tenant: i64, at: Timestamp, used: Used) {
        self.book.used.entry((tenant, day(at))).or_default().add(used);
    }

    /// Writes what was counted in this transaction: one row for each tenant, however many attempts ended.
    pub(super) fn write_used(&self) -> rusqlite::Result<()> {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        for ((tenant, day), Used { attempts, fuel, cpu_micros, kib_millis }) in &self.book.used {
            let sums = [*attempts, *fuel, *cpu_micros, *kib_millis].map(signed);
            self.run(ADD, params![tenant, day, sums[0], sums[1], sums[2], sums[3]])?;
        }
        Ok(())
    }
}
