//! How does a task's attempt end, or the task itself?

use lovage_model::{
    Arrival, Exception, Plan, ResultTuple, Room, Settlement, State, TaskId, Timestamp, Verdict, exc_module,
};
use rusqlite::{OptionalExtension, params};

use super::book::Held;
use super::codec::decode;
use super::draft::{Marks, Written, WrittenPlan, text};
use super::follow::Family;
use super::ledger::{Ledger, Row, read_json, unwritable, write_json};
use super::moves::Taken;
use crate::store::advance::revoked;
use crate::store::metering::Used;
use crate::store::record::{MAX_LOGS, more_children};
use crate::store::transition::{Next, Transition, planned_only};
use crate::store::{Fenced, LeaseKey, Result, Revoked};

/// Drops what is counted under the id of a task. (As a pair SQLite would look for it among all that its tenant has.)
pub(super) const UNCOUNT: &str = "DELETE FROM lineage WHERE tenant = (SELECT tenant FROM task WHERE seq = ?1)
    AND root = (SELECT id FROM task WHERE seq = ?1)";

/// A settlement, with all its texts made before it comes to the writer.
pub(super) struct Ending {
    outcome: Transition,
    swap: Option<Written>,
    at: Timestamp,
    /// None: no host ran it.
    worker: Option<String>,
    usage: Option<String>,
    used: Option<Used>,
    log: Option<String>,
    pub(super) publish: WrittenPlan,
    children: Vec<ResultTuple>,
    grown: Vec<(TaskId, u32)>,
    arrival: Option<Arrival>,
    room: Room,
}

/// What of a settlement is kept as it is; the rest becomes text.
struct Whole {
    verdict: Verdict,
    publish: Plan,
    children: Vec<ResultTuple>,
    grown: Vec<(TaskId, u32)>,
    arrival: Option<Arrival>,
}

/// A task whose message has been taken, so that its end can be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ender {
    pub(super) seq: i64,
    pub(super) tenant: i64,
    pub(super) taken: Taken,
    /// Which attempt ends, counting from 1: one that was not delivered comes after the last one that was.
    pub(super) attempt: u32,
}

impl Ender {
    /// Of an attempt.
    pub(super) fn leased(seq: i64, tenant: i64, taken: Taken) -> Self {
        Self { seq, tenant, taken, attempt: taken.deliveries }
    }

    /// Of a task that ends without having run.
    pub(super) fn waiting(seq: i64, tenant: i64, taken: Taken) -> Self {
        Self { seq, tenant, taken, attempt: taken.deliveries + 1 }
    }
}

impl Ending {
    pub(super) fn of(mut settlement: Settlement) -> Result<Self> {
        planned_only(&settlement)?;
        let whole = Whole {
            verdict: std::mem::replace(&mut settlement.verdict, Verdict::Requeued),
            publish: std::mem::take(&mut settlement.publish),
            children: std::mem::take(&mut settlement.children),
            grown: std::mem::take(&mut settlement.grown),
            arrival: settlement.arrival.take(),
        };
        Self::with(whole, &settlement)
    }

    /// Of one that is needed afterwards. What is not written of it, such as its events, is not copied.
    pub(super) fn of_kept(settlement: &Settlement) -> Result<Self> {
        planned_only(settlement)?;
        let whole = Whole {
            verdict: settlement.verdict.clone(),
            publish: settlement.publish.clone(),
            children: settlement.children.clone(),
            grown: settlement.grown.clone(),
            arrival: settlement.arrival.clone(),
        };
        Self::with(whole, settlement)
    }

    fn with(whole: Whole, settlement: &Settlement) -> Result<Self> {
        let Whole { verdict, publish, children, grown, arrival } = whole;
        let used = Used::by(settlement);
        let worker = Some(&settlement.worker).filter(|worker| !worker.is_empty()).cloned();
        let outcome = Transition::of(verdict, settlement.ignore_result, settlement.ignore_errors);
        let swap = match &outcome.next {
            Next::Swap(next) => Some(Written::of((**next).clone())?),
            Next::End | Next::Requeue | Next::Leave => None,
        };
        Ok(Self {
            swap,
            outcome,
            at: settlement.at,
            usage: worker.as_ref().map(|_| text(&settlement.usage)).transpose()?,
            worker,
            used,
            log: if settlement.log.is_empty() { None } else { Some(text(&settlement.log)?) },
            publish: WrittenPlan::of(publish)?,
            children,
            grown,
            arrival,
            room: settlement.room,
        })
    }

