//! Where is each task's message? The structures, and the few moves between them; every other file here is made of
//! these moves.
//!
//! Invariant: a task is in exactly one of `ready`, `scheduled`, `leased` while its record's place says so, and in none
//! once it has ended.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lovage_model::{AttemptLog, Message, State, TaskId, TenantId, Timestamp};

use crate::store::record::{Leasehold, Place, Record};
use crate::store::transition::{Transition, due_later};
use crate::store::{Fenced, LeaseKey};

#[derive(Default)]
pub(super) struct Tasks {
    by_number: BTreeMap<i64, Task>,
    by_id: HashMap<(TenantId, TaskId), i64>,
    /// By priority, then age.
    pub(super) ready: BTreeMap<(u8, u64), i64>,
    pub(super) scheduled: BTreeMap<(Timestamp, u64), i64>,
    /// By the time at which they lapse.
    pub(super) leased: BTreeSet<(Timestamp, i64)>,
    waiting: HashMap<TenantId, u64>,
    numbers: i64,
    positions: u64,
    tokens: u64,
}

pub(super) struct Task {
    pub(super) tenant: TenantId,
    pub(super) record: Record,
    /// Its age in the line: the less, the older.
    pub(super) position: u64,
    /// When it became ready to run, or will.
    pub(super) since: Timestamp,
    /// Set exactly while it is leased.
    pub(super) lease: Option<Held>,
    pub(super) logs: Vec<AttemptLog>,
}

#[derive(Clone, Copy)]
pub(super) struct Held {
    pub(super) token: u64,
    pub(super) until: Timestamp,
}

impl Tasks {
    pub(super) fn number(&self, tenant: &TenantId, id: &TaskId) -> Option<i64> {
        self.by_id.get(&(tenant.clone(), id.clone())).copied()
    }

    pub(super) fn find(&self, tenant: &TenantId, id: &TaskId) -> Option<&Task> {
        self.number(tenant, id).map(|number| self.get(number))
    }

    pub(super) fn get(&self, number: i64) -> &Task {
        &self.by_number[&number]
    }

    pub(super) fn get_mut(&mut self, number: i64) -> &mut Task {
        self.by_number.get_mut(&number).expect("a number from an index")
    }

    pub(super) fn all(&self) -> impl DoubleEndedIterator<Item = (i64, &Task)> {
        self.by_number.iter().map(|(&number, task)| (number, task))
    }

    pub(super) fn waiting(&self, tenant: &TenantId) -> u64 {
        self.waiting.get(tenant).copied().unwrap_or(0)
    }

    /// The task of a lease that still holds.
    pub(super) fn held(&self, key: LeaseKey) -> Option<&Task> {
        self.by_number.get(&key.task).filter(|task| task.lease.is_some_and(|lease| lease.token == key.token))
    }

    /// Stores a new task; false if there is one of that id.
    pub(super) fn insert(&mut self, tenant: &TenantId, message: Message, now: Timestamp) -> bool {
        if self.number(tenant, &message.id).is_some() {
            return false;
        }
        self.numbers += 1;
        self.by_id.insert((tenant.clone(), message.id.clone()), self.numbers);
        let record = Record::new(message, now, Place::Nowhere);
        let task = Task { tenant: tenant.clone(), record, position: 0, since: now, lease: None, logs: Vec::new() };
        self.by_number.insert(self.numbers, task);
        self.enqueue(self.numbers, now);
        true
    }

    /// Puts the message of a task that is nowhere to the end of its line, or among the scheduled.
    pub(super) fn enqueue(&mut self, number: i64, now: Timestamp) {
        let Some(eta) = due_later(&self.get(number).record.message, now) else {
            return self.requeue(number, now);
        };
        self.positions += 1;
        let position = self.positions;
        let task = self.get_mut(number);
        (task.position, task.since, task.record.place) = (position, eta, Place::Scheduled);
        let tenant = task.tenant.clone();
        self.scheduled.insert((eta, position), number);
        *self.waiting.entry(tenant).or_default() += 1;
    }

