//! A store that does for the routes what they ask of it, and fails when told to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use lovage_model::api::QueueView;
use lovage_model::{
    AttemptLog, DailyUsage, Digest, EntryName, Json, Message, ModuleName, ModuleVersion, Plan, QueueName, ResultMeta,
    ResultTuple, Room, Settlement, State, TaskId, TenantId, TenantView, Timestamp,
};
use tokio::sync::RwLock;

use crate::store::memory::MemoryStore;
use crate::store::{
    Access, Ask, Broker, Ended, FREE_SLOT, Fenced, Filter, FollowUp, Groups, Joins, LastRun, Lease, LeaseKey, Leased,
    MOST_PAUSED, Metering, Modules, Orders, Page, Paused, Periodic, Place, Quota, Redone, Result, Results, Revoked,
    Schedules, Store, StoreError, Submitted, Token, Unkept, Upload, Values, Waiting,
};

#[derive(Default)]
pub(super) struct Fake {
    tasks: Mutex<BTreeMap<TaskId, ResultMeta>>,
    groups: Mutex<BTreeMap<TaskId, ResultTuple>>,
    versions: Mutex<Vec<ModuleVersion>>,
    /// For what no test needs to fail.
    memory: MemoryStore,
    failure: Mutex<Option<StoreError>>,
    paused: Mutex<BTreeSet<QueueName>>,
    /// While it is held for writing no task is read.
    pub(super) gate: RwLock<()>,
    /// How often a task was asked for.
    pub(super) asked: AtomicUsize,
}

impl Fake {
    pub(super) fn with(versions: Vec<ModuleVersion>) -> Self {
        Self { versions: Mutex::new(versions), ..Self::default() }
    }

    pub(super) fn fail(&self, error: Option<StoreError>) {
        *self.failure.lock().unwrap() = error;
    }

    pub(super) fn set(&self, id: &TaskId, state: State, result: &str) {
        let mut tasks = self.tasks.lock().unwrap();
        let meta = tasks.get_mut(id).unwrap();
        (meta.status, meta.result) = (state, Json::parse(result.to_owned()).unwrap());
    }

    /// Gives a task arguments of a little more than so many bytes.
    pub(super) fn enlarge(&self, id: &TaskId, bytes: usize) {
        let args = Json::parse(format!("[{:?}]", "x".repeat(bytes))).unwrap();
        self.tasks.lock().unwrap().get_mut(id).unwrap().args = args;
    }

    fn tasks(&self) -> Result<MutexGuard<'_, BTreeMap<TaskId, ResultMeta>>> {
        match &*self.failure.lock().unwrap() {
            Some(error) => Err(error.clone()),
            None => Ok(self.tasks.lock().unwrap()),
        }
    }

    fn of(&self, name: &ModuleName) -> Vec<ModuleVersion> {
        self.versions.lock().unwrap().iter().filter(|version| version.name == *name).cloned().collect()
    }
}

fn meta(message: Message, now: Timestamp) -> ResultMeta {
    ResultMeta {
        task_id: message.id,
        status: State::Pending,
        result: Json::null(),
        traceback: None,
        children: vec![],
        date_done: None,
        parent_id: message.parent_id,
        name: message.task,
        shadow: message.shadow,
        args: message.args,
        kwargs: message.kwargs,
        worker: None,
        retries: 0,
        queue: message.queue.into(),
        fault: None,
        root_id: message.root_id,
        submitted_at: now,
        eta: message.eta,
        waiting_for: Some(FREE_SLOT.to_owned()),
        deliveries: 0,
        usage: None,
    }
}

#[async_trait]
impl Broker for Fake {
    async fn submit(&self, _: &TenantId, plans: Vec<Plan>, now: Timestamp, room: Room) -> Result<Vec<Submitted>> {
        let mut tasks = self.tasks()?;
        let store = |mut plan: Plan| {
            let message = plan.tasks.remove(0).message;
            let waiting = tasks.values().filter(|meta| meta.status == State::Pending).count();
            if tasks.contains_key(&message.id) {
                return Submitted::Exists;
            }
            let scheduled = tasks.values().filter(|meta| meta.eta.is_some()).count();
            if message.eta.is_some() && scheduled as u64 >= room.scheduled_tasks {
                return Submitted::Full(Quota::ScheduledTasks);
            }
            if waiting as u64 >= room.queued_tasks {
                return Submitted::Full(Quota::QueuedTasks);
            }
            tasks.insert(message.id.clone(), meta(message, now));
            Submitted::Stored
        };
        Ok(plans.into_iter().map(store).collect())
    }

