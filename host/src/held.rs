//! How much does each tenant hold of something that it may have only so much of? Who wants more is refused ([`Holdings`]), or waits
//! until there is room, of its own ([`Rooms`]) or of what all share ([`Commons`]).

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lovage_model::TenantId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

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

/// Places that all tenants share.
#[derive(Debug, Clone)]
pub struct Commons {
    of_each: usize,
    taken: Arc<Mutex<Taken>>,
    /// The first of each tenant's that wait looks again when somebody leaves, and no other.
    lines: Rooms,
    left: Arc<Notify>,
}

#[derive(Debug)]
struct Taken {
    free: usize,
    /// By whom.
    of: HashMap<TenantId, usize>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    commons: Commons,
    tenant: TenantId,
}

/// A tenant has at most so many times as many places as it leaves free: there is one for who comes next, and each further tenant that
/// takes all it may leaves some still (dynamic thresholds: Choudhury and Hahne 1998).
const TIMES_FREE: usize = 3;

impl Commons {
    /// So many places for all, and for each at most so many of them.
    pub fn of(all: usize, of_each: usize) -> Self {
        let taken = Taken { free: all, of: HashMap::new() };
        Self { of_each, taken: Arc::new(Mutex::new(taken)), lines: Rooms::of(1), left: Arc::default() }
    }

    /// Waits for a place.
    pub async fn enter(&self, tenant: &TenantId) -> Place {
        let _first = self.lines.enter(tenant, 1).await;
        loop {
            let mut left = std::pin::pin!(self.left.notified());
            // From here on nobody leaves unseen.
            left.as_mut().enable();
            if let Some(place) = self.try_enter(tenant) {
                return place;
            }
            left.await;
        }
    }

    /// A place, if there is one at once.
    pub fn try_enter(&self, tenant: &TenantId) -> Option<Place> {
        let mut taken = self.lock();
        let held = taken.of.get(tenant).copied().unwrap_or_default();
        let free = taken.free.checked_sub(1)?;
        if held >= TIMES_FREE.saturating_mul(free).max(1).min(self.of_each) {
            return None;
        }
        taken.free = free;
        taken.of.insert(tenant.clone(), held + 1);
        Some(Place { commons: self.clone(), tenant: tenant.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.commons.lock();
        taken.free += 1;
        match taken.of.get_mut(&self.tenant) {
            Some(held) if *held > 1 => *held -= 1,
            // Who holds nothing is forgotten.
            _ => _ = taken.of.remove(&self.tenant),
        }
        drop(taken);
        self.commons.left.notify_waiters();
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

    #[test]
    fn of_what_all_share_there_is_a_place_for_who_comes_next() {
        let commons = Commons::of(512, 64);
        let all_that_it_may = |n: usize| {
            let tenant = TenantId::new(format!("t{n}")).unwrap();
            std::iter::from_fn(|| commons.try_enter(&tenant)).collect::<Vec<_>>()
        };
        let held: Vec<_> = (0..10).map(all_that_it_may).collect();
        let counts: Vec<_> = held.iter().map(Vec::len).collect();
        assert_eq!(counts, [64, 64, 64, 64, 64, 64, 64, 48, 12, 3]);
        let next = TenantId::default();
        let one = commons.enter(&next).now_or_never().expect("the last place is for who has none");
        let mut another = std::pin::pin!(commons.enter(&next));
        assert!(another.as_mut().now_or_never().is_none());
        drop(held);
        assert!(another.as_mut().now_or_never().is_some());
        drop(one);
        let taken = commons.lock();
        assert!(taken.of.is_empty() && taken.free == 512);
    }
}