    /// How many messages it writes.
    pub(super) fn weight(&self) -> usize {
        1 + self.publish.weight()
    }
}

impl Ledger {
    /// The lease of a key, while the key is the current one.
    pub(super) fn current(&self, key: LeaseKey) -> Option<Held> {
        self.book.held(key.task).filter(|held| held.token.unsigned_abs() == key.token).cloned()
    }

    /// Ends an attempt, unless something stands against what it publishes.
    pub(super) fn settle(&mut self, key: LeaseKey, ending: &Ending) -> rusqlite::Result<Fenced> {
        let Some(held) = self.current(key) else { return Ok(Fenced::Refused) };
        let tenant = self.book.line(held.line).tenant;
        let family = self.family(key.task, tenant, &ending.publish.plan)?;
        if let Some(why_not) = self.refusal(tenant, &ending.publish.plan, family.as_ref(), ending.room, ending.at)? {
            return Ok(why_not);
        }
        self.take_lease(key.task, &held)?;
        self.conclude(Ender::leased(key.task, tenant, held.taken()), ending, family)?;
        Ok(Fenced::Applied)
    }

    /// Writes everything that follows for a task whose message has been taken. What stands against it was asked before.
    pub(super) fn conclude(&mut self, ender: Ender, ending: &Ending, family: Option<Family>) -> rusqlite::Result<()> {
        let Ender { seq, tenant, taken, .. } = ender;
        for (group, parts) in &ending.grown {
            self.grow(tenant, group, *parts)?;
        }
        if let Some(family) = family {
            self.count_descendants(tenant, &family, ending.publish.weight(), ending.at)?;
        }
        self.add_joins(tenant, &ending.publish.plan)?;
        match (&ending.outcome.next, &ending.swap) {
            (_, Some(written)) => self.swap((seq, tenant), written.draft(), taken, ending.at)?,
            // Its ETA, if it had one, has been waited for.
            (Next::Requeue, None) => self.put_at_end(seq, taken, ending.at)?,
            (Next::End | Next::Leave | Next::Swap(_), None) => {}
        }
        if let Some(used) = ending.used {
            self.meter(tenant, ending.at, used);
        }
        self.write_state(ender, ending)?;
        self.write_result(ender, ending)?;
        self.write_log(ender, ending)?;
        for draft in ending.publish.drafts() {
            self.insert(tenant, draft, ending.at)?;
        }
        match &ending.arrival {
            Some(arrival) => self.hand_on(seq, arrival.clone(), ending.at),
            None => Ok(()),
        }
    }

    fn write_state(&self, Ender { seq, taken, .. }: Ender, ending: &Ending) -> rusqlite::Result<()> {
        let state = &ending.outcome.state;
        if !state.is_terminal() {
            let sql = "UPDATE task SET state = ?2, worker = coalesce(?3, worker) WHERE seq = ?1";
            return self.run(sql, params![seq, state.as_str(), ending.worker]);
        }
        self.unlabel(seq, taken.marks)?;
        self.run(
            "UPDATE task SET state = ?2, worker = coalesce(?3, worker), ended = ?4, deliveries = ?5 WHERE seq = ?1",
            params![seq, state.as_str(), ending.worker, ending.at.as_micros(), taken.deliveries],
        )
    }

    fn write_result(&self, ender: Ender, ending: &Ending) -> rusqlite::Result<()> {
        let children = self.children(ender, &ending.children)?;
        let Transition { result, traceback, fault, .. } = &ending.outcome;
        self.run(
            "INSERT INTO result (seq, result, traceback, fault, children, usage) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (seq) DO UPDATE SET result = excluded.result, traceback = excluded.traceback,
             fault = excluded.fault, children = excluded.children, usage = coalesce(excluded.usage, usage)",
            params![ender.seq, result.as_str(), traceback, fault, children, ending.usage],
        )
    }

