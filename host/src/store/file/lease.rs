//! Which messages come next? By whose turn it is, then priority, then age, over any set of queues; and only as much is read as is
//! taken.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;

use lovage_model::{TenantId, Timestamp};
use rusqlite::{OptionalExtension, params};

use super::book::Spot;
use super::codec::decoded_len;
use super::ledger::Ledger;
use super::moves::Waiting;
use crate::store::record::MAX_LEASED_BYTES;
use crate::store::sharing::Turns;
use crate::store::{Ask, LeaseKey};

/// Messages whose time has come that one lease moves: the others of the store wait meanwhile.
const PROMOTED: i64 = 10_000;

/// A lease whose message has not been read yet.
pub(super) struct Raw {
    pub(super) key: LeaseKey,
    pub(super) tenant: TenantId,
    pub(super) body: Vec<u8>,
    pub(super) deliveries: u32,
}

impl Ledger {
    /// Takes messages that are due.
    pub(super) fn lease(&mut self, ask: &Ask) -> rusqlite::Result<(Vec<Raw>, Option<Timestamp>)> {
        let now = ask.now.as_micros();
        self.lapse(now)?;
        let next_eta = self.promote(now)?;
        let chosen = self.choose(ask)?;
        let wanted = chosen.len();
        let leases = self.hand_out(chosen, ask)?;
        if leases.len() < wanted {
            return Ok((leases, Some(ask.now)));
        }
        let next_due = next_eta.into_iter().chain(self.book.next_lapse()).min();
        Ok((leases, next_due.map(Timestamp::from_micros)))
    }

    fn lapse(&mut self, now: i64) -> rusqlite::Result<()> {
        for seq in self.book.lapsed(now) {
            let Some(held) = self.book.held(seq).cloned() else { continue };
            self.run("UPDATE task SET worker = ?2 WHERE seq = ?1", params![seq, &*held.worker])?;
            self.give_back(seq, &held, held.deliveries)?;
        }
        Ok(())
    }

    /// Moves what is due into its line, the first ones if it is much; returns the next ETA.
    fn promote(&mut self, now: i64) -> rusqlite::Result<Option<i64>> {
        let next_eta = |ledger: &Self| -> rusqlite::Result<Option<i64>> {
            ledger.db.prepare_cached("SELECT min(eta) FROM scheduled")?.query_row([], |row| row.get(0))
        };
        let next = next_eta(self)?;
        if next.is_none_or(|eta| eta > now) {
            return Ok(next);
        }
        let last = self.last_to_promote(now)?;
        for (line, due) in self.due_by_line(last)? {
            self.book.count(line, Spot::Scheduled, -due);
            self.book.count(line, Spot::Ready, due);
        }
        self.run(
            "INSERT INTO ready (line, priority, pos, seq, since, deliveries, marks)
             SELECT line, priority, pos, seq, eta, deliveries, marks FROM scheduled WHERE (eta, pos) <= (?1, ?2)",
            last,
        )?;
        self.run("DELETE FROM scheduled WHERE (eta, pos) <= (?1, ?2)", last)?;
        next_eta(self)
    }

    /// ETA and position of the last message that is moved now.
    fn last_to_promote(&self, now: i64) -> rusqlite::Result<[i64; 2]> {
        let sql = "SELECT eta, pos FROM scheduled WHERE eta <= ?1 ORDER BY eta, pos LIMIT 1 OFFSET ?2";
        let found = self.db.prepare_cached(sql)?.query_row([now, PROMOTED - 1], |row| Ok([row.get(0)?, row.get(1)?]));
        Ok(found.optional()?.unwrap_or([now, i64::MAX]))
    }

