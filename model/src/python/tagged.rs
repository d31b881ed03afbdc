//! Values of Python's own types, as kombu's JSON has them: `{"__type__": "datetime", "__value__": "2026-11-21T12:00:00"}`.
//! See <https://docs.celeryq.dev/projects/kombu/en/stable/userguide/serialization.html>.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::scan::{Scanner, unescape};
use super::text;
use crate::tagged::hyphenated;

/// One of those values.
pub(super) enum Tagged {
    Bytes(Vec<u8>),
    /// As `repr` shows it.
    Shown(String),
}

impl Tagged {
    pub(super) fn repr(&self) -> String {
        match self {
            Self::Bytes(bytes) => text::bytes_repr(bytes),
            Self::Shown(text) => text.clone(),
        }
    }
}

/// Takes the object that is next, if it is a tagged value.
pub(super) fn take(scanner: &mut Scanner<'_>) -> Option<Tagged> {
    let mut ahead = scanner.clone();
    ahead.step();
    let (mut tag, mut value) = (None, None);
    for _ in 0..2 {
        if ahead.peek() != Some(b'"') {
            return None;
        }
        match ahead.string() {
            "__type__" => tag = Some(ahead.skip()),
            "__value__" => value = Some(ahead.skip()),
            _ => return None,
        }
    }
    if ahead.peek() != Some(b'}') {
        return None;
    }
    ahead.step();
    let tagged = read(&string(tag?)?, value?)?;
    *scanner = ahead;
    Some(tagged)
}

fn string(json: &str) -> Option<String> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    unescape(inner).collect::<Result<String, u16>>().ok()
}

fn read(tag: &str, value: &str) -> Option<Tagged> {
    let shown = |text: String| Some(Tagged::Shown(text));
    if tag == "uuid" {
        return shown(uuid(value)?);
    }
    let value = string(value)?;
    match tag {
        "bytes" => Some(Tagged::Bytes(value.into_bytes())),
        "base64" => STANDARD.decode(value).ok().map(Tagged::Bytes),
        "decimal" => shown(format!("Decimal('{value}')")),
        "datetime" => shown(datetime(&value)?),
        "date" => {
            let [year, month, day] = numbers(&value, '-')?;
            shown(format!("datetime.date({year}, {month}, {day})"))
        }
        "time" => {
            let (clock, zone) = clock(&value)?;
            shown(format!("datetime.time({clock}{zone})"))
        }
        _ => None,
    }
}

/// `{"hex": "..."}`
fn uuid(value: &str) -> Option<String> {
    let mut inner = Scanner::new(value);
    inner.step();
    let hex = (inner.string() == "hex").then(|| string(inner.skip())).flatten()?;
    Some(format!("UUID('{}')", hyphenated(&hex)?))
}

fn datetime(value: &str) -> Option<String> {
    let (date, time) = value.split_once(['T', ' '])?;
    let [year, month, day] = numbers(date, '-')?;
    let (clock, zone) = clock(time)?;
    Some(format!("datetime.datetime({year}, {month}, {day}, {clock}{zone})"))
}

/// The numbers of a time of day, without seconds and microseconds where these are zero, and its zone.
fn clock(text: &str) -> Option<(String, String)> {
    let (time, zone) = text.split_at(text.find(['+', '-', 'Z']).unwrap_or(text.len()));
    let (whole, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut parts = whole.split(':').map(|part| part.parse::<u32>().ok());
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    let micros = if fraction.is_empty() { 0 } else { format!("{fraction:0<6}").get(..6)?.parse::<u32>().ok()? };
    let mut clock = format!("{hour}, {minute}");
    if second > 0 || micros > 0 {
        write!(clock, ", {second}").ok()?;
    }
    if micros > 0 {
        write!(clock, ", {micros}").ok()?;
    }
    Some((clock, if zone.is_empty() { String::new() } else { format!(", tzinfo={}", timezone(zone)?) }))
}

fn timezone(zone: &str) -> Option<String> {
    const DAY: i64 = 86_400;
    let (sign, offset) = zone.split_at(1);
    let parts = offset.split(':').filter(|part| !part.is_empty());
    let seconds = parts
        .enumerate()
        .try_fold(0, |sum, (n, part)| Some(sum + part.parse::<i64>().ok()? * [3600, 60, 1].get(n)?))?;
    let seconds = if sign == "-" { -seconds } else { seconds };
    Some(match seconds {
        0 => "datetime.timezone.utc".to_owned(),
        1.. => format!("datetime.timezone(datetime.timedelta(seconds={seconds}))"),
        _ if seconds.rem_euclid(DAY) == 0 => format!("datetime.timezone(datetime.timedelta(days={}))", seconds / DAY),
        _ => {
            let (days, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
            format!("datetime.timezone(datetime.timedelta(days={days}, seconds={rest}))")
        }
    })
}

fn numbers(text: &str, between: char) -> Option<[u32; 3]> {
    let mut parts = text.split(between).map(|part| part.parse().ok());
    let all = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(all)
}
