//! What could not be dealt with, and when is it tried again?
//!
//! Each for itself, later and later, so that others go on; and all together, where so many fail that it seems to be the store.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::store::Ended;

/// When so many have failed one after the other it is the store that fails: no more are tried for now.
const MANY_FAILED: usize = 256;
/// How long to wait before what failed is tried again: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long something is left alone that has failed: longer each time.
#[derive(Clone, Copy, Default)]
struct Pause {
    length: Duration,
    until: Option<Instant>,
}

impl Pause {
    fn begin(&mut self, now: Instant) {
        self.length = (self.length * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.until = Some(now + self.length);
    }

    fn lasts(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

/// What failed, and when it is tried again: each for itself, so that others go on; and all, where it seems to be the store.
#[derive(Default)]
pub(in crate::pipeline) struct Stuck {
    keys: HashMap<i64, Pause>,
    all: Pause,
    /// How many have failed for the first time since one has not failed.
    in_a_row: usize,
    /// When it was last looked what has ended.
    looked: Option<Instant>,
}

impl Stuck {
    /// Whether it may be looked what has ended.
    pub(super) fn may_look(&mut self, now: Instant) -> bool {
        self.looked = Some(now);
        !self.all.lasts(now)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether something is left alone for now.
    pub(super) fn has(&self, key: i64, now: Instant) -> bool {
        self.keys.get(&key).is_some_and(|pause| pause.lasts(now))
    }

    /// Whether something has failed before.
    pub(super) fn knows(&self, key: i64) -> bool {
        self.keys.contains_key(&key)
    }

    pub(super) fn add(&mut self, key: i64, now: Instant) {
        let is_new = !self.knows(key);
        self.keys.entry(key).or_default().begin(now);
        // What has failed before says nothing of the store: it keeps nobody else waiting.
        if is_new {
            self.in_a_row += 1;
            if self.in_a_row >= MANY_FAILED && !self.all.lasts(now) {
                self.all.begin(now);
            }
        }
    }

    pub(super) fn remove(&mut self, key: i64) {
        self.keys.remove(&key);
        (self.all, self.in_a_row) = (Pause::default(), 0);
    }

    /// Nothing is tried for a while.
    pub(super) fn put_off(&mut self, now: Instant) {
        self.all.begin(now);
    }

    /// The store has said what has ended: what it names no more is gone.
    pub(super) fn was_answered(&mut self, ended: &[Ended]) {
        let named: HashSet<i64> = ended.iter().map(|one| one.key).collect();
        let last = named.iter().max().copied();
        // Of what comes after the last that was named nothing is known.
        self.keys.retain(|key, _| named.contains(key) || last.is_some_and(|last| *key > last));
        if self.in_a_row < MANY_FAILED {
            self.all = Pause::default();
        }
    }

    /// Returns when something may be tried again that could not be when it was last looked; never, if there is nothing.
    pub(super) async fn wait(&self) {
        let later = |pause: &Pause| pause.until.filter(|until| Some(*until) > self.looked);
        match later(&self.all).or_else(|| self.keys.values().filter_map(later).min()) {
            Some(until) => tokio::time::sleep_until(until.into()).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_that_fail_are_a_sign_that_the_store_does_and_one_that_fails_often_is_none() {
        let (mut stuck, now) = (Stuck::default(), crate::clock::instant());
        let many = i64::try_from(MANY_FAILED).unwrap();
        (0..2 * many).for_each(|_| stuck.add(0, now));
        assert!(stuck.may_look(now));
        (1..many).for_each(|key| stuck.add(key, now));
        assert!(!stuck.may_look(now));
    }
}
