//! Who waits for the ends of many tasks?
//!
//! A watch is told which of its tasks may have ended, each at most once until it has looked: so it loses nothing however
//! slow it is, holds no more than its ids, and an event costs one look-up however many watch.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lovage_model::{EventKind, TaskId, TenantId};
use tokio::sync::Notify;

use super::Hub;

/// Whom to tell of which task.
#[derive(Debug, Default)]
pub(super) struct Watched(HashMap<TaskId, Vec<Arc<Waiting>>>);

/// What one watch still waits for.
#[derive(Debug, Default)]
struct Waiting {
    left: Mutex<Left>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct Left {
    /// Each task, and whether it is due.
    tasks: HashMap<TaskId, bool>,
    due: VecDeque<TaskId>,
}

impl Waiting {
    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, id: &TaskId) {
        let mut left = self.left();
        if let Some(due) = left.tasks.get_mut(id)
            && !std::mem::replace(due, true)
        {
            left.due.push_back(id.clone());
            self.bell.notify_one();
        }
    }
}

impl Watched {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells those who watch a task that it may have ended, if this can mean that.
    pub(super) fn tell(&self, id: &TaskId, kind: &EventKind) {
        if kind.is_terminal() || matches!(kind, EventKind::Rejected { .. }) {
            self.0.get(id).into_iter().flatten().for_each(|waiting| waiting.wake(id));
        }
    }

    /// Tells those who watch a task that it may have ended.
    pub(super) fn recheck_one(&self, id: &TaskId) {
        self.0.get(id).into_iter().flatten().for_each(|waiting| waiting.wake(id));
    }

    /// Tells everybody that anything may have ended.
    pub(super) fn recheck(&self) {
        for (id, all) in &self.0 {
            all.iter().for_each(|waiting| waiting.wake(id));
        }
    }

    fn add(&mut self, id: TaskId, waiting: &Arc<Waiting>) {
        self.0.entry(id).or_default().push(Arc::clone(waiting));
    }

    fn remove(&mut self, id: &TaskId, waiting: &Arc<Waiting>) {
        if let Some(all) = self.0.get_mut(id) {
            all.retain(|other| !Arc::ptr_eq(other, waiting));
            if all.is_empty() {
                self.0.remove(id);
            }
        }
    }
}

/// One who waits for many tasks. It stops when it is dropped.
#[derive(Debug)]
pub struct Watch {
    hub: Arc<Hub>,
    tenant: TenantId,
    waiting: Arc<Waiting>,
    ids: Vec<TaskId>,
    doubted: usize,
}

impl Hub {
    /// Watches tasks from now on. All of them are due at first, in order: they may have ended before.
    pub fn watch(self: &Arc<Self>, tenant: &TenantId, ids: impl IntoIterator<Item = TaskId>) -> Watch {
        let mut tasks = HashMap::new();
        let ids: Vec<TaskId> = ids.into_iter().filter(|id| tasks.insert(id.clone(), true).is_none()).collect();
        let due = ids.iter().cloned().collect();
        let waiting = Arc::new(Waiting { left: Mutex::new(Left { tasks, due }), bell: Notify::new() });
        let mut state = self.lock();
        let watched = &mut state.channel(tenant).watched;
        ids.iter().for_each(|id| watched.add(id.clone(), &waiting));
        Watch { hub: Arc::clone(self), tenant: tenant.clone(), waiting, ids, doubted: 0 }
    }
}

impl Watch {
    /// How many tasks are still waited for.
    pub fn left(&self) -> usize {
        self.waiting.left().tasks.len()
    }

    /// A task that may have ended: look, and say [`Watch::done`] if it has.
    pub fn take_due(&self) -> Option<TaskId> {
        let mut left = self.waiting.left();
        while let Some(id) = left.due.pop_front() {
            if let Some(due) = left.tasks.get_mut(&id) {
                *due = false;
                return Some(id);
            }
        }
        None
    }

    /// Returns when there may be one that is due. Safe to drop and call again.
    pub async fn any_due(&self) {
        self.waiting.bell.notified().await;
    }

    /// Waits no more for a task.
    pub fn done(&self, id: &TaskId) {
        self.hub.lock().channel(&self.tenant).watched.remove(id, &self.waiting);
        self.waiting.left().tasks.remove(id);
    }

    /// Makes up to so many due, in turn, in case that something ended unheard.
    pub fn doubt(&mut self, most: usize) {
        for id in self.ids.iter().cycle().skip(self.doubted).take(most.min(self.ids.len())) {
            self.waiting.wake(id);
        }
        self.doubted = (self.doubted + most) % self.ids.len().max(1);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let left = std::mem::take(&mut self.waiting.left().tasks);
        let mut state = self.hub.lock();
        let watched = &mut state.channel(&self.tenant).watched;
        left.keys().for_each(|id| watched.remove(id, &self.waiting));
    }
}

#[cfg(test)]
mod tests {
    use lovage_model::{Event, Timestamp};

    use super::*;

    fn id(text: &str) -> TaskId {
        text.parse().unwrap()
    }

    fn tell(hub: &Hub, name: &str, kind: EventKind) {
        let event = Event::new(id(name), "t".parse().unwrap(), Timestamp::from_micros(0), kind);
        hub.announce(&TenantId::default(), &[event]);
    }

    fn due(watch: &Watch) -> Vec<String> {
        std::iter::from_fn(|| watch.take_due()).map(String::from).collect()
    }

    #[tokio::test]
    async fn a_watch_is_told_of_ends_of_its_tasks_once() {
        let hub = Arc::new(Hub::new(Timestamp::from_micros(0)));
        let watch = hub.watch(&TenantId::default(), ["b", "a", "b"].map(id));
        assert_eq!((due(&watch), watch.left()), (vec!["b".to_owned(), "a".to_owned()], 2));
        tell(&hub, "a", EventKind::Started);
        tell(&hub, "other", EventKind::Ignored);
        assert!(due(&watch).is_empty());
        for _ in 0..3 {
            tell(&hub, "a", EventKind::Ignored);
        }
        watch.any_due().await;
        assert_eq!(due(&watch), ["a"]);
        watch.done(&id("a"));
        tell(&hub, "a", EventKind::Ignored);
        assert_eq!((due(&watch).len(), watch.left()), (0, 1));
        hub.recheck(&TenantId::default());
        assert_eq!(due(&watch), ["b"]);
    }

    #[tokio::test]
    async fn nobody_is_left_behind_when_watches_go() {
        let hub = Arc::new(Hub::new(Timestamp::from_micros(0)));
        let tenant = TenantId::default();
        let (one, two) = (hub.watch(&tenant, [id("a"), id("b")]), hub.watch(&tenant, [id("a")]));
        assert_eq!((due(&one).len(), due(&two).len()), (2, 1));
        drop(one);
        tell(&hub, "a", EventKind::Ignored);
        assert_eq!(due(&two), ["a"]);
        drop(two);
        assert!(hub.lock().channel(&tenant).watched.is_empty());
    }

    #[tokio::test]
    async fn doubt_goes_round() {
        let hub = Arc::new(Hub::new(Timestamp::from_micros(0)));
        let mut watch = hub.watch(&TenantId::default(), ["a", "b", "c"].map(id));
        due(&watch);
        let mut seen = Vec::new();
        for _ in 0..3 {
            watch.doubt(2);
            seen.extend(due(&watch));
        }
        seen.sort();
        assert_eq!(seen, ["a", "a", "b", "b", "c", "c"]);
        watch.doubt(99);
        assert_eq!(due(&watch).len(), 3);
    }
}
