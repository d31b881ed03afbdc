//! Which module kills its executors? Processes die of many things, such as a lack of memory that others took, and many modules run
//! in one; who was there again and again is set apart, and who dies there as well is it.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use lovage_model::Digest;

/// Deaths until a module is not run any more.
pub(super) const DEATHS: u32 = 3;
/// For how long a death is remembered.
pub(super) const REMEMBERED: Duration = Duration::from_secs(600);
/// From this many deaths on a module gets a process of its own, so that it takes no neighbours along, and is known for sure.
const SUSPICIOUS: u32 = 2;
/// For how long it keeps that without a death, unless it was [`DEATHS`] times there, and alone the last time.
const SUSPECTED: Duration = Duration::from_secs(60);

/// Where a module may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// With others.
    Trusted,
    /// In a process of its own.
    Suspected,
    /// Nowhere.
    Quarantined,
}

/// The deaths of late, by module.
#[derive(Debug, Default)]
pub(super) struct Blame {
    of: HashMap<Digest, Deaths>,
}

#[derive(Debug)]
struct Deaths {
    count: u32,
    last: Instant,
    /// Whether nothing else ran in the process that died last.
    alone: bool,
    /// Whether a process died that was its own.
    own: bool,
}

impl Blame {
    /// A process died while these modules ran in it; `own`: one that was set apart for one of them. Each of them once.
    pub(super) fn died(&mut self, running: &[&Digest], own: bool, at: Instant) -> BTreeSet<Digest> {
        self.of.retain(|_, deaths| at.saturating_duration_since(deaths.last) < REMEMBERED);
        let modules: BTreeSet<Digest> = running.iter().copied().cloned().collect();
        let alone = modules.len() == 1;
        for module in &modules {
            let deaths = self.of.entry(module.clone()).or_insert(Deaths { count: 0, last: at, alone, own });
            (deaths.count, deaths.last, deaths.alone) = (deaths.count + 1, at, alone);
            deaths.own |= own;
        }
        modules
    }

    pub(super) fn standing(&self, digest: &Digest, now: Instant) -> Standing {
        let Some(deaths) = self.of.get(digest) else { return Standing::Trusted };
        let since = now.saturating_duration_since(deaths.last);
        if since >= REMEMBERED {
            Standing::Trusted
        } else if deaths.count >= DEATHS && deaths.own {
            Standing::Quarantined
        } else if deaths.count >= SUSPICIOUS && (since < SUSPECTED || deaths.count >= DEATHS && deaths.alone) {
            Standing::Suspected
        } else {
            Standing::Trusted
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u8) -> Digest {
        Digest::from_bytes(&[n; 32])
    }

    #[test]
    fn who_dies_three_times_the_last_in_a_process_of_its_own_is_it() {
        let (mut blame, now, it) = (Blame::default(), crate::clock::instant(), digest(1));
        for (own, expected) in [(false, Standing::Trusted), (false, Standing::Suspected), (true, Standing::Quarantined)]
        {
            blame.died(&[&it, &it], own, now);
            assert_eq!(blame.standing(&it, now), expected);
        }
        assert_eq!(blame.standing(&it, now + SUSPECTED), Standing::Quarantined);
        assert_eq!(blame.standing(&it, now + REMEMBERED), Standing::Trusted);
        assert_eq!(blame.standing(&digest(2), now), Standing::Trusted);
    }

    #[test]
    fn a_neighbour_is_suspected_and_never_quarantined() {
        let (mut blame, now, it, neighbour) = (Blame::default(), crate::clock::instant(), digest(1), digest(2));
        for _ in 0..5 {
            assert_eq!(blame.died(&[&it, &neighbour, &it], false, now).len(), 2);
        }
        assert_eq!(blame.standing(&it, now), Standing::Suspected);
        blame.died(&[&it], true, now);
        assert_eq!(blame.standing(&it, now), Standing::Quarantined);
        assert_eq!(blame.standing(&neighbour, now), Standing::Suspected);
        assert_eq!(blame.standing(&neighbour, now + SUSPECTED), Standing::Trusted);
    }

    #[test]
    fn who_was_where_processes_died_of_something_else_is_set_apart_and_still_run() {
        let (mut blame, now, it) = (Blame::default(), crate::clock::instant(), digest(1));
        for _ in 0..8 {
            blame.died(&[&it], false, now);
        }
        assert_eq!(blame.standing(&it, now), Standing::Suspected);
        assert_eq!(blame.standing(&it, now + SUSPECTED), Standing::Suspected, "it was alone: that is to be found out");
        assert_eq!(blame.standing(&it, now + REMEMBERED), Standing::Trusted);
    }

    #[test]
    fn what_is_long_ago_is_forgotten() {
        let (mut blame, now, it) = (Blame::default(), crate::clock::instant(), digest(1));
        blame.died(&[&it], false, now);
        blame.died(&[&it], false, now);
        blame.died(&[&it], false, now + REMEMBERED);
        assert_eq!(blame.standing(&it, now + REMEMBERED), Standing::Trusted);
        assert!(blame.died(&[], false, now).is_empty());
    }
}
