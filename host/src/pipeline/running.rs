//! Which attempts run on this host right now?
//!
//! The only handle on a running attempt: to stop it, and to read what it has written so far. An attempt is listed from
//! its lease to its commit; whoever holds the [`Listed`] guard is the attempt.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lovage_model::{AttemptLog, TaskId, TaskName, TenantId, Timestamp};
use tokio::sync::{Notify, watch};

use crate::attempt::Stop;
use crate::store::{Lease, LeaseKey};

type Key = (TenantId, TaskId);

/// All attempts of this host.
#[derive(Debug, Default)]
pub struct Running {
    attempts: Mutex<HashMap<Key, Entry>>,
    /// Whether the host is going down: what is listed from now on is stopped before it begins.
    stopping: AtomicBool,
    emptied: Notify,
    /// Changes with every order to stop: for those that wait for a slot.
    orders: watch::Sender<()>,
    /// How many attempts have begun, by task.
    begun: Mutex<HashMap<(TenantId, TaskName), u64>>,
}

/// What is known of an attempt without its message.
#[derive(Debug, Clone, PartialEq)]
pub struct Brief {
    /// The task's id.
    pub id: TaskId,
    /// 0 (first) to 9 (last).
    pub priority: u8,
    /// Whether an earlier delivery ended without an outcome.
    pub redelivered: bool,
    /// When it began; none: it waits for a slot.
    pub time_start: Option<Timestamp>,
}

#[derive(Debug, Clone)]
struct Entry {
    lease: LeaseKey,
    stop: watch::Sender<Option<Stop>>,
    log: Arc<Mutex<AttemptLog>>,
    brief: Brief,
}

impl Entry {
    /// Tells it to end without an outcome, if it was not told to stop before: who was promised that a task is stopped must not
    /// find it back in its queue. Whether it was told.
    fn interrupt(&self) -> bool {
        self.stop.send_if_modified(|stop| stop.is_none() && stop.replace(Stop::Interrupted).is_none())
    }
}

impl Running {
    /// Lists an attempt until the guard is dropped.
    pub fn list(self: &Arc<Self>, of: &Lease) -> Listed {
        let Lease { key: lease, tenant, message, deliveries } = of;
        let log = Arc::new(Mutex::new(AttemptLog { retries: message.retries, ..AttemptLog::default() }));
        let (key, lease) = ((tenant.clone(), message.id.clone()), *lease);
        let redelivered = message.is_redelivered(*deliveries);
        let brief = Brief { id: message.id.clone(), priority: message.priority, redelivered, time_start: None };
        let mut attempts = self.lock();
        let earlier = attempts.remove(&key);
        if let Some(earlier) = &earlier {
            // Delivered again, so that one's lease is lost; from here on nobody else could tell it.
            earlier.interrupt();
        }
        // An order that was lost with its lease holds for who has the lease now; one whose attempt had its outcome does not.
        let is_revoked = |earlier: &Entry| redelivered && *earlier.stop.borrow() == Some(Stop::Revoked);
        let order = if earlier.as_ref().is_some_and(is_revoked) {
            Some(Stop::Revoked)
        } else {
            self.is_stopping().then_some(Stop::Interrupted)
        };
        let (stop, stopped) = watch::channel(order);
        attempts.insert(key.clone(), Entry { lease, stop, log: Arc::clone(&log), brief });
        drop(attempts);
        Listed { running: Arc::clone(self), key, lease, stopped, log }
    }

    /// Tells an attempt to end at once; whether it runs here.
    pub fn stop(&self, tenant: &TenantId, id: &TaskId, stop: Stop) -> bool {
        // Under the lock, so that no order comes after the listing has ended.
        let attempts = self.lock();
        let told = attempts.get(&(tenant.clone(), id.clone())).is_some_and(|entry| entry.stop.send(Some(stop)).is_ok());
        self.orders.send_replace(());
        told
    }

    /// Tells an attempt that still waits for a slot not to begin; whether there is one.
    pub fn stop_waiting(&self, tenant: &TenantId, id: &TaskId) -> bool {
        let attempts = self.lock();
        let waits = |entry: &&Entry| entry.brief.time_start.is_none();
        let entry = attempts.get(&(tenant.clone(), id.clone())).filter(waits);
        let told = entry.is_some_and(|entry| entry.stop.send(Some(Stop::Revoked)).is_ok());
        self.orders.send_replace(());
        told
    }

