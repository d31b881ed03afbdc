//! What are the moves of a message between its places? Every operation of the writer is made of these.
//!
//! Invariant: tables and [`Book`] change together; [`Ledger::commit`] or [`Ledger::roll_back`] ends both.

use std::sync::Arc;

use lovage_model::{Message, QueueName, TaskId, TenantId, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::book::{Book, Held, Spot};
use crate::store::transition::due_later;

/// The writer's view of the store.
pub(super) struct Ledger {
    pub(super) db: Connection,
    pub(super) book: Book,
    durable: bool,
}

/// A message with its text, which was made before it came to the writer.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) message: Message,
    pub(super) body: String,
}

/// A message on its way to a place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub(super) seq: i64,
    pub(super) line: i64,
    pub(super) priority: u8,
    pub(super) pos: i64,
    pub(super) since: i64,
    pub(super) deliveries: u32,
}

/// A task's row, as far as its moves need it.
pub(super) struct Row {
    pub(super) seq: i64,
    pub(super) tenant: i64,
    pub(super) queue: QueueName,
    priority: u8,
    pos: i64,
    eta: Option<i64>,
    pub(super) state: String,
    pub(super) ended: bool,
}

impl Ledger {
    pub(super) fn new(db: Connection) -> rusqlite::Result<Self> {
        let book = Book::load(&db)?;
        Ok(Self { db, book, durable: true })
    }

