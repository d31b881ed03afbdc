//! Which lines of a log are new? A log is read whole each time, so that nothing is lost or shown twice however the
//! connection behaves; this remembers how far it was shown. Pure.

use std::collections::BTreeMap;

use lovage_model::AttemptLog;
use lovage_model::api::TaskLogs;
use serde::Serialize;

/// One line a task wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    /// Which attempt, counting from 0.
    pub(crate) retries: u32,
    /// `stdout`, `stderr`, a level, or `lovage` for what is said about the log.
    pub(crate) stream: String,
    /// The text, without the end of its line.
    pub(crate) text: String,
}

impl Line {
    /// For people: `[stderr] text`, from the second attempt on `[#1 stderr] text`.
    pub(crate) fn shown(&self) -> String {
        match self.retries {
            0 => format!("[{}] {}", self.stream, self.text),
            retries => format!("[#{retries} {}] {}", self.stream, self.text),
        }
    }
}

/// How far each attempt's log was shown: by its number of retries, and by how many of that number came before it, since one that was
/// given back to its queue begins again under the same number.
#[derive(Debug, Default)]
pub(crate) struct Tail(BTreeMap<(u32, usize), Seen>);

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    stdout: usize,
    stderr: usize,
    records: usize,
    dropped: u64,
}

impl Tail {
    /// The lines that were not shown yet. A line that a running attempt has not ended waits for its end.
    pub(crate) fn news(&mut self, logs: &TaskLogs) -> Vec<Line> {
        let ended = logs.attempts.iter().map(|log| (log, true));
        let running = logs.running.iter().map(|log| (log, false));
        let mut before = BTreeMap::<u32, usize>::new();
        let numbered = ended.chain(running).map(|(log, whole)| {
            let count = before.entry(log.retries).or_default();
            *count += 1;
            (log, *count, whole)
        });
        numbered.flat_map(|(log, count, whole)| self.attempt(log, count, whole)).collect()
    }

    fn attempt(&mut self, log: &AttemptLog, count: usize, whole: bool) -> Vec<Line> {
        let seen = self.0.entry((log.retries, count)).or_default();
        if log.stdout.len() < seen.stdout || log.stderr.len() < seen.stderr || log.records.len() < seen.records {
            // The host was killed and the attempt started over: another run's log.
            *seen = Seen::default();
        }
        let line = |stream: &str, text: &str| Line { retries: log.retries, stream: stream.into(), text: text.into() };
        let mut lines: Vec<Line> = Vec::new();
        lines.extend(ended_lines(&log.stdout, &mut seen.stdout, whole).map(|text| line("stdout", text)));
        lines.extend(ended_lines(&log.stderr, &mut seen.stderr, whole).map(|text| line("stderr", text)));
        for record in &log.records[seen.records..] {
            lines.push(line(&format!("{:?}", record.level).to_uppercase(), &record.message));
        }
        seen.records = log.records.len();
        if whole && log.dropped > seen.dropped {
            lines.push(line("lovage", &format!("{} more were over the limit and dropped", log.dropped)));
            seen.dropped = log.dropped;
        }
        lines
    }
}

fn ended_lines<'a>(text: &'a str, seen: &mut usize, whole: bool) -> std::str::Lines<'a> {
    let rest = text.get(*seen..).unwrap_or_default();
    let end = if whole { rest.len() } else { rest.rfind('\n').map_or(0, |last| last + 1) };
    *seen += end;
    rest[..end].lines()
}

#[cfg(test)]
mod tests {
    use lovage_model::{LogLevel, LogRecord, Timestamp};

    use super::*;

    fn log(retries: u32, stdout: &str, records: &[&str]) -> AttemptLog {
        let record = |text: &&str| LogRecord {
            at: Timestamp::from_micros(0),
            level: LogLevel::Warning,
            message: (*text).to_owned(),
        };
        let records = records.iter().map(record).collect();
        AttemptLog { retries, stdout: stdout.to_owned(), records, ..AttemptLog::default() }
    }

    fn shown(tail: &mut Tail, attempts: &[AttemptLog], running: Option<AttemptLog>) -> Vec<String> {
        tail.news(&TaskLogs { attempts: attempts.to_vec(), running }).iter().map(Line::shown).collect()
    }

    #[test]
    fn each_line_is_shown_once_and_when_it_is_whole() {
        let mut tail = Tail::default();
        assert_eq!(shown(&mut tail, &[], Some(log(0, "a\nb", &[]))), ["[stdout] a"]);
        assert_eq!(shown(&mut tail, &[], Some(log(0, "a\nbc\n", &["w"]))), ["[stdout] bc", "[WARNING] w"]);
        let ended = log(0, "a\nbc\nend", &["w"]);
        assert_eq!(
            shown(&mut tail, std::slice::from_ref(&ended), Some(log(1, "x\n", &[]))),
            ["[stdout] end", "[#1 stdout] x"]
        );
        assert!(shown(&mut tail, &[ended, log(1, "x\n", &[])], None).is_empty());
    }

    #[test]
    fn an_attempt_that_starts_over_is_shown_over() {
        let mut tail = Tail::default();
        shown(&mut tail, &[], Some(log(0, "first\nrun\n", &[])));
        assert_eq!(shown(&mut tail, &[], Some(log(0, "second\n", &[]))), ["[stdout] second"]);
    }

    #[test]
    fn an_attempt_that_was_given_back_and_begins_again_has_a_log_of_its_own() {
        let mut tail = Tail::default();
        let (first, second) = (log(0, "a\n", &[]), log(0, "b\n", &[]));
        let both = [first.clone(), second.clone()];
        assert_eq!(shown(&mut Tail::default(), &both, None), ["[stdout] a", "[stdout] b"]);
        assert_eq!(shown(&mut tail, std::slice::from_ref(&first), Some(second)), ["[stdout] a", "[stdout] b"]);
        assert!(shown(&mut tail, &both, None).is_empty());
        assert_eq!(shown(&mut tail, &both, Some(log(0, "c\n", &[]))), ["[stdout] c"]);
    }

    #[test]
    fn what_was_dropped_is_told_once() {
        let mut tail = Tail::default();
        let cut = AttemptLog { dropped: 5, ..log(0, "", &[]) };
        assert_eq!(shown(&mut tail, std::slice::from_ref(&cut), None).len(), 1);
        assert!(shown(&mut tail, &[cut], None).is_empty());
    }
}
