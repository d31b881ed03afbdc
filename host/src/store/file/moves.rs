//! What are the moves of a message between its places? Every operation of the writer is made of these.

use std::sync::Arc;

use lovage_model::{TaskId, Timestamp};
use rusqlite::{OptionalExtension, params};

use super::book::{Held, Spot};
use super::draft::{Draft, Marks};
use super::fault::CURE;
use super::ledger::{Ledger, Row};
use crate::store::transition::due_later;

/// A message on its way to a place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub(super) seq: i64,
    pub(super) line: i64,
    pub(super) priority: u8,
    pub(super) pos: i64,
    pub(super) since: i64,
    pub(super) deliveries: u32,
    pub(super) marks: Marks,
}

/// What the place knew of a message that was taken from it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Taken {
    pub(super) line: i64,
    pub(super) deliveries: u32,
    pub(super) marks: Marks,
}

impl Ledger {
    /// Stores a new task. There must be none of its id.
    pub(super) fn insert(&mut self, tenant: i64, draft: Draft<'_>, now: Timestamp) -> rusqlite::Result<()> {
        let (seq, message) = (self.book.next.task, draft.message);
        self.book.next.task += 1;
        self.run(
            "INSERT INTO task (seq, tenant, id, name, queue, priority, pos, eta, submitted, state, follows)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'PENDING', ?10)",
            params![
                seq,
                tenant,
                message.id.as_str(),
                message.task.as_str(),
                message.queue.as_str(),
                message.priority,
                self.book.next.pos,
                eta(draft, now).map(Timestamp::as_micros),
                now.as_micros(),
                draft.text.follows
            ],
        )?;
        self.run("INSERT INTO message (seq, body) VALUES (?1, ?2)", params![seq, draft.text.body])?;
        self.label(seq, tenant, draft.text)?;
        self.put_last(seq, tenant, draft, 0, now)
    }

    /// Puts another message into the place of a task's old one, which has been taken.
    pub(super) fn swap(
        &mut self,
        (seq, tenant): (i64, i64),
        draft: Draft<'_>,
        old: Taken,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        let message = draft.message;
        self.run(
            "UPDATE task SET name = ?2, queue = ?3, priority = ?4, pos = ?5, eta = ?6, follows = ?7 WHERE seq = ?1",
            params![
                seq,
                message.task.as_str(),
                message.queue.as_str(),
                message.priority,
                self.book.next.pos,
                eta(draft, now).map(Timestamp::as_micros),
                draft.text.follows
            ],
        )?;
        self.run("UPDATE message SET body = ?2 WHERE seq = ?1", params![seq, draft.text.body])?;
        self.unlabel(seq, old.marks)?;
        self.label(seq, tenant, draft.text)?;
        self.put_last(seq, tenant, draft, old.deliveries, now)
    }

    /// Puts a message to the end of its line, or among those that wait for a time or for others; its task's row says so
    /// already.
    fn put_last(
        &mut self,
        seq: i64,
        tenant: i64,
        draft: Draft<'_>,
        deliveries: u32,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        let message = draft.message;
        let line = self.line(tenant, &message.queue)?;
        let (eta, marks) = (eta(draft, now), draft.text.marks);
        let since = eta.unwrap_or(now).as_micros();
        let to = Waiting { seq, line, priority: message.priority, pos: self.next_pos(), since, deliveries, marks };
        match (draft.awaits, eta) {
            (Some(awaits), _) => self.put_blocked(to, tenant, awaits),
            (None, Some(_)) => self.put_scheduled(to),
            (None, None) => self.put_ready(to),
        }
    }

    /// A place at the end.
    pub(super) fn next_pos(&mut self) -> i64 {
        let pos = self.book.next.pos;
        self.book.next.pos += 1;
        pos
    }

    pub(super) fn put_ready(&mut self, to: Waiting) -> rusqlite::Result<()> {
        self.run(
            "INSERT INTO ready (line, priority, pos, seq, since, deliveries, marks) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![to.line, to.priority, to.pos, to.seq, to.since, to.deliveries, to.marks],
        )?;
        self.book.count(to.line, Spot::Ready, 1)
    }

    pub(super) fn put_scheduled(&mut self, to: Waiting) -> rusqlite::Result<()> {
        let tenant = self.book.line(to.line).tenant;
        self.run(
            "INSERT INTO scheduled (eta, pos, seq, line, priority, deliveries, marks, tenant)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![to.since, to.pos, to.seq, to.line, to.priority, to.deliveries, to.marks, tenant],
        )?;
        self.book.count(to.line, Spot::Scheduled, 1)
    }

    fn put_blocked(&mut self, to: Waiting, tenant: i64, awaits: &TaskId) -> rusqlite::Result<()> {
        let of_join = self.has_join(tenant, awaits)?;
        self.run(
            "INSERT INTO blocked (seq, tenant, awaits, of_join, line, pos, deliveries, marks)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![to.seq, tenant, awaits.as_str(), of_join, to.line, to.pos, to.deliveries, to.marks],
        )?;
        self.book.count(to.line, Spot::Blocked, 1)
    }

