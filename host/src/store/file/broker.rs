//! Messages: from submit to settlement.

use async_trait::async_trait;
use lovage_model::api::QueueView;
use lovage_model::{
    Exception, Json, Message, Plan, QueueName, Room, Settlement, State, TaskId, TenantId, Timestamp, Verdict,
    exc_module,
};
use rusqlite::{OptionalExtension, params};

use super::FileStore;
use super::book::{Held, Spot};
use super::lease::Raw;
use super::ledger::{Draft, Ledger, Row};
use super::settle::Ending;
use super::writer::Need;
use crate::store::transition::{again, state_of_its_own};
use crate::store::{
    Ask, Broker, Fenced, Lease, LeaseKey, Leased, Quota, Redone, Result, Revoked, StoreError, Submitted,
};

/// Messages purged in one transaction, so that others get their turn.
const PURGE: i64 = 1000;

#[async_trait]
impl Broker for FileStore {
    async fn submit(&self, tenant: &TenantId, plans: Vec<Plan>, now: Timestamp, room: Room) -> Result<Vec<Submitted>> {
        let drafts = |plan: Plan| plan.tasks.into_iter().map(|one| Draft::of(one.message)).collect::<Result<Vec<_>>>();
        let plans = plans.into_iter().map(drafts).collect::<Result<Vec<_>>>()?;
        let need = Need { durable: true, weight: plans.iter().map(Vec::len).sum() };
        let tenant = tenant.clone();
        let submit = move |ledger: &mut Ledger| {
            let number = ledger.tenant(&tenant)?;
            plans.iter().map(|drafts| ledger.submit(&tenant, number, drafts, now, room)).collect()
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
            match serde_json::from_str(&raw.body) {
                Ok(message) => leases.push(of_raw(raw, message)),
                Err(error) => self.condemn(raw.key, &error, now).await?,
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
        self.writer.run(need, move |ledger| ledger.renew(&keys, until)).await
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
        let endings = batch.iter().map(|(key, settlement)| Ok((*key, Ending::of(settlement.clone())?)));
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
            let Some(row) = ledger.find(&tenant, &id)? else { return Ok(Revoked::Unknown) };
            if let Some(held) = ledger.book.held(row.seq) {
                return Ok(Revoked::Running(LeaseKey { task: row.seq, token: held.token.unsigned_abs() }));
            }
            if row.ended {
                return Ok(Revoked::Ended(State::from_name(&row.state)));
            }
            ledger.revoke_waiting(&row, now).map(|()| Revoked::Waiting)
        };
        self.writer.run(Need::DURABLE, revoke).await
    }

    async fn resubmit(&self, tenant: &TenantId, id: &TaskId, now: Timestamp) -> Result<Redone> {
        let (tenant, id) = (tenant.clone(), id.clone());
        self.writer.run(Need::DURABLE, move |ledger| ledger.resubmit(&tenant, &id, now)).await?
    }

    async fn queues(&self, tenant: &TenantId, now: Timestamp) -> Result<Vec<QueueView>> {
        let tenant = tenant.clone();
        self.readers.run(move |db| super::results::queues(db, &tenant, now)).await
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
    /// Ends a task whose message cannot be read: to deliver it again would not help.
    async fn condemn(&self, key: LeaseKey, error: &serde_json::Error, now: Timestamp) -> Result<()> {
        let message = format!("the stored message of this task cannot be read: {error}");
        let verdict = Verdict::Failure {
            exception: Exception::new(exc_module::LOVAGE, "StoreCorrupt", message),
            traceback: None,
            fault: Some("store-corrupt".to_owned()),
        };
        self.commit(key, Settlement::of(verdict, now)).await.map(drop)
    }
}

impl Ledger {
    fn submit(
        &mut self,
        tenant: &TenantId,
        number: i64,
        drafts: &[Draft],
        now: Timestamp,
        room: Room,
    ) -> rusqlite::Result<Submitted> {
        let mut known = Vec::new();
        for draft in drafts {
            if self.find(tenant, &draft.message.id)?.is_some() {
                known.push(&draft.message.id);
            }
        }
        if let Some(first) = known.first() {
            let all = known.len() == drafts.len();
            return Ok(if all { Submitted::Exists } else { Submitted::Taken((*first).clone()) });
        }
        if self.book.waiting(number) + drafts.len() as u64 > room.queued_tasks {
            return Ok(Submitted::Full(Quota::QueuedTasks));
        }
        for draft in drafts {
            self.insert(number, draft, now)?;
        }
        Ok(Submitted::Stored)
    }

    fn renew(&mut self, keys: &[LeaseKey], until: Timestamp) -> rusqlite::Result<Vec<LeaseKey>> {
        let mut lost = Vec::new();
        for &key in keys {
            let Some(held) = self.current(key) else {
                lost.push(key);
                continue;
            };
            let until = until.as_micros();
            self.run("UPDATE leased SET until = ?2 WHERE seq = ?1", [key.task, until])?;
            self.book.set_lease(key.task, Some(Held { until, ..held }));
        }
        Ok(lost)
    }

    /// The state that a client sees in a task that has not ended.
    pub(super) fn busy(&self, row: &Row) -> rusqlite::Result<State> {
        let mut statement = self.db.prepare_cached("SELECT coalesce(state, 'STARTED') FROM leased WHERE seq = ?1")?;
        let leased: Option<String> = statement.query_row([row.seq], |row| row.get(0)).optional()?;
        Ok(State::from_name(leased.as_deref().unwrap_or(&row.state)))
    }

    fn resubmit(&mut self, tenant: &TenantId, id: &TaskId, now: Timestamp) -> rusqlite::Result<Result<Redone>> {
        let Some(row) = self.find(tenant, id)? else { return Ok(Ok(Redone::Unknown)) };
        if !row.ended {
            return Ok(Ok(Redone::Busy(self.busy(&row)?)));
        }
        let sql = "SELECT body FROM message WHERE seq = ?1";
        let body: Option<String> = self.db.prepare_cached(sql)?.query_row([row.seq], |row| row.get(0)).optional()?;
        let draft = serde_json::from_str(body.as_deref().unwrap_or_default())
            .map_err(|error| StoreError::Corrupt(format!("the message of task {id} cannot be read: {error}")))
            .and_then(|message| Draft::of(again(message, now)));
        let draft = match draft {
            Ok(draft) => draft,
            Err(error) => return Ok(Err(error)),
        };
        self.run(
            "UPDATE task SET state = 'PENDING', ended = NULL, worker = NULL, deliveries = 0 WHERE seq = ?1",
            [row.seq],
        )?;
        self.delete_outcome(row.seq)?;
        self.swap(row.seq, row.tenant, &draft, 0, now)?;
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
                 (SELECT line, priority, pos FROM ready WHERE line = ?1 AND pos < ?2 LIMIT ?3) RETURNING seq, deliveries",
            ),
            (
                Spot::Scheduled,
                "DELETE FROM scheduled WHERE (eta, pos) IN
                 (SELECT eta, pos FROM scheduled WHERE line = ?1 AND pos < ?2 LIMIT ?3) RETURNING seq, deliveries",
            ),
        ];
        let mut purged = 0;
        for (spot, sql) in takes {
            let taken = self.take_some(sql, [line, bound, PURGE])?;
            for &(seq, deliveries) in &taken {
                self.book.count(line, spot, -1);
                self.end_revoked(seq, deliveries, now)?;
            }
            purged += taken.len() as u64;
        }
        Ok(purged)
    }

    fn take_some(&self, sql: &str, what: [i64; 3]) -> rusqlite::Result<Vec<(i64, u32)>> {
        let mut statement = self.db.prepare_cached(sql)?;
        statement.query_map(what, |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    }
}
