//! What is due, and that it is sent.
//!
//! One loop does it for all tenants, so none may keep it: what was sent longest ago goes first, of each tenant only so much at a time, and
//! nothing more of one whose queue is full until it is tried again. What cannot be sent is tried less and less often.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use lovage_model::{EntryName, Event, PeriodicTask, ResultTuple, Signature, TaskId, TenantId, Timestamp};

use super::{Beat, BeatError, Due, due};
use crate::aside::aside;
use crate::clock;
use crate::queue::{self, Refusal, Sent};
use crate::store::{LastRun, Periodic, Quota, StoreError, Submitted};

/// How long to wait before what could not be sent is tried again: at first.
const AGAIN: Duration = Duration::from_secs(1);
/// And at the most.
const AGAIN_AT_LAST: Duration = Duration::from_secs(60);
/// The longest wait: a clock that was set, or a machine that slept, is noticed after it.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(30);
/// How long what was read is gone by: what other hosts have sent is no change of it.
const READ_AGAIN: Duration = Duration::from_secs(300);
/// So many messages of a tenant's are made before it is looked again at what others have that is due. One entry may be more.
const MOST_AT_ONCE: usize = 10_000;
/// For how many a canvas counts of which none was made: it may have been as much work.
const IN_VAIN: usize = 1_000;
/// After so many entries others have a turn on this thread.
const LOOKED_AT: usize = 100;

/// What periodic tasks there are.
pub(super) struct Known {
    /// Of the store, when they were read.
    version: u64,
    /// When they were read.
    read: Timestamp,
    /// When it was looked last at what is due.
    looked: Timestamp,
    all: Vec<Kept>,
}

/// One of them.
struct Kept {
    periodic: Periodic,
    /// When it is due next, as far as that was found out.
    due: Option<Due>,
}

/// What could not be sent.
#[derive(Debug, Clone)]
pub(super) struct Failing {
    pub(super) why: String,
    /// When it is tried again.
    again: Timestamp,
    /// How long after the last time that is.
    pause: Duration,
    /// How often the tenant's modules had changed: another one may have what was missing.
    modules: u64,
}

/// That something could not be sent.
struct Failed {
    why: String,
    /// It is tried again after so long; none: after a pause that grows.
    pause: Option<Duration>,
    /// How often the tenant's modules had changed before it was tried.
    modules: u64,
}

#[cfg(test)]
impl Failing {
    pub(super) fn again(&self) -> Timestamp {
        self.again
    }
}

/// What has been done for a tenant since it was looked at what is due.
#[derive(Default)]
struct Share {
    messages: usize,
    /// Why not even one more has room.
    full: Option<String>,
}

