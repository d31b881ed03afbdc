//! Which messages does this host have? What a key stands for: scripts know tasks by tenant, id and delivery tag.
//!
//! Nothing is decided by it: whether a lease holds is said by the row alone.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lovage_model::{Message, TaskId, TenantId};

use crate::store::LeaseKey;

/// A message that this host has taken.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub(super) tenant: TenantId,
    pub(super) tag: String,
    pub(super) message: Arc<Message>,
}

#[derive(Default)]
pub(super) struct Leases {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    taken: HashMap<LeaseKey, Taken>,
    /// Those whose end was told to the server, which did not answer.
    doubtful: HashSet<LeaseKey>,
    /// What was postponed, by the number of its task.
    postponed: HashMap<i64, (TenantId, TaskId)>,
}

impl Leases {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, key: LeaseKey, taken: Taken) {
        let mut known = self.known();
        known.postponed.remove(&key.task);
        known.taken.insert(key, taken);
    }

    pub(super) fn get(&self, key: LeaseKey) -> Option<Taken> {
        self.known().taken.get(&key).cloned()
    }

    pub(super) fn remove(&self, key: LeaseKey) {
        let mut known = self.known();
        known.taken.remove(&key);
        known.doubtful.remove(&key);
    }

    pub(super) fn doubt(&self, key: LeaseKey) {
        self.known().doubtful.insert(key);
    }

    pub(super) fn is_doubtful(&self, key: LeaseKey) -> bool {
        self.known().doubtful.contains(&key)
    }

    /// Notes what was given back until a time.
    pub(super) fn postpone(&self, number: i64, tenant: TenantId, id: TaskId) {
        self.known().postponed.insert(number, (tenant, id));
    }

    pub(super) fn postponed(&self, number: i64) -> Option<(TenantId, TaskId)> {
        self.known().postponed.get(&number).cloned()
    }
}
