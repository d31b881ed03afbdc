//! Messages: from submit to settlement.

use async_trait::async_trait;
use lovage_model::api::QueueView;
use lovage_model::{Json, Message, Plan, QueueName, Room, Settlement, State, TaskId, TenantId, Timestamp};
use rusqlite::{OptionalExtension, params};

use super::FileStore;
use super::book::{Held, Spot};
use super::codec::decode;
use super::draft::{Written, WrittenPlan};
use super::lease::Raw;
use super::ledger::{Ledger, Row};
use super::moves::Taken;
use super::settle::{Ender, Ending};
use super::writer::Need;
use crate::store::admission::{Backlog, full};
use crate::store::transition::{again, state_of_its_own};
use crate::store::{Ask, Broker, Fenced, Lease, LeaseKey, Leased, Redone, Result, Revoked, StoreError, Submitted};

/// Messages purged in one transaction, so that others get their turn.
const PURGE: i64 = 1000;

/// Queues that are read at once.
const QUEUES: usize = 1000;

#[async_trait]
impl Broker for FileStore {
    async fn submit(&self, tenant: &TenantId, plans: Vec<Plan>, now: Timestamp, room: Room) -> Result<Vec<Submitted>> {
        let plans = plans.into_iter().map(WrittenPlan::of).collect::<Result<Vec<_>>>()?;
        let need = Need { durable: true, weight: plans.iter().map(WrittenPlan::weight).sum() };
        let tenant = tenant.clone();
        let submit = move |ledger: &mut Ledger| {
            let number = ledger.tenant(&tenant)?;
            plans.iter().map(|plan| ledger.submit(number, plan, now, room)).collect()
        };
        self.writer.run(need, submit).await
    }

    async fn lease(&self, ask: Ask) -> Result<Leased> {
        let now = ask.now;
        let need = Need { durable: false, weight: ask.max };
        let (raw, next_due) = self.writer.run(need, move |ledger| ledger.lease(&ask)).await?;
        let taken = raw.len();
        let mut leases = Vec::with_capacity(taken);
        for raw in raw {
            match decode(&raw.body) {
                Ok(message) => leases.push(of_raw(raw, message)),
                Err(_) => self.condemn(raw.key, now).await,
            }
        }
        // Who gets fewer than there were must not think that the queues are empty.
        let next_due = if leases.len() < taken { Some(now) } else { next_due };
        Ok(Leased { leases, next_due })
    }

    async fn ready(&self) {
        self.bell.notified().await;
    }

    async fn renew(&self, keys: Vec<LeaseKey>, until: Timestamp) -> Result<Vec<LeaseKey>> {
        let need = Need { durable: false, weight: keys.len() };
        self.writer.run(need, move |ledger| Ok(ledger.renew(&keys, until))).await
    }

    async fn report(&self, key: LeaseKey, state: String, meta: Json) -> Result<Fenced> {
        state_of_its_own(&state)?;
        let report = move |ledger: &mut Ledger| {
            if ledger.current(key).is_none() {
                return Ok(Fenced::Refused);
            }
            let values = params![key.task, state, meta.as_str()];
            ledger.run("UPDATE leased SET state = ?2, meta = ?3 WHERE seq = ?1", values)?;
            Ok(Fenced::Applied)
        };
        self.writer.run(Need::BRIEF, report).await
    }

    async fn commit(&self, key: LeaseKey, settlement: Settlement) -> Result<Fenced> {
        let ending = Ending::of(settlement)?;
        let need = Need { durable: true, weight: ending.weight() };
        self.writer.run(need, move |ledger| ledger.settle(key, &ending)).await
    }

    async fn commit_all(&self, batch: &[(LeaseKey, Settlement)]) -> Result<Vec<Fenced>> {
        let endings = batch.iter().map(|(key, settlement)| Ok((*key, Ending::of_kept(settlement)?)));
        let endings = endings.collect::<Result<Vec<_>>>()?;
        let need = Need { durable: true, weight: endings.iter().map(|(_, ending)| ending.weight()).sum() };
        let settle = move |ledger: &mut Ledger| endings.iter().map(|(key, it)| ledger.settle(*key, it)).collect();
        self.writer.run(need, settle).await
    }

