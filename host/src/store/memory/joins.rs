//! What waits for others: which joins are open, and what has ended with nobody having seen to its followers.

use std::collections::{BTreeMap, HashSet};

use async_trait::async_trait;
use lovage_model::{Arrival, Followed, Join, Message, Plan, TaskId, TenantId, Then, Timestamp};

use super::MemoryStore;
use super::tasks::{Owned, Tasks};
use crate::store::advance::{MAX_PARTS_BYTES, is_complete, too_large};
use crate::store::record::{MAX_LEASED_BYTES, Place, json_bytes};
use crate::store::{Completed, Ended, Fenced, FollowUp, Joins, Result};

#[derive(Default)]
pub(super) struct OpenJoins {
    open: BTreeMap<Owned, OpenJoin>,
    ended: BTreeMap<i64, Left>,
    keys: i64,
    parts: u64,
    /// Whether something has ended since this was looked at.
    pub(super) rings: bool,
}

struct OpenJoin {
    size: u64,
    then: Then,
    /// By their place in the list, then by when they came; none, if they are more than anybody could read.
    parts: BTreeMap<(u32, u64), Arrival>,
    /// How long they are together, as the other stores write them.
    bytes: usize,
    /// The tasks, and the inner joins, whose part has come. One counts once, however often it ends.
    counted: HashSet<TaskId>,
    /// Whether all parts have come. Nothing is added from then on.
    complete: bool,
}

impl OpenJoin {
    fn is_too_large(&self) -> bool {
        self.bytes > MAX_PARTS_BYTES
    }
}

struct Left {
    of: Owned,
    /// Of a task; a join has its parts.
    arrival: Option<Arrival>,
}

impl OpenJoins {
    pub(super) fn has(&self, owned: &Owned) -> bool {
        self.open.contains_key(owned)
    }

    /// Opens a join, whose id is free. One of no parts is complete.
    pub(super) fn insert(&mut self, tenant: &TenantId, join: Join) {
        let owned = (tenant.clone(), join.group);
        let (parts, counted) = (BTreeMap::new(), HashSet::new());
        let open = OpenJoin { size: u64::from(join.size), then: join.then, parts, bytes: 0, counted, complete: false };
        self.open.insert(owned.clone(), open);
        self.complete(owned);
    }

    pub(super) fn grow(&mut self, owned: &Owned, parts: u32) {
        if let Some(join) = self.open.get_mut(owned).filter(|join| !join.complete) {
            join.size += u64::from(parts);
        }
    }

    /// Counts a part of a join, if the join waits for it.
    pub(super) fn count(&mut self, owned: &Owned, part: TaskId, index: u32, arrival: Arrival) {
        let Some(join) = self.open.get_mut(owned).filter(|join| !join.complete) else { return };
        if join.counted.insert(part) {
            self.parts += 1;
            join.bytes = join.bytes.saturating_add(json_bytes(&arrival));
            if join.is_too_large() {
                join.parts.clear();
            } else {
                join.parts.insert((index, self.parts), arrival);
            }
            self.complete(owned.clone());
        }
    }

    fn complete(&mut self, owned: Owned) {
        let Some(join) = self.open.get_mut(&owned) else { return };
        if is_complete(join.counted.len() as u64, join.size) {
            join.complete = true;
            self.leave(Left { of: owned, arrival: None });
        }
    }

    /// Keeps that a task has ended.
    pub(super) fn keep(&mut self, owned: Owned, arrival: Arrival) {
        self.leave(Left { of: owned, arrival: Some(arrival) });
    }

    fn leave(&mut self, left: Left) {
        self.keys += 1;
        self.ended.insert(self.keys, left);
        self.rings = true;
    }

    /// Tells whoever listens after a restart what is there.
    #[cfg(test)]
    pub(super) fn reopen(&mut self) {
        self.rings = !self.ended.is_empty();
    }

    /// How long that is which somebody is told.
    fn bytes(&self, left: &Left) -> usize {
        let of_join = || self.open.get(&left.of).filter(|join| !join.is_too_large()).map_or(0, |join| join.bytes);
        left.arrival.as_ref().map_or_else(of_join, json_bytes)
    }

    fn read(&self, key: i64) -> Option<Ended> {
        let Left { of, arrival } = self.ended.get(&key)?;
        let outcome = match (arrival, self.open.get(of)) {
            (Some(arrival), _) => Completed::Task(arrival.clone()),
            (None, join) => {
                let join = join?;
                let parts = join.parts.values().cloned();
                let parts = if join.is_too_large() { vec![too_large(of.1.clone())] } else { parts.collect() };
                Completed::Join { parts, then: join.then.clone() }
            }
        };
        let (tenant, id) = of.clone();
        Some(Ended { key, tenant, id, outcome })
    }