impl Beat {
    /// Sends what is due when it is due. It never returns.
    pub async fn run(&self) {
        loop {
            let wake = self.tick(clock::now()).await;
            let wait = wake.since(clock::now()).min(LOOK_AT_CLOCK);
            // Whichever comes first: the next time, or a change of what there is.
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.changed.notified() => {}
                () = self.modules.changed() => {}
            }
        }
    }

    /// Sends what is due now; returns when to look again.
    pub(super) async fn tick(&self, now: Timestamp) -> Timestamp {
        let mut known = match self.all(now).await {
            Ok(known) => known,
            Err(error) => {
                tracing::error!(%error, "the store does not say what is due; trying again");
                return now.after(AGAIN);
            }
        };
        let (slots, mut wake) = self.look(&mut known, now).await;
        let mut shares = HashMap::<TenantId, Share>::new();
        for (at, slot) in slots {
            let kept = &mut known.all[at];
            let share = shares.entry(kept.periodic.tenant.clone()).or_default();
            wake = wake.min(self.try_one(kept, slot, share, now).await);
        }
        *self.known() = Some(known);
        wake
    }

    /// What is due, each with its time, who was sent longest ago first; and when something else will be.
    async fn look(&self, known: &mut Known, now: Timestamp) -> (Vec<(usize, Timestamp)>, Timestamp) {
        let (mut slots, mut wake) = (Vec::new(), now.after(LOOK_AT_CLOCK));
        let is_set_back = now < known.looked;
        known.looked = now;
        for (at, kept) in known.all.iter_mut().enumerate() {
            if at % LOOKED_AT == LOOKED_AT - 1 {
                tokio::task::yield_now().await;
            }
            let due = match kept.due {
                Some(Due::Never) => Due::Never,
                Some(Due::Later(later)) if later > now && !is_set_back => Due::Later(later),
                _ => due(&kept.periodic, self.awake(now), now),
            };
            kept.due = Some(due);
            match due {
                Due::Now(slot) => {
                    let last = kept.periodic.last_run.map_or(kept.periodic.since, |run| run.slot);
                    slots.push((last, at, slot));
                }
                other => wake = other.later().map_or(wake, |later| wake.min(later)),
            }
        }
        slots.sort_unstable();
        (slots.into_iter().map(|(_, at, slot)| (at, slot)).collect(), wake)
    }

    /// Sends what is due, if its tenant's share lets it; when to look again.
    async fn try_one(&self, kept: &mut Kept, slot: Timestamp, share: &mut Share, now: Timestamp) -> Timestamp {
        let Periodic { tenant, name, entry, .. } = &kept.periodic;
        // Before it is tried: what is pushed meanwhile is to be tried at once.
        let modules = self.modules.changes(tenant);
        let failing = self.failing().get(&(tenant.clone(), name.clone())).map(|it| (it.again, it.modules));
        // One that is further away than that is of a clock that was set back.
        if let Some((again, before)) = failing
            && again > now
            && again <= now.after(AGAIN_AT_LAST)
            && before == modules
        {
            return again;
        }
        if let Some(why) = &share.full {
            return self.keep_error(tenant, name, Failed { why: why.clone(), pause: Some(AGAIN), modules }, now);
        }
        if share.messages >= MOST_AT_ONCE {
            return now;
        }
        let (mut made, run) = (0, LastRun { slot, at: now });
        let sent = match self.submit(tenant, entry, id_of(tenant, name, slot), now, &mut made).await {
            Ok(_) => self.store.note_run(tenant, name, run).await.map_err(BeatError::Store),
            Err(error) => Err(error),
        };
        share.messages += made.max(if made == 0 && is_canvas(entry) { IN_VAIN } else { 1 });
        match sent {
            Ok(_) => {
                self.forget_error(tenant, name);
                // If another host was first, the time is dealt with all the same.
                kept.periodic.last_run = Some(run);
                // When it is due next is seen at once.
                now
            }
            Err(error) => {
                // Nothing else of the tenant's has room, where there is none for a single task.
                let is_full =
                    made == 1 && matches!(error, BeatError::Full(field) if field == Quota::QueuedTasks.field());
                let why = error.to_string();
                share.full = is_full.then(|| why.clone());
                self.keep_error(tenant, name, Failed { why, pause: is_full.then_some(AGAIN), modules }, now)
            }
        }
    }

    /// What there is: read anew if it is not as it was.
    async fn all(&self, now: Timestamp) -> Result<Known, StoreError> {
        // Who could not look for a while does not know what others have sent meanwhile.
        let is_fresh =
            |known: &Known| now.since(known.looked) <= 2 * LOOK_AT_CLOCK && now.since(known.read) <= READ_AGAIN;
        let known = self.known().take().filter(is_fresh);
        // Before the entries: they may be newer than it says.
        let version = self.store.periodic_version().await?;
        if let Some(known) = known.filter(|known| known.version == version) {
            return Ok(known);
        }
        let all = self.store.periodic(None).await?.into_iter().map(|periodic| Kept { periodic, due: None });
        Ok(Known { version, read: now, looked: now, all: all.collect() })
    }

    /// Sends an entry as the task `id`.
    pub(super) async fn send(
        &self,
        tenant: &TenantId,
        entry: &PeriodicTask,
        id: TaskId,
        now: Timestamp,
    ) -> Result<ResultTuple, BeatError> {
        self.submit(tenant, entry, id, now, &mut 0).await
    }

    /// The same; `made` becomes how many messages that are.
    async fn submit(
        &self,
        tenant: &TenantId,
        entry: &PeriodicTask,
        id: TaskId,
        now: Timestamp,
        made: &mut usize,
    ) -> Result<ResultTuple, BeatError> {
        let Sent { plan, result } = self.admit(tenant, entry, id, now).await?;
        *made = plan.tasks.len();
        let messages: Vec<_> = plan.tasks.iter().map(|task| task.message.clone()).collect();
        let room = self.access.room(tenant, self.limits.room);
        let answers = self.store.submit(tenant, vec![plan], now, room).await?;
        match answers.first() {
            Some(Submitted::Stored) => {
                self.hub.announce_with(tenant, || messages.iter().map(|it| Event::sent(it, now)).collect());
            }
            Some(Submitted::Exists) => {}
            Some(Submitted::Taken(id)) => return Err(BeatError::Invalid(format!("{id} is a task of another call"))),
            Some(Submitted::Full(quota)) => return Err(BeatError::Full(quota.field())),
            Some(Submitted::Failed(error)) => return Err(BeatError::Store(error.clone())),
            None => return Err(BeatError::Invalid("the store gave no answer".to_owned())),
        }
        Ok(result)
    }

    /// What an entry is sent as. A canvas may be thousands of messages: they are made where nobody waits for it.
    pub(super) async fn admit(
        &self,
        tenant: &TenantId,
        entry: &PeriodicTask,
        id: TaskId,
        now: Timestamp,
    ) -> Result<Sent, Refusal> {
        let PeriodicTask { task, args, kwargs, options, .. } = entry.clone();
        let is_canvas = is_canvas(entry);
        let call = Signature { kwargs, options, ..Signature::new(task, args) };
        let (modules, tenant) = (Arc::clone(&self.modules), tenant.clone());
        let limits = self.limits.of(&self.access.policy(&tenant));
        let admit = move || {
            let known = queue::Known { modules: &modules, tenant: &tenant };
            queue::admit(call, queue::Ids::Given(id), &known, &limits, now)
        };
        if is_canvas { aside(admit).await } else { admit() }
    }

    /// Notes why something could not be sent; returns when it is tried again.
    fn keep_error(&self, tenant: &TenantId, name: &EntryName, failed: Failed, now: Timestamp) -> Timestamp {
        let Failed { why, pause, modules } = failed;
        let key = (tenant.clone(), name.clone());
        let mut failing = self.failing();
        let before = failing.get(&key);
        // Said once, however often it is tried.
        if before.is_none_or(|before| before.why != why) {
            tracing::error!(%name, error = why, "a periodic task could not be sent; trying again");
        }
        let grown = before.map_or(AGAIN, |before| (2 * before.pause).min(AGAIN_AT_LAST));
        let pause = pause.unwrap_or(grown);
        let again = now.after(pause);
        failing.insert(key, Failing { why, again, pause, modules });
        again
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether it may be many messages.
fn is_canvas(entry: &PeriodicTask) -> bool {
    entry.task.as_str().starts_with("celery.")
}

/// The id of the task that is sent for one time of an entry: a UUID made of them, so that nothing needs to be remembered.
pub(super) fn id_of(tenant: &TenantId, name: &EntryName, slot: Timestamp) -> TaskId {
    use sha2::Digest as _;
    let parts = ["beat", tenant.as_str(), name.as_str()];
    let digest = parts.iter().fold(sha2::Sha256::new(), |all, part| all.chain_update(part).chain_update([0]));
    let digest = digest.chain_update(slot.as_micros().to_be_bytes()).finalize();
    let bytes = digest[..16].try_into().expect("16 of 32 bytes");
    TaskId::from_uuid(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}
