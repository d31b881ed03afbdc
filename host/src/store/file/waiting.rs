//! Messages that wait for their time, in `scheduled`.

use async_trait::async_trait;
use lovage_model::{Message, TenantId, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::FileStore;
use super::book::Spot;
use super::ledger::Ledger;
use super::moves;
use super::record::{COLUMNS, JOINS, read};
use super::writer::Need;
use crate::store::record::{MAX_LISTED_BYTES, json_bytes};
use crate::store::{Result, Waiting};

/// Messages that are hastened in one transaction, so that others get their turn.
const AT_ONCE: usize = 1000;

/// What a tenant has scheduled, the earliest first.
pub(super) const SCHEDULED: &str = "SELECT seq, eta FROM scheduled
    WHERE tenant = (SELECT id FROM tenant WHERE name = ?1) ORDER BY eta, pos LIMIT ?2";

#[async_trait]
impl Waiting for FileStore {
    async fn scheduled(&self, tenant: &TenantId, max: usize) -> Result<Vec<(Timestamp, Message)>> {
        let tenant = tenant.clone();
        self.lists.run(move |db| scheduled(db, &tenant, max)).await
    }

    async fn hasten(&self, postponed: Vec<(i64, Timestamp)>, now: Timestamp) -> Result<u64> {
        let mut hastened = 0;
        for part in postponed.chunks(AT_ONCE) {
            let part = part.to_vec();
            let need = Need { durable: false, weight: part.len() };
            let hasten = move |ledger: &mut Ledger| {
                part.iter().try_fold(0, |sum, (seq, until)| Ok(sum + u64::from(ledger.hasten(*seq, *until, now)?)))
            };
            hastened += self.writer.run(need, hasten).await?;
        }
        Ok(hastened)
    }
}

impl Ledger {
    fn hasten(&mut self, seq: i64, until: Timestamp, now: Timestamp) -> rusqlite::Result<bool> {
        let sql = "DELETE FROM scheduled WHERE eta = ?1 AND pos = (SELECT pos FROM task WHERE seq = ?2) AND seq = ?2
            RETURNING line, priority, pos, deliveries, marks";
        let taken = self.db.prepare_cached(sql)?.query_row([until.as_micros(), seq], |row| {
            Ok(moves::Waiting {
                seq,
                line: row.get(0)?,
                priority: row.get(1)?,
                pos: row.get(2)?,
                since: now.as_micros(),
                deliveries: row.get(3)?,
                marks: row.get(4)?,
            })
        });
        let Some(waiting) = taken.optional()? else { return Ok(false) };
        self.book.count(waiting.line, Spot::Scheduled, -1)?;
        self.run("UPDATE task SET eta = NULL WHERE seq = ?1", [seq])?;
        self.put_ready(waiting)?;
        Ok(true)
    }
}

fn scheduled(db: &Connection, tenant: &TenantId, max: usize) -> rusqlite::Result<Vec<(Timestamp, Message)>> {
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    let mut places = db.prepare_cached(SCHEDULED)?;
    let places = places.query_map(params![tenant.as_str(), max], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut record = db.prepare_cached(&format!("{COLUMNS} {JOINS} WHERE t.seq = ?1"))?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    for place in places {
        if bytes >= MAX_LISTED_BYTES {
            break;
        }
        let (seq, eta): (i64, i64) = place?;
        let message = record.query_row([seq], read)?.1.message;
        bytes += json_bytes(&message);
        found.push((Timestamp::from_micros(eta), message));
    }
    Ok(found)
}
