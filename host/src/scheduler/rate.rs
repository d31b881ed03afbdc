//! When may a message whose task has a rate limit be started? Pure: time is an argument.
//!
//! One bucket for each task of each tenant, on this host, as in Celery: it holds one token, so starts are spread evenly
//! (`60/m` is one each second, not sixty at once). A message that has to wait gets the next time that is free, and is
//! given back until then; when it comes again its time is still its own, so each message is looked at twice at most,
//! however many wait.
//!
//! Absent: what is in force (the caller says for each message), and other hosts.

use std::collections::HashMap;

use lovage_model::{RateLimit, TaskName, TenantId, Timestamp};

/// A time that was promised to nobody who came for it is forgotten after so long, in microseconds: its message was revoked,
/// or runs elsewhere.
const FORGET_AFTER: i64 = 600_000_000;
/// So many more promises than were kept at the last look, and they are looked through.
const LOOK_AFTER: usize = 4096;

/// Whether a message may be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It may.
    Now,
    /// It may at this time, which is its own from now on.
    At(Timestamp),
}

/// The buckets of one host.
#[derive(Debug, Default)]
pub(super) struct Rates {
    buckets: HashMap<(TenantId, TaskName), Bucket>,
    promised: usize,
    kept_at_last_look: usize,
}

/// The generic cell rate algorithm, with room for one.
#[derive(Debug)]
struct Bucket {
    /// The next time that is nobody's.
    free: Timestamp,
    /// Times that were given to messages, by the store's number for their task.
    promised: HashMap<i64, Timestamp>,
}

impl Rates {
    /// Whether a message may be started now, and if not, when.
    pub(super) fn turn(
        &mut self,
        tenant: &TenantId,
        task: &TaskName,
        number: i64,
        limit: RateLimit,
        now: Timestamp,
    ) -> Turn {
        let Some(per_second) = limit.per_second() else { return Turn::Now };
        self.forget_old(now);
        let bucket = self
            .buckets
            .entry((tenant.clone(), task.clone()))
            .or_insert_with(|| Bucket { free: now, promised: HashMap::new() });
        if let Some(&at) = bucket.promised.get(&number) {
            if at > now {
                return Turn::At(at);
            }
            bucket.promised.remove(&number);
            self.promised -= 1;
            return Turn::Now;
        }
        let at = bucket.free.max(now);
        bucket.free = after(at, per_second);
        if at <= now {
            return Turn::Now;
        }
        bucket.promised.insert(number, at);
        self.promised += 1;
        Turn::At(at)
    }

    /// Makes all promises about a task void, because its limit has changed; returns those that were not due yet.
    pub(super) fn void(&mut self, tenant: &TenantId, task: &TaskName, now: Timestamp) -> Vec<(i64, Timestamp)> {
        let Some(bucket) = self.buckets.remove(&(tenant.clone(), task.clone())) else { return Vec::new() };
        self.promised -= bucket.promised.len();
        bucket.promised.into_iter().filter(|(_, at)| *at > now).collect()
    }

    fn forget_old(&mut self, now: Timestamp) {
        if self.promised < self.kept_at_last_look * 2 + LOOK_AFTER {
            return;
        }
        let oldest = Timestamp::from_micros(now.as_micros() - FORGET_AFTER);
        self.buckets.retain(|_, bucket| {
            bucket.promised.retain(|_, at| *at > oldest);
            !bucket.promised.is_empty() || bucket.free > now
        });
        self.promised = self.buckets.values().map(|bucket| bucket.promised.len()).sum();
        self.kept_at_last_look = self.promised;
    }
}

