//! Which leases lapse? Those that nobody renewed in time, unless nobody could.
//!
//! While the server is away no host can renew anything. The first that is back must not take what runs on the others: what was still
//! held when the server was last heard of is spared for as long as a lease lasts, in which whoever lives renews it.

/// What this host knows of when the server was there, in microseconds since 1970.
#[derive(Debug)]
pub(super) struct Lapses {
    /// When it last answered.
    heard: i64,
    /// Whether it did not, since then.
    away: bool,
    spared: Option<Spared>,
}

/// Leases that held at a time, until another one.
#[derive(Debug, Clone, Copy)]
struct Spared {
    held_at: i64,
    until: i64,
}

impl Lapses {
    pub(super) fn new(now: i64) -> Self {
        Self { heard: now, away: false, spared: None }
    }

    /// A call at `now`, of a host whose leases last for so long, takes back what lapsed until this time.
    pub(super) fn until(&mut self, now: i64, lease: i64) -> i64 {
        if std::mem::take(&mut self.away) {
            self.spared = Some(Spared { held_at: self.heard, until: now.saturating_add(lease) });
        }
        self.spared = self.spared.filter(|spared| now < spared.until);
        self.spared.map_or(now, |spared| spared.held_at.min(now))
    }

    /// It answered a call at this time.
    pub(super) fn answered(&mut self, now: i64) {
        self.heard = now;
    }

    /// It did not answer, or a connection to it broke.
    pub(super) fn missed(&mut self) {
        self.away = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_held_when_the_server_went_away_is_spared_for_a_lease() {
        let mut lapses = Lapses::new(0);
        assert_eq!(lapses.until(100, 15), 100);
        lapses.answered(100);
        lapses.missed();
        assert_eq!(lapses.until(150, 15), 100, "what had lapsed before is taken back");
        lapses.answered(150);
        assert_eq!((lapses.until(164, 15), lapses.until(165, 15)), (100, 165));
        // Away once more before anything was taken back.
        lapses.answered(165);
        lapses.missed();
        assert_eq!(lapses.until(170, 15), 165);
        lapses.missed();
        assert_eq!((lapses.until(180, 15), lapses.until(195, 15)), (165, 195));
    }
}
