//! Which ways can a message go? The few moves between its places; every other file here is made of them.

use lovage_model::{Message, Planned, TaskId, Timestamp};

use super::tasks::{Held, Tasks, remove};
use crate::store::record::{Leasehold, Place};
use crate::store::transition::due_later;
use crate::store::{Fenced, LeaseKey};

impl Tasks {
    /// Puts the message of a task that is nowhere to the end of its line, or among the scheduled.
    pub(super) fn enqueue(&mut self, number: i64, now: Timestamp) {
        let Some(eta) = due_later(&self.get(number).record.message, now) else {
            return self.requeue(number, now);
        };
        self.positions += 1;
        self.get_mut(number).position = self.positions;
        self.schedule(number, eta);
    }

    /// Puts a message among the scheduled, at its own position.
    fn schedule(&mut self, number: i64, until: Timestamp) {
        let task = self.get_mut(number);
        (task.since, task.record.place) = (until, Place::Scheduled);
        let (position, tenant) = (task.position, task.tenant.clone());
        self.scheduled.insert((until, position), number);
        let backlog = self.backlogs.entry(tenant).or_default();
        backlog.tasks += 1;
        backlog.scheduled += 1;
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
    fn put_ready(&mut self, number: i64) {
        let task = self.get_mut(number);
        task.record.place = Place::Ready;
        let (key, tenant) = ((task.record.message.priority, task.position), task.tenant.clone());
        self.ready.entry(tenant.clone()).or_default().insert(key, number);
        self.backlogs.entry(tenant).or_default().tasks += 1;
    }

    /// Lets the message of a task that is nowhere wait for something else.
    pub(super) fn block(&mut self, number: i64, awaited: TaskId) {
        let owned = (self.get(number).tenant.clone(), awaited);
        let group = self.joins.has(&owned);
        self.get_mut(number).record.place = Place::Blocked { awaited: owned.1.clone(), group };
        self.backlogs.entry(owned.0.clone()).or_default().tasks += 1;
        self.blocked.entry(owned).or_default().insert(number);
    }

    /// Lets a task run that waited for something else, with this message.
    pub(super) fn unblock(&mut self, number: i64, message: Message, now: Timestamp) {
        self.take(number);
        self.place(number, Planned { message, awaits: None }, now);
    }

    /// Takes a message from wherever it is.
    pub(super) fn take(&mut self, number: i64) {
        let waited = self.get(number).waits();
        let task = self.get_mut(number);
        let place = std::mem::replace(&mut task.record.place, Place::Nowhere);
        let (priority, position, since) = (task.record.message.priority, task.position, task.since);
        let (tenant, lease) = (task.tenant.clone(), task.lease.take());
        if waited {
            let backlog = self.backlogs.entry(tenant.clone()).or_default();
            backlog.tasks -= 1;
            backlog.scheduled -= u64::from(place == Place::Scheduled);
        }
        match place {
            Place::Ready => {
                if let Some(line) = self.ready.get_mut(&tenant) {
                    line.remove(&(priority, position));
                    if line.is_empty() {
                        self.ready.remove(&tenant);
                    }
                }
            }
            Place::Scheduled => _ = self.scheduled.remove(&(since, position)),
            Place::Blocked { awaited, .. } => remove(&mut self.blocked, (tenant, awaited), number),
            Place::Leased(_) => _ = lease.map(|held| self.leased.remove(&(held.until, number))),
            Place::Nowhere => {}
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

    /// Gives a message back, to the front of its line.
    pub(super) fn release(&mut self, key: LeaseKey, begun: bool) -> Fenced {
        if self.held(key).is_none() {
            return Fenced::Refused;
        }
        self.take(key.task);
        self.get_mut(key.task).record.deliveries -= u32::from(!begun);
        self.put_ready(key.task);
        Fenced::Applied
    }

    /// Puts a message that waits for this time into its line; whether it did.
    pub(super) fn hasten(&mut self, number: i64, until: Timestamp, now: Timestamp) -> bool {
        if !self.waits_until(number, until) {
            return false;
        }
        self.take(number);
        self.get_mut(number).since = now;
        self.put_ready(number);
        true
    }

    /// Gives a message that was not delivered back, to be leased later.
    pub(super) fn postpone(&mut self, key: LeaseKey, until: Timestamp) -> Fenced {
        if self.held(key).is_none() {
            return Fenced::Refused;
        }
        self.take(key.task);
        self.get_mut(key.task).record.deliveries -= 1;
        self.schedule(key.task, until);
        Fenced::Applied
    }
}
