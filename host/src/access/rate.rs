//! How fast may each tenant send? A bucket for each: it holds as many tasks as may be sent in a second, and is filled at that rate.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lovage_model::{TenantId, Timestamp};

/// The same may be sent after so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Later {
    /// The rate that holds, in tasks a second.
    pub rate: u32,
    /// How long to wait.
    pub wait: Duration,
}

/// The time at which each tenant's bucket is full again.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<HashMap<TenantId, Timestamp>>);

impl Rates {
    /// Takes so many tasks out of the bucket, or says when that can be done. More than fit into it need a full one.
    pub(super) fn take(&self, tenant: &TenantId, tasks: usize, rate: u32, now: Timestamp) -> Result<(), Later> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = buckets.get(tenant).copied().filter(|at| *at > now).unwrap_or(now);
        let takes = |tasks: usize| Duration::from_secs_f64(tasks as f64 / f64::from(rate.max(1)));
        // When it is full, it has as much as is sent in a second.
        let missing = full_at.since(now);
        let needed = takes(tasks).min(Duration::from_secs(1));
        let wait = (missing + needed).saturating_sub(Duration::from_secs(1));
        if !wait.is_zero() {
            return Err(Later { rate, wait });
        }
        buckets.retain(|_, at| *at > now);
        buckets.insert(tenant.clone(), full_at.after(takes(tasks)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_sent_at_once_and_the_rest_at_its_rate() {
        let (rates, tenant) = (Rates::default(), TenantId::default());
        let at = |millis: i64| Timestamp::from_micros(millis * 1000);
        let take = |tasks, millis| rates.take(&tenant, tasks, 10, at(millis)).map_err(|later| later.wait.as_millis());
        assert_eq!(take(9, 0), Ok(()));
        assert_eq!(take(1, 0), Ok(()));
        assert_eq!(take(1, 0), Err(100));
        assert_eq!(take(1, 99), Err(1));
        assert_eq!(take(1, 100), Ok(()));
        assert_eq!(take(5, 100), Err(500));
        assert_eq!(rates.take(&TenantId::new("other").unwrap(), 1, 10, at(100)), Ok(()));
    }

    #[test]
    fn what_is_more_than_a_second_waits_for_a_full_bucket_and_then_costs_what_it_is() {
        let (rates, tenant) = (Rates::default(), TenantId::default());
        let at = |millis: i64| Timestamp::from_micros(millis * 1000);
        let take = |tasks, millis| rates.take(&tenant, tasks, 10, at(millis)).map_err(|later| later.wait.as_millis());
        assert_eq!(take(30, 0), Ok(()));
        assert_eq!(take(1, 1000), Err(1100));
        assert_eq!(take(1, 2100), Ok(()));
    }
}
