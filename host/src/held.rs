//! How much does each tenant hold of something that it may have only so much of?

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lovage_model::TenantId;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tenant_holds_its_own_and_what_is_let_go_makes_room() {
        let (holdings, own, other) = (Holdings::default(), TenantId::default(), TenantId::new("other").unwrap());
        let (mut one, mut two) = (holdings.of(&own), holdings.of(&own));
        assert!(one.more(7, 10) && two.more(3, 10) && !two.more(1, 10) && two.more(0, 10));
        assert!(!two.more(u64::MAX, u64::MAX - 1) && two.more(1, 11));
        drop(holdings.of(&own));
        let mut others = holdings.of(&other);
        assert!(others.more(10, 10), "it has its own");
        drop(one);
        assert!(two.more(6, 10) && !two.more(1, 10));
        drop((two, others));
        assert!(holdings.lock().is_empty(), "who holds nothing is forgotten");
    }
}