    /// Whether an attempt of a task is listed here.
    pub fn has(&self, tenant: &TenantId, id: &TaskId) -> bool {
        self.lock().contains_key(&(tenant.clone(), id.clone()))
    }

    /// Changes with every order to stop.
    pub fn orders(&self) -> watch::Receiver<()> {
        self.orders.subscribe()
    }

    /// Tells the attempts with these leases to end at once: they are no longer theirs. Returns how many were told: one that is not
    /// listed any more, or was told to stop before, is not.
    pub fn stop_leases(&self, leases: &[LeaseKey]) -> usize {
        let lost = |entry: &&Entry| leases.contains(&entry.lease);
        let told = self.lock().values().filter(lost).filter(|entry| entry.interrupt()).count();
        self.orders.send_replace(());
        told
    }

    /// Tells every attempt to end at once, also those that a lease under way will still bring.
    pub fn stop_all(&self) {
        let attempts = self.lock();
        self.stopping.store(true, Ordering::Release);
        for entry in attempts.values() {
            entry.interrupt();
        }
        self.orders.send_replace(());
    }

    /// Whether everything was told to end.
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// What a running attempt has written so far.
    pub fn log(&self, tenant: &TenantId, id: &TaskId) -> Option<AttemptLog> {
        let log = Arc::clone(&self.lock().get(&(tenant.clone(), id.clone()))?.log);
        Some(log.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// The attempts of a tenant, the oldest first; those that wait for a slot come last.
    pub fn all(&self, tenant: &TenantId) -> Vec<Brief> {
        let mut all: Vec<Brief> =
            self.lock().iter().filter(|((of, _), _)| of == tenant).map(|(_, entry)| entry.brief.clone()).collect();
        all.sort_by(|a, b| {
            let age = |brief: &Brief| (brief.time_start.is_none(), brief.time_start);
            age(a).cmp(&age(b)).then_with(|| a.id.cmp(&b.id))
        });
        all
    }

    /// How many attempts of a tenant have begun here, by task.
    pub fn totals(&self, tenant: &TenantId) -> std::collections::BTreeMap<TaskName, u64> {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.iter().filter(|((of, _), _)| of == tenant).map(|((_, name), count)| (name.clone(), *count)).collect()
    }

    /// The leases of all attempts: what must be renewed.
    pub fn leases(&self) -> Vec<LeaseKey> {
        self.lock().values().map(|entry| entry.lease).collect()
    }

    /// Returns once none is left.
    pub async fn wait_until_empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The guard of a listed attempt.
#[derive(Debug)]
pub struct Listed {
    running: Arc<Running>,
    key: Key,
    lease: LeaseKey,
    /// Becomes `Some` when the attempt must end.
    pub stopped: watch::Receiver<Option<Stop>>,
    /// What it writes, for those who watch it.
    pub log: Arc<Mutex<AttemptLog>>,
}

impl Listed {
    /// Notes that it begins.
    pub fn begin(&self, task: &TaskName, now: Timestamp) {
        if let Some(entry) = self.running.lock().get_mut(&self.key).filter(|entry| entry.lease == self.lease) {
            entry.brief.time_start = Some(now);
        }
        let mut begun = self.running.begun.lock().unwrap_or_else(PoisonError::into_inner);
        *begun.entry((self.key.0.clone(), task.clone())).or_default() += 1;
    }

    /// Whether it was told to stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.borrow().is_some()
    }

    /// Whether nobody waits for its outcome any more: the host is going down, or the lease is lost.
    pub(super) fn is_void(&self) -> bool {
        self.running.is_stopping() || *self.stopped.borrow() == Some(Stop::Interrupted)
    }

    /// Where it is listed.
    pub(super) fn running(&self) -> &Arc<Running> {
        &self.running
    }

    /// Ends the listing, and returns the order that it was given, if any.
    pub(super) fn end(self) -> Option<Stop> {
        let stopped = self.stopped.clone();
        drop(self);
        *stopped.borrow()
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut attempts = self.running.lock();
        // A redelivery may already have listed the task's next attempt under the same key.
        if attempts.get(&self.key).is_some_and(|entry| entry.lease == self.lease) {
            attempts.remove(&self.key);
        }
        if attempts.is_empty() {
            self.running.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(running: &Arc<Running>, id: &str, token: u64) -> Listed {
        delivered(running, id, token, 1)
    }

    fn delivered(running: &Arc<Running>, id: &str, token: u64, deliveries: u32) -> Listed {
        let message = lovage_model::Message::new(id.parse().unwrap(), "t".parse().unwrap());
        let key = LeaseKey { task: 1, token };
        running.list(&Lease { key, tenant: TenantId::default(), message, deliveries })
    }

    #[test]
    fn what_has_begun_can_no_longer_be_kept_from_it() {
        let running = Arc::new(Running::default());
        let tenant = TenantId::default();
        let (first, second) = (listed(&running, "a", 1), listed(&running, "b", 2));
        let at = Timestamp::from_micros(5);
        first.begin(&"t".parse().unwrap(), at);
        let orders = running.orders();
        assert!(!running.stop_waiting(&tenant, &"a".parse().unwrap()) && !first.is_stopped());
        assert!(running.stop_waiting(&tenant, &"b".parse().unwrap()) && second.is_stopped());
        assert!(orders.has_changed().unwrap());
        let all: Vec<_> =
            running.all(&tenant).into_iter().map(|brief| (brief.id.to_string(), brief.time_start)).collect();
        assert_eq!(all, [("a".to_owned(), Some(at)), ("b".to_owned(), None)]);
        assert_eq!(running.totals(&tenant), [("t".parse().unwrap(), 1)].into());
    }

    #[test]
    fn a_redelivery_stops_the_attempt_that_lost_its_lease() {
        let running = Arc::new(Running::default());
        let (first, second) = (listed(&running, "it", 1), listed(&running, "it", 2));
        assert_eq!(*first.stopped.borrow(), Some(Stop::Interrupted));
        assert_eq!(*second.stopped.borrow(), None);
        drop(first);
        assert_eq!(running.leases(), [LeaseKey { task: 1, token: 2 }]);
    }

    #[test]
    fn an_order_holds_for_who_gets_the_lease_of_the_attempt_that_lost_it() {
        for (deliveries, after) in [(2, Some(Stop::Revoked)), (1, None)] {
            let running = Arc::new(Running::default());
            let first = listed(&running, "it", 1);
            assert!(running.stop(&TenantId::default(), &TaskId::new("it").unwrap(), Stop::Revoked));
            let second = delivered(&running, "it", 2, deliveries);
            assert_eq!(*second.stopped.borrow(), after, "the first delivery is of a task that was queued anew");
            assert_eq!(first.end(), Some(Stop::Revoked), "and the order is not taken back");
        }
    }

    #[test]
    fn what_comes_while_all_is_stopped_is_stopped_too() {
        let running = Arc::new(Running::default());
        let before = listed(&running, "before", 1);
        running.stop_all();
        let after = listed(&running, "after", 2);
        for attempt in [before, after] {
            assert_eq!(*attempt.stopped.borrow(), Some(Stop::Interrupted));
        }
    }

    #[test]
    fn a_lease_that_is_lost_takes_no_order_back() {
        let running = Arc::new(Running::default());
        let (revoked, lost, other) = (listed(&running, "a", 1), listed(&running, "b", 2), listed(&running, "c", 3));
        assert!(running.stop(&TenantId::default(), &TaskId::new("a").unwrap(), Stop::Revoked));
        let leases = [1, 2, 9].map(|token| LeaseKey { task: 1, token });
        assert_eq!((running.stop_leases(&leases), running.stop_leases(&leases)), (1, 0), "each is told once");
        let told = [&revoked, &lost, &other].map(|attempt| *attempt.stopped.borrow());
        assert_eq!(told, [Some(Stop::Revoked), Some(Stop::Interrupted), None]);
    }

    #[test]
    fn a_revoked_task_stays_revoked_when_the_host_goes_down() {
        let running = Arc::new(Running::default());
        let attempt = listed(&running, "it", 1);
        assert!(running.stop(&TenantId::default(), &TaskId::new("it").unwrap(), Stop::Revoked));
        running.stop_all();
        assert_eq!(*attempt.stopped.borrow(), Some(Stop::Revoked));
        assert!(attempt.is_void(), "a full store is not waited for");
    }
}
