//! When may a message whose task has a rate limit be started? Pure: time is an argument.
//!
//! One bucket for each task of each tenant, on this host, as in Celery: it holds one token, so starts are spread evenly
//! (`60/m` is one each second, not sixty at once). A message that has to wait gets the next time that is free, and is
//! given back until then; when it comes again its time is still its own, so each message is looked at twice at most,
//! however many wait. Only who comes too late for its time, since its queue was paused or there was no slot, is looked at once more:
//! it stands behind those that came too late before it, and those whose time is after that stand behind it.
//!
//! Times that were promised to messages that are gone, or by a limit that holds no more, would keep all that come later waiting for
//! nothing: such a line is found [stale](Rates::stale), and begins anew with those who are there. So does one of a clock that was
//! set back since, by more than one interval of the limit: its times are further away than they were meant to be.
//!
//! Absent: what is in force (the caller says for each message), and other hosts.

use std::collections::HashMap;
use std::time::Duration;

use lovage_model::{RateLimit, TaskName, TenantId, Timestamp};

/// How late a message may come and still be in time: as long as it may be on its way from the store. If the next start were put off
/// by that each time, there would be fewer than the limit allows.
const IN_TIME: Duration = Duration::from_millis(50);
/// Who has not come for its time so long after it, though the store had nothing more to give, is gone.
const GONE_AFTER: Duration = Duration::from_secs(10);
/// A line begins anew once in so long for each that waits in it: all of them are looked at again then.
const ANEW_EACH: Duration = Duration::from_millis(10);
/// A time that was promised to nobody who came for it is forgotten after so long: its message was revoked, or runs elsewhere.
const FORGET_AFTER: Duration = Duration::from_secs(600);
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

/// How often a message may start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// By the limit in force for it.
    pub(super) message: RateLimit,
    /// By that of its task; none: its sender alone asks for one.
    pub(super) task: Option<RateLimit>,
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
    /// When this line began, and what the limit of the task itself was then.
    since: Timestamp,
    limit: Option<RateLimit>,
    /// Nobody starts before this time.
    next: Timestamp,
    /// So long after the last start that is; nothing: none has started in this line.
    apart: Duration,
    /// The next time for who came too late for its own.
    behind: Timestamp,
    /// The next time that is nobody's.
    free: Timestamp,
    /// What was given to messages, by the store's number for their task.
    promised: HashMap<i64, Promise>,
}

#[derive(Debug, Clone, Copy)]
struct Promise {
    at: Timestamp,
    /// Whether it is for one that came too late for another.
    again: bool,
}

#[cfg(test)]
impl Limits {
    /// Of messages that ask for none of their own.
    pub(super) fn of_task(limit: RateLimit) -> Self {
        Self { message: limit, task: Some(limit) }
    }
}

impl Rates {
    /// Whether a message may be started now, and if not, when.
    pub(super) fn turn(
        &mut self,
        tenant: &TenantId,
        task: &TaskName,
        number: i64,
        limits: Limits,
        now: Timestamp,
    ) -> Turn {
        let Some(per_second) = limits.message.per_second() else { return Turn::Now };
        self.forget_old(now);
        let new = || Bucket::new(limits.task, now, Duration::ZERO, now);
        let bucket = self.buckets.entry((tenant.clone(), task.clone())).or_insert_with(new);
        let before = bucket.promised.len();
        let turn = bucket.turn(number, interval(per_second), now);
        self.promised += bucket.promised.len();
        self.promised -= before;
        turn
    }

    /// A message whose turn it was had no slot and is given back: when it comes again it starts as soon as the next may, and does
    /// not stand behind all that came after it.
    pub(super) fn unstarted(&mut self, tenant: &TenantId, task: &TaskName, number: i64, now: Timestamp) {
        if let Some(bucket) = self.buckets.get_mut(&(tenant.clone(), task.clone()))
            && bucket.promised.insert(number, Promise { at: now, again: true }).is_none()
        {
            self.promised += 1;
        }
    }

    /// The tasks whose lines are to begin anew: their limit is another now, or nobody has come for a time though the store had
    /// nothing more to give at `emptied`, or the clock was set back.
    pub(super) fn stale(
        &self,
        emptied: Timestamp,
        now: Timestamp,
        limit: impl Fn(&TenantId, &TaskName) -> Option<RateLimit>,
    ) -> Vec<(TenantId, TaskName)> {
        let is_stale = |((tenant, task), bucket): &(&(TenantId, TaskName), &Bucket)| {
            let has_changed = || bucket.stands_still(emptied) || bucket.limit != limit(tenant, task);
            bucket.is_set_back(now) || (bucket.may_begin_anew(now) && has_changed())
        };
        self.buckets.iter().filter(is_stale).map(|(of, _)| of.clone()).collect()
    }

