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
