//! Timetables against a walk along every minute, and against what people expect of a clock.

use lovage_model::Seconds;
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn clock(text: &str, timezone: &str) -> Timetable {
    let crontab = text.parse().unwrap();
    Timetable::of(&Schedule::Crontab { crontab, timezone: Some(timezone.to_owned()) }).unwrap()
}

/// The times after one, up to another.
fn between(table: &Timetable, after: &str, until: &str) -> Vec<String> {
    let later = std::iter::successors(table.next(at(after)), |at| table.next(*at));
    later.take_while(|slot| *slot <= at(until)).map(|slot| slot.to_string()[..16].to_owned()).collect()
}

#[test]
fn an_interval_is_due_at_its_multiples() {
    let table = Timetable::of(&Schedule::Every(Seconds::new(30.0).unwrap())).unwrap();
    assert_eq!(table.next(at("2026-11-21T00:00:00Z")), Some(at("2026-11-21T00:00:30Z")));
    assert_eq!(table.next(at("2026-11-21T00:00:29.9Z")), Some(at("2026-11-21T00:00:30Z")));
    assert_eq!(table.latest(at("2026-11-21T00:00:59Z")), Some(at("2026-11-21T00:00:30Z")));
    assert_eq!(table.latest(at("2026-11-21T00:00:30Z")), Some(at("2026-11-21T00:00:30Z")));
    let told = Timetable::of(&Schedule::Every(Seconds::new(0.01).unwrap())).unwrap_err();
    assert_eq!(told, "every is 0.01: at least 0.1 s");
}

#[test]
fn a_time_that_the_clock_skips_is_due_when_it_goes_on() {
    // In Berlin the clock goes from 02:00 to 03:00 on 2026-03-29, at 01:00 UTC.
    let nightly = clock("30 2 * * *", "Europe/Berlin");
    let expected = ["2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"];
    assert_eq!(between(&nightly, "2026-03-28T00:00:00Z", "2026-03-30T12:00:00Z"), expected);
    let often = clock("*/30 1-3 * * *", "Europe/Berlin");
    let expected = ["2026-03-29T00:00", "2026-03-29T00:30", "2026-03-29T01:00", "2026-03-29T01:30"];
    assert_eq!(between(&often, "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"), expected);
}

#[test]
fn a_time_that_the_clock_shows_twice_is_due_once() {
    // There it goes from 03:00 back to 02:00 on 2026-10-25, at 01:00 UTC.
    let nightly = clock("30 2 * * *", "Europe/Berlin");
    let expected = ["2026-10-24T00:30", "2026-10-25T00:30", "2026-10-26T01:30"];
    assert_eq!(between(&nightly, "2026-10-24T00:00:00Z", "2026-10-26T12:00:00Z"), expected);
    assert_eq!(nightly.latest(at("2026-10-25T01:45:00Z")), Some(at("2026-10-25T00:30:00Z")), "not again");
}

#[test]
fn rare_days_are_found() {
    let leap = clock("0 0 29 2 *", "UTC");
    assert_eq!(leap.next(at("2096-03-01T00:00:00Z")), Some(at("2104-02-29T00:00:00Z")));
    let leap_monday = clock("0 0 29 feb mon", "UTC");
    assert_eq!(leap_monday.next(at("2072-03-01T00:00:00Z")), Some(at("2112-02-29T00:00:00Z")));
    assert_eq!(leap_monday.latest(at("2112-02-28T00:00:00Z")), Some(at("2072-02-29T00:00:00Z")));
    // All of 2011-12-30 was skipped there.
    let daily = clock("0 12 * * *", "Pacific/Apia");
    let expected = ["2011-12-29T22:00", "2011-12-30T10:00", "2011-12-30T22:00"];
    assert_eq!(between(&daily, "2011-12-29T12:00:00Z", "2011-12-31T00:00:00Z"), expected);
}

#[test]
fn what_can_never_be_is_refused() {
    let table = |text: &str, timezone: &str| {
        let crontab = text.parse().unwrap();
        Timetable::of(&Schedule::Crontab { crontab, timezone: Some(timezone.to_owned()) }).map(|_| ()).unwrap_err()
    };
    assert!(table("0 0 31 2,4 *", "UTC").contains("never has that day"));
    assert!(table("0 0 * * *", "Middle/Earth").contains("Europe/Berlin"));
    assert!(table("0 24 * * *", "UTC").starts_with("crontab.hour is \"24\""));
}

