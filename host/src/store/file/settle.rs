//! How does a task's attempt end, or the task itself?

use lovage_model::{Json, Message, ResultTuple, Settlement, State, Timestamp};
use rusqlite::{OptionalExtension, params};

use super::book::Held;
use super::ledger::{Draft, Ledger, Row, Waiting};
use crate::store::transition::{Next, Transition};
use crate::store::{Fenced, LeaseKey, Result, StoreError};

/// A settlement, with all its texts made before it comes to the writer.
pub(super) struct Ending {
    outcome: Transition,
    swap: Option<Draft>,
    at: Timestamp,
    worker: String,
    usage: String,
    log: Option<String>,
    publish: Vec<Draft>,
    children: Vec<ResultTuple>,
}

impl Draft {
    /// Fails only for a message that JSON cannot hold.
    pub(super) fn of(message: Message) -> Result<Self> {
        let body = text(&message)?;
        Ok(Self { message, body })
    }
}

fn text<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| StoreError::Failed(format!("cannot be written as JSON: {error}")))
}

impl Ending {
    pub(super) fn of(settlement: Settlement) -> Result<Self> {
        let Settlement { verdict, at, worker, ignore_result, ignore_errors, publish, children, usage, log, .. } =
            settlement;
        let outcome = Transition::of(verdict, ignore_result, ignore_errors);
        let swap = match &outcome.next {
            Next::Swap(next) => Some(Draft::of(next.message.clone())?),
            Next::End | Next::Requeue => None,
        };
        Ok(Self {
            swap,
            outcome,
            at,
            worker,
            usage: text(&usage)?,
            log: if log.is_empty() { None } else { Some(text(&log)?) },
            children,
            publish: publish.tasks.into_iter().map(|one| Draft::of(one.message)).collect::<Result<_>>()?,
        })
    }

    /// How many messages it writes.
    pub(super) fn weight(&self) -> usize {
        1 + self.publish.len()
    }
}

impl Ledger {
    /// The lease of a key, while the key is the current one.
    pub(super) fn current(&self, key: LeaseKey) -> Option<Held> {
        self.book.held(key.task).filter(|held| held.token.unsigned_abs() == key.token).cloned()
    }

    pub(super) fn settle(&mut self, key: LeaseKey, ending: &Ending) -> rusqlite::Result<Fenced> {
        let Some(held) = self.current(key) else { return Ok(Fenced::Refused) };
        let (seq, tenant, at) = (key.task, self.book.line(held.line).tenant, ending.at);
        self.take_lease(seq, &held)?;
        match (&ending.outcome.next, &ending.swap) {
            (Next::Requeue, _) => self.put_at_end(seq, &held, at)?,
            (_, Some(draft)) => self.swap(seq, tenant, draft, held.deliveries, at)?,
            (_, None) => {}
        }
        self.write_state(seq, &held, ending)?;
        self.write_result(seq, &held, ending)?;
        if let Some(log) = &ending.log {
            let sql = "INSERT INTO log (seq, delivery, body) VALUES (?1, ?2, ?3)";
            self.run(sql, params![seq, held.deliveries, log])?;
        }
        for draft in &ending.publish {
            self.insert(tenant, draft, at)?;
        }
        Ok(Fenced::Applied)
    }

    fn put_at_end(&mut self, seq: i64, held: &Held, at: Timestamp) -> rusqlite::Result<()> {
        let pos = self.next_pos();
        self.run("UPDATE task SET pos = ?2, eta = NULL WHERE seq = ?1", [seq, pos])?;
        let Held { line, priority, deliveries, .. } = *held;
        self.put_ready(Waiting { seq, line, priority, pos, since: at.as_micros(), deliveries })
    }

    fn write_state(&self, seq: i64, held: &Held, ending: &Ending) -> rusqlite::Result<()> {
        let state = &ending.outcome.state;
        if !state.is_terminal() {
            let sql = "UPDATE task SET state = ?2, worker = ?3 WHERE seq = ?1";
            return self.run(sql, params![seq, state.as_str(), ending.worker]);
        }
        self.run(
            "UPDATE task SET state = ?2, worker = ?3, ended = ?4, deliveries = ?5 WHERE seq = ?1",
            params![seq, state.as_str(), ending.worker, ending.at.as_micros(), held.deliveries],
        )
    }

    fn write_result(&self, seq: i64, held: &Held, ending: &Ending) -> rusqlite::Result<()> {
        let children = self.children(seq, held, &ending.children)?;
        let Transition { result, traceback, fault, .. } = &ending.outcome;
        self.run(
            "INSERT OR REPLACE INTO result (seq, result, traceback, fault, children, usage)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![seq, result.as_str(), traceback, fault, children, ending.usage],
        )
    }

    /// The children of this attempt after those of earlier ones, as JSON; none if there are none.
    fn children(&self, seq: i64, held: &Held, new: &[ResultTuple]) -> rusqlite::Result<Option<String>> {
        // A first delivery has nothing before it, and most are first ones.
        let old: Option<String> = if held.deliveries > 1 {
            let mut statement = self.db.prepare_cached("SELECT children FROM result WHERE seq = ?1")?;
            statement.query_row([seq], |row| row.get(0)).optional()?.flatten()
        } else {
            None
        };
        if new.is_empty() {
            return Ok(old);
        }
        let mut all: Vec<ResultTuple> = old.and_then(|old| serde_json::from_str(&old).ok()).unwrap_or_default();
        all.extend_from_slice(new);
        Ok(Json::of(&all).ok().map(|all| all.as_str().to_owned()))
    }

    /// Ends a task that waits, by an order.
    pub(super) fn revoke_waiting(&mut self, row: &Row, now: Timestamp) -> rusqlite::Result<()> {
        let deliveries = self.take_waiting(row)?;
        self.end_revoked(row.seq, deliveries, now)
    }

    /// Writes that a task whose message is gone was revoked.
    pub(super) fn end_revoked(&self, seq: i64, deliveries: u32, now: Timestamp) -> rusqlite::Result<()> {
        let outcome = Transition::revoked("revoked");
        self.run(
            "UPDATE task SET state = ?2, ended = ?3, deliveries = ?4 WHERE seq = ?1",
            params![seq, State::Revoked.as_str(), now.as_micros(), deliveries],
        )?;
        self.run(
            "INSERT INTO result (seq, result) VALUES (?1, ?2)
             ON CONFLICT (seq) DO UPDATE SET result = excluded.result, traceback = NULL, fault = NULL",
            params![seq, outcome.result.as_str()],
        )
    }

    /// Forgets a task that has ended.
    pub(super) fn delete_ended(&self, seq: i64) -> rusqlite::Result<()> {
        for sql in ["DELETE FROM task WHERE seq = ?1", "DELETE FROM message WHERE seq = ?1"] {
            self.run(sql, [seq])?;
        }
        self.delete_outcome(seq)
    }

    /// Drops what attempts have left.
    pub(super) fn delete_outcome(&self, seq: i64) -> rusqlite::Result<()> {
        self.run("DELETE FROM result WHERE seq = ?1", [seq])?;
        self.run("DELETE FROM log WHERE seq = ?1", [seq])
    }
}