fn after(at: Timestamp, per_second: f64) -> Timestamp {
    // At least a microsecond, the finest there is. A cast of what is too large saturates.
    let interval = ((1e6 / per_second).round() as i64).max(1);
    Timestamp::from_micros(at.as_micros().saturating_add(interval))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(millis * 1000)
    }

    fn turn(rates: &mut Rates, number: i64, limit: &str, millis: i64) -> Turn {
        let task = "tour.add".parse().unwrap();
        rates.turn(&TenantId::default(), &task, number, limit.parse().unwrap(), at(millis))
    }

    #[test]
    fn starts_are_spread_evenly() {
        let mut rates = Rates::default();
        assert_eq!(turn(&mut rates, 1, "10/s", 0), Turn::Now);
        assert_eq!(turn(&mut rates, 2, "10/s", 0), Turn::At(at(100)));
        assert_eq!(turn(&mut rates, 3, "10/s", 50), Turn::At(at(200)));
        assert_eq!(turn(&mut rates, 2, "10/s", 60), Turn::At(at(100)), "asked again too early");
        assert_eq!(turn(&mut rates, 2, "10/s", 100), Turn::Now);
        assert_eq!(turn(&mut rates, 2, "10/s", 100), Turn::At(at(300)), "its retry is another start");
        assert_eq!(turn(&mut rates, 3, "10/s", 5000), Turn::Now, "late, but it is its own time");
        assert_eq!(turn(&mut rates, 4, "10/s", 5000), Turn::Now, "nothing is saved up");
        assert_eq!(turn(&mut rates, 5, "10/s", 5000), Turn::At(at(5100)));
    }

    #[test]
    fn tasks_and_tenants_have_buckets_of_their_own() {
        let mut rates = Rates::default();
        let other = TenantId::new("other").unwrap();
        let (add, sub) = ("tour.add".parse().unwrap(), "tour.sub".parse().unwrap());
        let limit = "1/h".parse().unwrap();
        for (tenant, task) in [(&TenantId::default(), &add), (&other, &add), (&other, &sub)] {
            assert_eq!(rates.turn(tenant, task, 1, limit, at(0)), Turn::Now);
            assert_eq!(rates.turn(tenant, task, 2, limit, at(0)), Turn::At(at(3_600_000)));
        }
        assert_eq!(turn(&mut rates, 3, "0", 0), Turn::Now, "no limit");
    }

    #[test]
    fn a_changed_limit_frees_those_that_wait() {
        let mut rates = Rates::default();
        for number in 0..4 {
            turn(&mut rates, number, "1/m", 0);
        }
        let mut void = rates.void(&TenantId::default(), &"tour.add".parse().unwrap(), at(60_000));
        void.sort_unstable();
        assert_eq!(void, [(2, at(120_000)), (3, at(180_000))], "the first was due");
        assert_eq!(turn(&mut rates, 3, "100/s", 60_000), Turn::Now);
        assert_eq!(turn(&mut rates, 2, "100/s", 60_000), Turn::At(at(60_010)));
        assert!(rates.void(&TenantId::default(), &"tour.none".parse().unwrap(), at(0)).is_empty());
    }

    #[test]
    fn promises_that_nobody_comes_for_are_forgotten() {
        let mut rates = Rates::default();
        let many = 4 * LOOK_AFTER as i64;
        for number in 0..many {
            turn(&mut rates, number, "1000/s", 0);
        }
        assert_eq!(rates.promised, usize::try_from(many).unwrap() - 1);
        let late = many + FORGET_AFTER / 1000;
        for number in many..2 * many {
            turn(&mut rates, number, "1000/s", late);
        }
        assert!(rates.promised < usize::try_from(many).unwrap() + 10, "{}", rates.promised);
    }

    proptest! {
        /// However messages come and come back, no two start closer together than the limit says, and each is asked about
        /// twice at most.
        #[test]
        fn no_two_starts_are_too_close(arrivals in prop::collection::vec(0_i64..2000, 1..60), rate in 1_u32..50) {
            let mut rates = Rates::default();
            let limit = format!("{rate}/s");
            let mut arrivals: Vec<_> = arrivals.into_iter().zip(0..).collect();
            arrivals.sort_unstable();
            let mut waiting = std::collections::BTreeMap::new();
            for (millis, number) in arrivals {
                waiting.insert((at(millis), number), 1);
            }
            let mut starts = Vec::new();
            while let Some(((now, number), asked)) = waiting.pop_first() {
                prop_assert!(asked <= 2);
                let task = "tour.add".parse().unwrap();
                match rates.turn(&TenantId::default(), &task, number, limit.parse().unwrap(), now) {
                    Turn::Now => starts.push(now),
                    Turn::At(later) => _ = waiting.insert((later, number), asked + 1),
                }
            }
            let apart = 1_000_000 / i64::from(rate);
            for pair in starts.windows(2) {
                prop_assert!(pair[1].as_micros() - pair[0].as_micros() >= apart - 1);
            }
            prop_assert_eq!(rates.promised, 0);
        }
    }
}
