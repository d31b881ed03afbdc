//! How does one attempt run a task for each of many items?
//!
//! One item after the other, each in an instance of its own; together they may use what one attempt may: time, fuel,
//! output, subtasks. As in Celery the first item that fails ends it, and an item is called as a function would be: for its
//! value, so it cannot retry, be replaced or be rejected.

use std::time::{Duration, Instant};

use lovage_model::{AttemptLog, Exception, Json, Seconds, Usage, exc_module};
use serde_json::value::RawValue;

use crate::attempt::{Effects, Fault, FaultKind, Grants, Outcome, Report, record_bytes};
use crate::clock;

/// The arguments of each item, which are made when its turn comes.
pub(super) struct Items<'a> {
    items: std::vec::IntoIter<&'a RawValue>,
    star: bool,
}

impl<'a> Items<'a> {
    /// Of these; `star`: an item is a list of arguments.
    pub(super) fn of(items: Vec<&'a RawValue>, star: bool) -> Self {
        Self { items: items.into_iter(), star }
    }
}

impl Iterator for Items<'_> {
    type Item = Result<Json, Exception>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.items.next()?;
        let args = if self.star { Json::of_raw(item) } else { Json::parse(format!("[{item}]")) };
        Some(args.map_err(|error| Exception::new(exc_module::BUILTINS, "ValueError", error.to_string())))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.items.size_hint()
    }
}

impl ExactSizeIterator for Items<'_> {}

/// Runs every item with `one`, which gets its arguments and what it may use, and makes one report of them all.
pub(super) async fn run<F: Future<Output = Report>>(
    items: impl ExactSizeIterator<Item = Result<Json, Exception>>,
    whole: Grants,
    mut one: impl FnMut(Json, Grants) -> F,
) -> Report {
    let (count, came, mut began) = (items.len(), clock::instant(), None);
    let (mut sum, mut elapsed) = (Sum::new(whole), Duration::ZERO);
    for (place, args) in items.enumerate() {
        let report = match args {
            Ok(args) => one(args, sum.left(elapsed)).await,
            Err(exception) => return sum.report(raised(exception)),
        };
        let now = clock::instant();
        elapsed = now.saturating_duration_since(*began.get_or_insert_with(|| begun(came, now, &report.usage)));
        if let Err(outcome) = sum.add(report, &format!("In item {} of {count}:\n", place + 1)) {
            return sum.report(*outcome);
        }
    }
    let list = Json::parse(format!("[{}]", sum.values.join(",")));
    let outcome = list.map_or_else(
        |error| raised(Exception::new(exc_module::BUILTINS, "ValueError", error.to_string())),
        Outcome::Returned,
    );
    sum.report(outcome)
}

/// When the first item began, which has ended now. As of any task the wait for its place does not count, and it has not run for longer
/// than this has been here.
fn begun(came: Instant, now: Instant, usage: &Usage) -> Instant {
    let ran = Duration::try_from_secs_f64(usage.wall_seconds).unwrap_or(Duration::MAX);
    now.checked_sub(ran).map_or(came, |began| began.max(came))
}

/// What the items so far come to.
struct Sum {
    whole: Grants,
    values: Vec<String>,
    /// Of the list that the values make.
    bytes: usize,
    effects: Effects,
    /// Of all subtasks.
    sent_bytes: usize,
    usage: Usage,
    log: AttemptLog,
    /// Of all records.
    record_bytes: usize,
}

impl Sum {
    fn new(whole: Grants) -> Self {
        let (effects, usage, log) = (Effects::default(), Usage::default(), AttemptLog::default());
        Self { whole, values: Vec::new(), bytes: "[]".len(), effects, sent_bytes: 0, usage, log, record_bytes: 0 }
    }

    /// What the next item may use, after so much time: it is told of the soft limit at once if that has passed. What lies between
    /// the items counts, too, and no process makes the whole last longer by what it says of them, except of the first.
    fn left(&self, elapsed: Duration) -> Grants {
        let taken = Duration::try_from_secs_f64(self.usage.wall_seconds).unwrap_or(Duration::MAX).max(elapsed);
        let beside_stdout = self.log.stderr.len() + self.record_bytes;
        Grants {
            fuel: self.whole.fuel.map(|fuel| fuel.saturating_sub(self.usage.fuel.unwrap_or_default())),
            soft_limit: self.whole.soft_limit.map(|limit| limit.saturating_sub(taken)),
            hard_limit: self.whole.hard_limit.saturating_sub(taken),
            output_bytes: self.whole.output_bytes.saturating_sub(self.log.stdout.len().max(beside_stdout)),
            subtasks: self.whole.subtasks.saturating_sub(self.effects.subtasks.len()),
            sent_bytes: self.whole.sent_bytes.saturating_sub(self.sent_bytes),
            ..self.whole.clone()
        }
    }

