//! How much of what tasks send and receive may be in the daemon's memory? For each tenant a room of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lovage_model::TenantId;

/// What each tenant may have under way, in bytes.
const MOST_BYTES: usize = 64 << 20;

/// What is under way.
#[derive(Debug, Clone, Default)]
pub(super) struct Room(Arc<Mutex<HashMap<TenantId, usize>>>);

/// What one exchange takes, until it is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    room: Room,
    tenant: TenantId,
    bytes: usize,
}

impl Room {
    /// For an exchange of a tenant's, which takes nothing yet.
    pub(super) fn enter(&self, tenant: &TenantId) -> Taken {
        Taken { room: self.clone(), tenant: tenant.clone(), bytes: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Whether there is room for so many bytes more; they are taken then.
    pub(super) fn more(&mut self, bytes: usize) -> bool {
        let mut taken = self.room.lock();
        let all = taken.entry(self.tenant.clone()).or_default();
        if all.saturating_add(bytes) > MOST_BYTES {
            return false;
        }
        *all += bytes;
        self.bytes += bytes;
        true
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut taken = self.room.lock();
        if let Some(all) = taken.get_mut(&self.tenant) {
            *all -= self.bytes;
            if *all == 0 {
                taken.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tenant_has_so_much_under_way_and_no_more() {
        let (room, own, other) = (Room::default(), TenantId::default(), TenantId::new("other").unwrap());
        let (mut one, mut two) = (room.enter(&own), room.enter(&own));
        assert!(one.more(MOST_BYTES - 5) && two.more(5) && !two.more(1) && two.more(0));
        assert!(room.enter(&other).more(MOST_BYTES), "it has its own");
        drop(one);
        assert!(two.more(MOST_BYTES - 5) && !two.more(1));
        drop(two);
        assert!(room.lock().is_empty());
    }
}
