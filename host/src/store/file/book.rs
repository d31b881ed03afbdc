//! What does the writer know without asking the database?
//!
//! Names and their numbers, how much waits where, and who holds what. All of it is in the database too, and is read
//! from there when the store is opened.
//!
//! Invariants:
//! - Every change is noted, so that [`Book::undo`] leads back to the last commit when a batch fails.
//! - Each line is of a tenant that is there. A database where that is not so is refused.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use lovage_model::{QueueName, TenantId};
use rusqlite::{Connection, types::Type};

use super::draft::Marks;
use super::fault::inconsistent;
use super::heads::Heads;
use crate::store::admission::Backlog;
use crate::store::metering::Used;

/// Whether a message is scheduled in a line that is not there. It looks at one of each line.
const LOST: &str = "
    WITH RECURSIVE used (line) AS (
        SELECT min(line) FROM scheduled
        UNION ALL SELECT (SELECT min(line) FROM scheduled WHERE line > used.line) FROM used WHERE used.line IS NOT NULL)
    SELECT EXISTS (SELECT 1 FROM used WHERE line IS NOT NULL AND line NOT IN (SELECT id FROM line))";

const NO_LINE: &str = "a message waits in a queue that is not there";

/// The places of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spot {
    Ready,
    Scheduled,
    Blocked,
    Leased,
}

/// One queue of one tenant.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) tenant: i64,
    pub(super) queue: QueueName,
    pub(super) ready: i64,
    pub(super) scheduled: i64,
    pub(super) blocked: i64,
    pub(super) leased: i64,
    /// Whether nothing is leased from it, by an order.
    pub(super) paused: bool,
}

/// A lease, with all that is needed to end it.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) token: i64,
    pub(super) until: i64,
    pub(super) worker: Arc<str>,
    pub(super) line: i64,
    pub(super) priority: u8,
    pub(super) pos: i64,
    pub(super) since: i64,
    pub(super) deliveries: u32,
    pub(super) marks: Marks,
}

/// Numbers to be given out next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) task: i64,
    pub(super) pos: i64,
}

enum Change {
    Tenant(TenantId),
    Line(i64),
    Count(i64, Spot, i64),
    Lease(i64, Option<Held>),
    /// A queue was paused, or goes on.
    Pause(i64, QueueName, bool),
}

/// See the file's head.
pub(super) struct Book {
    tenants: HashMap<TenantId, i64>,
    tenant_names: HashMap<i64, TenantId>,
    lines: BTreeMap<i64, Line>,
    pub(super) heads: Heads,
    line_numbers: HashMap<(i64, QueueName), i64>,
    paused: HashSet<(i64, QueueName)>,
    /// Of each tenant: messages that are not leased, and those of them that are scheduled.
    waiting: HashMap<i64, (i64, i64)>,
    leases: HashMap<i64, Held>,
    lapses: BTreeSet<(i64, i64)>,
    /// What attempts that have ended since the last commit have used, by tenant and day.
    pub(super) used: BTreeMap<(i64, i64), Used>,
    pub(super) next: Counters,
    saved: Counters,
    next_token: i64,
    /// Whether a message was put where a lease may find it, since somebody last asked.
    pub(super) put: bool,
    /// Whether something ended whose followers are to be dealt with, since somebody last asked.
    pub(super) ended: bool,
    /// Whether periodic tasks are not those that they were when somebody last asked.
    pub(super) periodic: bool,
    journal: Vec<Change>,
}

