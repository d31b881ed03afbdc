//! How are the tables laid out, and how does a database get there?
//!
//! Invariants:
//! - `user_version` is the schema's version; each step of [`STEPS`] leads from one to the next, in a transaction.
//! - What grows with results (`message`, `result`, `log`) is appended and stays out of the rows that move.
//! - A message is in exactly one of `ready`, `scheduled`, `blocked`, `leased`. Their keys are the order they are read in,
//!   so a lease costs what it takes, however deep the queue is.
//! - `leased.until` is the end of a lease's first term: to renew it writes nothing, and after a restart there is none.
//!
//! Absent: what the rows mean to a client; see `store/record.rs`.

use std::path::Path;

use lovage_model::Timestamp;
use rusqlite::{Connection, OpenFlags};

use super::fault::Faults;
use crate::store::{Result, StoreError};

/// `LOVG`: tells our databases from others.
pub(super) const APPLICATION_ID: i32 = 0x4C4F_5647;

/// The schema this code reads and writes.
pub(super) const VERSION: u32 = STEPS.len() as u32;

/// Step n leads from version n to n + 1. A step that was released is never changed.
pub(super) const STEPS: &[&str] = &[
    "
CREATE TABLE store (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    opens INTEGER NOT NULL,      -- how often it was opened: the upper part of every fencing token
    opened INTEGER NOT NULL,     -- when last; all times are microseconds since 1970
    next_task INTEGER NOT NULL,
    next_pos INTEGER NOT NULL
) STRICT;
INSERT INTO store VALUES (1, 0, 0, 1, 1);

CREATE TABLE tenant (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;

-- One queue of one tenant, while there is a message in it.
CREATE TABLE line (
    id INTEGER PRIMARY KEY,
    tenant INTEGER NOT NULL,
    queue TEXT NOT NULL,
    ready INTEGER NOT NULL DEFAULT 0,
    scheduled INTEGER NOT NULL DEFAULT 0,
    leased INTEGER NOT NULL DEFAULT 0,
    UNIQUE (tenant, queue)
) STRICT;

CREATE TABLE task (
    seq INTEGER PRIMARY KEY,
    tenant INTEGER NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    pos INTEGER NOT NULL,        -- age in its line; with priority or eta the key of its place
    eta INTEGER,
    submitted INTEGER NOT NULL,
    state TEXT NOT NULL,         -- as the last settlement left it; a lease covers it
    ended INTEGER,               -- set exactly while state is terminal
    worker TEXT,
    deliveries INTEGER NOT NULL DEFAULT 0, -- once it has ended; before that its place counts
    UNIQUE (tenant, id)
) STRICT;
CREATE INDEX task_ended ON task (ended, seq) WHERE ended IS NOT NULL;
CREATE INDEX task_odd ON task (state, seq) WHERE state NOT IN ('PENDING', 'SUCCESS');

CREATE TABLE message (seq INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT;

CREATE TABLE ready (
    line INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    pos INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    since INTEGER NOT NULL,      -- when it became ready
    deliveries INTEGER NOT NULL,
    PRIMARY KEY (line, priority, pos)
) STRICT, WITHOUT ROWID;

CREATE TABLE scheduled (
    eta INTEGER NOT NULL,
    pos INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    line INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    deliveries INTEGER NOT NULL,
    PRIMARY KEY (eta, pos)
) STRICT, WITHOUT ROWID;
CREATE INDEX scheduled_line ON scheduled (line, pos);

CREATE TABLE leased (
    seq INTEGER PRIMARY KEY,
    token INTEGER NOT NULL,
    until INTEGER NOT NULL,
    worker TEXT NOT NULL,
    state TEXT,                  -- the task's own, with its meta
    meta TEXT,
    line INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    pos INTEGER NOT NULL,
    since INTEGER NOT NULL,
    deliveries INTEGER NOT NULL
) STRICT;

CREATE TABLE result (
    seq INTEGER PRIMARY KEY,
    result TEXT NOT NULL,
    traceback TEXT,
    fault TEXT,
    children TEXT,               -- JSON array of task ids
    usage TEXT
) STRICT;

CREATE TABLE log (
    seq INTEGER NOT NULL,
    delivery INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (seq, delivery)
) STRICT, WITHOUT ROWID;

CREATE TABLE module (
    tenant INTEGER NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    pushed INTEGER NOT NULL,
    active INTEGER NOT NULL,
    tasks TEXT NOT NULL,
    PRIMARY KEY (tenant, name, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX module_digest ON module (digest);
", "
-- What a place must know of its message when the task ends: 1 has stamps, 2 others wait for it, 4 does not show that it runs.
ALTER TABLE ready ADD COLUMN marks INTEGER NOT NULL DEFAULT 0;
ALTER TABLE scheduled ADD COLUMN marks INTEGER NOT NULL DEFAULT 0;
ALTER TABLE leased ADD COLUMN marks INTEGER NOT NULL DEFAULT 0;
ALTER TABLE line ADD COLUMN blocked INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task ADD COLUMN follows TEXT; -- JSON: what its end is for; null: for nobody

ALTER TABLE message RENAME TO message_1;
CREATE TABLE message (seq INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT; -- its first byte says how it is written
INSERT INTO message (seq, body) SELECT seq, CAST(body AS BLOB) FROM message_1;
DROP TABLE message_1;

-- A message that waits for something else to end.
CREATE TABLE blocked (
    seq INTEGER PRIMARY KEY,
    tenant INTEGER NOT NULL,
    awaits TEXT NOT NULL,
    of_join INTEGER NOT NULL,    -- whether that is a join, not a task
    line INTEGER NOT NULL,
    pos INTEGER NOT NULL,
    deliveries INTEGER NOT NULL,
    marks INTEGER NOT NULL
) STRICT;
CREATE INDEX blocked_awaits ON blocked (tenant, awaits, seq);

-- The header of a chord, until its followers have been dealt with.
CREATE TABLE joint (
    key INTEGER PRIMARY KEY,
    tenant INTEGER NOT NULL,
    id TEXT NOT NULL,
    size INTEGER NOT NULL,
    counted INTEGER NOT NULL DEFAULT 0, -- parts; as many as its size: it has a row in ended
    follows TEXT NOT NULL,
    UNIQUE (tenant, id)
) STRICT;

CREATE TABLE part (
    key INTEGER PRIMARY KEY,     -- the order in which they came
    joint INTEGER NOT NULL,
    member TEXT NOT NULL,        -- the task, or the inner join: it counts once
    place INTEGER NOT NULL,      -- in the list of values
    arrival TEXT NOT NULL,
    UNIQUE (joint, member)
) STRICT;

-- What has ended, and whose followers have not been dealt with.
CREATE TABLE ended (
    key INTEGER PRIMARY KEY,
    tenant INTEGER NOT NULL,
    id TEXT NOT NULL,
    arrival TEXT                 -- null: a join, whose parts say it
) STRICT;

-- How many tasks have come of one call, its first task not counted.
CREATE TABLE lineage (
    tenant INTEGER NOT NULL,
    root TEXT NOT NULL,
    published INTEGER NOT NULL,
    PRIMARY KEY (tenant, root)
) STRICT, WITHOUT ROWID;

-- The labels of the tasks that have not ended.
CREATE TABLE stamp (
    tenant INTEGER NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,         -- JSON, written one way
    seq INTEGER NOT NULL,
    PRIMARY KEY (tenant, name, value, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX stamp_task ON stamp (seq);

CREATE TABLE paused (
    tenant INTEGER NOT NULL,
    queue TEXT NOT NULL,
    PRIMARY KEY (tenant, queue)
) STRICT, WITHOUT ROWID;
-- What is sent again and again.
CREATE TABLE periodic (
    tenant INTEGER NOT NULL,
    name TEXT NOT NULL,
    entry TEXT NOT NULL,
    of_config INTEGER NOT NULL,
    since INTEGER NOT NULL,      -- when it became what it is
    slot INTEGER,                -- the last of its times that was dealt with
    sent INTEGER,                -- when that was
    count INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE saved_group (
    tenant INTEGER NOT NULL,
    id TEXT NOT NULL,
    saved INTEGER NOT NULL,
    body TEXT NOT NULL,          -- JSON: the result tuple
    UNIQUE (tenant, id)
) STRICT;
CREATE INDEX saved_group_age ON saved_group (saved);
", "
-- The tenants that were added, with what they may use: JSON.
CREATE TABLE registered (name TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
-- Every token there ever was, without what proves that somebody has it: JSON.
CREATE TABLE token (id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
", "
-- What the attempts of a tenant have used, by the day (since 1970, by UTC) on which they ended.
CREATE TABLE metered (
    tenant INTEGER NOT NULL,
    day INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    fuel INTEGER NOT NULL,
    cpu_micros INTEGER NOT NULL,
    kib_millis INTEGER NOT NULL, -- memory, as long as it was held
    PRIMARY KEY (tenant, day)
) STRICT, WITHOUT ROWID;
", "
-- What tasks and tenants keep beside results.
CREATE TABLE value (
    tenant INTEGER NOT NULL,
    bucket TEXT NOT NULL,
    key TEXT NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (tenant, bucket, key)
) STRICT;
-- How much that takes, keys and 64 for each value included.
CREATE TABLE value_room (tenant INTEGER PRIMARY KEY, bytes INTEGER NOT NULL) STRICT;
", "
-- A list reads tasks of its tenant alone.
CREATE INDEX task_tenant ON task (tenant, seq);
DROP INDEX task_odd;
CREATE INDEX task_odd ON task (tenant, state, seq) WHERE state NOT IN ('PENDING', 'SUCCESS');
", "
-- The name of its bucket counts for each value, too.
UPDATE value_room SET bytes = bytes + (SELECT sum(octet_length(bucket)) FROM value AS v WHERE v.tenant = value_room.tenant)
    WHERE tenant IN (SELECT tenant FROM value);
", "
-- How long all its parts are together; of those beyond what can be read again only the number is kept.
ALTER TABLE joint ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE joint SET bytes = (SELECT coalesce(sum(octet_length(arrival)), 0) FROM part WHERE joint = joint.key);
", "
-- Set once the task that was submitted is gone, with which its row goes else: when something was last counted.
ALTER TABLE lineage ADD COLUMN orphaned INTEGER;
UPDATE lineage SET orphaned = (SELECT opened FROM store)
    WHERE NOT EXISTS (SELECT 1 FROM task WHERE task.tenant = lineage.tenant AND task.id = lineage.root);
CREATE INDEX lineage_orphaned ON lineage (orphaned) WHERE orphaned IS NOT NULL;
", "
-- A list of what a tenant has scheduled reads as much as it shows.
ALTER TABLE scheduled ADD COLUMN tenant INTEGER NOT NULL DEFAULT 0;
UPDATE scheduled SET tenant = coalesce((SELECT tenant FROM line WHERE line.id = scheduled.line), 0);
CREATE INDEX scheduled_tenant ON scheduled (tenant, eta, pos);
", "
-- The active version of a module is found without its others.
CREATE INDEX module_active ON module (tenant, name) WHERE active;
", "
-- Saved groups take of the same room, as values do.
INSERT INTO value_room SELECT tenant, sum(octet_length(id) + octet_length(body) + 64) FROM saved_group WHERE true GROUP BY tenant
    ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
"];

/// A database up to this size is looked through when it is opened; a larger one by `store check`, so that a restart
/// after a kill takes no longer than it must.
const QUICK_CHECK_BYTES: i64 = 32 << 20;

/// Opens the database for writing, and makes or migrates its tables.
pub(super) fn open_for_writing(path: &Path, faults: &Faults, now: Timestamp) -> Result<Connection> {
    let open = || -> std::result::Result<Connection, OpenError> {
        let mut db = Connection::open(path)?;
        db.set_prepared_statement_cache_capacity(128);
        db.busy_timeout(std::time::Duration::from_secs(10))?;
        identify(&db, path)?;
        db.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;
             PRAGMA cache_size = -32768; PRAGMA journal_size_limit = 67108864;",
        )?;
        migrate(&mut db)?;
        quick_check(&db)?;
        recover(&mut db, now)?;
        Ok(db)
    };
    open().map_err(|error| error.into_store(faults))
}

/// Opens the database for reading only. It must have our schema.
pub(super) fn open_for_reading(path: &Path, faults: &Faults) -> Result<Connection> {
    let open = || -> std::result::Result<Connection, OpenError> {
        let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.set_prepared_statement_cache_capacity(64);
        db.busy_timeout(std::time::Duration::from_secs(10))?;
        db.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA cache_size = -4096;")?;
        match identify(&db, path)? {
            VERSION => Ok(db),
            older => Err(OpenError::Store(StoreError::Failed(format!(
                "{} has schema {older}, older than {VERSION}: start lovage on it once, that brings it up to date",
                path.display()
            )))),
        }
    };
    open().map_err(|error| error.into_store(faults))
}

enum OpenError {
    Sql(rusqlite::Error),
    Store(StoreError),
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl OpenError {
    fn into_store(self, faults: &Faults) -> StoreError {
        match self {
            Self::Sql(error) => faults.explain(&error),
            Self::Store(error) => error,
        }
    }
}

/// The version of a database that is ours, 0 if it is empty.
fn identify(db: &Connection, path: &Path) -> std::result::Result<u32, OpenError> {
    let version: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application: i32 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && application != APPLICATION_ID {
        let why = format!("{} is a database of another program; give lovage a directory of its own", path.display());
        return Err(OpenError::Store(StoreError::Corrupt(why)));
    }
    if version > VERSION {
        return Err(OpenError::Store(StoreError::Newer { found: version, known: VERSION }));
    }
    Ok(version)
}

fn migrate(db: &mut Connection) -> rusqlite::Result<()> {
    let from: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for (version, step) in (1..).zip(STEPS).skip(from as usize) {
        let step_of_its_own = db.transaction()?;
        step_of_its_own.execute_batch(step)?;
        step_of_its_own.pragma_update(None, "application_id", APPLICATION_ID)?;
        step_of_its_own.pragma_update(None, "user_version", version)?;
        step_of_its_own.commit()?;
    }
    Ok(())
}

fn quick_check(db: &Connection) -> std::result::Result<(), OpenError> {
    let pages: i64 = db.pragma_query_value(None, "page_count", |row| row.get(0))?;
    let page_size: i64 = db.pragma_query_value(None, "page_size", |row| row.get(0))?;
    if pages * page_size > QUICK_CHECK_BYTES {
        return Ok(());
    }
    let found: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" {
        return Ok(());
    }
    Err(OpenError::Store(StoreError::Corrupt(format!("{found}; {}", super::fault::CURE))))
}

/// Gives back what is leased. It reads the rows of that, however many tasks there are: SQLite goes through all of `task` for
/// `UPDATE task ... FROM leased`.
pub(super) const GIVE_BACK: &str = "
    INSERT INTO ready (line, priority, pos, seq, since, deliveries, marks)
        SELECT line, priority, pos, seq, since, deliveries, marks FROM leased;
    UPDATE task SET worker = (SELECT worker FROM leased WHERE leased.seq = task.seq)
        WHERE seq IN (SELECT seq FROM leased);
    UPDATE line SET ready = ready + leased, leased = 0 WHERE leased > 0;
    DELETE FROM leased";

/// Whoever had leases is gone: their messages go back to where they were.
fn recover(db: &mut Connection, now: Timestamp) -> rusqlite::Result<()> {
    let whole = db.transaction()?;
    whole.execute_batch(GIVE_BACK)?;
    whole.execute("UPDATE store SET opens = opens + 1, opened = ?1", [now.as_micros()])?;
    whole.commit()
}
