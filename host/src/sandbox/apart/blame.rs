//! Which module kills its executors? Processes die of many things, and many modules run in one; who was there again and
//! again is set apart, and who dies alone again and again is it.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use lovage_model::Digest;

/// Deaths until a module is not run any more.
pub(super) const DEATHS: u32 = 3;
/// For how long a death is remembered.
pub(super) const REMEMBERED: Duration = Duration::from_secs(600);
/// From this many deaths on a module gets a process of its own, so that it takes no neighbours along, and is known for sure.
const SUSPICIOUS: u32 = 2;
/// For how long it keeps that without a death.
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
}

impl Blame {
    /// A process died while these modules ran in it. Each of them once.
    pub(super) fn died(&mut self, running: &[&Digest], at: Instant) -> BTreeSet<Digest> {
        self.of.retain(|_, deaths| at.saturating_duration_since(deaths.last) < REMEMBERED);
        let modules: BTreeSet<Digest> = running.iter().copied().cloned().collect();
        let alone = modules.len() == 1;
        for module in &modules {
            let deaths = self.of.entry(module.clone()).or_insert(Deaths { count: 0, last: at, alone });
            (deaths.count, deaths.last, deaths.alone) = (deaths.count + 1, at, alone);
        }
        modules
    }

    pub(super) fn standing(&self, digest: &Digest, now: Instant) -> Standing {
        let Some(deaths) = self.of.get(digest) else { return Standing::Trusted };
        let since = now.saturating_duration_since(deaths.last);
        if since >= REMEMBERED {
            Standing::Trusted
        } else if deaths.count >= DEATHS && deaths.alone {
            Standing::Quarantined
        } else if deaths.count >= SUSPICIOUS && since < SUSPECTED {
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
    fn who_dies_alone_three_times_is_it() {
        let (mut blame, now, it) = (Blame::default(), crate::clock::instant(), digest(1));
        for expected in [Standing::Trusted, Standing::Suspected, Standing::Quarantined] {
            blame.died(&[&it, &it], now);
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
            assert_eq!(blame.died(&[&it, &neighbour, &it], now).len(), 2);
        }
        assert_eq!(blame.standing(&it, now), Standing::Suspected);
        blame.died(&[&it], now);
        assert_eq!(blame.standing(&it, now), Standing::Quarantined);
        assert_eq!(blame.standing(&neighbour, now), Standing::Suspected);
        assert_eq!(blame.standing(&neighbour, now + SUSPECTED), Standing::Trusted);
    }

    #[test]
    fn what_is_long_ago_is_forgotten() {
        let (mut blame, now, it) = (Blame::default(), crate::clock::instant(), digest(1));
        blame.died(&[&it], now);
        blame.died(&[&it], now);
        blame.died(&[&it], now + REMEMBERED);
        assert_eq!(blame.standing(&it, now + REMEMBERED), Standing::Trusted);
        assert!(blame.died(&[], now).is_empty());
    }
}
