//! Which numbers does a field of a crontab mean? Celery's grammar, pure.
//!
//! A field is a list of parts, separated by commas; a part is `*`, a number, a name, or a range of two, and after `*` or
//! a range a step: `*/15`, `8-18/2`, `mon-fri`. A range whose end is before its start goes around: `22-2`, `sat-mon`.

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// What a field may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    name: &'static str,
    least: u8,
    most: u8,
    /// Names for the numbers from `least` on.
    names: &'static [&'static str],
}

const fn range(name: &'static str, least: u8, most: u8, names: &'static [&'static str]) -> Range {
    Range { name, least, most, names }
}

pub(super) const MINUTE: Range = range("minute", 0, 59, &[]);
pub(super) const HOUR: Range = range("hour", 0, 23, &[]);
pub(super) const DAY_OF_WEEK: Range = range("day_of_week", 0, 6, &WEEKDAYS);
pub(super) const DAY_OF_MONTH: Range = range("day_of_month", 1, 31, &[]);
pub(super) const MONTH_OF_YEAR: Range = range("month_of_year", 1, 12, &MONTHS);

/// Numbers below 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) fn has(self, number: i8) -> bool {
        u8::try_from(number).is_ok_and(|number| number < 64 && self.0 & (1 << number) != 0)
    }

    pub(super) fn iter(self) -> impl DoubleEndedIterator<Item = i8> {
        (0..64).filter(move |number| self.has(*number))
    }
}

/// The longest text of a field, in bytes: each number there is takes less. It is read each time it is looked at what is due.
const MOST_BYTES: usize = 256;

/// The numbers that a field means. The error names the field, what is wrong, and what it may be.
pub(super) fn numbers(text: &str, range: Range) -> Result<Numbers, String> {
    if text.len() > MOST_BYTES {
        return Err(format!("crontab.{} has {} bytes: {MOST_BYTES} at most", range.name, text.len()));
    }
    let part = |part: &str| part_of(part.trim(), range);
    let wrong = |why: String| format!("crontab.{} is {text:?}: {why}", range.name);
    text.split(',').map(part).try_fold(0, |all, part| Ok(all | part?)).map(Numbers).map_err(wrong)
}

fn part_of(part: &str, range: Range) -> Result<u64, String> {
    let (span, step) = match part.split_once('/') {
        Some((span, step)) => (span, Some(step_of(step)?)),
        None => (part, None),
    };
    let (first, last) = match span.split_once('-') {
        _ if span == "*" => (range.least, range.most),
        Some((first, last)) => (number(first, range)?, number(last, range)?),
        None if step.is_some() => return Err(format!("a step needs * or a range before it: */{}", step.unwrap_or(1))),
        None => {
            let only = number(span, range)?;
            (only, only)
        }
    };
    let size = range.most - range.least + 1;
    // From first to last, around the end if need be.
    let length = (last + size - first) % size + 1;
    let offsets = (0..length).step_by(usize::from(step.unwrap_or(1)));
    let place = |offset| range.least + (first - range.least + offset) % size;
    Ok(offsets.map(|offset| 1 << place(offset)).fold(0, std::ops::BitOr::bitor))
}

fn step_of(text: &str) -> Result<u8, String> {
    text.parse().ok().filter(|step| *step > 0).ok_or_else(|| format!("{text:?} is not a step: a number from 1"))
}

fn number(text: &str, range: Range) -> Result<u8, String> {
    let Range { least, most, names, .. } = range;
    let named = |text: &str| {
        // As in Celery, the first three letters count.
        let short = text.get(..3)?.to_ascii_lowercase();
        names.iter().position(|name| *name == short).and_then(|place| u8::try_from(place).ok()).map(|n| n + least)
    };
    let found = text.parse().ok().or_else(|| named(text));
    found.filter(|number| (least..=most).contains(number)).ok_or_else(|| {
        let or_names = names.first().map(|first| format!(", or a name such as {first}")).unwrap_or_default();
        format!("{text:?} is not a number from {least} to {most}{or_names}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str, range: Range) -> Vec<i8> {
        numbers(text, range).unwrap().iter().collect()
    }

    #[test]
    fn a_field_is_no_longer_than_all_of_its_numbers() {
        let all: Vec<_> = (0..60).map(|minute| minute.to_string()).collect();
        assert_eq!(expand(&all.join(","), MINUTE).len(), 60);
        let error = numbers(&"0,".repeat(2_000_000), MINUTE).unwrap_err();
        assert!(error.contains("crontab.minute has 4000000 bytes") && error.len() < 100, "{error}");
    }

    #[test]
    fn fields_mean_what_they_mean_to_celery() {
        assert_eq!(expand("*/15", MINUTE), [0, 15, 30, 45]);
        assert_eq!(expand("*/4", HOUR), [0, 4, 8, 12, 16, 20]);
        assert_eq!(expand("*", DAY_OF_WEEK), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(expand("*/3", DAY_OF_MONTH), [1, 4, 7, 10, 13, 16, 19, 22, 25, 28, 31]);
        assert_eq!(expand("*/2", MONTH_OF_YEAR), [1, 3, 5, 7, 9, 11]);
        assert_eq!(expand("2-12/2", MONTH_OF_YEAR), [2, 4, 6, 8, 10, 12]);
        assert_eq!(expand("3-5,*/20", MINUTE), [0, 3, 4, 5, 20, 40]);
        assert_eq!(expand("monday", DAY_OF_WEEK), [1]);
        assert_eq!(expand("Sat-mon", DAY_OF_WEEK), [0, 1, 6]);
        assert_eq!(expand("22-2", HOUR), [0, 1, 2, 22, 23]);
        assert_eq!(expand("22-2/2", HOUR), [0, 2, 22]);
        assert_eq!(expand("nov-jan", MONTH_OF_YEAR), [1, 11, 12]);
        assert_eq!(expand("5-5", MINUTE), [5]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_field() {
        for (text, range, says) in [
            ("60", MINUTE, "crontab.minute is \"60\": \"60\" is not a number from 0 to 59"),
            ("0", DAY_OF_MONTH, "from 1 to 31"),
            ("-1", MINUTE, "\"\" is not a number"),
            ("noday", DAY_OF_WEEK, "or a name such as sun"),
            ("mon", HOUR, "from 0 to 23"),
            ("", MINUTE, "\"\" is not a number"),
            ("1,,2", MINUTE, "\"\" is not a number"),
            ("*/0", MINUTE, "\"0\" is not a step"),
            ("5/2", MINUTE, "*/2"),
            ("*/", MINUTE, "\"\" is not a step"),
            ("1-2-3", MINUTE, "\"2-3\""),
        ] {
            let error = numbers(text, range).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
