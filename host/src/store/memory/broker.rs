//! Messages: from submit to settlement.

use std::collections::BTreeMap;

use async_trait::async_trait;
use lovage_model::api::QueueView;
use lovage_model::{Json, Message, Plan, Planned, QueueName, Room, Settlement, State, TaskId, TenantId, Timestamp};

use super::MemoryStore;
use super::tasks::{Held, Task, Tasks};
use crate::store::admission::{Backlog, full};
use crate::store::record::{Kept, MAX_LEASED_BYTES, Place};
use crate::store::sharing::Turns;
use crate::store::transition::{again, planned_only, state_of_its_own};
use crate::store::{Ask, Broker, Fenced, Lease, LeaseKey, Leased, Redone, Result, Revoked, Submitted};

#[async_trait]
impl Broker for MemoryStore {
    async fn submit(&self, tenant: &TenantId, plans: Vec<Plan>, now: Timestamp, room: Room) -> Result<Vec<Submitted>> {
        let tasks = &mut self.open()?.tasks;
        let answers = plans.into_iter().map(|plan| tasks.submit(tenant, plan, now, room)).collect();
        self.ring(tasks);
        Ok(answers)
    }

    async fn lease(&self, ask: Ask) -> Result<Leased> {
        Ok(lease(&mut self.open()?.tasks, &ask))
    }

    async fn ready(&self) {
        self.bell.notified().await;
    }

    async fn renew(&self, keys: Vec<LeaseKey>, until: Timestamp) -> Result<Vec<LeaseKey>> {
        let tasks = &mut self.open()?.tasks;
        Ok(keys.into_iter().filter(|&key| !renew(tasks, key, until)).collect())
    }

    async fn report(&self, key: LeaseKey, state: String, meta: Json) -> Result<Fenced> {
        state_of_its_own(&state)?;
        let tasks = &mut self.open()?.tasks;
        if tasks.held(key).is_none() {
            return Ok(Fenced::Refused);
        }
        if let Place::Leased(held) = &mut tasks.get_mut(key.task).record.place {
            held.own = Some((state, meta));
        }
        Ok(Fenced::Applied)
    }

    async fn commit(&self, key: LeaseKey, settlement: Settlement) -> Result<Fenced> {
        planned_only(&settlement)?;
        let tasks = &mut self.open()?.tasks;
        let fenced = tasks.commit(key, settlement);
        self.ring(tasks);
        Ok(fenced)
    }

    async fn release(&self, key: LeaseKey, begun: bool) -> Result<Fenced> {
        let tasks = &mut self.open()?.tasks;
        let fenced = tasks.release(key, begun);
        self.ring(tasks);
        Ok(fenced)
    }

    async fn revoke(&self, tenant: &TenantId, id: &TaskId, now: Timestamp) -> Result<Revoked> {
        let tasks = &mut self.open()?.tasks;
        let Some(number) = tasks.number(tenant, id) else { return Ok(Revoked::Unknown) };
        let found = tasks.order_end(number, now);
        self.ring(tasks);
        Ok(found)
    }

    async fn resubmit(&self, tenant: &TenantId, id: &TaskId, now: Timestamp, room: Room) -> Result<Redone> {
        let tasks = &mut self.open()?.tasks;
        let Some(number) = tasks.number(tenant, id) else { return Ok(Redone::Unknown) };
        if let Some(state) = tasks.unfinished(number) {
            return Ok(Redone::Busy(state));
        }
        let backlog = tasks.backlog(tenant);
        let task = tasks.get_mut(number);
        if task.record.message.unreleased {
            return Ok(Redone::Unreleased(task.record.state.clone()));
        }
        if let Some(quota) = full(room, Backlog::ONE, backlog, None) {
            return Ok(Redone::Full(quota));
        }
        task.logs.clear();
        let record = &mut task.record;
        (record.state, record.ended, record.worker, record.deliveries) = (State::Pending, None, None, 0);
        record.kept = Kept::default();
        let message = again(record.message.clone(), now);
        tasks.place(number, Planned { message, awaits: None }, now);
        self.ring(tasks);
        Ok(Redone::Done)
    }

    async fn queues(&self, tenant: &TenantId, now: Timestamp) -> Result<Vec<QueueView>> {
        Ok(queues(&self.open()?.tasks, tenant, now))
    }

    async fn purge(&self, tenant: &TenantId, queue: &QueueName, now: Timestamp) -> Result<u64> {
        let tasks = &mut self.open()?.tasks;
        let waits = |task: &Task| matches!(task.record.place, Place::Ready | Place::Scheduled);
        let of_queue = |task: &Task| task.tenant == *tenant && task.record.message.queue == *queue;
        let doomed: Vec<i64> =
            tasks.all().filter(|(_, task)| waits(task) && of_queue(task)).map(|(number, _)| number).collect();
        for &number in &doomed {
            tasks.revoke(number, now);
        }
        self.ring(tasks);
        Ok(doomed.len() as u64)
    }
}

