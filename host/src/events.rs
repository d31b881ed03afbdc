//! Who must be told?
//!
//! Tells listeners what happened to tasks: a task's followers (long polls, event streams) and a tenant's. Never the
//! source of truth: who listens reads the store after subscribing, and again when told that it lost something.
//!
//! Invariants:
//! - Announcing never waits for a listener. A slow one loses the oldest events, and is told how many.
//! - Sequence numbers grow, also across restarts: the first is the time of the start, in microseconds.
//! - Who subscribed before an event was announced receives it, or is told of the loss.
//! - While nobody of a tenant listens, and nobody has left so lately that it could come back for what it missed, its
//!   events are neither made nor kept.
//!
//! Absent: JSON, HTTP, the store.

mod watch;

use std::collections::{HashMap, VecDeque};
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use lovage_model::{Event, EventKind, TaskId, TenantId, Timestamp};
use tokio::sync::broadcast::{self, error::RecvError};

pub use watch::Watch;
use watch::Watched;

/// Events of a tenant that are kept for who resumes.
const KEPT: usize = 1024;
/// Events that may wait for one listener of a tenant.
const TENANT_BACKLOG: usize = 1024;
/// Events that may wait for one listener of a task.
const TASK_BACKLOG: usize = 128;

/// What a listener receives.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// Something happened.
    Event(Numbered),
    /// So many events were lost, because the listener was slow: what it needs is in the store.
    Lagged(u64),
    /// Something happened that has no event of its own, such as a purge: read the store again.
    Recheck,
}

/// An event with its place in the tenant's sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbered {
    /// Its number; none for a piece of a log, which cannot be resumed from.
    pub sequence: Option<u64>,
    /// The event.
    pub event: Arc<Told>,
}

/// An event, and its text, which is made at most once however many listen.
#[derive(Debug)]
pub struct Told {
    event: Event,
    text: OnceLock<String>,
}

impl Told {
    /// Its text; the first who asks makes it.
    pub fn text(&self, make: impl FnOnce(&Event) -> String) -> &str {
        self.text.get_or_init(|| make(&self.event))
    }
}

impl From<Event> for Told {
    fn from(event: Event) -> Self {
        Self { event, text: OnceLock::new() }
    }
}

impl Deref for Told {
    type Target = Event;

    fn deref(&self) -> &Event {
        &self.event
    }
}

impl PartialEq for Told {
    fn eq(&self, other: &Self) -> bool {
        self.event == other.event
    }
}

type Sender = broadcast::Sender<Notice>;

/// All listeners of all tenants.
#[derive(Debug)]
pub struct Hub {
    /// This host's name: all that is announced here, but what clients sent, happened here.
    hostname: Option<Arc<str>>,
    state: Mutex<State>,
    /// How many tasks have listeners, to answer the common case without the lock.
    followed: AtomicUsize,
}

#[derive(Debug)]
struct State {
    sequence: u64,
    tenants: HashMap<TenantId, Channel>,
}

#[derive(Debug)]
struct Channel {
    kept: VecDeque<(u64, Arc<Told>)>,
    /// The number of the last event that is no longer kept.
    dropped: u64,
    all: Sender,
    tasks: HashMap<TaskId, Sender>,
    watched: Watched,
    /// Until which event who listened last can come back and find all that it missed.
    heard_until: u64,
}

impl Channel {
    fn new(sequence: u64) -> Self {
        let all = broadcast::Sender::new(TENANT_BACKLOG);
        let (tasks, watched) = (HashMap::new(), Watched::default());
        Self { kept: VecDeque::new(), dropped: sequence, all, tasks, watched, heard_until: sequence }
    }

    fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.watched.is_empty() && self.all.receiver_count() == 0
    }

    fn keep(&mut self, sequence: u64, event: &Arc<Told>) {
        if self.kept.len() == KEPT {
            self.dropped = self.kept.pop_front().map_or(self.dropped, |(oldest, _)| oldest);
        }
        self.kept.push_back((sequence, Arc::clone(event)));
    }

    /// Sending fails only while nobody listens, which is what most events meet.
    fn tell(&self, notice: Notice, id: &TaskId) {
        if let Notice::Event(numbered) = &notice {
            self.watched.tell(id, &numbered.event.kind);
        }
        if let Some(followers) = self.tasks.get(id) {
            let _ = followers.send(notice.clone());
        }
        let in_log = matches!(&notice, Notice::Event(Numbered { sequence: None, .. }));
        if !in_log && self.all.receiver_count() > 0 {
            let _ = self.all.send(notice);
        }
    }
}