    /// (The `+` keeps SQLite from the index by line, all of which it would read.)
    fn due_by_line(&self, last: [i64; 2]) -> rusqlite::Result<Vec<(i64, i64)>> {
        let mut statement = self
            .db
            .prepare_cached("SELECT line, count(*) FROM scheduled WHERE (eta, pos) <= (?1, ?2) GROUP BY +line")?;
        statement.query_map(last, |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    }

    /// Takes the first `max` messages of the wanted lines out of `ready`: a merge of the lines, each read in chunks.
    fn choose(&mut self, ask: &Ask) -> rusqlite::Result<Vec<Waiting>> {
        let lines: Vec<(i64, i64)> = self
            .book
            .lines()
            .filter(|(_, line)| line.ready > 0 && !line.paused)
            .filter(|(_, line)| ask.queues.as_ref().is_none_or(|wanted| wanted.contains(&line.queue)))
            .map(|(id, line)| (id, line.tenant))
            .collect();
        let chunk = ask.max.div_ceil(lines.len().max(1));
        let mut tenants = BTreeMap::<i64, BinaryHeap<Reverse<Head>>>::new();
        for (line, tenant) in lines {
            let queued = self.head_of(line, None, chunk)?;
            tenants.entry(tenant).or_default().extend(Head::of(queued));
        }
        let mut turns = Turns::default();
        for (tenant, heads) in tenants {
            if let Some(next) = heads.peek().map(|Reverse(head)| head.key()) {
                turns.add(ask.shares.get(&self.book.tenant_name(tenant)), next, heads);
            }
        }
        let mut chosen = Vec::new();
        while chosen.len() < ask.max
            && let Some(mut turn) = turns.pop()
            && let Some(Reverse(mut head)) = turn.line.pop()
        {
            chosen.push(head.first);
            if head.rest.is_empty() {
                head.rest = self.head_of(head.first.line, Some(head.first), chunk)?;
            }
            turn.line.extend(Head::of(head.rest));
            if let Some(next) = turn.line.peek().map(|Reverse(head)| head.key()) {
                turns.again(turn, next);
            }
        }
        self.remove_ready(&chosen)?;
        Ok(chosen)
    }

    fn head_of(&self, line: i64, after: Option<Waiting>, limit: usize) -> rusqlite::Result<VecDeque<Waiting>> {
        let (priority, pos) = after.map_or((-1, -1), |last| (i64::from(last.priority), last.pos));
        let mut statement = self.db.prepare_cached(
            "SELECT seq, priority, pos, since, deliveries, marks FROM ready
             WHERE line = ?1 AND (priority, pos) > (?2, ?3) ORDER BY priority, pos LIMIT ?4",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        statement
            .query_map([line, priority, pos, limit], |row| {
                Ok(Waiting {
                    seq: row.get(0)?,
                    line,
                    priority: row.get(1)?,
                    pos: row.get(2)?,
                    since: row.get(3)?,
                    deliveries: row.get(4)?,
                    marks: row.get(5)?,
                })
            })?
            .collect()
    }

    /// Removes what was chosen. Each line lost its first ones, so one range of each is deleted.
    fn remove_ready(&mut self, chosen: &[Waiting]) -> rusqlite::Result<()> {
        let mut ends = std::collections::BTreeMap::new();
        for it in chosen {
            let end = ends.entry(it.line).or_insert((it, 0));
            *end = (it, end.1 + 1);
        }
        for (line, (last, taken)) in ends {
            self.run(
                "DELETE FROM ready WHERE line = ?1 AND (priority, pos) <= (?2, ?3)",
                params![line, last.priority, last.pos],
            )?;
            self.book.count(line, Spot::Ready, -taken);
        }
        Ok(())
    }

    /// Gives chosen messages to who asks, as many as are not too long together; the others go back.
    fn hand_out(&mut self, chosen: Vec<Waiting>, ask: &Ask) -> rusqlite::Result<Vec<Raw>> {
        let worker: Arc<str> = ask.worker.as_str().into();
        let (mut leases, mut bytes) = (Vec::with_capacity(chosen.len()), 0);
        let mut chosen = chosen.into_iter();
        for it in chosen.by_ref() {
            let body = self.body(it.seq)?;
            bytes += decoded_len(&body);
            if bytes > MAX_LEASED_BYTES && !leases.is_empty() {
                self.put_ready(it)?;
                break;
            }
            let from = Waiting { deliveries: it.deliveries + 1, ..it };
            let token = self.grant(from, &worker, ask.until.as_micros())?;
            leases.push(Raw {
                key: LeaseKey { task: it.seq, token: token.unsigned_abs() },
                tenant: self.book.tenant_name(self.book.line(it.line).tenant),
                body,
                deliveries: from.deliveries,
            });
        }
        chosen.try_for_each(|it| self.put_ready(it))?;
        Ok(leases)
    }

    /// The text of a message. One that is not there is empty, which cannot be read: its task ends.
    pub(super) fn body(&self, seq: i64) -> rusqlite::Result<Vec<u8>> {
        let mut statement = self.db.prepare_cached("SELECT body FROM message WHERE seq = ?1")?;
        Ok(statement.query_row([seq], |row| row.get(0)).optional()?.unwrap_or_default())
    }
}

/// The first message of a line, and those read with it.
struct Head {
    first: Waiting,
    rest: VecDeque<Waiting>,
}

impl Head {
    fn of(mut queued: VecDeque<Waiting>) -> Option<Reverse<Self>> {
        queued.pop_front().map(|first| Reverse(Self { first, rest: queued }))
    }

    fn key(&self) -> (u8, i64) {
        (self.first.priority, self.first.pos)
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}