    /// Adds an item's report. An error is how the whole ends.
    fn add(&mut self, report: Report, place: &str) -> Result<(), Box<Outcome>> {
        let Report { outcome, effects, usage, log } = report;
        self.usage = together(self.usage, usage);
        self.log.retries = log.retries;
        self.log.stdout.push_str(&log.stdout);
        self.log.stderr.push_str(&log.stderr);
        self.record_bytes += log.records.iter().map(record_bytes).sum::<usize>();
        self.log.records.extend(log.records);
        self.log.dropped = self.log.dropped.saturating_add(log.dropped);
        self.sent_bytes += effects.subtasks.iter().map(|(_, call)| call.as_str().len()).sum::<usize>();
        self.effects.subtasks.extend(effects.subtasks);
        self.effects.add_to_chord.extend(effects.add_to_chord);
        let outcome = match (outcome, effects.retry) {
            // Called as a function it raises where it asks, whether it would go on or not.
            (Outcome::Retried | Outcome::Returned(_) | Outcome::Raised(..), Some(retry)) => raised(retry.exception),
            (outcome, _) => outcome,
        };
        match outcome {
            Outcome::Returned(value) => self.keep(value),
            Outcome::Raised(exception, traceback) => {
                let traceback = Some(format!("{place}{}", traceback.unwrap_or_default()));
                Err(Outcome::Raised(exception, traceback).into())
            }
            Outcome::Faulted(fault) => Err(Outcome::Faulted(self.of_the_whole(fault, place)).into()),
            Outcome::Stopped(stop) => Err(Outcome::Stopped(stop).into()),
            Outcome::Ignored => Err(no_value("Ignore", "an item of a map ended without a value").into()),
            Outcome::Rejected(_) => Err(no_value("Reject", "an item of a map cannot be rejected by itself").into()),
            Outcome::Replaced | Outcome::Retried => {
                Err(no_value("ImproperlyConfigured", "an item of a map cannot be replaced by a task").into())
            }
        }
    }

    fn keep(&mut self, value: Json) -> Result<(), Box<Outcome>> {
        self.bytes += value.as_str().len() + usize::from(!self.values.is_empty());
        let most = self.whole.payload_bytes;
        if self.bytes > most {
            let text = format!(
                "the first {} results are a list of {} bytes, at most {most} are allowed (limits.result_bytes)",
                self.values.len() + 1,
                self.bytes
            );
            let exception = Exception::new(exc_module::LOVAGE, "ResultLimitExceeded", text);
            return Err(Outcome::Faulted(Fault { kind: FaultKind::ResultLimit, exception, traceback: None }).into());
        }
        self.values.push(value.to_string());
        Ok(())
    }

    /// A limit that an item has met is that of all of them.
    fn of_the_whole(&self, fault: Fault, place: &str) -> Fault {
        let exception = match (fault.kind, self.whole.fuel) {
            (FaultKind::TimeLimit, _) => {
                let limit = Seconds::from(self.whole.hard_limit);
                Exception::with_args(exc_module::BILLIARD, "TimeLimitExceeded", &[limit])
            }
            (FaultKind::FuelLimit, Some(fuel)) => {
                Exception::with_args(exc_module::LOVAGE, "FuelLimitExceeded", &[fuel])
            }
            _ => fault.exception,
        };
        let traceback = Some(format!("{place}{}", fault.traceback.unwrap_or_default()));
        Fault { exception, traceback, ..fault }
    }

    fn report(self, outcome: Outcome) -> Report {
        Report { outcome, effects: self.effects, usage: self.usage, log: self.log }
    }
}

fn together(one: Usage, other: Usage) -> Usage {
    Usage {
        // One that was stopped before it began says nothing of fuel; what the others burnt stays burnt.
        fuel: one
            .fuel
            .or(other.fuel)
            .map(|_| one.fuel.unwrap_or_default().saturating_add(other.fuel.unwrap_or_default())),
        peak_memory_bytes: one.peak_memory_bytes.max(other.peak_memory_bytes),
        cpu_seconds: one.cpu_seconds + other.cpu_seconds,
        wall_seconds: one.wall_seconds + other.wall_seconds,
        instantiate_seconds: one.instantiate_seconds + other.instantiate_seconds,
    }
}

fn raised(exception: Exception) -> Outcome {
    Outcome::Raised(exception, None)
}

fn no_value(exc_type: &str, text: &str) -> Outcome {
    raised(Exception::new(exc_module::CELERY, exc_type, text))
}

#[cfg(test)]
mod tests {
    use lovage_model::{LogLevel, LogRecord, TaskId, Timestamp};

