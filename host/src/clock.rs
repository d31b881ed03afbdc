//! What time is it? The only room that reads a clock: everything else is told the time.

use lovage_model::Timestamp;

/// The time now, by the system's clock.
pub fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}

/// The monotonic time now: for spans, never for dates.
pub fn instant() -> std::time::Instant {
    std::time::Instant::now()
}

/// How many hours this machine's zone is west of UTC now: what Celery calls `utcoffset`, and its monitors put times right by.
pub fn hours_west_of_utc() -> f64 {
    west(&jiff::tz::TimeZone::system(), jiff::Timestamp::now())
}

fn west(zone: &jiff::tz::TimeZone, at: jiff::Timestamp) -> f64 {
    -f64::from(zone.to_offset(at).seconds()) / 3600.0
}

/// What this process has used of processors, on all of its threads.
pub fn processor_time() -> std::time::Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    std::time::Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Lamport's clock, which orders what hosts say to each other: each counts what it says, and goes on from the largest count
/// that it has heard. See <https://docs.celeryq.dev/en/stable/internals/protocol.html>.
#[derive(Debug, Default)]
pub struct Logical(std::sync::atomic::AtomicU64);

impl Logical {
    /// Counts something that this host says.
    pub fn forward(&self) -> u64 {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1
    }

    /// Hears another's count.
    pub fn adjust(&self, heard: u64) -> u64 {
        // Nobody gets that far by counting: it would only stop at the end.
        let heard = heard.min(u64::MAX / 2);
        self.0.fetch_max(heard, std::sync::atomic::Ordering::Relaxed);
        self.forward()
    }

    /// The count now.
    pub fn value(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// What may happen often, and is told of once in a while.
#[derive(Debug, Default)]
pub struct Seldom(std::sync::Mutex<Option<std::time::Instant>>);

impl Seldom {
    /// How long nothing is told of after something was.
    const PAUSE: std::time::Duration = std::time::Duration::from_secs(10);

    /// Of something of which nothing was told yet.
    pub const fn new() -> Self {
        Self(std::sync::Mutex::new(None))
    }

    /// Whether to tell of it now.
    pub fn is_due(&self, now: std::time::Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let is_due = last.is_none_or(|last| now.saturating_duration_since(last) >= Self::PAUSE);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::{Logical, Seldom};

    #[test]
    fn what_happens_often_is_told_of_once_in_a_while() {
        let (seldom, now) = (Seldom::new(), super::instant());
        assert!(seldom.is_due(now) && !seldom.is_due(now) && !seldom.is_due(now + Seldom::PAUSE / 2));
        assert!(seldom.is_due(now + Seldom::PAUSE) && !seldom.is_due(now + Seldom::PAUSE));
    }

    #[test]
    fn hours_west_are_as_celery_counts_them() {
        let at = |zone: &str, time: &str| {
            super::west(&jiff::tz::TimeZone::get(zone).unwrap(), time.parse::<jiff::Timestamp>().unwrap())
        };
        assert_eq!(at("America/New_York", "2026-01-15T00:00:00Z"), 5.0);
        assert_eq!(at("America/New_York", "2026-07-15T00:00:00Z"), 4.0, "summer time");
        assert_eq!(at("Asia/Kolkata", "2026-07-15T00:00:00Z"), -5.5);
    }

    #[test]
    fn what_is_said_comes_after_what_was_heard() {
        let clock = Logical::default();
        assert_eq!((clock.forward(), clock.adjust(7), clock.forward(), clock.adjust(3)), (1, 8, 9, 10));
        clock.adjust(u64::MAX);
        assert!(clock.forward() < clock.forward());
    }
}
