//! Is a store sound? It is read, never changed, and may be in use meanwhile.

use std::fs;
use std::path::Path;

use lovage_model::Digest;
use rusqlite::Connection;
use sha2::{Digest as _, Sha256};

use super::codec::decode;
use super::components::{Components, digests};
use super::fault::Faults;
use super::groups;
use super::ledger::read_json;
use super::record::JOINS;
use super::schema::open_for_reading;
use crate::store::{Result, StoreError, VALUE_OVERHEAD_BYTES};

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct CheckReport {
    /// Tasks in the store.
    pub tasks: u64,
    /// Those of them that have not ended.
    pub unfinished: u64,
    /// Components of modules.
    pub components: u64,
    /// What is wrong, each in a sentence; empty when the store is sound. A broad fault is named by its first few cases.
    pub problems: Vec<String>,
}

/// Cases that are named of one kind of fault.
const NAMED: usize = 5;

/// Inconsistencies, each as a query for the tasks that show it.
const FAULTS: &[(&str, &str)] = &[
    (
        "has ended in a state that is not an end, or the other way round",
        "
        SELECT id FROM task WHERE (ended IS NULL) = (state IN ('SUCCESS', 'FAILURE', 'REVOKED', 'IGNORED'))",
    ),
    (
        "is in ready without being the task of that place",
        "
        SELECT r.seq FROM ready AS r LEFT JOIN line AS q ON q.id = r.line LEFT JOIN task AS t ON t.seq = r.seq
        WHERE (t.pos = r.pos AND t.priority = r.priority AND t.tenant = q.tenant AND t.queue = q.queue) IS NOT TRUE",
    ),
    (
        "is in scheduled without being the task of that place",
        "
        SELECT s.seq FROM scheduled AS s LEFT JOIN line AS q ON q.id = s.line LEFT JOIN task AS t ON t.seq = s.seq
        WHERE (t.pos = s.pos AND t.eta = s.eta AND t.tenant = s.tenant AND t.tenant = q.tenant AND t.queue = q.queue) IS NOT TRUE",
    ),
    (
        "is leased without being the task of that place",
        "
        SELECT l.seq FROM leased AS l LEFT JOIN line AS q ON q.id = l.line LEFT JOIN task AS t ON t.seq = l.seq
        WHERE (t.pos = l.pos AND t.tenant = q.tenant AND t.queue = q.queue) IS NOT TRUE",
    ),
    (
        "is blocked without being the task of that place",
        "
        SELECT b.seq FROM blocked AS b LEFT JOIN line AS q ON q.id = b.line LEFT JOIN task AS t ON t.seq = b.seq
        WHERE (t.pos = b.pos AND t.tenant = b.tenant AND t.tenant = q.tenant AND t.queue = q.queue) IS NOT TRUE",
    ),
    (
        "waits for what is not there, or has ended",
        "
        SELECT t.id FROM blocked AS b JOIN task AS t ON t.seq = b.seq
        WHERE NOT EXISTS (SELECT 1 FROM joint AS j WHERE j.tenant = b.tenant AND j.id = b.awaits)
          AND NOT EXISTS (SELECT 1 FROM task AS a WHERE a.tenant = b.tenant AND a.id = b.awaits AND a.ended IS NULL)
          AND NOT EXISTS (SELECT 1 FROM ended AS e WHERE e.tenant = b.tenant AND e.id = b.awaits)",
    ),
    (
        "has a stamp, and has ended or is not there",
        "SELECT seq FROM stamp WHERE seq NOT IN (SELECT seq FROM task WHERE ended IS NULL)",
    ),
    ("has no message", "SELECT id FROM task WHERE seq NOT IN (SELECT seq FROM message)"),
    (
        "has a message, a result or a log, and is not there",
        "
        SELECT seq FROM message WHERE seq NOT IN (SELECT seq FROM task)
        UNION SELECT seq FROM result WHERE seq NOT IN (SELECT seq FROM task)
        UNION SELECT seq FROM log WHERE seq NOT IN (SELECT seq FROM task)",
    ),
    ("has a tenant that is not there", "SELECT id FROM task WHERE tenant NOT IN (SELECT id FROM tenant)"),
];

/// What is wrong with joins, each as a query for them.
const BROKEN_JOINS: &[(&str, &str)] = &[
    (
        "counts its parts wrongly",
        "SELECT id FROM joint AS j WHERE counted <> (SELECT count(*) FROM part WHERE joint = j.key)",
    ),
    (
        "has all its parts and has not ended, or the other way round",
        "
        SELECT id FROM joint AS j WHERE (counted >= size) <>
        EXISTS (SELECT 1 FROM ended AS e WHERE e.arrival IS NULL AND e.tenant = j.tenant AND e.id = j.id)",
    ),
    (
        "has ended or has parts, and is not there",
        "
        SELECT id FROM ended AS e WHERE arrival IS NULL
        AND NOT EXISTS (SELECT 1 FROM joint AS j WHERE j.tenant = e.tenant AND j.id = e.id)
        UNION ALL SELECT joint FROM part WHERE joint NOT IN (SELECT key FROM joint)",
    ),
];

/// Lines whose counts are not those of their messages.
const COUNTS: &str = "
    SELECT q.queue FROM line AS q
    LEFT JOIN (SELECT line, count(*) AS leased FROM leased GROUP BY line) AS n ON n.line = q.id
    LEFT JOIN (SELECT line, count(*) AS blocked FROM blocked GROUP BY line) AS w ON w.line = q.id
    WHERE q.ready <> (SELECT count(*) FROM ready WHERE line = q.id)
       OR q.scheduled <> (SELECT count(*) FROM scheduled WHERE line = q.id)
       OR q.blocked <> coalesce(w.blocked, 0)
       OR q.leased <> coalesce(n.leased, 0)";