    use super::*;
    use crate::attempt::{RECORD_BYTES, RetryRequest, Stop};

    #[test]
    fn what_was_burnt_stays_burnt_though_the_last_item_did_not_begin() {
        let burnt = |fuel| Usage { fuel, ..Usage::default() };
        for (one, other, sum) in [(Some(2), Some(3), Some(5)), (Some(2), None, Some(2)), (None, Some(3), Some(3))] {
            assert_eq!(together(burnt(one), burnt(other)).fuel, sum);
        }
        assert_eq!(together(burnt(None), burnt(None)).fuel, None, "it is not metered");
    }

    fn json(text: &str) -> Json {
        Json::parse(text.to_owned()).unwrap()
    }

    fn grants() -> Grants {
        Grants {
            fuel: Some(1000),
            memory_bytes: 1 << 20,
            soft_limit: Some(Duration::from_secs(5)),
            output_bytes: 1000,
            payload_bytes: 20,
            subtasks: 10,
            sent_bytes: 160,
            capabilities: std::sync::Arc::default(),
            ..Grants::of_time(Duration::from_secs(10))
        }
    }

    /// One that took two seconds and 300 units of fuel, wrote ten bytes to each stream and sent one task.
    fn report(outcome: Outcome) -> Report {
        let record = LogRecord { at: Timestamp::from_micros(1), level: LogLevel::Info, message: "12345".to_owned() };
        let subtask = json(r#"{"task":"a.b"}"#);
        Report {
            outcome,
            effects: Effects { subtasks: vec![(TaskId::new("child").unwrap(), subtask)], ..Effects::default() },
            usage: Usage { fuel: Some(300), peak_memory_bytes: 7, wall_seconds: 2.0, ..Usage::default() },
            log: AttemptLog {
                stdout: "0123456789".to_owned(),
                stderr: "01234".to_owned(),
                records: vec![record],
                ..AttemptLog::default()
            },
        }
    }

    /// The report of as many items as there are reports.
    async fn of(reports: Vec<Report>) -> (Report, Vec<Grants>) {
        let items = vec![json("[0]"); reports.len()].into_iter().map(Ok);
        let (mut reports, mut given) = (reports.into_iter(), Vec::new());
        let report = run(items, grants(), |_, grants| {
            given.push(grants);
            std::future::ready(reports.next().expect("one for each"))
        });
        (report.await, given)
    }

    fn failure(report: &Report) -> &str {
        match &report.outcome {
            Outcome::Raised(exception, _) | Outcome::Faulted(Fault { exception, .. }) => &exception.exc_type,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn the_result_is_the_list_and_all_share_what_one_may_use() {
        let one = |text| report(Outcome::Returned(json(text)));
        let (whole, given) = of(vec![one("1"), one("[2]"), one("null"), one("4")]).await;
        assert_eq!(whole.outcome, Outcome::Returned(json("[1,[2],null,4]")));
        assert_eq!((whole.usage.fuel, whole.usage.wall_seconds), (Some(1200), 8.0));
        assert_eq!((whole.effects.subtasks.len(), whole.log.stdout.len(), whole.log.records.len()), (4, 40, 4));
        let seconds = |limit: Option<Duration>| limit.unwrap().as_secs();
        // Of each item a record of five bytes, which takes 64 besides, and five bytes of stderr.
        let left: Vec<_> = given.iter().map(|g| (g.fuel.unwrap(), g.output_bytes, g.subtasks)).collect();
        assert_eq!(left, [(1000, 1000, 10), (700, 926, 9), (400, 852, 8), (100, 778, 7)]);
        let times: Vec<_> = given.iter().map(|g| (seconds(g.soft_limit), g.hard_limit.as_secs())).collect();
        assert_eq!(times, [(5, 10), (3, 8), (1, 6), (0, 4)]);
    }

    #[tokio::test]
    async fn what_all_items_send_together_is_as_large_as_what_one_attempt_may_send() {
        let one = || report(Outcome::Returned(Json::null()));
        let (whole, given) = of(vec![one(), one(), one()]).await;
        let bytes = whole.effects.subtasks[0].1.as_str().len();
        let left: Vec<_> = given.iter().map(|grants| grants.sent_bytes).collect();
        assert_eq!(left, [160, 160 - bytes, 160 - 2 * bytes]);
    }

    #[tokio::test]
    async fn records_without_a_text_take_room_as_well() {
        let mut flood = report(Outcome::Returned(Json::null()));
        let empty = LogRecord { message: String::new(), ..flood.log.records[0].clone() };
        flood.log = AttemptLog { records: vec![empty; 3], ..AttemptLog::default() };
        let (_, given) = of(vec![flood.clone(), flood]).await;
        assert_eq!((given[0].output_bytes, given[1].output_bytes), (1000, 1000 - 3 * RECORD_BYTES));
    }

    #[test]
    fn the_time_of_all_items_is_what_passes_here() {
        let mut sum = Sum::new(grants());
        let quick = Report { usage: Usage::default(), ..report(Outcome::Returned(Json::null())) };
        sum.add(quick, "").unwrap();
        let left = sum.left(Duration::from_secs(4));
        assert_eq!((left.soft_limit, left.hard_limit), (Some(Duration::from_secs(1)), Duration::from_secs(6)));
        assert_eq!(sum.left(Duration::from_secs(11)).hard_limit, Duration::ZERO);
    }

    #[test]
    fn the_wait_for_the_place_of_the_first_item_takes_none_of_the_time() {
        let (came, second) = (clock::instant(), Duration::from_secs(1));
        let begun = |wall_seconds| begun(came, came + 10 * second, &Usage { wall_seconds, ..Usage::default() });
        assert_eq!((begun(4.0), begun(0.0)), (came + 6 * second, came + 10 * second));
        for more_than_there_was in [10.5, 1e300, f64::INFINITY, f64::NAN, -1.0] {
            assert_eq!(begun(more_than_there_was), came);
        }
    }

    #[tokio::test]
    async fn nothing_to_do_is_an_empty_list() {
        assert_eq!(of(vec![]).await.0.outcome, Outcome::Returned(Json::empty_array()));
    }

    #[tokio::test]
    async fn the_first_failure_ends_it_and_what_was_sent_stays_sent() {
        let raised = Outcome::Raised(Exception::new("m", "KeyError", "x"), Some("here\n".to_owned()));
        let (whole, given) =
            of(vec![report(Outcome::Returned(json("1"))), report(raised), report(Outcome::Ignored)]).await;
        let expected =
            Outcome::Raised(Exception::new("m", "KeyError", "x"), Some("In item 2 of 3:\nhere\n".to_owned()));
        assert_eq!((whole.outcome, whole.effects.subtasks.len(), given.len()), (expected, 2, 2));
    }

    #[tokio::test]
    async fn an_item_is_called_for_its_value() {
        let retry = |throw| RetryRequest {
            exception: Exception::new("m", "TooBusy", "x"),
            eta: Timestamp::from_micros(1),
            countdown: Seconds::new(1.0).unwrap(),
            args: None,
            kwargs: None,
            throw,
        };
        for (outcome, throw) in [(Outcome::Retried, true), (Outcome::Returned(Json::null()), false)] {
            let effects = Effects { retry: Some(retry(throw)), ..Effects::default() };
            let (whole, _) = of(vec![Report { effects, ..report(outcome) }]).await;
            assert_eq!((failure(&whole), whole.effects.retry.clone()), ("TooBusy", None));
        }
        for (outcome, exc_type) in [
            (Outcome::Ignored, "Ignore"),
            (Outcome::Rejected(true), "Reject"),
            (Outcome::Replaced, "ImproperlyConfigured"),
        ] {
            let effects = Effects { replace: Some(json(r#"{"task":"a"}"#)), ..Effects::default() };
            let (whole, _) = of(vec![Report { effects, ..report(outcome) }]).await;
            assert_eq!((failure(&whole), whole.effects.replace.clone()), (exc_type, None));
        }
    }

    #[tokio::test]
    async fn a_limit_is_that_of_the_whole() {
        let fault = |kind| {
            let exception = Exception::with_args("m", "Limit", &[1.5]);
            report(Outcome::Faulted(Fault { kind, exception, traceback: None }))
        };
        let text = async |kind| match of(vec![fault(kind)]).await.0.outcome {
            Outcome::Faulted(fault) => fault.exception.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(text(FaultKind::TimeLimit).await, "TimeLimitExceeded: 10.0");
        assert_eq!(text(FaultKind::FuelLimit).await, "FuelLimitExceeded: 1000");
        assert_eq!(text(FaultKind::Panic).await, "Limit: 1.5");
    }

    #[tokio::test]
    async fn the_list_is_as_large_as_one_result() {
        let one = |bytes: usize| report(Outcome::Returned(json(&"9".repeat(bytes))));
        assert!(
            matches!(of(vec![one(8), one(9)]).await.0.outcome, Outcome::Returned(list) if list.as_str().len() == 20)
        );
        assert_eq!(failure(&of(vec![one(9), one(9)]).await.0), "ResultLimitExceeded");
    }

    #[tokio::test]
    async fn an_order_to_stop_stops_it() {
        let (whole, given) = of(vec![report(Outcome::Stopped(Stop::Revoked)), report(Outcome::Ignored)]).await;
        assert_eq!((whole.outcome, given.len()), (Outcome::Stopped(Stop::Revoked), 1));
    }
}