impl State {
    fn channel(&mut self, tenant: &TenantId) -> &mut Channel {
        if !self.tenants.contains_key(tenant) {
            self.tenants.insert(tenant.clone(), Channel::new(self.sequence));
        }
        self.tenants.get_mut(tenant).expect("just inserted")
    }

    /// Whether anybody gets what is announced now, or can still come back for it. If not, what was kept is dropped.
    fn hears(&mut self, tenant: &TenantId) -> bool {
        let Some(channel) = self.tenants.get_mut(tenant) else { return false };
        if !channel.is_empty() || self.sequence < channel.heard_until {
            return true;
        }
        if channel.dropped < self.sequence || !channel.kept.is_empty() {
            // Something is lost from here on: whoever saw the number before must learn that.
            channel.kept.clear();
            self.sequence += 1;
            channel.dropped = self.sequence;
        }
        false
    }
}

impl Hub {
    /// A hub without listeners; `now` is where its sequence starts.
    pub fn new(now: Timestamp) -> Self {
        let sequence = u64::try_from(now.as_micros()).unwrap_or_default();
        let state = Mutex::new(State { sequence, tenants: HashMap::new() });
        Self { hostname: None, state, followed: AtomicUsize::new(0) }
    }

    /// The same, of a host that signs its events.
    #[must_use]
    pub fn of_host(self, name: &str) -> Self {
        Self { hostname: Some(name.into()), ..self }
    }

    /// Tells whoever listens. Call it after the store has committed what the events say.
    pub fn announce(&self, tenant: &TenantId, events: &[Event]) {
        if !events.is_empty() {
            self.announce_with(tenant, || events.to_vec());
        }
    }

    /// The same with events that are made only if somebody listens. (Who begins to listen meanwhile reads the store after
    /// that, and finds there what they say.)
    pub fn announce_with(&self, tenant: &TenantId, events: impl FnOnce() -> Vec<Event>) {
        if !self.lock().hears(tenant) {
            return;
        }
        let shared: Vec<Arc<Told>> = events().into_iter().map(|event| Arc::new(self.signed(event).into())).collect();
        let mut state = self.lock();
        for event in shared {
            let is_log = matches!(event.kind, EventKind::Log { .. });
            state.sequence += u64::from(!is_log);
            let sequence = state.sequence;
            let channel = state.channel(tenant);
            if !is_log {
                channel.keep(sequence, &event);
            }
            let id = event.uuid.clone();
            let numbered = Numbered { sequence: (!is_log).then_some(sequence), event };
            channel.tell(Notice::Event(numbered), &id);
        }
    }

    fn signed(&self, event: Event) -> Event {
        let is_of_host = !matches!(event.kind, EventKind::Sent { .. });
        Event { hostname: self.hostname.clone().filter(|_| is_of_host), ..event }
    }

    /// Makes all who follow a task of the tenant read the store again.
    pub fn recheck(&self, tenant: &TenantId) {
        let state = self.lock();
        let Some(channel) = state.tenants.get(tenant) else { return };
        for followers in channel.tasks.values() {
            let _ = followers.send(Notice::Recheck);
        }
        channel.watched.recheck();
    }

    /// The same for those who follow one of some tasks: something happened to them elsewhere.
    pub fn recheck_tasks(&self, tasks: &[(TenantId, TaskId)]) {
        let state = self.lock();
        if state.tenants.is_empty() {
            return;
        }
        for (tenant, id) in tasks {
            let Some(channel) = state.tenants.get(tenant) else { continue };
            if let Some(followers) = channel.tasks.get(id) {
                let _ = followers.send(Notice::Recheck);
            }
            channel.watched.recheck_one(id);
        }
    }