/// Modules without exactly one active version.
const ACTIVE: &str = "SELECT name FROM module GROUP BY tenant, name HAVING sum(active) <> 1";

/// Tenants whose values and saved groups take something else than is counted.
fn room() -> String {
    format!(
        "SELECT t.name FROM tenant AS t
         LEFT JOIN value_room AS r ON r.tenant = t.id
         LEFT JOIN (SELECT tenant, sum(octet_length(bucket) + octet_length(key) + length(body) + {VALUE_OVERHEAD_BYTES}) AS bytes
                    FROM value GROUP BY tenant) AS v
             ON v.tenant = t.id
         LEFT JOIN (SELECT tenant, sum({}) AS bytes FROM saved_group GROUP BY tenant) AS g
             ON g.tenant = t.id
         WHERE coalesce(r.bytes, 0) <> coalesce(v.bytes, 0) + coalesce(g.bytes, 0)",
        groups::size()
    )
}

/// Looks through a whole store. Fails only if it cannot be read at all.
pub fn check(dir: &Path) -> Result<CheckReport> {
    let path = super::database_of(dir)?;
    let faults = Faults::of_check(&path);
    let db = open_for_reading(&path, &faults)?;
    // One transaction, so that a daemon that works meanwhile does not look like a fault.
    let look = || -> rusqlite::Result<(CheckReport, Vec<Digest>)> {
        let still = db.unchecked_transaction()?;
        let found = (look_through(&still)?, digests(&still)?);
        still.finish()?;
        Ok(found)
    };
    let (mut report, components) = match look().map_err(|error| faults.explain(&error)) {
        Err(StoreError::Corrupt(why)) => return Ok(CheckReport { problems: vec![why], ..CheckReport::default() }),
        found => found?,
    };
    report.components = components.len() as u64;
    let files = Components::of(dir);
    report.problems.extend(components.iter().filter_map(|digest| problem_of(&files, digest)));
    Ok(report)
}

impl CheckReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    fn note(&mut self, what: &str, cases: &[String]) {
        if !cases.is_empty() {
            let named = cases.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
            let more = if cases.len() > NAMED { format!(" and {} more", cases.len() - NAMED) } else { String::new() };
            self.problems.push(format!("{what}: {named}{more}"));
        }
    }
}

fn look_through(db: &Connection) -> rusqlite::Result<CheckReport> {
    let mut report = CheckReport::default();
    let broken = texts(db, "PRAGMA integrity_check(20)")?;
    if broken != ["ok"] {
        // The rest would only repeat it.
        report.problems = broken;
        return Ok(report);
    }
    let count = |sql| db.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs);
    report.tasks = count("SELECT count(*) FROM task")?;
    report.unfinished = count("SELECT count(*) FROM task WHERE ended IS NULL")?;
    for (what, sql) in FAULTS {
        report.note(&format!("a task {what}"), &texts(db, sql)?);
    }
    for (what, sql) in BROKEN_JOINS {
        report.note(&format!("a group {what}"), &texts(db, sql)?);
    }
    let places = format!(
        "SELECT t.id FROM task AS t {JOINS}
         WHERE (r.seq IS NOT NULL) + (s.seq IS NOT NULL) + (b.seq IS NOT NULL) + (l.seq IS NOT NULL) <> (t.ended IS NULL)"
    );
    report.note("a task that waits or runs must have one place, one that has ended none", &texts(db, &places)?);
    report.note("a queue is counted wrongly", &texts(db, COUNTS)?);
    report.note("a module must have one active version", &texts(db, ACTIVE)?);
    report.note("the values of a tenant are counted wrongly", &texts(db, &room())?);
    let (unreadable, different) = messages(db)?;
    report.note("a message cannot be read", &unreadable);
    report.note("a task's end is for something else than its message says", &different);
    Ok(report)
}

fn texts(db: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = db.prepare(sql)?;
    statement
        .query_map([], |row| {
            Ok(match row.get_ref(0)? {
                rusqlite::types::ValueRef::Integer(number) => format!("number {number}"),
                other => other.as_str()?.to_owned(),
            })
        })?
        .collect()
}

/// The tasks whose messages cannot be read, and those whose rows say of them what is not so.
fn messages(db: &Connection) -> rusqlite::Result<(Vec<String>, Vec<String>)> {
    let mut statement =
        db.prepare("SELECT t.id, t.follows, m.body FROM task AS t JOIN message AS m ON m.seq = t.seq")?;
    let mut rows = statement.query([])?;
    let (mut unreadable, mut different) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()? {
        let follows: Option<String> = row.get(1)?;
        match row.get_ref(2)?.as_blob().ok().and_then(|body| decode(body).ok()) {
            None => unreadable.push(row.get(0)?),
            Some(message) if follows.and_then(|text| read_json(&text).ok()) != message.then => {
                different.push(row.get(0)?)
            }
            Some(_) => {}
        }
    }
    Ok((unreadable, different))
}

fn problem_of(files: &Components, digest: &Digest) -> Option<String> {
    let path = files.path(digest);
    match fs::read(&path) {
        Err(error) => Some(format!("component {}: {error}: push its module again", path.display())),
        Ok(bytes) if Digest::from_bytes(&Sha256::digest(&bytes).into()) == *digest => None,
        Ok(_) => Some(format!("component {} is not what was pushed: push its module again", path.display())),
    }
}