    async fn lease(&self, _: Ask) -> Result<Leased> {
        let leases: Vec<Lease> = vec![];
        Ok(Leased { leases, next_due: None })
    }

    async fn ready(&self) {}

    async fn renew(&self, keys: Vec<LeaseKey>, _: Timestamp) -> Result<Vec<LeaseKey>> {
        Ok(keys)
    }

    async fn report(&self, _: LeaseKey, _: String, _: Json) -> Result<Fenced> {
        Ok(Fenced::Refused)
    }

    async fn commit(&self, _: LeaseKey, _: Settlement) -> Result<Fenced> {
        Ok(Fenced::Refused)
    }

    async fn release(&self, _: LeaseKey, _: bool) -> Result<Fenced> {
        Ok(Fenced::Refused)
    }

    async fn revoke(&self, _: &TenantId, id: &TaskId, _: Timestamp) -> Result<Revoked> {
        Ok(match self.tasks()?.get_mut(id) {
            None => Revoked::Unknown,
            Some(meta) if meta.status == State::Pending => {
                meta.status = State::Revoked;
                Revoked::Waiting
            }
            Some(meta) if meta.status.is_terminal() => Revoked::Ended(meta.status.clone()),
            Some(_) => Revoked::Running(LeaseKey { task: 1, token: 1 }),
        })
    }

    async fn resubmit(&self, _: &TenantId, id: &TaskId, _: Timestamp, _: Room) -> Result<Redone> {
        Ok(match self.tasks()?.get_mut(id) {
            None => Redone::Unknown,
            Some(meta) if meta.status.is_terminal() => {
                meta.status = State::Pending;
                Redone::Done
            }
            Some(meta) => Redone::Busy(meta.status.clone()),
        })
    }

    async fn queues(&self, _: &TenantId, _: Timestamp) -> Result<Vec<QueueView>> {
        let ready = self.tasks()?.values().filter(|meta| meta.status == State::Pending).count() as u64;
        let view = |name: &QueueName, ready, paused| {
            let (scheduled, blocked, leased, oldest_seconds) = Default::default();
            QueueView { name: name.to_string(), ready, scheduled, blocked, leased, paused, oldest_seconds }
        };
        let paused = self.paused.lock().unwrap();
        let paused = paused.iter().map(|queue| view(queue, 0, true));
        Ok(std::iter::once(view(&QueueName::default(), ready, false)).chain(paused).collect())
    }

    async fn purge(&self, _: &TenantId, queue: &QueueName, _: Timestamp) -> Result<u64> {
        let mut tasks = self.tasks()?;
        let waiting = tasks.values_mut().filter(|t| t.status == State::Pending && t.queue == queue.as_str());
        Ok(waiting.map(|meta| meta.status = State::Revoked).count() as u64)
    }
}

#[async_trait]
impl Orders for Fake {
    async fn postpone(&self, _: LeaseKey, _: Timestamp) -> Result<Fenced> {
        Ok(Fenced::Refused)
    }

    async fn pause(&self, _: &TenantId, queue: &QueueName, paused: bool) -> Result<Paused> {
        drop(self.tasks()?);
        let mut all = self.paused.lock().unwrap();
        if paused && !all.contains(queue) && all.len() >= MOST_PAUSED {
            return Ok(Paused::Full);
        }
        let changed = if paused { all.insert(queue.clone()) } else { all.remove(queue) };
        Ok(if changed { Paused::Changed } else { Paused::AsBefore })
    }

    async fn is_paused(&self, _: &TenantId, queue: &QueueName) -> Result<bool> {
        Ok(self.paused.lock().unwrap().contains(queue))
    }