    /// The children of this attempt after those of earlier ones, as JSON; none if there are none.
    fn children(&self, Ender { seq, attempt, .. }: Ender, new: &[ResultTuple]) -> rusqlite::Result<Option<String>> {
        // A first attempt has nothing before it, and most are first ones.
        let old: Option<String> = if attempt > 1 {
            let mut statement = self.db.prepare_cached("SELECT children FROM result WHERE seq = ?1")?;
            statement.query_row([seq], |row| row.get(0)).optional()?.flatten()
        } else {
            None
        };
        if new.is_empty() {
            return Ok(old);
        }
        // What cannot be read any more must not keep the task from ending.
        let old = old.and_then(|old| read_json(&old).ok()).unwrap_or_default();
        write_json(&more_children(old, new.to_vec())).map(Some)
    }

    fn write_log(&self, Ender { seq, attempt, .. }: Ender, ending: &Ending) -> rusqlite::Result<()> {
        let Some(log) = &ending.log else { return Ok(()) };
        let sql = "INSERT INTO log (seq, delivery, body) VALUES (?1, ?2, ?3)";
        self.run(sql, params![seq, attempt, log])?;
        let most = u32::try_from(MAX_LOGS).unwrap_or(u32::MAX);
        if attempt <= most {
            return Ok(());
        }
        self.run(
            "DELETE FROM log WHERE seq = ?1 AND delivery <=
             (SELECT delivery FROM log WHERE seq = ?1 ORDER BY delivery DESC LIMIT 1 OFFSET ?2)",
            params![seq, most],
        )
    }

    /// Writes that a task whose message has been taken was revoked.
    pub(super) fn end_revoked(&mut self, seq: i64, taken: Taken, now: Timestamp) -> rusqlite::Result<()> {
        let outcome = Transition::revoked("revoked");
        self.unlabel(seq, taken.marks)?;
        self.run(
            "UPDATE task SET state = ?2, ended = ?3, deliveries = ?4 WHERE seq = ?1",
            params![seq, State::Revoked.as_str(), now.as_micros(), taken.deliveries],
        )?;
        self.run(
            "INSERT INTO result (seq, result) VALUES (?1, ?2)
             ON CONFLICT (seq) DO UPDATE SET result = excluded.result, traceback = NULL, fault = NULL",
            params![seq, outcome.result.as_str()],
        )?;
        if !taken.marks.has(Marks::AWAITED) {
            return Ok(());
        }
        let Some(row) = self.get(seq)? else { return Ok(()) };
        self.hand_on(seq, revoked(&row.id), now)
    }

    /// Ends a task by an order, if nobody runs it.
    pub(super) fn order_end(&mut self, row: &Row, now: Timestamp) -> rusqlite::Result<Revoked> {
        if let Some(held) = self.book.held(row.seq) {
            return Ok(Revoked::Running(LeaseKey { task: row.seq, token: held.token.unsigned_abs() }));
        }
        if row.ended {
            return Ok(Revoked::Ended(State::from_name(&row.state)));
        }
        let taken = self.take_waiting(row)?;
        self.end_revoked(row.seq, taken, now)?;
        Ok(Revoked::Waiting)
    }

    /// Ends a task whose message cannot be read: to deliver it again would not help. Those that wait for it are told.
    pub(super) fn condemn(&mut self, ender: Ender, now: Timestamp) -> rusqlite::Result<()> {
        let Some(row) = self.get(ender.seq)? else { return Ok(()) };
        let why = decode(&self.body(ender.seq)?).err().map(|error| format!(": {error}")).unwrap_or_default();
        let message = format!("the stored message of this task cannot be read{why}");
        let exception = Exception::new(exc_module::LOVAGE, "StoreCorrupt", message);
        let arrival = row.follows.is_some().then(|| Arrival::Failed { task: row.id, exception: exception.clone() });
        let verdict = Verdict::Failure { exception, traceback: None, fault: Some("store-corrupt".to_owned()) };
        let ending = Ending::of(Settlement { arrival, ..Settlement::of(verdict, now) }).map_err(unwritable)?;
        self.conclude(ender, &ending, None)
    }

    /// Forgets a task that has ended, and what is counted under its id.
    pub(super) fn delete_ended(&self, seq: i64) -> rusqlite::Result<()> {
        for sql in [UNCOUNT, "DELETE FROM task WHERE seq = ?1", "DELETE FROM message WHERE seq = ?1"] {
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
