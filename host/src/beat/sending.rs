//! What is due, and that it is sent.
//!
//! One loop does it for all tenants, so none may keep it: what was sent longest ago goes first, of each tenant only so much at a time, and
//! nothing more of one whose queue is full until it is tried again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use lovage_model::{EntryName, Event, PeriodicTask, ResultTuple, Signature, TaskId, TenantId, Timestamp};

use super::{Beat, BeatError, Due, due};
use crate::clock;
use crate::queue::{self, Refusal, Sent};
use crate::store::{LastRun, Periodic, StoreError, Submitted};

/// How long to wait before what could not be sent is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// The longest wait: a clock that was set, or a machine that slept, is noticed after it.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(30);
/// So many messages of a tenant's are sent before it is looked again at what others have that is due. One entry may be more.
const MOST_AT_ONCE: usize = 10_000;

/// What periodic tasks there are.
pub(super) struct Known {
    /// Of the store, when they were read.
    version: u64,
    all: Vec<Periodic>,
}

/// What has been sent for a tenant since it was looked at what is due.
#[derive(Default)]
struct Share {
    messages: usize,
    /// Why nothing more has room.
    full: Option<String>,
}

impl Beat {
    /// Sends what is due when it is due. It never returns.
    pub async fn run(&self) {
        loop {
            let wake = self.tick(clock::now()).await;
            let wait = wake.since(clock::now()).min(LOOK_AT_CLOCK);
            // Whichever comes first: the next time, or a change of what there is.
            let _ = tokio::time::timeout(wait, self.changed.notified()).await;
        }
    }

    /// Sends what is due now; returns when to look again.
    pub(super) async fn tick(&self, now: Timestamp) -> Timestamp {
        let mut known = match self.all().await {
            Ok(known) => known,
            Err(error) => {
                tracing::error!(%error, "the store does not say what is due; trying again");
                return now.after(AGAIN);
            }
        };
        let mut wake = now.after(LOOK_AT_CLOCK);
        let mut slots = Vec::new();
        for (at, periodic) in known.all.iter().enumerate() {
            match due(periodic, self.awake, now) {
                Due::Now(slot) => {
                    let last = periodic.last_run.map_or(periodic.since, |run| run.slot);
                    slots.push((last, at, slot));
                }
                other => wake = other.later().map_or(wake, |later| wake.min(later)),
            }
        }
        slots.sort_unstable();
        let (mut shares, mut stale) = (HashMap::<TenantId, Share>::new(), HashSet::new());
        for (_, at, slot) in slots {
            let periodic = &mut known.all[at];
            let share = shares.entry(periodic.tenant.clone()).or_default();
            if let Some(why) = &share.full {
                self.keep_error(&periodic.tenant, &periodic.name, why.clone());
                wake = wake.min(now.after(AGAIN));
                continue;
            }
            if share.messages >= MOST_AT_ONCE {
                wake = now;
                continue;
            }
            match self.send_for(periodic, slot, now).await {
                Ok((messages, is_noted)) => {
                    share.messages += messages;
                    // When it is due next is seen at once.
                    wake = now;
                    if !is_noted {
                        stale.insert(at);
                    }
                }
                Err(error) => {
                    share.full = matches!(error, BeatError::Full(_)).then(|| error.to_string());
                    wake = wake.min(now.after(AGAIN));
                }
            }
        }
        // What another host has noted is read anew.
        if stale.is_empty() {
            *self.known() = Some(known);
        }
        wake
    }

    /// What there is: read anew if it is not as it was.
    async fn all(&self) -> Result<Known, StoreError> {
        // Before the entries: they may be newer than it says.
        let version = self.store.periodic_version().await?;
        let known = self.known().take();
        if let Some(known) = known.filter(|known| known.version == version) {
            return Ok(known);
        }
        Ok(Known { version, all: self.store.periodic(None).await? })
    }

    /// Sends it for one of its times, now or before: how many messages that are, and whether it was this host that noted it.
    async fn send_for(
        &self,
        periodic: &mut Periodic,
        slot: Timestamp,
        now: Timestamp,
    ) -> Result<(usize, bool), BeatError> {
        let Periodic { tenant, name, entry, .. } = &*periodic;
        let run = LastRun { slot, at: now };
        let sent = match self.submit(tenant, entry, id_of(tenant, name, slot), now).await {
            Ok((_, messages)) => {
                let noted = self.store.note_run(tenant, name, run).await;
                noted.map(|is_noted| (messages, is_noted)).map_err(BeatError::Store)
            }
            Err(error) => Err(error),
        };
        match &sent {
            Ok(_) => self.forget_error(tenant, name),
            Err(error) => self.keep_error(tenant, name, error.to_string()),
        }
        if let Ok((_, true)) = sent {
            periodic.last_run = Some(run);
            periodic.total_run_count += 1;
        }
        sent
    }

    /// Sends an entry as the task `id`.
    pub(super) async fn send(
        &self,
        tenant: &TenantId,
        entry: &PeriodicTask,
        id: TaskId,
        now: Timestamp,
    ) -> Result<ResultTuple, BeatError> {
        self.submit(tenant, entry, id, now).await.map(|(result, _)| result)
    }

    /// The same, with how many messages that are.
    async fn submit(
        &self,
        tenant: &TenantId,
        entry: &PeriodicTask,
        id: TaskId,
        now: Timestamp,
    ) -> Result<(ResultTuple, usize), BeatError> {
        let Sent { plan, result } = self.admit(tenant, entry, id, now).await?;
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
            None => return Err(BeatError::Invalid("the store gave no answer".to_owned())),
        }
        Ok((result, messages.len()))
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
        let is_canvas = task.as_str().starts_with("celery.");
        let call = Signature { kwargs, options, ..Signature::new(task, args) };
        let (modules, tenant) = (Arc::clone(&self.modules), tenant.clone());
        let limits = self.limits.of(&self.access.policy(&tenant));
        let admit = move || {
            let known = queue::Known { modules: &modules, tenant: &tenant };
            queue::admit(call, queue::Ids::Given(id), &known, &limits, now)
        };
        if !is_canvas {
            return admit();
        }
        match tokio::task::spawn_blocking(admit).await {
            Ok(admitted) => admitted,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends, and who waits with it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    fn keep_error(&self, tenant: &TenantId, name: &EntryName, text: String) {
        let before = self.errors().insert((tenant.clone(), name.clone()), text.clone());
        // Said once, however often it is tried.
        if before.as_ref() != Some(&text) {
            tracing::error!(%name, error = text, "a periodic task could not be sent; trying again");
        }
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