    async fn revoke_stamped(&self, _: &TenantId, _: &str, _: &[Json], _: Timestamp) -> Result<Vec<(TaskId, Revoked)>> {
        self.tasks().map(|_| vec![])
    }
}

#[async_trait]
impl Joins for Fake {
    async fn ended(&self, _: usize) -> Result<Vec<Ended>> {
        self.tasks().map(|_| vec![])
    }

    async fn any_ended(&self) {}

    async fn followers(&self, _: &TenantId, _: &TaskId, _: usize) -> Result<Vec<Message>> {
        self.tasks().map(|_| vec![])
    }

    async fn follow(&self, _: i64, _: FollowUp, _: Timestamp) -> Result<Fenced> {
        Ok(Fenced::Refused)
    }
}

#[async_trait]
impl Results for Fake {
    async fn task(&self, _: &TenantId, id: &TaskId) -> Result<Option<ResultMeta>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let _open = self.gate.read().await;
        Ok(self.tasks()?.get(id).cloned())
    }

    async fn list(&self, _: &TenantId, filter: Filter) -> Result<Page> {
        let tasks = self.tasks()?;
        let start = filter.before.map_or(0, |before| before as usize);
        let wanted = tasks.values().filter(|meta| filter.state.as_ref().is_none_or(|state| meta.status == *state));
        let tasks: Vec<_> = wanted.skip(start).take(filter.limit).cloned().collect();
        let next = (tasks.len() == filter.limit).then_some((start + filter.limit) as i64);
        Ok(Page { tasks, next })
    }

    async fn logs(&self, _: &TenantId, id: &TaskId) -> Result<Option<Vec<AttemptLog>>> {
        Ok(self.tasks()?.get(id).map(|_| vec![AttemptLog { stdout: "first".to_owned(), ..AttemptLog::default() }]))
    }

    async fn forget(&self, _: &TenantId, id: &TaskId) -> Result<Redone> {
        let mut tasks = self.tasks()?;
        Ok(match tasks.get(id).map(|meta| meta.status.clone()) {
            None => Redone::Unknown,
            Some(state) if !state.is_terminal() => Redone::Busy(state),
            Some(_) => {
                tasks.remove(id);
                Redone::Done
            }
        })
    }

    async fn expire(&self, _: Timestamp, _: usize) -> Result<u64> {
        Ok(0)
    }
}

#[async_trait]
impl Groups for Fake {
    async fn save_group(
        &self,
        _: &TenantId,
        id: &TaskId,
        group: &ResultTuple,
        most: u64,
        _: Timestamp,
    ) -> Result<bool> {
        drop(self.tasks()?);
        let has_room = serde_json::to_vec(group).unwrap().len() as u64 <= most;
        if has_room {
            self.groups.lock().unwrap().insert(id.clone(), group.clone());
        }
        Ok(has_room)
    }

    async fn group(&self, _: &TenantId, id: &TaskId) -> Result<Option<ResultTuple>> {
        Ok(self.groups.lock().unwrap().get(id).cloned())
    }

    async fn delete_group(&self, _: &TenantId, id: &TaskId) -> Result<bool> {
        Ok(self.groups.lock().unwrap().remove(id).is_some())
    }

    async fn expire_groups(&self, _: Timestamp, _: usize) -> Result<u64> {
        Ok(0)
    }
}

#[async_trait]
impl Modules for Fake {
    async fn push(&self, _: &TenantId, upload: Upload, now: Timestamp) -> Result<ModuleVersion> {
        let Upload { name, digest, component, tasks } = upload;
        let size_bytes = component.len() as u64;
        let version = ModuleVersion { name, version: 1, digest, size_bytes, pushed_at: now, active: true, tasks };
        self.versions.lock().unwrap().push(version.clone());
        Ok(version)
    }

    async fn active(&self, _: &TenantId) -> Result<Vec<ModuleVersion>> {
        Ok(self.versions.lock().unwrap().iter().filter(|version| version.active).cloned().collect())
    }

    async fn versions(&self, _: &TenantId, name: &ModuleName) -> Result<Vec<ModuleVersion>> {
        Ok(self.of(name))
    }

