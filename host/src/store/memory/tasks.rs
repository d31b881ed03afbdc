//! What is known of each task, and where is its message? The structures; the moves between them are in `moves`.
//!
//! Invariants: a task is in exactly one of `ready`, `scheduled`, `blocked`, `leased` while its record's place says so, and
//! in none once it has ended; `stamped` has exactly the tasks that have not ended.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lovage_model::{AttemptLog, Message, Planned, QueueName, State, TaskId, TenantId, Timestamp};

use super::joins::OpenJoins;
use crate::store::LeaseKey;
use crate::store::admission::Backlog;
use crate::store::metering::Used;
use crate::store::record::{Place, Record, stamps};

/// Something of a tenant's, by its id.
pub(super) type Owned = (TenantId, TaskId);

#[derive(Default)]
pub(super) struct Tasks {
    pub(super) by_number: BTreeMap<i64, Task>,
    by_id: HashMap<Owned, i64>,
    /// Of each tenant that has any, by priority, then age.
    pub(super) ready: BTreeMap<TenantId, BTreeMap<(u8, u64), i64>>,
    pub(super) scheduled: BTreeMap<(Timestamp, u64), i64>,
    /// By what they wait for, the older first.
    pub(super) blocked: BTreeMap<Owned, BTreeSet<i64>>,
    /// By the time at which they lapse.
    pub(super) leased: BTreeSet<(Timestamp, i64)>,
    /// By the name and the value of a stamp.
    pub(super) stamped: BTreeMap<(TenantId, String, String), BTreeSet<i64>>,
    pub(super) paused: BTreeSet<(TenantId, QueueName)>,
    /// What each tenant has that waits.
    pub(super) backlogs: HashMap<TenantId, Backlog>,
    /// How many tasks were published by what comes from a call, and when the last; until its task is dropped.
    pub(super) descendants: HashMap<Owned, (u64, Timestamp)>,
    /// What each tenant has used on each day.
    pub(super) metered: BTreeMap<(TenantId, i64), Used>,
    pub(super) joins: OpenJoins,
    numbers: i64,
    pub(super) positions: u64,
    pub(super) tokens: u64,
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

impl Task {
    /// What names it among all tenants' tasks.
    pub(super) fn owned(&self) -> Owned {
        (self.tenant.clone(), self.record.message.id.clone())
    }

    /// Whether it has a message that nobody has.
    pub(super) fn waits(&self) -> bool {
        matches!(self.record.place, Place::Ready | Place::Scheduled | Place::Blocked { .. })
    }
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

    /// Whether there is a task of this number, whose message waits for this time.
    pub(super) fn waits_until(&self, number: i64, until: Timestamp) -> bool {
        let waits = |task: &Task| task.record.place == Place::Scheduled && task.since == until;
        self.by_number.get(&number).is_some_and(waits)
    }

    pub(super) fn all(&self) -> impl DoubleEndedIterator<Item = (i64, &Task)> {
        self.by_number.iter().map(|(&number, task)| (number, task))
    }

    /// How many of its tasks wait.
    pub(super) fn backlog(&self, tenant: &TenantId) -> Backlog {
        self.backlogs.get(tenant).copied().unwrap_or_default()
    }

    /// The task of a lease that still holds.
    pub(super) fn held(&self, key: LeaseKey) -> Option<&Task> {
        self.by_number.get(&key.task).filter(|task| task.lease.is_some_and(|lease| lease.token == key.token))
    }

    /// Stores a new task, whose id is free.
    pub(super) fn insert(&mut self, tenant: &TenantId, planned: Planned, now: Timestamp) {
        self.numbers += 1;
        let number = self.numbers;
        self.by_id.insert((tenant.clone(), planned.message.id.clone()), number);
        let record = Record::new(planned.message.clone(), now, Place::Nowhere);
        let task = Task { tenant: tenant.clone(), record, position: 0, since: now, lease: None, logs: Vec::new() };
        self.by_number.insert(number, task);
        self.place(number, planned, now);
    }

    /// Gives a task that is nowhere a message, and the message its place.
    pub(super) fn place(&mut self, number: i64, planned: Planned, now: Timestamp) {
        self.rename(number, planned.message);
        match planned.awaits {
            Some(awaited) => self.block(number, awaited),
            None => self.enqueue(number, now),
        }
    }

    /// Gives a task that has not ended another message, and finds it by that one's stamps.
    fn rename(&mut self, number: i64, message: Message) {
        self.forget_stamps(number);
        let task = self.get_mut(number);
        task.record.message = message;
        let (tenant, entries) = (task.tenant.clone(), stamps(&task.record.message));
        for (name, value) in entries {
            self.stamped.entry((tenant.clone(), name, value)).or_default().insert(number);
        }
    }

    /// Finds a task by its stamps no more.
    pub(super) fn forget_stamps(&mut self, number: i64) {
        let task = self.get(number);
        let (tenant, entries) = (task.tenant.clone(), stamps(&task.record.message));
        for (name, value) in entries {
            remove(&mut self.stamped, (tenant.clone(), name, value), number);
        }
    }

    /// Forgets a task that has ended, and what is counted under its id.
    pub(super) fn drop_ended(&mut self, number: i64) {
        if let Some(task) = self.by_number.remove(&number) {
            self.by_id.remove(&task.owned());
            self.descendants.remove(&task.owned());
        }
    }

    /// Forgets what is counted of calls whose first task is gone, and of which nothing has come since then.
    pub(super) fn drop_orphans(&mut self, before: Timestamp) {
        let by_id = &self.by_id;
        self.descendants.retain(|root, (_, last)| *last >= before || by_id.contains_key(root));
    }

    /// The state of a task that is not ready for an order that needs its end.
    pub(super) fn unfinished(&self, number: i64) -> Option<State> {
        let record = &self.get(number).record;
        record.ended.is_none().then(|| record.status())
    }
}

/// Takes a number from an index, and the entry with its last one.
pub(super) fn remove<K: Ord>(index: &mut BTreeMap<K, BTreeSet<i64>>, key: K, number: i64) {
    if let std::collections::btree_map::Entry::Occupied(mut entry) = index.entry(key) {
        entry.get_mut().remove(&number);
        if entry.get().is_empty() {
            entry.remove();
        }
    }
}