    /// What was promised about a task and is not due yet.
    pub(super) fn not_due(&self, tenant: &TenantId, task: &TaskName, now: Timestamp) -> Vec<(i64, Timestamp)> {
        let bucket = self.buckets.get(&(tenant.clone(), task.clone()));
        let promised = bucket.into_iter().flat_map(|bucket| &bucket.promised);
        promised.filter(|(_, promise)| promise.at > now).map(|(number, promise)| (*number, promise.at)).collect()
    }

    /// Makes all promises about a task void, which has this limit now.
    pub(super) fn void(&mut self, tenant: &TenantId, task: &TaskName, limit: Option<RateLimit>, now: Timestamp) {
        let of = (tenant.clone(), task.clone());
        let Some(old) = self.buckets.remove(&of) else { return };
        self.promised -= old.promised.len();
        if old.limit == limit {
            // What has started counts.
            let next = old.next.min(now.after(old.apart));
            self.buckets.insert(of, Bucket::new(limit, next, old.apart, now));
        }
    }

    fn forget_old(&mut self, now: Timestamp) {
        if self.promised < self.kept_at_last_look * 2 + LOOK_AFTER {
            return;
        }
        let oldest = now.before(FORGET_AFTER);
        self.buckets.retain(|_, bucket| {
            bucket.promised.retain(|_, promise| promise.at > oldest);
            !bucket.promised.is_empty() || bucket.free.max(bucket.next) > now
        });
        self.promised = self.buckets.values().map(|bucket| bucket.promised.len()).sum();
        self.kept_at_last_look = self.promised;
    }
}

impl Bucket {
    fn new(limit: Option<RateLimit>, next: Timestamp, apart: Duration, now: Timestamp) -> Self {
        Self { since: now, limit, next, apart, behind: next, free: next, promised: HashMap::new() }
    }

    fn turn(&mut self, number: i64, interval: Duration, now: Timestamp) -> Turn {
        // Those that wait in a line are looked at again together, once it is found stale.
        if self.promised.is_empty() && self.is_set_back(now) {
            *self = Self::new(self.limit, now.after(self.apart), self.apart, now);
        }
        let Some(&promise) = self.promised.get(&number) else {
            let at = self.free.max(self.behind).max(self.next).max(now);
            self.free = at.after(interval);
            if at <= now {
                self.start(at, interval);
                return Turn::Now;
            }
            return self.promise(number, at, false);
        };
        if promise.at > now {
            return Turn::At(promise.at);
        }
        // As if it had come at its time, if it is not too late for that.
        let at = promise.at.max(now.before(IN_TIME)).max(self.next);
        // Those that came too late before it go first.
        if at <= now && (promise.again || self.behind <= now) {
            self.start(at, interval);
            self.promised.remove(&number);
            return Turn::Now;
        }
        let at = self.behind.max(self.next);
        self.behind = at.after(interval);
        self.promise(number, at, true)
    }

    fn start(&mut self, at: Timestamp, apart: Duration) {
        (self.next, self.apart) = (at.after(apart), apart);
    }

    fn promise(&mut self, number: i64, at: Timestamp, again: bool) -> Turn {
        self.promised.insert(number, Promise { at, again });
        Turn::At(at)
    }

    /// Whether nobody has started since a time for which nobody has come.
    fn stands_still(&self, emptied: Timestamp) -> bool {
        let gone = emptied.before(GONE_AFTER);
        self.promised.values().any(|promise| promise.at >= self.next && promise.at < gone)
    }

    /// Whether its last start is yet to come: it was by a clock that was set back since.
    fn is_set_back(&self, now: Timestamp) -> bool {
        self.next > now.after(self.apart)
    }

    fn may_begin_anew(&self, now: Timestamp) -> bool {
        let waiting = u32::try_from(self.promised.len()).unwrap_or(u32::MAX);
        now.since(self.since) >= ANEW_EACH.saturating_mul(waiting)
    }
}