    /// Whether somebody follows this task: whether pieces of its log are worth announcing.
    pub fn watched(&self, tenant: &TenantId, id: &TaskId) -> bool {
        self.followed.load(Ordering::Acquire) > 0
            && self.lock().tenants.get(tenant).is_some_and(|channel| channel.tasks.contains_key(id))
    }

    /// Follows one task from now on; with `after`, the events after that number come first, if all are still kept.
    pub fn follow(self: &Arc<Self>, tenant: &TenantId, id: &TaskId, after: Option<u64>) -> Subscription {
        let mut state = self.lock();
        let sequence = state.sequence;
        let channel = state.channel(tenant);
        let followers = channel.tasks.entry(id.clone()).or_insert_with(|| {
            self.followed.fetch_add(1, Ordering::AcqRel);
            broadcast::Sender::new(TASK_BACKLOG)
        });
        let receiver = Some(followers.subscribe());
        let (mut missed, complete) = missed(channel, after, sequence, |event| event.uuid == *id);
        if !complete {
            // Who must read the store anyway would take these for newer than what it finds there.
            missed.clear();
        }
        let (hub, tenant, task) = (Arc::clone(self), tenant.clone(), Some(id.clone()));
        Subscription { hub, tenant, task, receiver, missed, sequence, complete }
    }

    /// Follows all tasks of a tenant from now on; with `after`, the kept events after that number come first.
    pub fn listen(self: &Arc<Self>, tenant: &TenantId, after: Option<u64>) -> Subscription {
        let mut state = self.lock();
        let sequence = state.sequence;
        let channel = state.channel(tenant);
        let receiver = Some(channel.all.subscribe());
        let (missed, complete) = missed(channel, after, sequence, |_| true);
        let (hub, tenant) = (Arc::clone(self), tenant.clone());
        Subscription { hub, tenant, task: None, receiver, missed, sequence, complete }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The kept events after a number, and whether these are all there were.
fn missed(
    channel: &Channel,
    after: Option<u64>,
    newest: u64,
    wanted: impl Fn(&Event) -> bool,
) -> (VecDeque<Numbered>, bool) {
    let Some(after) = after else { return (VecDeque::new(), true) };
    let later = channel.kept.iter().filter(|(sequence, event)| *sequence > after && wanted(event));
    let events = later.map(|(sequence, event)| Numbered { sequence: Some(*sequence), event: Arc::clone(event) });
    (events.collect(), (channel.dropped..=newest).contains(&after))
}

/// One listener. It stops listening when it is dropped.
#[derive(Debug)]
pub struct Subscription {
    hub: Arc<Hub>,
    tenant: TenantId,
    /// None: all of the tenant's.
    task: Option<TaskId>,
    receiver: Option<broadcast::Receiver<Notice>>,
    missed: VecDeque<Numbered>,
    sequence: u64,
    complete: bool,
}

impl Subscription {
    /// The number of the last event before this one listened.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether everything after the number that was asked for is still there to be read.
    pub fn complete(&self) -> bool {
        self.complete
    }

    /// Whether kept events come before what happens from now on.
    pub fn has_missed(&self) -> bool {
        !self.missed.is_empty()
    }

    /// The next notice. Safe to drop and call again: no notice is lost by that.
    pub async fn next(&mut self) -> Notice {
        if let Some(missed) = self.missed.pop_front() {
            return Notice::Event(missed);
        }
        let receiver = self.receiver.as_mut().expect("taken on drop only");
        match receiver.recv().await {
            Ok(notice) => notice,
            Err(RecvError::Lagged(lost)) => Notice::Lagged(lost),
            // The hub keeps the sender while this receiver lives.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.receiver = None;
        let mut state = self.hub.lock();
        let sequence = state.sequence;
        let channel = state.channel(&self.tenant);
        let topic = self.task.as_ref().and_then(|id| Some((id, channel.tasks.get(id)?)));
        if let Some((id, followers)) = topic
            && followers.receiver_count() == 0
        {
            channel.tasks.remove(id);
            self.hub.followed.fetch_sub(1, Ordering::AcqRel);
        }
        if channel.is_empty() {
            channel.heard_until = sequence + KEPT as u64;
        }
    }
}

#[cfg(test)]
mod tests;
