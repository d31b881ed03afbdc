//! Values by key, in a table of their own; how much a tenant's take is counted beside it.

use async_trait::async_trait;
use bytes::Bytes;
use lovage_model::TenantId;
use rusqlite::{OptionalExtension, params};

use super::FileStore;
use super::ledger::Ledger;
use super::writer::Need;
use crate::store::values::{fits, size_of, sum};
use crate::store::{Place, Result, Unkept, Values};

const VALUE: &str = "SELECT body FROM value
                     WHERE tenant = (SELECT id FROM tenant WHERE name = ?1) AND bucket = ?2 AND key = ?3";

/// The first keys of a bucket.
pub(super) const KEYS: &str = "SELECT key FROM value
    WHERE tenant = (SELECT id FROM tenant WHERE name = ?1) AND bucket = ?2 AND key >= ?3 ORDER BY key LIMIT ?4";

/// The first keys of a bucket after one.
pub(super) const KEYS_AFTER: &str = "SELECT key FROM value
    WHERE tenant = (SELECT id FROM tenant WHERE name = ?1) AND bucket = ?2 AND key > ?3 ORDER BY key LIMIT ?4";

#[async_trait]
impl Values for FileStore {
    async fn value(&self, place: Place) -> Result<Option<Bytes>> {
        let read = move |db: &rusqlite::Connection| {
            let mut statement = db.prepare_cached(VALUE)?;
            let found = statement
                .query_row([place.tenant.as_str(), &place.bucket, &place.key], |row| row.get::<_, Vec<u8>>(0))
                .optional();
            Ok(found?.map(Bytes::from))
        };
        self.readers.run(read).await
    }

    async fn keep_value(&self, place: Place, value: Bytes, most_bytes: u64) -> Result<std::result::Result<(), Unkept>> {
        self.writer.run(Need::DURABLE, move |ledger| ledger.keep_value(&place, &value, most_bytes)).await
    }

    async fn add_to_value(&self, place: Place, by: u64, most_bytes: u64) -> Result<std::result::Result<u64, Unkept>> {
        let add = move |ledger: &mut Ledger| {
            let sum = match sum(ledger.value(&place)?.as_deref(), by) {
                Ok(sum) => sum,
                Err(why) => return Ok(Err(why)),
            };
            let kept = ledger.keep_value(&place, sum.to_string().as_bytes(), most_bytes)?;
            Ok(kept.map(|()| sum))
        };
        self.writer.run(Need::DURABLE, add).await
    }

    async fn drop_value(&self, place: Place) -> Result<bool> {
        let drop = move |ledger: &mut Ledger| {
            let Some(there) = ledger.value(&place)? else { return Ok(false) };
            let tenant = ledger.tenant(&place.tenant)?;
            ledger.run(
                "DELETE FROM value WHERE tenant = ?1 AND bucket = ?2 AND key = ?3",
                params![tenant, place.bucket, place.key],
            )?;
            ledger.add_to_room(tenant, -signed(size_of(&place, &there)))?;
            Ok(true)
        };
        self.writer.run(Need::DURABLE, drop).await
    }

    async fn drop_values(&self, tenant: TenantId) -> Result<()> {
        let drop = move |ledger: &mut Ledger| {
            let tenant = ledger.tenant(&tenant)?;
            ledger.run("DELETE FROM value WHERE tenant = ?1", [tenant])?;
            ledger.run("DELETE FROM saved_group WHERE tenant = ?1", [tenant])?;
            ledger.run("DELETE FROM value_room WHERE tenant = ?1", [tenant])
        };
        self.writer.run(Need::DURABLE, drop).await
    }

    async fn keys_of_values(
        &self,
        tenant: TenantId,
        bucket: String,
        after: Option<String>,
        max: usize,
    ) -> Result<Vec<String>> {
        let read = move |db: &rusqlite::Connection| {
            let mut statement = db.prepare_cached(if after.is_some() { KEYS_AFTER } else { KEYS })?;
            let after = after.unwrap_or_default();
            statement
                .query_map(params![tenant.as_str(), bucket, after, signed(max as u64)], |row| row.get(0))?
                .collect()
        };
        self.lists.run(read).await
    }
}

impl Ledger {
    fn value(&self, place: &Place) -> rusqlite::Result<Option<Vec<u8>>> {
        let mut statement = self.db.prepare_cached(VALUE)?;
        statement.query_row([place.tenant.as_str(), &place.bucket, &place.key], |row| row.get(0)).optional()
    }

    fn keep_value(
        &mut self,
        place: &Place,
        value: &[u8],
        most_bytes: u64,
    ) -> rusqlite::Result<std::result::Result<(), Unkept>> {
        let before = self.value(place)?.map_or(0, |there| size_of(place, &there));
        let (tenant, after) = (self.tenant(&place.tenant)?, size_of(place, value));
        if !self.take_room(tenant, before, after, most_bytes)? {
            return Ok(Err(Unkept::Full));
        }
        self.run(
            "INSERT INTO value (tenant, bucket, key, body) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (tenant, bucket, key) DO UPDATE SET body = excluded.body",
            params![tenant, place.bucket, place.key, value],
        )?;
        Ok(Ok(()))
    }

    /// Takes room for something instead of what took so much before; whether there was any.
    pub(super) fn take_room(&self, tenant: i64, before: u64, after: u64, most_bytes: u64) -> rusqlite::Result<bool> {
        let mut statement = self.db.prepare_cached("SELECT bytes FROM value_room WHERE tenant = ?1")?;
        let taken = statement.query_row([tenant], |row| row.get::<_, i64>(0)).optional()?.unwrap_or_default();
        drop(statement);
        let has_room = fits(taken.unsigned_abs(), before, after, most_bytes);
        if has_room {
            self.add_to_room(tenant, signed(after) - signed(before))?;
        }
        Ok(has_room)
    }

    pub(super) fn add_to_room(&self, tenant: i64, bytes: i64) -> rusqlite::Result<()> {
        let sql = "INSERT INTO value_room VALUES (?1, ?2) ON CONFLICT DO UPDATE SET bytes = bytes + ?2";
        self.run(sql, [tenant, bytes])
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