fn lease(tasks: &mut Tasks, ask: &Ask) -> Leased {
    tasks.lapse(ask.now);
    tasks.promote(ask.now);
    let (mut next, mut bytes, mut more) = (Vec::new(), 0, false);
    for number in choose(tasks, ask) {
        bytes += weight(&tasks.get(number).record.message);
        more = bytes > MAX_LEASED_BYTES && !next.is_empty();
        if more {
            break;
        }
        next.push(number);
    }
    let leases = next.into_iter().map(|number| grant(tasks, number, ask)).collect();
    let eta = tasks.scheduled.first_key_value().map(|(&(eta, _), _)| eta);
    let lapse = tasks.leased.first().map(|&(until, _)| until);
    let next_due = if more { Some(ask.now) } else { eta.into_iter().chain(lapse).min() };
    Leased { leases, next_due }
}

/// The messages that come next.
fn choose(tasks: &Tasks, ask: &Ask) -> Vec<i64> {
    let mut turns = Turns::default();
    let order = |(&(priority, position), &number): (&(u8, u64), &i64)| ((priority, position.cast_signed()), number);
    for (tenant, ready) in &tasks.ready {
        let mut line = ready.iter().map(order).filter(|&(_, number)| wanted(tasks, ask, number)).peekable();
        if let Some(&(next, _)) = line.peek() {
            turns.add(ask.shares.get(tenant), next, line);
        }
    }
    let mut chosen = Vec::new();
    while chosen.len() < ask.max
        && let Some(mut turn) = turns.pop()
    {
        chosen.extend(turn.line.next().map(|(_, number)| number));
        if let Some(&(next, _)) = turn.line.peek() {
            turns.again(turn, next);
        }
    }
    chosen
}

/// Whether a message may be leased to who asks.
fn wanted(tasks: &Tasks, ask: &Ask, number: i64) -> bool {
    let Task { tenant, record, .. } = tasks.get(number);
    let queue = &record.message.queue;
    ask.queues.as_ref().is_none_or(|queues| queues.contains(queue))
        && !tasks.paused.contains(&(tenant.clone(), queue.clone()))
}

/// About how long a message is, in bytes.
fn weight(message: &Message) -> usize {
    message.args.as_str().len() + message.kwargs.as_str().len()
}

fn grant(tasks: &mut Tasks, number: i64, ask: &Ask) -> Lease {
    let key = tasks.grant(number, &ask.worker, ask.until);
    let Task { tenant, record, .. } = tasks.get(number);
    Lease { key, tenant: tenant.clone(), message: record.message.clone(), deliveries: record.deliveries }
}

/// Whether the lease still held.
fn renew(tasks: &mut Tasks, key: LeaseKey, until: Timestamp) -> bool {
    let Some(Held { token, until: old }) = tasks.held(key).and_then(|task| task.lease) else { return false };
    tasks.leased.remove(&(old, key.task));
    tasks.leased.insert((until, key.task));
    tasks.get_mut(key.task).lease = Some(Held { token, until });
    true
}

fn queues(tasks: &Tasks, tenant: &TenantId, now: Timestamp) -> Vec<QueueView> {
    let mut views = BTreeMap::<&QueueName, (QueueView, u64)>::new();
    for (_, queue) in tasks.paused.iter().filter(|(owner, _)| owner == tenant) {
        views.insert(queue, (QueueView { paused: true, ..empty(queue) }, u64::MAX));
    }
    for (_, task) in tasks.all().filter(|(_, task)| task.tenant == *tenant && task.record.ended.is_none()) {
        let queue = &task.record.message.queue;
        let (view, oldest) = views.entry(queue).or_insert_with(|| (empty(queue), u64::MAX));
        match task.record.place {
            Place::Ready => view.ready += 1,
            Place::Scheduled => view.scheduled += 1,
            Place::Blocked { .. } => view.blocked += 1,
            Place::Leased(_) => view.leased += 1,
            Place::Nowhere => {}
        }
        if task.record.place == Place::Ready && task.position < *oldest {
            *oldest = task.position;
            view.oldest_seconds = Some(now.since(task.since).as_secs_f64());
        }
    }
    views.into_values().map(|(view, _)| view).collect()
}

fn empty(queue: &QueueName) -> QueueView {
    let name = queue.to_string();
    QueueView { name, ready: 0, scheduled: 0, blocked: 0, leased: 0, paused: false, oldest_seconds: None }
}