fn interval(per_second: f64) -> Duration {
    // At least a microsecond, the finest there is. A cast of what is too large saturates.
    Duration::from_micros(((1e6 / per_second).round() as u64).max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(millis * 1000)
    }

    fn turn(rates: &mut Rates, number: i64, limit: &str, millis: i64) -> Turn {
        turn_at(rates, number, limit, at(millis))
    }

    fn turn_at(rates: &mut Rates, number: i64, limit: &str, now: Timestamp) -> Turn {
        let task = "tour.add".parse().unwrap();
        rates.turn(&TenantId::default(), &task, number, Limits::of_task(limit.parse().unwrap()), now)
    }

    fn void(rates: &mut Rates, limit: &str, millis: i64) -> Vec<(i64, Timestamp)> {
        let task = "tour.add".parse().unwrap();
        let mut waited = rates.not_due(&TenantId::default(), &task, at(millis));
        rates.void(&TenantId::default(), &task, limit.parse().ok(), at(millis));
        waited.sort_unstable();
        waited
    }

    /// So many have asked at once.
    fn waited_for(count: i64, limit: &str) -> Rates {
        let mut rates = Rates::default();
        for number in 0..count {
            turn(&mut rates, number, limit, 0);
        }
        rates
    }

    fn is_stale(rates: &Rates, limit: &str, emptied: i64, now: i64) -> bool {
        !rates.stale(at(emptied), at(now), |_, _| limit.parse().ok()).is_empty()
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
        assert_eq!(turn(&mut rates, 4, "10/s", 5000), Turn::At(at(5050)), "nothing is saved up");
        assert_eq!(turn(&mut rates, 5, "10/s", 5000), Turn::At(at(5150)));
    }

    #[test]
    fn after_a_pause_all_go_on_in_their_order_and_as_far_apart_as_before() {
        let mut rates = waited_for(12, "1/s");
        // The times of most are over, that of the last but one comes yet, and the last is new.
        assert_eq!(turn(&mut rates, 1, "1/s", 10_000), Turn::Now);
        for (number, now) in (2..=10).map(|number| (number, 10_000)).chain([(11, 11_000), (12, 11_000)]) {
            let later = at(10_950 + 1000 * (number - 2));
            assert_eq!(turn(&mut rates, number, "1/s", now), Turn::At(later), "{number}");
        }
        for number in 2..=12 {
            assert_eq!(turn(&mut rates, number, "1/s", 10_950 + 1000 * (number - 2)), Turn::Now, "{number}");
        }
    }

    #[test]
    fn who_had_a_turn_and_no_slot_has_the_next_one() {
        let mut rates = waited_for(100, "1/s");
        assert_eq!(turn(&mut rates, 1, "1/s", 1000), Turn::Now);
        for _ in 0..2 {
            rates.unstarted(&TenantId::default(), &"tour.add".parse().unwrap(), 1, at(1500));
            assert_eq!(rates.promised, 99);
        }
        assert_eq!(turn(&mut rates, 1, "1/s", 1500), Turn::At(at(2000)), "its turn counts as a start");
        assert_eq!(turn(&mut rates, 1, "1/s", 2000), Turn::Now);
        assert_eq!(turn(&mut rates, 2, "1/s", 2000), Turn::At(at(3000)));
    }

    #[test]
    fn tasks_and_tenants_have_buckets_of_their_own() {
        let mut rates = Rates::default();
        let other = TenantId::new("other").unwrap();
        let (add, sub) = ("tour.add".parse().unwrap(), "tour.sub".parse().unwrap());
        let limits = Limits::of_task("1/h".parse().unwrap());
        for (tenant, task) in [(&TenantId::default(), &add), (&other, &add), (&other, &sub)] {
            assert_eq!(rates.turn(tenant, task, 1, limits, at(0)), Turn::Now);
            assert_eq!(rates.turn(tenant, task, 2, limits, at(0)), Turn::At(at(3_600_000)));
        }
        assert_eq!(turn(&mut rates, 3, "0", 0), Turn::Now, "no limit");
    }

    #[test]
    fn a_changed_limit_frees_those_that_wait() {
        let mut rates = Rates::default();
        for number in 0..4 {
            turn(&mut rates, number, "1/m", 0);
        }
        let waited = void(&mut rates, "100/s", 60_000);
        assert_eq!(waited, [(2, at(120_000)), (3, at(180_000))], "the first was due");
        assert_eq!(turn(&mut rates, 3, "100/s", 60_000), Turn::Now);
        assert_eq!(turn(&mut rates, 2, "100/s", 60_000), Turn::At(at(60_010)));
        assert!(rates.not_due(&TenantId::default(), &"tour.none".parse().unwrap(), at(0)).is_empty());
    }

    #[test]
    fn a_line_whose_messages_are_gone_is_stale_and_one_that_moves_is_not() {
        let mut rates = waited_for(1000, "1/s");
        // One of them alone was revoked.
        assert_eq!(turn(&mut rates, 2, "1/s", 2000), Turn::Now);
        assert!(!is_stale(&rates, "1/s", 12_000, 12_000));
        assert!(!is_stale(&rates, "1/s", 3000, 60_000), "there may have been no slot for them");
        assert!(is_stale(&rates, "1/s", 60_000, 60_000));
        let waited = void(&mut rates, "1/s", 60_000);
        assert_eq!((waited.len(), waited[0]), (939, (61, at(61_000))));
        assert_eq!(turn(&mut rates, 1000, "1/s", 60_000), Turn::Now);
        assert_eq!(turn(&mut rates, 61, "1/s", 60_000), Turn::At(at(61_000)));
        assert!(!is_stale(&rates, "1/s", 70_000, 70_000));
    }

    #[test]
    fn a_line_is_stale_when_its_task_has_another_limit_and_begins_anew_now_and_then() {
        let mut rates = waited_for(101, "1/h");
        assert!(!is_stale(&rates, "1/h", 0, 1000) && is_stale(&rates, "100/s", 0, 1000));
        assert!(!is_stale(&rates, "100/s", 0, 999), "a hundred of them are looked at again then");
        assert_eq!(void(&mut rates, "100/s", 1000).len(), 100);
        assert_eq!(turn(&mut rates, 7, "100/s", 1000), Turn::Now);
        // What has started by the same limit counts.
        void(&mut rates, "100/s", 1000);
        assert_eq!(turn(&mut rates, 8, "100/s", 1000), Turn::At(at(1010)));
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nobody_waiting_for_longer_than_its_turn() {
        let mut rates = Rates::default();
        assert_eq!(turn(&mut rates, 1, "1/s", 3_600_000), Turn::Now);
        assert_eq!(turn(&mut rates, 2, "1/s", 0), Turn::At(at(1000)), "its start counts");
        assert_eq!(turn(&mut rates, 2, "1/s", 1000), Turn::Now);
        // Of a line that has promised times those are all void.
        let mut rates = Rates::default();
        for number in 0..3 {
            turn(&mut rates, number, "1/s", 3_600_000);
        }
        assert!(!is_stale(&rates, "1/s", 0, 3_600_000));
        assert!(is_stale(&rates, "1/s", 0, 0));
        assert_eq!(void(&mut rates, "1/s", 0), [(1, at(3_601_000)), (2, at(3_602_000))]);
        assert!(!is_stale(&rates, "1/s", 0, 0));
        assert_eq!(turn(&mut rates, 1, "1/s", 0), Turn::At(at(1000)));
        assert_eq!(turn(&mut rates, 2, "1/s", 0), Turn::At(at(2000)));
        // A line that is long is none of those.
        let rates = waited_for(100, "1/h");
        assert!(!is_stale(&rates, "1/h", 0, 1000));
    }

    #[test]
    fn promises_that_nobody_comes_for_are_forgotten() {
        let many = 4 * LOOK_AFTER as i64;
        let mut rates = waited_for(many, "1000/s");
        assert_eq!(rates.promised, usize::try_from(many).unwrap() - 1);
        let late = many + i64::try_from(FORGET_AFTER.as_millis()).unwrap();
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
                match turn_at(&mut rates, number, &limit, now) {
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

        /// However late messages come for their times, in no time more of them start than the limit says, but for those that
        /// are still in time.
        #[test]
        fn who_comes_late_starts_no_closer_to_others(
            arrivals in prop::collection::vec((0_i64..2000, 0_u64..3000), 1..60),
            rate in 1_u32..50,
        ) {
            let mut rates = Rates::default();
            let limit = format!("{rate}/s");
            let mut waiting = std::collections::BTreeMap::new();
            for ((millis, late), number) in arrivals.into_iter().zip(0..) {
                waiting.insert((at(millis), number), late);
            }
            let mut starts = Vec::new();
            while let Some(((now, number), late)) = waiting.pop_first() {
                match turn_at(&mut rates, number, &limit, now) {
                    Turn::Now => starts.push(now.as_micros()),
                    // Each time it is less late.
                    Turn::At(later) => _ = waiting.insert((later.after(Duration::from_millis(late)), number), late / 2),
                }
            }
            let apart = 1_000_000 / i64::from(rate);
            for (first, start) in starts.iter().enumerate() {
                for (others, later) in (1..).zip(&starts[first + 1..]) {
                    prop_assert!(later - start + IN_TIME.as_micros() as i64 >= others * apart);
                }
            }
            prop_assert_eq!(rates.promised, 0);
        }
    }
}