    /// Takes the message of a task that waits, wherever it is.
    pub(super) fn take_waiting(&mut self, row: &Row) -> rusqlite::Result<Taken> {
        if let Some(eta) = row.eta {
            let sql = "DELETE FROM scheduled WHERE eta = ?1 AND pos = ?2 RETURNING line, deliveries, marks";
            if let Some(taken) = self.take_from(Spot::Scheduled, sql, params![eta, row.pos])? {
                return Ok(taken);
            }
        }
        if let Some(line) = self.book.line_number(row.tenant, &row.queue) {
            let sql =
                "DELETE FROM ready WHERE line = ?1 AND priority = ?2 AND pos = ?3 RETURNING line, deliveries, marks";
            if let Some(taken) = self.take_from(Spot::Ready, sql, params![line, row.priority, row.pos])? {
                return Ok(taken);
            }
        }
        self.take_blocked(row.seq)?.ok_or(rusqlite::Error::QueryReturnedNoRows)
    }

    /// Takes the message of a task, if that waits for another.
    pub(super) fn take_blocked(&mut self, seq: i64) -> rusqlite::Result<Option<Taken>> {
        let sql = "DELETE FROM blocked WHERE seq = ?1 RETURNING line, deliveries, marks";
        self.take_from(Spot::Blocked, sql, params![seq])
    }

    fn take_from(&mut self, spot: Spot, sql: &str, what: &[&dyn rusqlite::ToSql]) -> rusqlite::Result<Option<Taken>> {
        let read =
            |row: &rusqlite::Row<'_>| Ok(Taken { line: row.get(0)?, deliveries: row.get(1)?, marks: row.get(2)? });
        let taken = self.db.prepare_cached(sql)?.query_row(what, read).optional()?;
        if let Some(Taken { line, .. }) = taken
            && !self.book.note_count(line, spot, -1)
        {
            // The message is whole without it, and says where it goes: neither it nor who leads to it is to fail for that.
            tracing::error!(line, "a message was found in a queue that is not there; {CURE}");
        }
        Ok(taken)
    }

    /// Puts a message that was taken to the end of its line.
    pub(super) fn put_at_end(&mut self, seq: i64, taken: Taken, at: Timestamp) -> rusqlite::Result<()> {
        let pos = self.next_pos();
        let sql = "UPDATE task SET pos = ?2, eta = NULL WHERE seq = ?1 RETURNING priority";
        let priority = self.db.prepare_cached(sql)?.query_row([seq, pos], |row| row.get(0))?;
        let Taken { line, deliveries, marks } = taken;
        self.put_ready(Waiting { seq, line, priority, pos, since: at.as_micros(), deliveries, marks })
    }

    /// Gives a message that has left `ready` to a host; the token.
    pub(super) fn grant(&mut self, from: Waiting, worker: &Arc<str>, until: i64) -> rusqlite::Result<i64> {
        let token = self.book.token();
        let Waiting { seq, line, priority, pos, since, deliveries, marks } = from;
        self.run(
            "INSERT INTO leased (seq, token, until, worker, line, priority, pos, since, deliveries, marks)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![seq, token, until, &**worker, line, priority, pos, since, deliveries, marks],
        )?;
        self.book.count(line, Spot::Leased, 1)?;
        let held = Held { token, until, worker: worker.clone(), line, priority, pos, since, deliveries, marks };
        self.book.set_lease(seq, Some(held));
        Ok(token)
    }

    /// Ends a lease; the caller knows where its message goes.
    pub(super) fn take_lease(&mut self, seq: i64, held: &Held) -> rusqlite::Result<()> {
        self.run("DELETE FROM leased WHERE seq = ?1", [seq])?;
        self.book.count(held.line, Spot::Leased, -1)?;
        self.book.set_lease(seq, None);
        Ok(())
    }

    /// Ends a lease and puts its message back where it was.
    pub(super) fn give_back(&mut self, seq: i64, held: &Held, deliveries: u32) -> rusqlite::Result<()> {
        self.take_lease(seq, held)?;
        self.put_ready(Waiting { deliveries, ..held.waiting(seq) })
    }
}

impl Held {
    /// What ends with it.
    pub(super) fn taken(&self) -> Taken {
        Taken { line: self.line, deliveries: self.deliveries, marks: self.marks }
    }

    /// Its message, on its way back to its place.
    pub(super) fn waiting(&self, seq: i64) -> Waiting {
        let Self { line, priority, pos, since, deliveries, marks, .. } = *self;
        Waiting { seq, line, priority, pos, since, deliveries, marks }
    }
}

/// When a message must wait for its ETA. One that waits for another will be looked at again when that has ended.
fn eta(draft: Draft<'_>, now: Timestamp) -> Option<Timestamp> {
    if draft.awaits.is_some() { None } else { due_later(draft.message, now) }
}
