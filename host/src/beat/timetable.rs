//! When is a periodic task due? Pure: a schedule in, instants out.
//!
//! Invariants:
//! - An interval's times are the multiples of it since 1970: every host, and the same host after a restart, has the same.
//! - A crontab's times are those of a clock on a wall. One that the clock skips (summer time begins) is due when the clock
//!   goes on; one that it shows twice (summer time ends) is due the first time only.
//! - [`Timetable::next`] is strictly later, and [`Timetable::latest`] is not later, than the time it is given.

use jiff::civil::{Date, Time, date};
use jiff::tz::{AmbiguousOffset, TimeZone};
use lovage_model::{Crontab, Schedule, Timestamp};

use super::fields::{DAY_OF_MONTH, DAY_OF_WEEK, HOUR, MINUTE, MONTH_OF_YEAR, Numbers, numbers};

/// The shortest interval, in microseconds: what is more frequent is a loop, not a schedule.
const SHORTEST: i64 = 100_000;
/// How many days are looked at for a day that matches: a 29th of February on a given day of the week may be 40 years away.
const DAYS: usize = 366 * 41;

/// A schedule that has been understood.
#[derive(Debug, Clone)]
pub struct Timetable(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Every(i64),
    Clock(Box<Clock>),
}

#[derive(Debug, Clone)]
struct Clock {
    minute: Numbers,
    hour: Numbers,
    day_of_week: Numbers,
    day_of_month: Numbers,
    month_of_year: Numbers,
    timezone: TimeZone,
}

impl Timetable {
    /// Reads a schedule; the error names the field and what it may be.
    pub fn of(schedule: &Schedule) -> Result<Self, String> {
        match schedule {
            Schedule::Every(every) => {
                let micros = (every.get() * 1e6).round() as i64;
                if micros < SHORTEST {
                    return Err(format!("every is {}: at least {} s", every.get(), SHORTEST as f64 / 1e6));
                }
                Ok(Self(Kind::Every(micros)))
            }
            Schedule::Crontab { crontab, timezone } => {
                Clock::of(crontab, timezone.as_deref()).map(|clock| Self(Kind::Clock(Box::new(clock))))
            }
        }
    }

    /// The first time after this one; none: not before the end of time.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Kind::Every(micros) => {
                let slot = after.as_micros().div_euclid(*micros).checked_add(1)?.checked_mul(*micros)?;
                Some(Timestamp::from_micros(slot))
            }
            Kind::Clock(clock) => clock.next(after),
        }
    }

    /// The last time that is not after this one.
    pub fn latest(&self, until: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Kind::Every(micros) => Some(Timestamp::from_micros(until.as_micros().div_euclid(*micros) * micros)),
            Kind::Clock(clock) => clock.latest(until),
        }
    }
}

impl Clock {
    fn of(crontab: &Crontab, timezone: Option<&str>) -> Result<Self, String> {
        let name = timezone.unwrap_or("UTC");
        let timezone = TimeZone::get(name).map_err(|_| {
            format!("timezone is {name:?}: there is no such one in the IANA database; write it as Europe/Berlin")
        })?;
        let clock = Self {
            minute: numbers(&crontab.minute, MINUTE)?,
            hour: numbers(&crontab.hour, HOUR)?,
            day_of_week: numbers(&crontab.day_of_week, DAY_OF_WEEK)?,
            day_of_month: numbers(&crontab.day_of_month, DAY_OF_MONTH)?,
            month_of_year: numbers(&crontab.month_of_year, MONTH_OF_YEAR)?,
            timezone,
        };
        // In a leap year, every day that there is.
        let last = |month: i8| date(2024, month, 1).days_in_month();
        let exists = |month: i8| clock.day_of_month.iter().any(|day| day <= last(month));
        if clock.month_of_year.iter().any(exists) {
            return Ok(clock);
        }
        let Crontab { day_of_month, month_of_year, .. } = crontab;
        Err(format!("crontab.day_of_month is {day_of_month:?}: month_of_year {month_of_year:?} never has that day"))
    }

    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        // The day before as well: a clock that skips midnight makes up for it on the next day.
        let first = self.day_of(after)?.yesterday().ok()?;
        let days = std::iter::successors(Some(first), |day| day.tomorrow().ok()).take(DAYS);
        let times = days.filter(|day| self.is_on(*day)).flat_map(|day| self.times().map(move |time| (day, time)));
        times.filter_map(|(day, time)| self.instant(day, time)).find(|at| *at > after)
    }

    fn latest(&self, until: Timestamp) -> Option<Timestamp> {
        let last = self.day_of(until)?;
        let days = std::iter::successors(Some(last), |day| day.yesterday().ok()).take(DAYS);
        let times = days.filter(|day| self.is_on(*day)).flat_map(|day| self.times().rev().map(move |time| (day, time)));
        times.filter_map(|(day, time)| self.instant(day, time)).find(|at| *at <= until)
    }

    fn day_of(&self, at: Timestamp) -> Option<Date> {
        let at = jiff::Timestamp::from_microsecond(at.as_micros()).ok()?;
        Some(self.timezone.to_datetime(at).date())
    }

    fn is_on(&self, day: Date) -> bool {
        self.month_of_year.has(day.month())
            && self.day_of_month.has(day.day())
            && self.day_of_week.has(day.weekday().to_sunday_zero_offset())
    }

    /// The times of a day, in order.
    fn times(&self) -> impl DoubleEndedIterator<Item = Time> {
        let minutes = self.minute;
        self.hour.iter().flat_map(move |hour| minutes.iter().map(move |minute| Time::constant(hour, minute, 0, 0)))
    }

    /// When the clock shows this: the first time, or when it goes on after having skipped it.
    fn instant(&self, day: Date, time: Time) -> Option<Timestamp> {
        let shown = day.to_datetime(time);
        let at = match self.timezone.to_ambiguous_timestamp(shown).offset() {
            AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
                offset.to_timestamp(shown).ok()?
            }
            AmbiguousOffset::Gap { after, .. } => {
                let before = after.to_timestamp(shown).ok()?;
                self.timezone.following(before).next()?.timestamp()
            }
        };
        Some(Timestamp::from_micros(at.as_microsecond()))
    }
}

#[cfg(test)]
mod tests;
