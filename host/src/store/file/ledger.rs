//! What does the writer see of the store, and how does a transaction begin and end?
//!
//! Invariant: tables and [`Book`] change together; [`Ledger::commit`] or [`Ledger::roll_back`] ends both.

use lovage_model::{QueueName, TaskId, TenantId, Then};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, params};

use super::book::{Book, read_name};

macro_rules! row_where {
    ($what:literal) => {
        concat!(
            "SELECT seq, tenant, id, queue, priority, pos, eta, state, ended IS NOT NULL, follows FROM task WHERE ",
            $what
        )
    };
}
/// The writer's view of the store.
pub(super) struct Ledger {
    pub(super) db: Connection,
    pub(super) book: Book,
    durable: bool,
}

/// What a commit was good for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rung {
    /// A message came to where a lease may find it.
    pub(super) ready: bool,
    /// Something ended whose followers are to be dealt with.
    pub(super) ended: bool,
    /// Periodic tasks are not those that they were.
    pub(super) periodic: bool,
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

    /// Ends it; who is to be told.
    pub(super) fn commit(&mut self) -> rusqlite::Result<Rung> {
        self.write_used()?;
        let touched = self.book.touched();
        for &id in &touched {
            let line = self.book.line(id);
            if line.is_empty() {
                self.run("DELETE FROM line WHERE id = ?1", [id])?;
            } else {
                let counts = params![id, line.ready, line.scheduled, line.blocked, line.leased];
                let sql = "UPDATE line SET ready = ?2, scheduled = ?3, blocked = ?4, leased = ?5 WHERE id = ?1";
                self.run(sql, counts)?;
            }
        }
        if let Some(next) = self.book.advanced() {
            self.run("UPDATE store SET next_task = ?1, next_pos = ?2", [next.task, next.pos])?;
        }
        self.run("COMMIT", [])?;
        self.book.committed(&touched);
        Ok(self.rung())
    }

    /// Who is to be told of what has happened since this was last asked.
    pub(super) fn rung(&mut self) -> Rung {
        Rung {
            ready: std::mem::take(&mut self.book.put),
            ended: std::mem::take(&mut self.book.ended),
            periodic: std::mem::take(&mut self.book.periodic),
        }
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

    pub(super) fn line(&mut self, tenant: i64, queue: &QueueName) -> rusqlite::Result<i64> {
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
        self.book.tenant(tenant).map_or(Ok(None), |tenant| self.find_of(tenant, id))
    }

    /// Finds a task of a tenant.
    pub(super) fn find_of(&self, tenant: i64, id: &TaskId) -> rusqlite::Result<Option<Row>> {
        let mut statement = self.db.prepare_cached(row_where!("tenant = ?1 AND id = ?2"))?;
        statement.query_row(params![tenant, id.as_str()], Row::read).optional()
    }

    /// Finds a task by its number.
    pub(super) fn get(&self, seq: i64) -> rusqlite::Result<Option<Row>> {
        self.db.prepare_cached(row_where!("seq = ?1"))?.query_row([seq], Row::read).optional()
    }

    /// Whether a query finds anything.
    pub(super) fn exists(&self, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<bool> {
        self.db.prepare_cached(sql)?.exists(params)
    }
}

/// A task's row, as far as the writer needs it.
pub(super) struct Row {
    pub(super) seq: i64,
    pub(super) tenant: i64,
    pub(super) id: TaskId,
    pub(super) queue: QueueName,
    pub(super) priority: u8,
    pub(super) pos: i64,
    pub(super) eta: Option<i64>,
    pub(super) state: String,
    pub(super) ended: bool,
    /// What its end is for.
    pub(super) follows: Option<Then>,
}

impl Row {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get(0)?,
            tenant: row.get(1)?,
            id: read_name(TaskId::try_from(row.get::<_, String>(2)?))?,
            queue: read_name(QueueName::try_from(row.get::<_, String>(3)?))?,
            priority: row.get(4)?,
            pos: row.get(5)?,
            eta: row.get(6)?,
            state: row.get(7)?,
            ended: row.get(8)?,
            follows: row.get::<_, Option<String>>(9)?.map(|text| read_json(&text)).transpose()?,
        })
    }
}

/// JSON that was written by us.
pub(super) fn read_json<T: serde::de::DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))
}

/// JSON for a row.
pub(super) fn write_json<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// A text that could not be made, though it was made of what was read: the job fails.
pub(super) fn unwritable(error: crate::store::StoreError) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}
