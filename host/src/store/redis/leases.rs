//! Which messages does this host have? What a key stands for: scripts know tasks by tenant, id and delivery tag.
//!
//! Nothing is decided by it: whether a lease holds is said by the row alone.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lovage_model::{Message, TaskId, TenantId, Timestamp};

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
    postponed: HashMap<i64, Postponed>,
    /// Once there are so many of these, those whose time has come are dropped: somebody else may have taken them.
    most_postponed: usize,
}

struct Postponed {
    tenant: TenantId,
    id: TaskId,
    until: Timestamp,
}

/// So many of those that were postponed are not looked through.
const FEW: usize = 64;

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
    pub(super) fn postpone(&self, number: i64, tenant: TenantId, id: TaskId, until: Timestamp, now: Timestamp) {
        let mut known = self.known();
        if known.postponed.len() >= known.most_postponed {
            known.postponed.retain(|_, one| one.until > now);
            known.most_postponed = (2 * known.postponed.len()).max(FEW);
        }
        known.postponed.insert(number, Postponed { tenant, id, until });
    }

    pub(super) fn postponed(&self, number: i64) -> Option<(TenantId, TaskId)> {
        self.known().postponed.get(&number).map(|one| (one.tenant.clone(), one.id.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_else_has_taken_is_not_remembered_for_ever() {
        let (leases, at) = (Leases::default(), Timestamp::from_micros);
        let postpone = |number, until, now| {
            let id = TaskId::from_uuid(number);
            leases.postpone(number, TenantId::default(), id, at(until), at(now));
        };
        let many = 10_000;
        (0..many).for_each(|number| postpone(number, number + 10, number));
        assert!(leases.known().postponed.len() <= FEW, "{}", leases.known().postponed.len());
        assert!(leases.postponed(many - 1).is_some() && leases.postponed(0).is_none());
        // Those that still wait are all there.
        (0..many).for_each(|number| postpone(number, 2 * many, many));
        assert!((0..many).all(|number| leases.postponed(number).is_some()));
    }
}
