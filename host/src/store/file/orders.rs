//! What is ordered about messages beside their main path, and the labels by which they are found.

use async_trait::async_trait;
use lovage_model::{Json, QueueName, TaskId, TenantId, Timestamp};
use rusqlite::{Connection, params};

use super::FileStore;
use super::draft::{Marks, Text};
use super::ledger::Ledger;
use super::moves::Waiting;
use super::writer::Need;
use crate::store::record::canonical;
use crate::store::{Fenced, LeaseKey, MOST_PAUSED, Orders, Paused, Result, Revoked};

/// Tasks that are revoked in one transaction, so that others get their turn.
const AT_ONCE: usize = 1000;

#[async_trait]
impl Orders for FileStore {
    async fn postpone(&self, key: LeaseKey, until: Timestamp) -> Result<Fenced> {
        self.writer.run(Need::BRIEF, move |ledger| ledger.postpone(key, until)).await
    }

    async fn pause(&self, tenant: &TenantId, queue: &QueueName, paused: bool) -> Result<Paused> {
        let (tenant, queue) = (tenant.clone(), queue.clone());
        self.writer.run(Need::DURABLE, move |ledger| ledger.pause(&tenant, &queue, paused)).await
    }

    async fn is_paused(&self, tenant: &TenantId, queue: &QueueName) -> Result<bool> {
        let (tenant, queue) = (tenant.clone(), queue.clone());
        self.readers.run(move |db| is_paused(db, &tenant, &queue)).await
    }

    async fn revoke_stamped(
        &self,
        tenant: &TenantId,
        stamp: &str,
        values: &[Json],
        now: Timestamp,
    ) -> Result<Vec<(TaskId, Revoked)>> {
        let mut values: Vec<String> = values.iter().map(canonical).collect();
        values.sort_unstable();
        values.dedup();
        let (mut found, mut after) = (Vec::new(), 0);
        loop {
            let (tenant, label) = (tenant.clone(), (stamp.to_owned(), values.clone()));
            let part = move |ledger: &mut Ledger| ledger.revoke_stamped(&tenant, &label, after, now);
            let (revoked, more) = self.writer.run(Need { durable: true, weight: AT_ONCE }, part).await?;
            found.extend(revoked);
            match more {
                Some(last) => after = last,
                None => return Ok(found),
            }
        }
    }
}

fn is_paused(db: &Connection, tenant: &TenantId, queue: &QueueName) -> rusqlite::Result<bool> {
    let sql =
        "SELECT EXISTS (SELECT 1 FROM paused WHERE queue = ?2 AND tenant = (SELECT id FROM tenant WHERE name = ?1))";
    db.prepare_cached(sql)?.query_row([tenant.as_str(), queue.as_str()], |row| row.get(0))
}

type Found = Vec<(TaskId, Revoked)>;

impl Ledger {
    fn postpone(&mut self, key: LeaseKey, until: Timestamp) -> rusqlite::Result<Fenced> {
        let Some(held) = self.current(key) else { return Ok(Fenced::Refused) };
        let (seq, until) = (key.task, until.as_micros());
        self.take_lease(seq, &held)?;
        self.run("UPDATE task SET eta = ?2 WHERE seq = ?1", [seq, until])?;
        self.put_scheduled(Waiting { since: until, deliveries: held.deliveries - 1, ..held.waiting(seq) })?;
        Ok(Fenced::Applied)
    }

    fn pause(&mut self, tenant: &TenantId, queue: &QueueName, paused: bool) -> rusqlite::Result<Paused> {
        let number = self.tenant(tenant)?;
        if self.book.is_paused(number, queue) == paused {
            return Ok(Paused::AsBefore);
        }
        if paused {
            let mut others = self.db.prepare_cached("SELECT count(*) FROM paused WHERE tenant = ?1")?;
            let others: i64 = others.query_row([number], |row| row.get(0))?;
            if usize::try_from(others).is_ok_and(|others| others >= MOST_PAUSED) {
                return Ok(Paused::Full);
            }
        }
        let sql = if paused {
            "INSERT INTO paused (tenant, queue) VALUES (?1, ?2)"
        } else {
            "DELETE FROM paused WHERE tenant = ?1 AND queue = ?2"
        };
        self.run(sql, params![number, queue.as_str()])?;
        self.book.pause(number, queue, paused);
        Ok(Paused::Changed)
    }

    /// Revokes some of the tasks with a stamp, after a number; what was found, and the number after which there are more.
    fn revoke_stamped(
        &mut self,
        tenant: &TenantId,
        (name, values): &(String, Vec<String>),
        after: i64,
        now: Timestamp,
    ) -> rusqlite::Result<(Found, Option<i64>)> {
        let Some(tenant) = self.book.tenant(tenant) else { return Ok((Vec::new(), None)) };
        let mut seqs = std::collections::BTreeSet::new();
        let limit = i64::try_from(AT_ONCE).unwrap_or(i64::MAX);
        for value in values {
            let sql = "SELECT seq FROM stamp WHERE tenant = ?1 AND name = ?2 AND value = ?3 AND seq > ?4
                       ORDER BY seq LIMIT ?5";
            let mut statement = self.db.prepare_cached(sql)?;
            let mut rows = statement.query(params![tenant, name, value, after, limit])?;
            while let Some(row) = rows.next()? {
                seqs.insert(row.get::<_, i64>(0)?);
            }
        }
        let last = seqs.iter().nth(AT_ONCE - 1).copied();
        let mut found = Vec::new();
        for seq in seqs.into_iter().take(AT_ONCE) {
            if let Some(row) = self.get(seq)? {
                let revoked = self.order_end(&row, now)?;
                found.push((row.id, revoked));
            }
        }
        Ok((found, last))
    }

    /// Writes the labels of a message.
    pub(super) fn label(&self, seq: i64, tenant: i64, text: &Text) -> rusqlite::Result<()> {
        let sql = "INSERT INTO stamp (tenant, name, value, seq) VALUES (?1, ?2, ?3, ?4)";
        text.stamps.iter().try_for_each(|(name, value)| self.run(sql, params![tenant, name, value, seq]))
    }

    /// Drops the labels of a task, if it has any.
    pub(super) fn unlabel(&self, seq: i64, marks: Marks) -> rusqlite::Result<()> {
        if marks.has(Marks::STAMPED) { self.run("DELETE FROM stamp WHERE seq = ?1", [seq]) } else { Ok(()) }
    }
}