    async fn release(&self, key: LeaseKey, begun: bool) -> Result<Fenced> {
        let release = move |ledger: &mut Ledger| match ledger.current(key) {
            Some(held) => {
                ledger.give_back(key.task, &held, held.deliveries - u32::from(!begun)).map(|()| Fenced::Applied)
            }
            None => Ok(Fenced::Refused),
        };
        self.writer.run(Need::BRIEF, release).await
    }

    async fn revoke(&self, tenant: &TenantId, id: &TaskId, now: Timestamp) -> Result<Revoked> {
        let (tenant, id) = (tenant.clone(), id.clone());
        let revoke = move |ledger: &mut Ledger| {
            ledger.find(&tenant, &id)?.map_or(Ok(Revoked::Unknown), |row| ledger.order_end(&row, now))
        };
        self.writer.run(Need::DURABLE, revoke).await
    }

    async fn resubmit(&self, tenant: &TenantId, id: &TaskId, now: Timestamp, room: Room) -> Result<Redone> {
        let (tenant, id) = (tenant.clone(), id.clone());
        self.writer.run(Need::DURABLE, move |ledger| ledger.resubmit(&tenant, &id, now, room)).await?
    }

    async fn queues(&self, tenant: &TenantId, now: Timestamp) -> Result<Vec<QueueView>> {
        let mut all: Vec<QueueView> = Vec::new();
        loop {
            let after = all.last().map(|view| view.name.clone()).unwrap_or_default();
            let tenant = tenant.clone();
            // By parts: between them it is the turn of others that want lists.
            let part =
                self.lists.run(move |db| super::results::queues(db, &tenant, (after.as_str(), QUEUES), now)).await?;
            let is_last = part.len() < QUEUES;
            all.extend(part);
            if is_last {
                return Ok(all);
            }
        }
    }

    async fn purge(&self, tenant: &TenantId, queue: &QueueName, now: Timestamp) -> Result<u64> {
        let (mut purged, mut bound) = (0, None);
        loop {
            let (tenant, queue) = (tenant.clone(), queue.clone());
            let part = move |ledger: &mut Ledger| {
                // What comes after the order was given stays.
                let bound = bound.unwrap_or(ledger.book.next.pos);
                ledger.purge(&tenant, &queue, bound, now).map(|count| (count, bound))
            };
            let need = Need { durable: true, weight: usize::try_from(PURGE).unwrap_or(usize::MAX) };
            let (count, before) = self.writer.run(need, part).await?;
            if count == 0 {
                return Ok(purged);
            }
            purged += count;
            bound = Some(before);
        }
    }
}

fn of_raw(raw: Raw, message: Message) -> Lease {
    Lease { key: raw.key, tenant: raw.tenant, message, deliveries: raw.deliveries }
}

impl FileStore {
    /// Ends a task whose message cannot be read. The others of its batch do not wait for it: if that fails, it comes again
    /// when its lease lapses.
    async fn condemn(&self, key: LeaseKey, now: Timestamp) {
        let condemn = move |ledger: &mut Ledger| {
            let Some(held) = ledger.current(key) else { return Ok(()) };
            let tenant = ledger.book.line(held.line).tenant;
            ledger.take_lease(key.task, &held)?;
            ledger.condemn(Ender::leased(key.task, tenant, held.taken()), now)
        };
        let _ = self.writer.run(Need::DURABLE, condemn).await;
    }
}

impl Ledger {
    fn submit(
        &mut self,
        tenant: i64,
        written: &WrittenPlan,
        now: Timestamp,
        room: Room,
    ) -> rusqlite::Result<Submitted> {
        let plan = &written.plan;
        if let Some(clash) = self.clash(tenant, plan)? {
            return Ok(clash.into());
        }
        if let Some(quota) = full(room, Backlog::of(plan, now), self.book.backlog(tenant), None) {
            return Ok(Submitted::Full(quota));
        }
        self.add_joins(tenant, plan)?;
        for draft in written.drafts() {
            self.insert(tenant, draft, now)?;
        }
        Ok(Submitted::Stored)
    }