    /// Begins a transaction, which will be fsynced if `durable`.
    pub(super) fn begin(&mut self, durable: bool) -> rusqlite::Result<()> {
        if durable != self.durable {
            self.db.execute_batch(if durable { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" })?;
            self.durable = durable;
        }
        self.run("BEGIN IMMEDIATE", [])
    }

    /// Ends it; whether a message came to where a lease may find it.
    pub(super) fn commit(&mut self) -> rusqlite::Result<bool> {
        for id in self.book.touched() {
            let line = self.book.line(id);
            if line.is_empty() {
                self.run("DELETE FROM line WHERE id = ?1", [id])?;
            } else {
                let counts = params![id, line.ready, line.scheduled, line.leased];
                self.run("UPDATE line SET ready = ?2, scheduled = ?3, leased = ?4 WHERE id = ?1", counts)?;
            }
        }
        if let Some(next) = self.book.advanced() {
            self.run("UPDATE store SET next_task = ?1, next_pos = ?2", [next.task, next.pos])?;
        }
        self.run("COMMIT", [])?;
        self.book.committed();
        Ok(std::mem::take(&mut self.book.put))
    }

    /// Undoes everything since `begin`.
    pub(super) fn roll_back(&mut self) {
        // SQLite has rolled back by itself after some errors, and says so here; there is nothing left to do then.
        if !self.db.is_autocommit() {
            let _ = self.db.execute_batch("ROLLBACK");
        }
        self.book.undo();
    }

    /// Writes everything into the main file. The database is closed when this is dropped.
    pub(super) fn close(&self) -> rusqlite::Result<()> {
        self.db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
    }

    pub(super) fn run(&self, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<()> {
        self.count(sql, params).map(drop)
    }

    /// Runs a statement; how many rows it changed.
    pub(super) fn count(&self, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<usize> {
        self.db.prepare_cached(sql)?.execute(params)
    }

    /// The number of a tenant, who need not have been here before.
    pub(super) fn tenant(&mut self, name: &TenantId) -> rusqlite::Result<i64> {
        if let Some(number) = self.book.tenant(name) {
            return Ok(number);
        }
        self.run("INSERT INTO tenant (name) VALUES (?1)", [name.as_str()])?;
        let number = self.db.last_insert_rowid();
        self.book.note_tenant(number, name.clone());
        Ok(number)
    }

    fn line(&mut self, tenant: i64, queue: &QueueName) -> rusqlite::Result<i64> {
        if let Some(number) = self.book.line_number(tenant, queue) {
            return Ok(number);
        }
        self.run("INSERT INTO line (tenant, queue) VALUES (?1, ?2)", params![tenant, queue.as_str()])?;
        let number = self.db.last_insert_rowid();
        self.book.note_line(number, tenant, queue.clone());
        Ok(number)
    }

    /// Finds a task.
    pub(super) fn find(&self, tenant: &TenantId, id: &TaskId) -> rusqlite::Result<Option<Row>> {
        let Some(tenant) = self.book.tenant(tenant) else { return Ok(None) };
        let sql =
            "SELECT seq, queue, priority, pos, eta, state, ended IS NOT NULL FROM task WHERE tenant = ?1 AND id = ?2";
        let mut statement = self.db.prepare_cached(sql)?;
        statement
            .query_row(params![tenant, id.as_str()], |row| {
                Ok(Row {
                    seq: row.get(0)?,
                    tenant,
                    queue: super::book::read_name(QueueName::try_from(row.get::<_, String>(1)?))?,
                    priority: row.get(2)?,
                    pos: row.get(3)?,
                    eta: row.get(4)?,
                    state: row.get(5)?,
                    ended: row.get(6)?,
                })
            })
            .optional()
    }

    /// Stores a new task; false if there is one of that id.
    pub(super) fn insert(&mut self, tenant: i64, draft: &Draft, now: Timestamp) -> rusqlite::Result<bool> {
        let (seq, pos, message) = (self.book.next.task, self.book.next.pos, &draft.message);
        let new = self.count(
            "INSERT INTO task (seq, tenant, id, name, queue, priority, pos, eta, submitted, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'PENDING') ON CONFLICT (tenant, id) DO NOTHING",
            params![
                seq,
                tenant,
                message.id.as_str(),
                message.task.as_str(),
                message.queue.as_str(),
                message.priority,
                pos,
                due_later(message, now).map(Timestamp::as_micros),
                now.as_micros()
            ],
        )?;
        if new == 0 {
            return Ok(false);
        }
        self.book.next.task += 1;
        self.run("INSERT INTO message (seq, body) VALUES (?1, ?2)", params![seq, draft.body])?;
        self.put_last(seq, tenant, draft, 0, now)?;
        Ok(true)
    }

    /// Puts another message into the place of a task's old one, which has been taken.
    pub(super) fn swap(
        &mut self,
        seq: i64,
        tenant: i64,
        draft: &Draft,
        deliveries: u32,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        let message = &draft.message;
        self.run(
            "UPDATE task SET name = ?2, queue = ?3, priority = ?4, pos = ?5, eta = ?6 WHERE seq = ?1",
            params![
                seq,
                message.task.as_str(),
                message.queue.as_str(),
                message.priority,
                self.book.next.pos,
                due_later(message, now).map(Timestamp::as_micros)
            ],
        )?;
        self.run("UPDATE message SET body = ?2 WHERE seq = ?1", params![seq, draft.body])?;
        self.put_last(seq, tenant, draft, deliveries, now)
    }

    /// Puts a message to the end of its line, or among the scheduled; its task's row says so already.
    fn put_last(
        &mut self,
        seq: i64,
        tenant: i64,
        draft: &Draft,
        deliveries: u32,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        let message = &draft.message;
        let line = self.line(tenant, &message.queue)?;
        let eta = due_later(message, now);
        let since = eta.unwrap_or(now).as_micros();
        let waiting = Waiting { seq, line, priority: message.priority, pos: self.next_pos(), since, deliveries };
        if eta.is_some() { self.put_scheduled(waiting) } else { self.put_ready(waiting) }
    }

    /// A place at the end.
    pub(super) fn next_pos(&mut self) -> i64 {
        let pos = self.book.next.pos;
        self.book.next.pos += 1;
        pos
    }

    pub(super) fn put_ready(&mut self, to: Waiting) -> rusqlite::Result<()> {
        self.run(
            "INSERT INTO ready (line, priority, pos, seq, since, deliveries) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![to.line, to.priority, to.pos, to.seq, to.since, to.deliveries],
        )?;
        self.book.count(to.line, Spot::Ready, 1);
        Ok(())
    }

    fn put_scheduled(&mut self, to: Waiting) -> rusqlite::Result<()> {
        self.run(
            "INSERT INTO scheduled (eta, pos, seq, line, priority, deliveries) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![to.since, to.pos, to.seq, to.line, to.priority, to.deliveries],
        )?;
        self.book.count(to.line, Spot::Scheduled, 1);
        Ok(())
    }

    /// Takes the message of a task that waits; how often it was delivered.
    pub(super) fn take_waiting(&mut self, row: &Row) -> rusqlite::Result<u32> {
        let line = self.book.line_number(row.tenant, &row.queue).ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        let (spot, deliveries) = match row.eta {
            Some(eta) => match self.delete_scheduled(eta, row.pos)? {
                Some(deliveries) => (Spot::Scheduled, deliveries),
                None => (Spot::Ready, self.delete_ready(line, row)?),
            },
            None => (Spot::Ready, self.delete_ready(line, row)?),
        };
        self.book.count(line, spot, -1);
        Ok(deliveries)
    }

    fn delete_scheduled(&self, eta: i64, pos: i64) -> rusqlite::Result<Option<u32>> {
        let sql = "DELETE FROM scheduled WHERE eta = ?1 AND pos = ?2 RETURNING deliveries";
        self.db.prepare_cached(sql)?.query_row([eta, pos], |row| row.get(0)).optional()
    }

    fn delete_ready(&self, line: i64, row: &Row) -> rusqlite::Result<u32> {
        let sql = "DELETE FROM ready WHERE line = ?1 AND priority = ?2 AND pos = ?3 RETURNING deliveries";
        self.db.prepare_cached(sql)?.query_row(params![line, row.priority, row.pos], |row| row.get(0))
    }

    /// Gives a message that has left `ready` to a host; the token.
    pub(super) fn grant(&mut self, from: Waiting, worker: &Arc<str>, until: i64) -> rusqlite::Result<i64> {
        let token = self.book.token();
        let Waiting { seq, line, priority, pos, since, deliveries } = from;
        self.run(
            "INSERT INTO leased (seq, token, until, worker, line, priority, pos, since, deliveries)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![seq, token, until, &**worker, line, priority, pos, since, deliveries],
        )?;
        self.book.count(line, Spot::Leased, 1);
        let held = Held { token, until, worker: worker.clone(), line, priority, pos, since, deliveries };
        self.book.set_lease(seq, Some(held));
        Ok(token)
    }

    /// Ends a lease; the caller knows where its message goes.
    pub(super) fn take_lease(&mut self, seq: i64, held: &Held) -> rusqlite::Result<()> {
        self.run("DELETE FROM leased WHERE seq = ?1", [seq])?;
        self.book.count(held.line, Spot::Leased, -1);
        self.book.set_lease(seq, None);
        Ok(())
    }

    /// Ends a lease and puts its message back where it was.
    pub(super) fn give_back(&mut self, seq: i64, held: &Held, deliveries: u32) -> rusqlite::Result<()> {
        self.take_lease(seq, held)?;
        let Held { line, priority, pos, since, .. } = *held;
        self.put_ready(Waiting { seq, line, priority, pos, since, deliveries })
    }
}
