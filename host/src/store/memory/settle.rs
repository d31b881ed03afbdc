//! How does a task's attempt end, or the task itself, and what follows from it?

use std::convert::Infallible;

use lovage_model::{Arrival, Plan, Room, Settlement, TenantId, Then, Timestamp};

use super::tasks::{Owned, Tasks};
use crate::store::admission::{Backlog, Clash, clash, full};
use crate::store::advance::{Advance, Following, advance, revoked};
use crate::store::metering::{Used, day};
use crate::store::record::{MAX_LOGS, more_children};
use crate::store::transition::{Next, Transition};
use crate::store::{Fenced, LeaseKey, Revoked, Submitted};

impl Tasks {
    /// Stores a plan of a client's.
    pub(super) fn submit(&mut self, tenant: &TenantId, plan: Plan, now: Timestamp, room: Room) -> Submitted {
        if let Some(clash) = self.clash(tenant, &plan) {
            return clash.into();
        }
        if let Some(quota) = full(room, Backlog::of(&plan, now), self.backlog(tenant), None) {
            return Submitted::Full(quota);
        }
        self.store(tenant, plan, now);
        Submitted::Stored
    }

    pub(super) fn commit(&mut self, key: LeaseKey, settlement: Settlement) -> Fenced {
        let Some(task) = self.held(key) else { return Fenced::Refused };
        let (tenant, plan) = (task.tenant.clone(), &settlement.publish);
        if let Some(clash) = self.clash(&tenant, plan) {
            return clash.into();
        }
        let published = self.descendants.get(&self.root(key.task)).map_or(0, |(published, _)| *published);
        let more = Backlog::of(plan, settlement.at);
        if let Some(quota) = full(settlement.room, more, self.backlog(&tenant), Some(published)) {
            return Fenced::Full(quota);
        }
        self.settle(key.task, settlement);
        Fenced::Applied
    }

    /// Which id of a plan is in use.
    pub(super) fn clash(&self, tenant: &TenantId, plan: &Plan) -> Option<Clash> {
        let task = |id: &_| Ok::<_, Infallible>(self.number(tenant, id).is_some());
        let join = |id: &lovage_model::TaskId| Ok(self.joins.has(&(tenant.clone(), id.clone())));
        let Ok(clash) = clash(std::iter::once(plan), task, join);
        clash
    }

    /// Applies a settlement that nothing stands against.
    pub(super) fn settle(&mut self, number: i64, settlement: Settlement) {
        let root = self.root(number);
        let tenant = root.0.clone();
        if let Some(used) = Used::by(&settlement) {
            self.metered.entry((tenant.clone(), day(settlement.at))).or_default().add(used);
        }
        let Settlement { verdict, at, ignore_result, ignore_errors, publish, grown, arrival, .. } = settlement;
        let outcome = Transition::of(verdict, ignore_result, ignore_errors);
        self.take(number);
        self.conclude(number, &outcome, at);
        let task = self.get_mut(number);
        if !settlement.worker.is_empty() {
            task.record.worker = Some(settlement.worker);
            task.record.kept.usage = Some(settlement.usage);
        }
        let children = std::mem::take(&mut task.record.kept.children);
        task.record.kept.children = more_children(children, settlement.children);
        if !settlement.log.is_empty() {
            task.logs.push(settlement.log);
            task.logs.drain(..task.logs.len().saturating_sub(MAX_LOGS));
        }
        for (group, parts) in grown {
            self.joins.grow(&(tenant.clone(), group), parts);
        }
        let published = publish.tasks.len() as u64;
        if published > 0 {
            let (before, last) = self.descendants.entry(root).or_insert((0, at));
            (*before, *last) = (*before + published, at);
        }
        // A place in the line before what is published with it, but a join to wait for is in the plan.
        self.store_joins(&tenant, &publish);
        match outcome.next {
            Next::Swap(planned) => self.place(number, *planned, at),
            // Its ETA, if it had one, has been waited for.
            Next::Requeue => self.requeue(number, at),
            Next::End | Next::Leave => {}
        }
        self.store_tasks(&tenant, publish, at);
        if let Some(arrival) = arrival {
            self.advance(number, arrival, at);
        }
    }

    fn root(&self, number: i64) -> Owned {
        let task = self.get(number);
        (task.tenant.clone(), task.record.message.root_id.clone())
    }

    fn store(&mut self, tenant: &TenantId, plan: Plan, now: Timestamp) {
        self.store_joins(tenant, &plan);
        self.store_tasks(tenant, plan, now);
    }

    fn store_joins(&mut self, tenant: &TenantId, plan: &Plan) {
        for join in &plan.joins {
            self.joins.insert(tenant, join.clone());
        }
    }

    fn store_tasks(&mut self, tenant: &TenantId, plan: Plan, now: Timestamp) {
        for planned in plan.tasks {
            self.insert(tenant, planned, now);
        }
    }

    /// Writes an outcome into a record whose message has been taken.
    fn conclude(&mut self, number: i64, outcome: &Transition, at: Timestamp) {
        let is_end = outcome.state.is_terminal();
        if is_end {
            self.forget_stamps(number);
        }
        let record = &mut self.get_mut(number).record;
        record.ended = is_end.then_some(at);
        record.state = outcome.state.clone();
        record.kept.result = outcome.result.clone();
        record.kept.traceback.clone_from(&outcome.traceback);
        record.kept.fault.clone_from(&outcome.fault);
    }

    /// Ends a task by an order, if nobody runs it.
    pub(super) fn order_end(&mut self, number: i64, now: Timestamp) -> Revoked {
        let task = self.get(number);
        match (task.lease, task.record.ended) {
            (Some(held), _) => Revoked::Running(LeaseKey { task: number, token: held.token }),
            (None, Some(_)) => Revoked::Ended(task.record.state.clone()),
            (None, None) => {
                self.revoke(number, now);
                Revoked::Waiting
            }
        }
    }

    /// Revokes a task that waits.
    pub(super) fn revoke(&mut self, number: i64, now: Timestamp) {
        self.take(number);
        self.conclude(number, &Transition::revoked("revoked"), now);
        let arrival = revoked(&self.get(number).record.message.id);
        self.advance(number, arrival, now);
    }

    /// Deals with those that wait for a task that has ended, or leaves that to who asks for it.
    fn advance(&mut self, number: i64, arrival: Arrival, at: Timestamp) {
        let task = self.get(number);
        let owned = task.owned();
        match task.record.message.then.clone() {
            None => {}
            Some(Then::Part { group, index }) => {
                self.joins.count(&(owned.0, group), owned.1, index, arrival);
            }
            Some(Then::Next) => {
                let followers = self.blocked.get(&owned);
                let first = followers.and_then(|all| all.first().copied());
                let following = match first {
                    None => Following::Nobody,
                    Some(_) if followers.is_some_and(|all| all.len() > 1) => Following::Several,
                    Some(one) => Following::One(Box::new(self.get(one).record.message.clone())),
                };
                match (advance(arrival, following, at), first) {
                    (Advance::Release(message), Some(one)) => self.unblock(one, *message, at),
                    (Advance::Keep(arrival), _) => self.joins.keep(owned, arrival),
                    _ => {}
                }
            }
        }
    }
}
