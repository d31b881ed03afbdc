//! Which messages come next? By whose turn it is, then priority, then age, over any set of queues; and only as much is read as is
//! taken.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::iter::Peekable;
use std::sync::Arc;

use lovage_model::{TenantId, Timestamp};
use rusqlite::{OptionalExtension, params};

use super::book::Spot;
use super::codec::decoded_len;
use super::ledger::Ledger;
use super::moves::Waiting;
use crate::store::record::MAX_LEASED_BYTES;
use crate::store::sharing::{Order, Turns};
use crate::store::{Ask, LeaseKey};

/// The first messages of a line, behind one of them.
pub(super) const HEAD: &str = "SELECT seq, priority, pos, since, deliveries, marks FROM ready
    WHERE line = ?1 AND (priority, pos) > (?2, ?3) ORDER BY priority, pos LIMIT ?4";

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
            self.book.count(line, Spot::Scheduled, -due)?;
            self.book.count(line, Spot::Ready, due)?;
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

    /// Takes the first `max` messages of the wanted lines out of `ready`.
    fn choose(&mut self, ask: &Ask) -> rusqlite::Result<Vec<Waiting>> {
        self.look_at_heads()?;
        let chosen = self.first(ask)?;
        self.remove_ready(&chosen)?;
        Ok(chosen)
    }

    /// The first messages of the wanted lines: a merge of the lines, each read in chunks.
    fn first(&self, ask: &Ask) -> rusqlite::Result<Vec<Waiting>> {
        let mut turns = Turns::default();
        for (tenant, count, lines) in self.book.heads.tenants() {
            let (count, unread) = self.wanted(ask, tenant, count, lines);
            let (unread, chunk) = (unread.peekable(), ask.max.div_ceil(count.max(1)));
            let mut queue = Queue { unread, heads: BinaryHeap::new(), chunk };
            if let Some(next) = queue.next() {
                turns.add(ask.shares.get(&self.book.tenant_name(tenant)), next, queue);
            }
        }
        let mut chosen = Vec::new();
        while chosen.len() < ask.max
            && let Some(mut turn) = turns.pop()
        {
            chosen.extend(turn.line.pop(self)?);
            if let Some(next) = turn.line.next() {
                turns.again(turn, next);
            }
        }
        Ok(chosen)
    }

    /// Those of a tenant's lines that are wanted, by their first messages, and how many they are at most. Of more lines than are wanted
    /// only these are looked at.
    pub(super) fn wanted<'a>(
        &'a self,
        ask: &'a Ask,
        tenant: i64,
        count: usize,
        lines: impl Iterator<Item = (Order, i64)> + 'a,
    ) -> (usize, Box<dyn Iterator<Item = (Order, i64)> + 'a>) {
        let Some(queues) = &ask.queues else { return (count, Box::new(lines)) };
        if queues.len() >= count {
            return (count, Box::new(lines.filter(move |&(_, id)| queues.contains(&self.book.line(id).queue))));
        }
        let first = |queue| {
            let line = self.book.line_number(tenant, queue)?;
            Some((self.book.heads.first(line)?, line))
        };
        let mut found: Vec<_> = queues.iter().filter_map(first).collect();
        found.sort_unstable();
        (found.len(), Box::new(found.into_iter()))
    }

    /// Finds the first message of each line where something has changed. What was found holds also if a later one cannot be read.
    fn look_at_heads(&mut self) -> rusqlite::Result<()> {
        let sql = "SELECT priority, pos FROM ready WHERE line = ?1 ORDER BY priority, pos LIMIT 1";
        while let Some(id) = self.book.heads.stale() {
            let line = self.book.line(id);
            let (tenant, is_open) = (line.tenant, line.ready > 0 && !line.paused);
            let first = if is_open {
                let mut statement = self.db.prepare_cached(sql)?;
                statement.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?
            } else {
                None
            };
            self.book.heads.set(id, tenant, first);
        }
        Ok(())
    }

    fn head_of(&self, line: i64, after: Option<Waiting>, limit: usize) -> rusqlite::Result<VecDeque<Waiting>> {
        let (priority, pos) = after.map_or((-1, -1), |last| (i64::from(last.priority), last.pos));
        let mut statement = self.db.prepare_cached(HEAD)?;
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
            self.book.count(line, Spot::Ready, -taken)?;
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

/// The messages of one tenant, the first ones first. A line is read once one of its messages comes next.
struct Queue<I: Iterator<Item = (Order, i64)>> {
    unread: Peekable<I>,
    heads: BinaryHeap<Reverse<Head>>,
    /// How much of a line is read at once.
    chunk: usize,
}

impl<I: Iterator<Item = (Order, i64)>> Queue<I> {
    /// The order of the next message.
    fn next(&mut self) -> Option<Order> {
        let unread = self.unread.peek().map(|(first, _)| *first);
        unread.into_iter().chain(self.heads.peek().map(|Reverse(head)| head.key())).min()
    }

    fn pop(&mut self, ledger: &Ledger) -> rusqlite::Result<Option<Waiting>> {
        let heads = &self.heads;
        let is_next = |(first, _): &(Order, i64)| heads.peek().is_none_or(|Reverse(head)| *first < head.key());
        if let Some((_, line)) = self.unread.next_if(is_next) {
            self.heads.extend(Head::of(ledger.head_of(line, None, self.chunk)?));
        }
        let Some(Reverse(Head { first, mut rest })) = self.heads.pop() else { return Ok(None) };
        if rest.is_empty() {
            rest = ledger.head_of(first.line, Some(first), self.chunk)?;
        }
        self.heads.extend(Head::of(rest));
        Ok(Some(first))
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

    fn key(&self) -> Order {
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
