//! Instants and spans, as Celery writes them: ISO 8601 in UTC, and seconds as a number.

use std::fmt;
use std::time::Duration;

use jiff::fmt::strtime;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::tagged;

/// An instant in UTC, to the microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since 1970.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Later by a span; stays at the end of time instead of passing it.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Earlier by a span.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; nothing if it is not after.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads ISO 8601; a time without an offset is taken as UTC, as Celery does.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parsed = match text.parse::<jiff::Timestamp>() {
            Ok(instant) => instant.as_microsecond(),
            Err(_) => text
                .parse::<jiff::civil::DateTime>()
                .and_then(|civil| civil.to_zoned(jiff::tz::TimeZone::UTC))
                .map_err(|_| format!("{text:?} is not a time in ISO 8601, such as 2026-11-21T12:00:00Z"))?
                .timestamp()
                .as_microsecond(),
        };
        // Others cannot be written so that everybody reads them: Python has no other years.
        if !(Self::YEAR_1..Self::YEAR_10000).contains(&parsed) {
            return Err(format!("{text:?} is not in the years 1 to 9999"));
        }
        Ok(Self(parsed))
    }

    /// The first microsecond of the year 1, and that after the year 9999.
    const YEAR_1: i64 = -62_135_596_800_000_000;
    const YEAR_10000: i64 = 253_402_300_800_000_000;
}

impl fmt::Display for Timestamp {
    /// As Python's `isoformat` writes it: `2026-11-21T12:00:00.000000+00:00`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instant = jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::MAX);
        let text = strtime::format("%Y-%m-%dT%H:%M:%S%.6f+00:00", instant).map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    /// From its text, or from a datetime of Python's.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = tagged::text(deserializer, "datetime")?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

/// A span in seconds, as Celery's options have it: not negative, not NaN, at most a year.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Seconds(f64);

/// A number that is not a span Lovage can wait for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0} is not a number of seconds between 0 and {max}", max = Seconds::MAX)]
pub struct SecondsError(f64);

impl Seconds {
    /// One year: the longest countdown, limit or expiry.
    pub const MAX: f64 = 366.0 * 86_400.0;

    /// Checks that it is a number between 0 and [`Seconds::MAX`].
    pub fn new(seconds: f64) -> Result<Self, SecondsError> {
        if (0.0..=Self::MAX).contains(&seconds) { Ok(Self(seconds)) } else { Err(SecondsError(seconds)) }
    }

    /// As a number.
    pub fn get(self) -> f64 {
        self.0
    }

    /// As a duration.
    pub fn duration(self) -> Duration {
        Duration::from_secs_f64(self.0)
    }
}

impl TryFrom<f64> for Seconds {
    type Error = SecondsError;
    fn try_from(seconds: f64) -> Result<Self, SecondsError> {
        Self::new(seconds)
    }
}

impl From<Seconds> for f64 {
    fn from(seconds: Seconds) -> f64 {
        seconds.0
    }
}

impl From<Duration> for Seconds {
    /// Longer than a year becomes a year.
    fn from(span: Duration) -> Self {
        Self(span.as_secs_f64().min(Self::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_as_python_does() {
        let t = Timestamp::parse("2026-11-20T23:50:54.888385+00:00").unwrap();
        assert_eq!(t.to_string(), "2026-11-20T23:50:54.888385+00:00");
        assert_eq!(Timestamp::parse("2026-11-21T01:50:54.888385+02:00").unwrap(), t);
        assert_eq!(Timestamp::parse("2026-11-20T23:50:54.888385").unwrap(), t);
    }

    #[test]
    fn a_datetime_of_pythons_is_a_time() {
        let read = |text: &str| serde_json::from_str::<Timestamp>(text);
        let noon = Timestamp::parse("2026-11-21T12:00:00Z").unwrap();
        for (value, is_time) in [
            ("\"2026-11-21T12:00:00\"", true),
            (r#"{"__type__":"datetime","__value__":"2026-11-21T12:00:00"}"#, true),
            (r#"{"__value__":"2026-11-21T14:00:00+02:00","__type__":"datetime"}"#, true),
            (r#"{"__type__":"decimal","__value__":"2026-11-21T12:00:00"}"#, false),
            (r#"{"__type__":"datetime","__value__":"2026-11-21T12:00:00","more":1}"#, false),
            (r#"{"__type__":"datetime","__value__":"soon"}"#, false),
            ("7", false),
        ] {
            assert_eq!(read(value).ok(), is_time.then_some(noon), "{value}");
        }
        let digits = r#"{"__type__":"datetime","__value__":{"hex":"2026"}}"#;
        let error = read(digits).unwrap_err().to_string();
        assert!(error.contains("a datetime is written as a text"), "{error}");
    }

    #[test]
    fn absurd_spans_are_refused() {
        for bad in [-1.0, f64::NAN, f64::INFINITY, 1e300] {
            assert!(Seconds::new(bad).is_err(), "{bad}");
        }
        assert!(Timestamp::parse("tomorrow").unwrap_err().contains("ISO 8601"));
    }

    #[test]
    fn what_is_read_is_read_back() {
        for edge in ["0001-01-01T00:00:00.000000+00:00", "9999-12-30T22:00:00.000000+00:00"] {
            assert_eq!(Timestamp::parse(edge).unwrap().to_string(), edge);
        }
        for beyond in ["-000001-01-01T00:00:00Z", "0000-12-31T23:59:59Z", "-009998-01-01T00:00:00"] {
            assert!(Timestamp::parse(beyond).unwrap_err().contains("1 to 9999"), "{beyond}");
        }
    }
}