    /// Nothing is written: whoever opens the store next gives all leases back.
    fn renew(&mut self, keys: &[LeaseKey], until: Timestamp) -> Vec<LeaseKey> {
        let mut lost = Vec::new();
        for &key in keys {
            let Some(held) = self.current(key) else {
                lost.push(key);
                continue;
            };
            let until = until.as_micros();
            self.book.set_lease(key.task, Some(Held { until, ..held }));
        }
        lost
    }

    /// The state that a client sees in a task that has not ended.
    pub(super) fn busy(&self, row: &Row) -> rusqlite::Result<State> {
        let mut statement = self.db.prepare_cached(
            "SELECT coalesce(state, iif(marks & 4, 'PENDING', 'STARTED')) FROM leased WHERE seq = ?1",
        )?;
        let leased: Option<String> = statement.query_row([row.seq], |row| row.get(0)).optional()?;
        Ok(State::from_name(leased.as_deref().unwrap_or(&row.state)))
    }

    fn resubmit(
        &mut self,
        tenant: &TenantId,
        id: &TaskId,
        now: Timestamp,
        room: Room,
    ) -> rusqlite::Result<Result<Redone>> {
        let Some(row) = self.find(tenant, id)? else { return Ok(Ok(Redone::Unknown)) };
        if !row.ended {
            return Ok(Ok(Redone::Busy(self.busy(&row)?)));
        }
        let message = decode(&self.body(row.seq)?)
            .map_err(|error| StoreError::Corrupt(format!("the message of task {id} cannot be read: {error}")));
        if message.as_ref().is_ok_and(|message| message.unreleased) {
            return Ok(Ok(Redone::Unreleased(State::from_name(&row.state))));
        }
        let written = message.and_then(|message| Written::free(again(message, now)));
        let written = match written {
            Ok(written) => written,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(quota) = full(room, Backlog::ONE, self.book.backlog(row.tenant), None) {
            return Ok(Ok(Redone::Full(quota)));
        }
        self.run(
            "UPDATE task SET state = 'PENDING', ended = NULL, worker = NULL, deliveries = 0 WHERE seq = ?1",
            [row.seq],
        )?;
        self.delete_outcome(row.seq)?;
        self.swap((row.seq, row.tenant), written.draft(), Taken::default(), now)?;
        Ok(Ok(Redone::Done))
    }

    /// Revokes some of what waits in a queue; how many. None: nothing is left.
    fn purge(&mut self, tenant: &TenantId, queue: &QueueName, bound: i64, now: Timestamp) -> rusqlite::Result<u64> {
        let line = self.book.tenant(tenant).and_then(|tenant| self.book.line_number(tenant, queue));
        let Some(line) = line else { return Ok(0) };
        let takes = [
            (
                Spot::Ready,
                "DELETE FROM ready WHERE (line, priority, pos) IN
                 (SELECT line, priority, pos FROM ready WHERE line = ?1 AND pos < ?2 LIMIT ?3)
                 RETURNING seq, deliveries, marks",
            ),
            (
                Spot::Scheduled,
                "DELETE FROM scheduled WHERE (eta, pos) IN
                 (SELECT eta, pos FROM scheduled WHERE line = ?1 AND pos < ?2 LIMIT ?3)
                 RETURNING seq, deliveries, marks",
            ),
        ];
        let mut purged = Vec::new();
        for (spot, sql) in takes {
            let taken = self.take_some(sql, [line, bound, PURGE])?;
            self.book.count(line, spot, -i64::try_from(taken.len()).unwrap_or(i64::MAX))?;
            purged.extend(taken);
        }
        // The older ones are told first.
        purged.sort_unstable_by_key(|&(seq, _)| seq);
        for &(seq, taken) in &purged {
            self.end_revoked(seq, taken, now)?;
        }
        Ok(purged.len() as u64)
    }

    fn take_some(&self, sql: &str, what: [i64; 3]) -> rusqlite::Result<Vec<(i64, Taken)>> {
        let mut statement = self.db.prepare_cached(sql)?;
        let read = |row: &rusqlite::Row<'_>| {
            Ok((row.get(0)?, Taken { line: what[0], deliveries: row.get(1)?, marks: row.get(2)? }))
        };
        statement.query_map(what, read)?.collect()
    }
}
