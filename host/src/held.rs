//! How much does each tenant hold of something that it may have only so much of? Who wants more is refused ([`Holdings`]), or waits
//! until there is room ([`Rooms`]).

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lovage_model::TenantId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is held, in any unit that is the same for all.
#[derive(Debug, Clone, Default)]
pub struct Holdings(Arc<Mutex<HashMap<TenantId, u64>>>);

/// A part of what a tenant holds, until it is dropped.
#[derive(Debug)]
pub struct Held {
    holdings: Holdings,
    tenant: TenantId,
    amount: u64,
}

impl Holdings {
    /// A part of a tenant's, which is nothing yet.
    pub fn of(&self, tenant: &TenantId) -> Held {
        Held { holdings: self.clone(), tenant: tenant.clone(), amount: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Whether all that the tenant holds would be `most` at most with so much more; it is held then.
    pub fn more(&mut self, amount: u64, most: u64) -> bool {
        let mut holdings = self.holdings.lock();
        let all = holdings.get(&self.tenant).copied().unwrap_or_default().saturating_add(amount);
        if all > most {
            return false;
        }
        if amount > 0 {
            holdings.insert(self.tenant.clone(), all);
            self.amount += amount;
        }
        true
    }

    /// All that its tenant holds now.
    pub fn all(&self) -> u64 {
        self.holdings.lock().get(&self.tenant).copied().unwrap_or_default()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut holdings = self.holdings.lock();
        match holdings.get_mut(&self.tenant) {
            Some(all) if *all > self.amount => *all -= self.amount,
            // Who holds nothing is forgotten.
            _ if self.amount > 0 => _ = holdings.remove(&self.tenant),
            _ => {}
        }
    }
}

/// A room of one size for each tenant, or for each of something else.
#[derive(Debug, Clone)]
pub struct Rooms<K = TenantId> {
    size: u32,
    of: Arc<Mutex<HashMap<K, Arc<Semaphore>>>>,
}

/// Rooms that are kept though they are empty.
const KEPT_ROOMS: usize = 256;

impl<K: Clone + Eq + Hash> Rooms<K> {
    /// Each of so many places.
    pub fn of(size: u32) -> Self {
        Self { size, of: Arc::default() }
    }

    /// Waits for so many places of a room, or for all that there are, in the order of coming. They are held until what is
    /// returned is dropped.
    pub async fn enter(&self, whose: &K, places: u32) -> Option<OwnedSemaphorePermit> {
        // A room is never closed.
        self.room(whose).acquire_many_owned(places.min(self.size)).await.ok()
    }

    /// A place of a room, if there is one at once.
    pub fn try_enter(&self, whose: &K) -> Option<OwnedSemaphorePermit> {
        self.room(whose).try_acquire_owned().ok()
    }

    fn room(&self, whose: &K) -> Arc<Semaphore> {
        let mut rooms = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = rooms.get(whose) {
            return Arc::clone(room);
        }
        if rooms.len() > KEPT_ROOMS {
            // Who is in a room, or waits for one, holds it.
            rooms.retain(|_, room| Arc::strong_count(room) > 1);
        }
        let room = Arc::new(Semaphore::new(self.size as usize));
        rooms.insert(whose.clone(), Arc::clone(&room));
        room
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn who_finds_no_room_waits_for_its_own_tenants_and_for_no_other() {
        let (rooms, own, other) = (Rooms::of(4), TenantId::default(), TenantId::new("other").unwrap());
        let enter = |tenant: &TenantId, places| rooms.enter(tenant, places).now_or_never().flatten();
        let (three, one) = (enter(&own, 3).unwrap(), enter(&own, 1).unwrap());
        assert!(enter(&own, 1).is_none() && enter(&other, 9).is_some(), "more than there is is all there is");
        assert!(rooms.try_enter(&own).is_none() && rooms.try_enter(&other).is_some());
        drop(one);
        assert!(enter(&own, 2).is_none() && enter(&own, 1).is_some() && rooms.try_enter(&own).is_some());
        for n in 0..2 * KEPT_ROOMS {
            assert!(enter(&TenantId::new(format!("t{n}")).unwrap(), 1).is_some());
        }
        assert!(rooms.of.lock().unwrap().len() <= KEPT_ROOMS + 2);
        assert!(enter(&own, 2).is_none(), "who is in it keeps it");
        drop(three);
    }

    #[test]
    fn each_tenant_holds_its_own_and_what_is_let_go_makes_room() {
        let (holdings, own, other) = (Holdings::default(), TenantId::default(), TenantId::new("other").unwrap());
        let (mut one, mut two) = (holdings.of(&own), holdings.of(&own));
        assert!(one.more(7, 10) && two.more(3, 10) && !two.more(1, 10) && two.more(0, 10));
        assert!(!two.more(u64::MAX, u64::MAX - 1) && two.more(1, 11));
        assert_eq!((one.all(), two.all(), holdings.of(&other).all()), (11, 11, 0));
        drop(holdings.of(&own));
        let mut others = holdings.of(&other);
        assert!(others.more(10, 10), "it has its own");
        drop(one);
        assert!(two.more(6, 10) && !two.more(1, 10));
        drop((two, others));
        assert!(holdings.lock().is_empty(), "who holds nothing is forgotten");
    }
}
