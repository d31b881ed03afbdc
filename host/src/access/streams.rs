//! How many event streams may each tenant hold open?

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lovage_model::TenantId;

/// It has as many as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany {
    /// How many it may have.
    pub most: u32,
}

/// What is open.
#[derive(Debug, Default)]
pub(super) struct Streams(Mutex<HashMap<TenantId, u32>>);

/// A stream that is open; dropped, it is not.
#[derive(Debug)]
pub struct OpenStream {
    streams: Arc<Streams>,
    tenant: TenantId,
}

impl Streams {
    pub(super) fn open(self: &Arc<Self>, tenant: &TenantId, most: u32) -> Result<OpenStream, TooMany> {
        let mut open = self.lock();
        let count = open.get(tenant).copied().unwrap_or_default();
        if count >= most {
            return Err(TooMany { most });
        }
        open.insert(tenant.clone(), count + 1);
        Ok(OpenStream { streams: Arc::clone(self), tenant: tenant.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut open = self.streams.lock();
        match open.get_mut(&self.tenant) {
            Some(count) if *count > 1 => *count -= 1,
            _ => _ = open.remove(&self.tenant),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tenant_has_its_own_and_one_that_ends_makes_room() {
        let streams = Arc::new(Streams::default());
        let [one, other] = ["one", "other"].map(|name| name.parse::<TenantId>().unwrap());
        let open: Vec<_> = (0..3).map(|_| streams.open(&one, 3).unwrap()).collect();
        assert_eq!(streams.open(&one, 3).unwrap_err(), TooMany { most: 3 });
        let others = streams.open(&other, 1).unwrap();
        drop(open);
        assert!(streams.open(&one, 1).is_ok() && streams.open(&other, 1).is_err());
        drop(others);
        assert!(streams.lock().is_empty(), "who has none is forgotten");
    }
}
