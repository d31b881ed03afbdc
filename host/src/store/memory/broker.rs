//! Messages: from submit to settlement.

use std::collections::BTreeMap;

use async_trait::async_trait;
use lovage_model::api::QueueView;
use lovage_model::{Json, Plan, Planned, QueueName, Room, Settlement, State, TaskId, TenantId, Timestamp};

use super::MemoryStore;
use super::tasks::{Held, Task, Tasks};
use crate::store::record::{Kept, Place};
use crate::store::transition::{Next, Transition, again, state_of_its_own};
use crate::store::{Ask, Broker, Fenced, Lease, LeaseKey, Leased, Quota, Redone, Result, Revoked, Submitted};

#[async_trait]
impl Broker for MemoryStore {
    async fn submit(&self, tenant: &TenantId, plans: Vec<Plan>, now: Timestamp, room: Room) -> Result<Vec<Submitted>> {
        let tasks = &mut self.open()?.tasks;
        let answers = plans.into_iter().map(|plan| submit(tasks, tenant, plan, now, room)).collect();
        self.bell.notify_one();
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
        let fenced = commit(&mut self.open()?.tasks, key, settlement);
        self.bell.notify_one();
        Ok(fenced)
    }

    async fn release(&self, key: LeaseKey, begun: bool) -> Result<Fenced> {
        let fenced = self.open()?.tasks.release(key, begun);
        self.bell.notify_one();
        Ok(fenced)
    }

    async fn revoke(&self, tenant: &TenantId, id: &TaskId, now: Timestamp) -> Result<Revoked> {
        let tasks = &mut self.open()?.tasks;
        let Some(number) = tasks.number(tenant, id) else { return Ok(Revoked::Unknown) };
        let task = tasks.get(number);
        Ok(match (task.lease, task.record.ended) {
            (Some(held), _) => Revoked::Running(LeaseKey { task: number, token: held.token }),
            (None, Some(_)) => Revoked::Ended(task.record.state.clone()),
            (None, None) => {
                tasks.revoke(number, now);
                Revoked::Waiting
            }
        })
    }

    async fn resubmit(&self, tenant: &TenantId, id: &TaskId, now: Timestamp) -> Result<Redone> {
        let tasks = &mut self.open()?.tasks;
        let Some(number) = tasks.number(tenant, id) else { return Ok(Redone::Unknown) };
        if let Some(state) = tasks.unfinished(number) {
            return Ok(Redone::Busy(state));
        }
        let task = tasks.get_mut(number);
        task.logs.clear();
        let record = &mut task.record;
        (record.state, record.ended, record.worker, record.deliveries) = (State::Pending, None, None, 0);
        record.kept = Kept::default();
        record.message = again(record.message.clone(), now);
        tasks.enqueue(number, now);
        self.bell.notify_one();
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
        Ok(doomed.len() as u64)
    }
}

fn submit(tasks: &mut Tasks, tenant: &TenantId, plan: Plan, now: Timestamp, room: Room) -> Submitted {
    let known = |one: &&Planned| tasks.number(tenant, &one.message.id).is_some();
    if let Some(first) = plan.tasks.iter().find(known) {
        let all = plan.tasks.iter().filter(known).count() == plan.tasks.len();
        return if all { Submitted::Exists } else { Submitted::Taken(first.message.id.clone()) };
    }
    if tasks.waiting(tenant) + plan.tasks.len() as u64 > room.queued_tasks {
        return Submitted::Full(Quota::QueuedTasks);
    }
    for Planned { message, .. } in plan.tasks {
        tasks.insert(tenant, message, now);
    }
    Submitted::Stored
}

fn lease(tasks: &mut Tasks, ask: &Ask) -> Leased {
    tasks.lapse(ask.now);
    tasks.promote(ask.now);
    let wanted = |task: &Task| ask.queues.as_ref().is_none_or(|queues| queues.contains(&task.record.message.queue));
    let next: Vec<i64> =
        tasks.ready.values().copied().filter(|&number| wanted(tasks.get(number))).take(ask.max).collect();
    let leases = next.into_iter().map(|number| grant(tasks, number, ask)).collect();
    let eta = tasks.scheduled.first_key_value().map(|(&(eta, _), _)| eta);
    let lapse = tasks.leased.first().map(|&(until, _)| until);
    Leased { leases, next_due: eta.into_iter().chain(lapse).min() }
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

fn commit(tasks: &mut Tasks, key: LeaseKey, settlement: Settlement) -> Fenced {
    if tasks.held(key).is_none() {
        return Fenced::Refused;
    }
    let Settlement { verdict, at, worker, ignore_result, ignore_errors, publish, children, usage, log, .. } =
        settlement;
    let outcome = Transition::of(verdict, ignore_result, ignore_errors);
    tasks.take(key.task);
    tasks.conclude(key.task, &outcome, at);
    let task = tasks.get_mut(key.task);
    task.record.worker = Some(worker);
    task.record.kept.usage = Some(usage);
    task.record.kept.children.extend(children);
    if !log.is_empty() {
        task.logs.push(log);
    }
    let tenant = task.tenant.clone();
    if let Next::Swap(message) = outcome.next {
        task.record.message = message.message;
        tasks.enqueue(key.task, at);
    } else if outcome.next == Next::Requeue {
        // Its ETA, if it had one, has been waited for.
        tasks.requeue(key.task, at);
    }
    for Planned { message, .. } in publish.tasks {
        tasks.insert(&tenant, message, at);
    }
    Fenced::Applied
}

fn queues(tasks: &Tasks, tenant: &TenantId, now: Timestamp) -> Vec<QueueView> {
    let mut views = BTreeMap::<&QueueName, (QueueView, u64)>::new();
    for (_, task) in tasks.all().filter(|(_, task)| task.tenant == *tenant && task.record.ended.is_none()) {
        let queue = &task.record.message.queue;
        let empty = QueueView {
            name: queue.to_string(),
            ready: 0,
            scheduled: 0,
            blocked: 0,
            leased: 0,
            paused: false,
            oldest_seconds: None,
        };
        let (view, oldest) = views.entry(queue).or_insert((empty, u64::MAX));
        match task.record.place {
            Place::Ready => view.ready += 1,
            Place::Scheduled => view.scheduled += 1,
            Place::Leased(_) => view.leased += 1,
            Place::Blocked { .. } => view.blocked += 1,
            Place::Nowhere => {}
        }
        if task.record.place == Place::Ready && task.position < *oldest {
            *oldest = task.position;
            view.oldest_seconds = Some(now.since(task.since).as_secs_f64());
        }
    }
    views.into_values().map(|(view, _)| view).collect()
}
