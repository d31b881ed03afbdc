//! How much fuel may each tenant still use today?
//!
//! What was used is what the store has counted, in the step that recorded each outcome: the same for all hosts, and after a
//! crash. It is read before messages are taken, and only for tenants that have such a limit.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lovage_model::{TenantId, TenantView, Timestamp};

use crate::store::{Store, StoreError};

/// What was left when it was looked at last.
#[derive(Debug, Default)]
pub(super) struct Fuel(Mutex<HashMap<TenantId, u64>>);

impl Fuel {
    /// Looks at what these have left on the day of `now`, by UTC.
    pub(super) async fn look<'a>(
        &self,
        store: &dyn Store,
        tenants: impl Iterator<Item = &'a TenantView>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let most = |TenantView { name, policy, .. }: &TenantView| Some((name.clone(), policy.fuel_per_day?));
        let (names, most): (Vec<TenantId>, Vec<u64>) = tenants.filter_map(most).unzip();
        // Messages are taken often: the store is asked once for all, and not at all for none.
        let used = if names.is_empty() { Vec::new() } else { store.fuel_used(&names, now).await? };
        let left = most.into_iter().zip(used).map(|(most, used)| most.saturating_sub(used));
        *self.lock() = names.into_iter().zip(left).collect();
        Ok(())
    }

    /// None: as much as it likes.
    pub(super) fn left(&self, tenant: &TenantId) -> Option<u64> {
        self.lock().get(tenant).copied()
    }

    pub(super) fn is_any_spent(&self) -> bool {
        self.lock().values().any(|left| *left == 0)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