    /// Drops something whose followers have been dealt with.
    fn close(&mut self, key: i64) {
        if let Some(Left { of, arrival: None }) = self.ended.remove(&key) {
            self.open.remove(&of);
        }
    }
}

#[async_trait]
impl Joins for MemoryStore {
    async fn ended(&self, max: usize) -> Result<Vec<Ended>> {
        let joins = &self.open()?.tasks.joins;
        let (mut found, mut bytes) = (Vec::new(), 0);
        for (&key, left) in joins.ended.iter().take(max) {
            bytes += joins.bytes(left);
            if bytes > MAX_LEASED_BYTES && !found.is_empty() {
                break;
            }
            found.extend(joins.read(key));
        }
        Ok(found)
    }

    async fn any_ended(&self) {
        self.ends.notified().await;
    }

    async fn followers(&self, tenant: &TenantId, awaited: &TaskId, max: usize) -> Result<Vec<Message>> {
        let tasks = &self.open()?.tasks;
        let numbers = tasks.blocked.get(&(tenant.clone(), awaited.clone())).into_iter().flatten().take(max);
        Ok(numbers.map(|&number| tasks.get(number).record.message.clone()).collect())
    }

    async fn follow(&self, key: i64, step: FollowUp, now: Timestamp) -> Result<Fenced> {
        let tasks = &mut self.open()?.tasks;
        let fenced = tasks.follow(key, step, now);
        self.ring(tasks);
        Ok(fenced)
    }
}

impl Tasks {
    fn follow(&mut self, key: i64, step: FollowUp, now: Timestamp) -> Fenced {
        let Some(ended) = self.joins.read(key) else { return Fenced::Refused };
        let mut publish = Plan::default();
        for (id, what) in &step.followed {
            if let (Followed::Settled(settlement), Some(_)) = (what, self.follower(&ended, id)) {
                publish.append(settlement.publish.clone());
            }
        }
        if let Some(clash) = self.clash(&ended.tenant, &publish) {
            return clash.into();
        }
        for (id, what) in step.followed {
            let Some(number) = self.follower(&ended, &id) else { continue };
            match what {
                Followed::Released(message) => self.unblock(number, *message, now),
                Followed::Settled(settlement) => self.settle(number, *settlement),
            }
        }
        let is_left = self.blocked.contains_key(&(ended.tenant.clone(), ended.id.clone()));
        if let (Some(arrival), Completed::Join { then: Then::Part { group, index }, .. }) = (step.part, ended.outcome) {
            self.joins.count(&(ended.tenant, group), ended.id, index, arrival);
        }
        if step.done && is_left {
            self.joins.rings = true;
        } else if step.done {
            self.joins.close(key);
        }
        Fenced::Applied
    }

    /// A task that still waits for something that ended.
    fn follower(&self, ended: &Ended, id: &TaskId) -> Option<i64> {
        let number = self.number(&ended.tenant, id)?;
        let waits = matches!(&self.get(number).record.place, Place::Blocked { awaited, .. } if *awaited == ended.id);
        waits.then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use lovage_model::Json;

    use super::*;

    /// What a join of one part comes to, which is so long as it is written.
    fn told(bytes: usize) -> Vec<Arrival> {
        let of = |count| Arrival::Value(Json::parse(format!("\"{}\"", "x".repeat(count))).unwrap());
        let arrival = of(bytes - json_bytes(&of(0)));
        let (tenant, group, mut joins) = (TenantId::default(), TaskId::new("g").unwrap(), OpenJoins::default());
        joins.insert(&tenant, Join { group: group.clone(), size: 1, then: Then::Next });
        joins.count(&(tenant, group), TaskId::new("a").unwrap(), 0, arrival);
        let ended = joins.read(1).expect("it is complete");
        let Completed::Join { parts, .. } = ended.outcome else { panic!("it is no join") };
        parts
    }

    #[test]
    fn parts_are_counted_as_the_other_stores_write_them() {
        assert!(matches!(told(MAX_PARTS_BYTES)[..], [Arrival::Value(_)]));
        assert!(matches!(told(MAX_PARTS_BYTES + 1)[..], [Arrival::Failed { .. }]));
    }
}