    /// Puts the message of a task that is nowhere to the end of its line, whatever its ETA.
    pub(super) fn requeue(&mut self, number: i64, now: Timestamp) {
        self.positions += 1;
        let position = self.positions;
        let task = self.get_mut(number);
        (task.position, task.since) = (position, now);
        self.put_ready(number);
    }

    /// Puts a message into its line, at its own position.
    pub(super) fn put_ready(&mut self, number: i64) {
        let task = self.get_mut(number);
        task.record.place = Place::Ready;
        let (key, tenant) = ((task.record.message.priority, task.position), task.tenant.clone());
        self.ready.insert(key, number);
        *self.waiting.entry(tenant).or_default() += 1;
    }

    /// Takes a message from wherever it is.
    pub(super) fn take(&mut self, number: i64) {
        let task = self.get_mut(number);
        let place = std::mem::replace(&mut task.record.place, Place::Nowhere);
        let (priority, position, since) = (task.record.message.priority, task.position, task.since);
        let (tenant, lease) = (task.tenant.clone(), task.lease.take());
        match place {
            Place::Ready => _ = self.ready.remove(&(priority, position)),
            Place::Scheduled => _ = self.scheduled.remove(&(since, position)),
            Place::Leased(_) => _ = lease.map(|held| self.leased.remove(&(held.until, number))),
            Place::Blocked { .. } | Place::Nowhere => {}
        }
        if matches!(place, Place::Ready | Place::Scheduled) {
            *self.waiting.entry(tenant).or_default() -= 1;
        }
    }

    /// Hands a ready message to a host.
    pub(super) fn grant(&mut self, number: i64, worker: &str, until: Timestamp) -> LeaseKey {
        self.take(number);
        self.tokens += 1;
        let token = self.tokens;
        let task = self.get_mut(number);
        task.lease = Some(Held { token, until });
        task.record.deliveries += 1;
        task.record.place = Place::Leased(Leasehold { worker: worker.to_owned(), own: None });
        self.leased.insert((until, number));
        LeaseKey { task: number, token }
    }

    /// Moves what is due into its line.
    pub(super) fn promote(&mut self, now: Timestamp) {
        while let Some((&(eta, _), &number)) = self.scheduled.first_key_value()
            && eta <= now
        {
            self.take(number);
            self.put_ready(number);
        }
    }

    /// Puts the messages of leases that have lapsed back where they were.
    pub(super) fn lapse(&mut self, now: Timestamp) {
        while let Some(&(until, number)) = self.leased.first()
            && until <= now
        {
            if let Place::Leased(held) = &self.get(number).record.place {
                self.get_mut(number).record.worker = Some(held.worker.clone());
            }
            self.take(number);
            self.put_ready(number);
        }
    }

    /// Gives an uncounted message back.
    pub(super) fn release(&mut self, key: LeaseKey, begun: bool) -> Fenced {
        if self.held(key).is_none() {
            return Fenced::Refused;
        }
        self.take(key.task);
        self.get_mut(key.task).record.deliveries -= u32::from(!begun);
        self.put_ready(key.task);
        Fenced::Applied
    }

    /// Writes an outcome into a record whose message has been taken.
    pub(super) fn conclude(&mut self, number: i64, outcome: &Transition, at: Timestamp) {
        let record = &mut self.get_mut(number).record;
        record.ended = outcome.state.is_terminal().then_some(at);
        record.state = outcome.state.clone();
        record.kept.result = outcome.result.clone();
        record.kept.traceback.clone_from(&outcome.traceback);
        record.kept.fault.clone_from(&outcome.fault);
    }

    /// Revokes a task that waits.
    pub(super) fn revoke(&mut self, number: i64, now: Timestamp) {
        self.take(number);
        self.conclude(number, &Transition::revoked("revoked"), now);
    }

    /// Forgets a task that has ended.
    pub(super) fn drop_ended(&mut self, number: i64) {
        if let Some(task) = self.by_number.remove(&number) {
            self.by_id.remove(&(task.tenant, task.record.message.id));
        }
    }

    /// The state of a task that is not ready for an order that needs its end.
    pub(super) fn unfinished(&self, number: i64) -> Option<State> {
        let record = &self.get(number).record;
        record.ended.is_none().then(|| record.status())
    }
}
