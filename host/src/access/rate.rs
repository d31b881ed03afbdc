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

/// Each tenant's bucket.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<HashMap<TenantId, Bucket>>);

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// How long it takes until it is full again.
    missing: Duration,
    /// When it was looked at last. It is filled by what passes since then: after a clock was set back, from then on.
    looked: Timestamp,
}

impl Bucket {
    fn missing(self, now: Timestamp) -> Duration {
        self.missing.saturating_sub(now.since(self.looked))
    }
}

impl Rates {
    /// Takes so many tasks out of the bucket, or says when that can be done. More than fit into it need a full one.
    pub(super) fn take(&self, tenant: &TenantId, tasks: usize, rate: u32, now: Timestamp) -> Result<(), Later> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let takes = |tasks: usize| Duration::from_secs_f64(tasks as f64 / f64::from(rate.max(1)));
        let missing = buckets.get(tenant).map_or(Duration::ZERO, |bucket| bucket.missing(now));
        // When it is full, it has as much as is sent in a second.
        let needed = takes(tasks).min(Duration::from_secs(1));
        let wait = (missing + needed).saturating_sub(Duration::from_secs(1));
        if !wait.is_zero() {
            buckets.insert(tenant.clone(), Bucket { missing, looked: now });
            return Err(Later { rate, wait });
        }
        buckets.retain(|_, bucket| !bucket.missing(now).is_zero());
        buckets.insert(tenant.clone(), Bucket { missing: missing + takes(tasks), looked: now });
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

    #[test]
    fn a_clock_that_is_set_back_keeps_nobody_from_sending() {
        let (rates, tenant) = (Rates::default(), TenantId::default());
        let at = |millis: i64| Timestamp::from_micros(millis * 1000);
        let take = |tasks, millis| rates.take(&tenant, tasks, 10, at(millis)).map_err(|later| later.wait.as_millis());
        assert_eq!(take(10, 3_600_000), Ok(()));
        assert_eq!(take(1, 0), Err(100), "what was sent before counts");
        assert_eq!(take(1, 60), Err(40));
        assert_eq!(take(1, 100), Ok(()));
    }
}
