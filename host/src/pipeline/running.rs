//! Which attempts run on this host right now?
//!
//! The only handle on a running attempt: to stop it, and to read what it has written so far. An attempt is listed from
//! its lease to its commit; whoever holds the [`Listed`] guard is the attempt.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lovage_model::{AttemptLog, TaskId, TenantId};
use tokio::sync::{Notify, watch};

use crate::attempt::Stop;
use crate::store::LeaseKey;

type Key = (TenantId, TaskId);

/// All attempts of this host.
#[derive(Debug, Default)]
pub struct Running {
    attempts: Mutex<HashMap<Key, Entry>>,
    /// Whether the host is going down: what is listed from now on is stopped before it begins.
    stopping: AtomicBool,
    emptied: Notify,
}

#[derive(Debug, Clone)]
struct Entry {
    lease: LeaseKey,
    stop: watch::Sender<Option<Stop>>,
    log: Arc<Mutex<AttemptLog>>,
}

impl Running {
    /// Lists an attempt until the guard is dropped.
    pub fn list(self: &Arc<Self>, tenant: &TenantId, id: &TaskId, lease: LeaseKey) -> Listed {
        let log = Arc::new(Mutex::new(AttemptLog::default()));
        let key = (tenant.clone(), id.clone());
        let mut attempts = self.lock();
        let (stop, stopped) = watch::channel(self.is_stopping().then_some(Stop::Interrupted));
        let entry = Entry { lease, stop, log: Arc::clone(&log) };
        if let Some(earlier) = attempts.insert(key.clone(), entry) {
            // Delivered again, so that one's lease is lost; from here on nobody else could tell it.
            let _ = earlier.stop.send(Some(Stop::Interrupted));
        }
        drop(attempts);
        Listed { running: Arc::clone(self), key, lease, stopped, log }
    }

    /// Tells an attempt to end at once; whether it runs here.
    pub fn stop(&self, tenant: &TenantId, id: &TaskId, stop: Stop) -> bool {
        // Under the lock, so that no order comes after the listing has ended.
        let attempts = self.lock();
        attempts.get(&(tenant.clone(), id.clone())).is_some_and(|entry| entry.stop.send(Some(stop)).is_ok())
    }

    /// Tells the attempts with these leases to end at once: they are no longer theirs.
    pub fn stop_leases(&self, leases: &[LeaseKey]) {
        for entry in self.lock().values().filter(|entry| leases.contains(&entry.lease)) {
            // An attempt that has just ended has nobody left to tell.
            let _ = entry.stop.send(Some(Stop::Interrupted));
        }
    }

    /// Tells every attempt to end at once, also those that a lease under way will still bring.
    pub fn stop_all(&self) {
        let attempts = self.lock();
        self.stopping.store(true, Ordering::Release);
        for entry in attempts.values() {
            // Who was promised that a task is stopped must not find it back in its queue.
            entry.stop.send_if_modified(|stop| stop.is_none() && stop.replace(Stop::Interrupted).is_none());
        }
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
        let (tenant, id) = (TenantId::default(), TaskId::new(id).unwrap());
        running.list(&tenant, &id, LeaseKey { task: 1, token })
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
    fn a_revoked_task_stays_revoked_when_the_host_goes_down() {
        let running = Arc::new(Running::default());
        let attempt = listed(&running, "it", 1);
        assert!(running.stop(&TenantId::default(), &TaskId::new("it").unwrap(), Stop::Revoked));
        running.stop_all();
        assert_eq!(*attempt.stopped.borrow(), Some(Stop::Revoked));
        assert!(attempt.is_void(), "a full store is not waited for");
    }
}