impl Book {
    /// Reads it from a database without leases.
    pub(super) fn load(db: &Connection) -> rusqlite::Result<Self> {
        let (opens, task, pos) = db.query_row("SELECT opens, next_task, next_pos FROM store", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?))
        })?;
        let next = Counters { task, pos };
        let mut book = Self {
            tenants: HashMap::new(),
            tenant_names: HashMap::new(),
            lines: BTreeMap::new(),
            heads: Heads::default(),
            line_numbers: HashMap::new(),
            paused: HashSet::new(),
            waiting: HashMap::new(),
            leases: HashMap::new(),
            lapses: BTreeSet::new(),
            used: BTreeMap::new(),
            next,
            saved: next,
            // Each opening has a range of tokens of its own, so none is given twice.
            next_token: opens << 40,
            put: true,
            ended: db.query_row("SELECT EXISTS (SELECT 1 FROM ended)", [], |row| row.get(0))?,
            periodic: false,
            journal: Vec::new(),
        };
        book.load_names(db)?;
        Ok(book)
    }

    fn load_names(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let mut tenants = db.prepare("SELECT id, name FROM tenant")?;
        let mut rows = tenants.query([])?;
        while let Some(row) = rows.next()? {
            self.note_tenant(row.get(0)?, read_name(TenantId::try_from(row.get::<_, String>(1)?))?);
        }
        let mut paused = db.prepare("SELECT tenant, queue FROM paused")?;
        let mut rows = paused.query([])?;
        while let Some(row) = rows.next()? {
            self.paused.insert((row.get(0)?, read_name(QueueName::try_from(row.get::<_, String>(1)?))?));
        }
        let mut lines = db.prepare("SELECT id, tenant, queue, ready, scheduled, blocked, leased FROM line")?;
        let mut rows = lines.query([])?;
        while let Some(row) = rows.next()? {
            let (id, tenant): (i64, i64) = (row.get(0)?, row.get(1)?);
            if !self.tenant_names.contains_key(&tenant) {
                return Err(inconsistent("a queue is of a tenant that is not there"));
            }
            self.note_line(id, tenant, read_name(QueueName::try_from(row.get::<_, String>(2)?))?);
            for (spot, column) in [(Spot::Ready, 3), (Spot::Scheduled, 4), (Spot::Blocked, 5), (Spot::Leased, 6)] {
                self.count(id, spot, row.get(column)?)?;
            }
        }
        if db.query_row(LOST, [], |row| row.get(0))? {
            return Err(inconsistent(NO_LINE));
        }
        self.journal.clear();
        Ok(())
    }

    pub(super) fn tenant(&self, name: &TenantId) -> Option<i64> {
        self.tenants.get(name).copied()
    }

    pub(super) fn tenant_name(&self, number: i64) -> TenantId {
        self.tenant_names[&number].clone()
    }

    pub(super) fn note_tenant(&mut self, number: i64, name: TenantId) {
        self.tenant_names.insert(number, name.clone());
        self.tenants.insert(name.clone(), number);
        self.journal.push(Change::Tenant(name));
    }

    pub(super) fn line(&self, id: i64) -> &Line {
        &self.lines[&id]
    }

    pub(super) fn line_number(&self, tenant: i64, queue: &QueueName) -> Option<i64> {
        self.line_numbers.get(&(tenant, queue.clone())).copied()
    }

    pub(super) fn note_line(&mut self, id: i64, tenant: i64, queue: QueueName) {
        self.line_numbers.insert((tenant, queue.clone()), id);
        let paused = self.is_paused(tenant, &queue);
        self.lines.insert(id, Line { tenant, queue, ready: 0, scheduled: 0, blocked: 0, leased: 0, paused });
        self.journal.push(Change::Line(id));
    }

    pub(super) fn is_paused(&self, tenant: i64, queue: &QueueName) -> bool {
        !self.paused.is_empty() && self.paused.contains(&(tenant, queue.clone()))
    }

    /// Notes that a queue was paused, or goes on: then what is in it may be leased again.
    pub(super) fn pause(&mut self, tenant: i64, queue: &QueueName, paused: bool) {
        self.set_paused(tenant, queue, paused);
        self.put |= !paused;
        self.journal.push(Change::Pause(tenant, queue.clone(), paused));
    }

    fn set_paused(&mut self, tenant: i64, queue: &QueueName, paused: bool) {
        let key = (tenant, queue.clone());
        if let Some(&id) = self.line_numbers.get(&key)
            && let Some(line) = self.lines.get_mut(&id)
        {
            line.paused = paused;
            self.heads.touch(id);
        }
        if paused {
            self.paused.insert(key);
        } else {
            self.paused.remove(&key);
        }
    }

    /// How many messages of a tenant wait.
    pub(super) fn backlog(&self, tenant: i64) -> Backlog {
        let (tasks, scheduled) = self.waiting.get(&tenant).copied().unwrap_or_default();
        Backlog { tasks: tasks.unsigned_abs(), scheduled: scheduled.unsigned_abs() }
    }

    /// Notes that messages came to a place of a line, or left it. Fails if the row of one names a line that is not there.
    pub(super) fn count(&mut self, line: i64, spot: Spot, delta: i64) -> rusqlite::Result<()> {
        if self.note_count(line, spot, delta) { Ok(()) } else { Err(inconsistent(NO_LINE)) }
    }

    /// The same, and whether there is that line.
    pub(super) fn note_count(&mut self, line: i64, spot: Spot, delta: i64) -> bool {
        if !self.add(line, spot, delta) {
            return false;
        }
        self.put |= delta > 0 && matches!(spot, Spot::Ready | Spot::Scheduled);
        self.journal.push(Change::Count(line, spot, delta));
        true
    }

    /// Whether there is that line.
    fn add(&mut self, id: i64, spot: Spot, delta: i64) -> bool {
        let Some(line) = self.lines.get_mut(&id) else { return false };
        if spot == Spot::Ready && delta != 0 {
            self.heads.touch(id);
        }
        match spot {
            Spot::Ready => line.ready += delta,
            Spot::Scheduled => line.scheduled += delta,
            Spot::Blocked => line.blocked += delta,
            Spot::Leased => line.leased += delta,
        }
        if spot != Spot::Leased {
            let (tasks, scheduled) = self.waiting.entry(line.tenant).or_default();
            *tasks += delta;
            *scheduled += if spot == Spot::Scheduled { delta } else { 0 };
        }
        true
    }

    pub(super) fn token(&mut self) -> i64 {
        self.next_token += 1;
        self.next_token
    }

    pub(super) fn held(&self, task: i64) -> Option<&Held> {
        self.leases.get(&task)
    }

    /// Leases that have lapsed.
    pub(super) fn lapsed(&self, now: i64) -> Vec<i64> {
        self.lapses.range(..=(now, i64::MAX)).map(|&(_, task)| task).collect()
    }

    /// When the next lease lapses.
    pub(super) fn next_lapse(&self) -> Option<i64> {
        self.lapses.first().map(|&(until, _)| until)
    }

    /// Notes that a lease was given, changed or ended.
    pub(super) fn set_lease(&mut self, task: i64, held: Option<Held>) {
        let before = self.swap_lease(task, held);
        self.journal.push(Change::Lease(task, before));
    }

    fn swap_lease(&mut self, task: i64, held: Option<Held>) -> Option<Held> {
        let after = held.as_ref().map(|held| (held.until, task));
        let before = match held {
            Some(held) => self.leases.insert(task, held),
            None => self.leases.remove(&task),
        };
        if let Some(before) = &before {
            self.lapses.remove(&(before.until, task));
        }
        self.lapses.extend(after);
        before
    }

    /// The lines whose counts have changed since the last commit.
    pub(super) fn touched(&self) -> BTreeSet<i64> {
        let counted = |change: &Change| match change {
            Change::Count(line, ..) | Change::Line(line) => Some(*line),
            Change::Tenant(_) | Change::Lease(..) | Change::Pause(..) => None,
        };
        self.journal.iter().filter_map(counted).collect()
    }

    /// The counters, if they have changed since the last commit.
    pub(super) fn advanced(&self) -> Option<Counters> {
        (self.next != self.saved).then_some(self.next)
    }

    /// Takes note that all changes have been committed, those of these lines among them. Empty lines are gone.
    pub(super) fn committed(&mut self, touched: &BTreeSet<i64>) {
        for &id in touched {
            if self.lines.get(&id).is_some_and(Line::is_empty) {
                self.forget_line(id);
            }
        }
        self.saved = self.next;
        self.used.clear();
        self.journal.clear();
    }

    /// Goes back to what it was at the last commit. (Numbers that were given out stay unused.)
    pub(super) fn undo(&mut self) {
        self.used.clear();
        while let Some(change) = self.journal.pop() {
            match change {
                Change::Tenant(name) => {
                    let number = self.tenants.remove(&name);
                    number.map(|number| self.tenant_names.remove(&number));
                }
                Change::Line(id) => self.forget_line(id),
                Change::Count(line, spot, delta) => _ = self.add(line, spot, -delta),
                Change::Lease(task, before) => _ = self.swap_lease(task, before),
                Change::Pause(tenant, queue, paused) => self.set_paused(tenant, &queue, !paused),
            }
        }
    }

    fn forget_line(&mut self, id: i64) {
        self.heads.forget(id);
        if let Some(line) = self.lines.remove(&id) {
            self.line_numbers.remove(&(line.tenant, line.queue));
        }
    }
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.ready == 0 && self.scheduled == 0 && self.blocked == 0 && self.leased == 0
    }
}

/// A name that was checked when it was stored.
pub(super) fn read_name<T>(name: Result<T, lovage_model::NameError>) -> rusqlite::Result<T> {
    name.map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))
}