    async fn rollback(&self, _: &TenantId, name: &ModuleName) -> Result<Option<ModuleVersion>> {
        Ok(self.of(name).into_iter().find(|version| !version.active))
    }

    async fn remove(&self, _: &TenantId, name: &ModuleName) -> Result<bool> {
        let found = !self.of(name).is_empty();
        self.versions.lock().unwrap().retain(|version| version.name != *name);
        Ok(found)
    }

    async fn component(&self, _: &Digest) -> Result<Option<Bytes>> {
        Ok(None)
    }

    async fn tenants(&self) -> Result<Vec<TenantId>> {
        Ok(vec![TenantId::default()])
    }
}

#[async_trait]
impl Waiting for Fake {
    async fn scheduled(&self, _: &TenantId, _: usize) -> Result<Vec<(Timestamp, Message)>> {
        self.tasks().map(|_| vec![])
    }

    async fn hasten(&self, _: Vec<(i64, Timestamp)>, _: Timestamp) -> Result<u64> {
        self.tasks().map(|_| 0)
    }
}

#[async_trait]
impl Schedules for Fake {
    async fn periodic(&self, of: Option<&TenantId>) -> Result<Vec<Periodic>> {
        self.memory.periodic(of).await
    }

    async fn periodic_one(&self, tenant: &TenantId, name: &EntryName) -> Result<Option<Periodic>> {
        self.memory.periodic_one(tenant, name).await
    }

    async fn periodic_version(&self) -> Result<u64> {
        self.memory.periodic_version().await
    }

    async fn set_periodic(&self, periodic: Periodic) -> Result<()> {
        self.memory.set_periodic(periodic).await
    }

    async fn remove_periodic(&self, tenant: &TenantId, name: &EntryName) -> Result<bool> {
        self.memory.remove_periodic(tenant, name).await
    }

    async fn drop_periodic(&self, tenant: &TenantId) -> Result<()> {
        self.memory.drop_periodic(tenant).await
    }

    async fn note_run(&self, tenant: &TenantId, name: &EntryName, run: LastRun) -> Result<bool> {
        self.memory.note_run(tenant, name, run).await
    }
}

#[async_trait]
impl Access for Fake {
    async fn registered(&self) -> Result<Vec<TenantView>> {
        self.memory.registered().await
    }

    async fn register(&self, tenant: TenantView) -> Result<()> {
        self.memory.register(tenant).await
    }

    async fn unregister(&self, tenant: &TenantId) -> Result<bool> {
        self.memory.unregister(tenant).await
    }

    async fn tokens(&self) -> Result<Vec<Token>> {
        self.memory.tokens().await
    }

    async fn keep_token(&self, token: Token) -> Result<()> {
        self.memory.keep_token(token).await
    }
}

#[async_trait]
impl Metering for Fake {
    async fn metered(&self, tenant: &TenantId, since: Timestamp) -> Result<Vec<DailyUsage>> {
        self.memory.metered(tenant, since).await
    }
}

#[async_trait]
impl Values for Fake {
    async fn value(&self, place: Place) -> Result<Option<Bytes>> {
        self.memory.value(place).await
    }

    async fn keep_value(&self, place: Place, value: Bytes, most_bytes: u64) -> Result<std::result::Result<(), Unkept>> {
        self.memory.keep_value(place, value, most_bytes).await
    }

    async fn add_to_value(&self, place: Place, by: u64, most_bytes: u64) -> Result<std::result::Result<u64, Unkept>> {
        self.memory.add_to_value(place, by, most_bytes).await
    }

    async fn drop_value(&self, place: Place) -> Result<bool> {
        self.memory.drop_value(place).await
    }

    async fn drop_values(&self, tenant: TenantId) -> Result<()> {
        self.memory.drop_values(tenant).await
    }

    async fn keys_of_values(
        &self,
        tenant: TenantId,
        bucket: String,
        after: Option<String>,
        max: usize,
    ) -> Result<Vec<String>> {
        self.memory.keys_of_values(tenant, bucket, after, max).await
    }
}

#[async_trait]
impl Store for Fake {
    async fn healthy(&self) -> Result<()> {
        self.tasks().map(|_| ())
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