/// What the clock on the wall shows, minute by minute: the instants at which it shows a matching minute for the first
/// time, or has just skipped one.
fn walk(clock: &Clock, from: i64, minutes: i64) -> Vec<Timestamp> {
    let shown = |minute: i64| {
        let at = jiff::Timestamp::from_second(minute * 60).unwrap();
        clock.timezone.to_datetime(at)
    };
    let matches = |shown: jiff::civil::DateTime| {
        clock.is_on(shown.date()) && clock.hour.has(shown.hour()) && clock.minute.has(shown.minute())
    };
    let step = jiff::Span::new().minutes(1);
    // A day ahead, to know what was shown before.
    let mut newest = shown(from - 1440);
    let mut due = Vec::new();
    for minute in from - 1439..from + minutes {
        let now = shown(minute);
        let mut fresh = newest + step;
        let mut hit = false;
        while fresh <= now {
            hit |= matches(fresh);
            fresh += step;
        }
        newest = newest.max(now);
        if hit && minute >= from {
            due.push(Timestamp::from_micros(minute * 60_000_000));
        }
    }
    due
}

fn field(least: u8, most: u8) -> impl Strategy<Value = String> {
    let number = least..=most;
    prop_oneof![
        3 => Just("*".to_owned()),
        1 => (1_u8..=most).prop_map(|step| format!("*/{step}")),
        2 => number.clone().prop_map(|n| n.to_string()),
        1 => (number.clone(), number.clone()).prop_map(|(a, b)| format!("{a}-{b}")),
        1 => (number.clone(), number.clone(), 1_u8..5).prop_map(|(a, b, step)| format!("{a}-{b}/{step}")),
        1 => (number.clone(), number).prop_map(|(a, b)| format!("{a},{b}")),
    ]
}

fn crontabs() -> impl Strategy<Value = Crontab> {
    let fields = (field(0, 59), field(0, 23), field(0, 6), field(1, 31), field(1, 12));
    fields.prop_map(|(minute, hour, day_of_week, day_of_month, month_of_year)| Crontab {
        minute,
        hour,
        day_of_week,
        day_of_month,
        month_of_year,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_crontab_is_due_when_the_clock_shows_it(
        crontab in crontabs(),
        timezone in prop::sample::select(vec![
            "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Sao_Paulo",
            "Africa/Cairo", "America/Havana",
        ]),
        // Days around changes of the clock in 2017 and 2026, and any others.
        from in prop_oneof![
            prop::sample::select(vec![
                "2026-03-29", "2026-10-25", "2026-03-08", "2026-11-01", "2026-04-05", "2026-10-04", "2017-10-15",
                "2017-02-19", "2026-04-24", "2026-10-30",
            ]).prop_map(|day| at(&format!("{day}T00:00:00Z")).as_micros() / 60_000_000 - 720),
            25_000_000_i64..35_000_000,
        ],
    ) {
        let schedule = Schedule::Crontab { crontab, timezone: Some(timezone.to_owned()) };
        let Ok(table) = Timetable::of(&schedule) else { return Ok(()) };
        let Kind::Clock(clock) = &table.0 else { unreachable!() };
        let minutes = 3 * 1440;
        let expected = walk(clock, from, minutes);
        let start = Timestamp::from_micros(from * 60_000_000 - 1);
        let end = Timestamp::from_micros((from + minutes) * 60_000_000 - 1);
        let found: Vec<_> = std::iter::successors(table.next(start), |at| table.next(*at))
            .take_while(|at| *at <= end)
            .collect();
        prop_assert_eq!(&found, &expected);
        for pair in found.windows(2) {
            let just_before = Timestamp::from_micros(pair[1].as_micros() - 1);
            prop_assert_eq!(table.latest(just_before), Some(pair[0]));
            prop_assert_eq!(table.latest(pair[1]), Some(pair[1]));
        }
    }

    #[test]
    fn an_interval_goes_on_in_equal_steps(every in 0.1_f64..1e6, after in 0_i64..4_000_000_000_000_000) {
        let table = Timetable::of(&Schedule::Every(Seconds::new(every).unwrap())).unwrap();
        let after = Timestamp::from_micros(after);
        let next = table.next(after).unwrap();
        prop_assert!(next > after && table.latest(after).unwrap() <= after);
        prop_assert_eq!(table.latest(next), Some(next));
        prop_assert_eq!(table.next(table.latest(after).unwrap()), Some(next));
    }
}
