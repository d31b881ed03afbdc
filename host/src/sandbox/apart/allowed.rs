//! What may a process say of an attempt? No more than an honest one ever has to: the daemon keeps what is said, and who says more
//! is broken.

use std::time::{Duration, Instant};

use lovage_model::{AttemptLog, EventKind, Exception, Json, LogRecord, SecretName, Usage};

use super::super::capabilities::http::{FIELDS_BYTES, METHOD_BYTES};
use crate::attempt::{
    Ask, Effects, Fault, Grants, HttpRequest, KeyValueCall, KeyValueDo, LOSSY, MAX_KEY_BYTES, Outcome, Report,
    RetryRequest, record_bytes,
};

/// What an exception says, or where it was raised: a sixteenth is kept of either, but a character may be six in JSON.
const FAILURE_BYTES: usize = 1 << 20;
/// The longest names of a state and of an event, in bytes.
const NAME_BYTES: usize = 100;
/// What a header is counted as besides its name and value. Where a guest makes them it is more.
const HEADER_BYTES: usize = 64;
/// What a request's server and scheme may be of its URL, and what passes in the call that says the rest besides a payload.
const URL_ROOM_BYTES: usize = 128 << 10;
/// What passes as payloads besides what is sent: the value, a replacement, and the arguments of a retry.
const OTHER_PAYLOADS: usize = 4;
/// A byte may be so many in JSON.
const ESCAPED: usize = 6;
/// The longest id of a task.
const ID_BYTES: usize = 255;
/// What an id takes in a list, in quotes: a character of one byte may be two in JSON.
const LISTED_ID_BYTES: usize = 2 * ID_BYTES + 4;
/// What is said of one subtask besides its call: its id, beside the call and among those of a chord, and what is between them.
const SUBTASK_BYTES: usize = 2 * LISTED_ID_BYTES + 8;
/// The longest frame where attempts may say little: what they raise, a request's headers, what a component says of its tasks.
pub(super) const FRAME_BYTES: usize = 16 << 20;
/// How much longer an attempt may have taken there than it has here.
const SLACK: Duration = Duration::from_secs(1);

/// What may be said of one attempt, and what has been.
pub(super) struct Allowed {
    began: Instant,
    memory_bytes: u64,
    fuel: Option<u64>,
    output_bytes: usize,
    payload_bytes: usize,
    subtasks: usize,
    sent_bytes: usize,
    /// On stdout, on stderr, and in records.
    said: [usize; 3],
}

impl Allowed {
    /// By its grants, with so many handlers that may follow.
    pub(super) fn by(grants: &Grants, handlers: u32, began: Instant) -> Self {
        let of_handlers = grants.handler_fuel.unwrap_or_default().saturating_mul(u64::from(handlers));
        Self {
            began,
            memory_bytes: grants.memory_bytes,
            fuel: grants.fuel.map(|fuel| fuel.saturating_add(of_handlers)),
            output_bytes: grants.output_bytes,
            payload_bytes: grants.payload_bytes,
            subtasks: grants.subtasks,
            sent_bytes: grants.sent_bytes,
            said: [0; 3],
        }
    }

    /// Whether it may write that too.
    pub(super) fn wrote(&mut self, stderr: bool, text: &str) -> bool {
        let most = self.output_bytes.saturating_mul(LOSSY);
        self.says(usize::from(stderr), text.len(), most)
    }

    /// Whether it may log that too.
    pub(super) fn logged(&mut self, record: &LogRecord) -> bool {
        self.says(2, record_bytes(record), self.output_bytes)
    }

    fn says(&mut self, which: usize, bytes: usize, most: usize) -> bool {
        let said = &mut self.said[which];
        *said = said.saturating_add(bytes);
        *said <= most
    }

    /// Whether it may set such a state.
    pub(super) fn state(&self, state: &str, meta: &Json) -> bool {
        state.len() <= NAME_BYTES && self.fits(meta)
    }

    /// Whether it may send such an event.
    pub(super) fn event(&self, name: &str, fields: &Json) -> bool {
        name.len() <= NAME_BYTES && fields.as_str().len() <= EventKind::MAX_BYTES
    }

    /// Whether it may ask for that.
    pub(super) fn may_ask_for(&self, ask: &Ask) -> bool {
        match ask {
            Ask::Http(HttpRequest { method, url, headers, body, .. }) => {
                let size = headers.iter().map(|(name, value)| name.len() + value.0.len() + HEADER_BYTES).sum::<usize>();
                method.len() <= METHOD_BYTES
                    && url.len() <= self.payload_bytes.saturating_add(URL_ROOM_BYTES)
                    // The name of its server is one that no guest has made.
                    && size <= 2 * FIELDS_BYTES
                    && body.0.len() <= self.payload_bytes
            }
            Ask::KeyValue(KeyValueCall { bucket, key, call }) => {
                let fits = match call {
                    KeyValueDo::Set(value) => value.0.len() <= self.payload_bytes,
                    KeyValueDo::ListKeys(Some(after)) => after.len() <= MAX_KEY_BYTES,
                    _ => true,
                };
                bucket.len().max(key.len()) <= MAX_KEY_BYTES && fits
            }
            Ask::Secret(name) => name.parse::<SecretName>().is_ok(),
        }
    }

    /// How long the longest frame is that an honest process has of it, with room.
    pub(super) fn frame_bytes(&self) -> usize {
        let payloads = self.payload_bytes.saturating_mul(OTHER_PAYLOADS).saturating_add(self.sent_bytes);
        // On stdout, on stderr, and in records.
        let written = self.output_bytes.saturating_mul(3 * ESCAPED);
        let subtasks = self.subtasks.saturating_mul(SUBTASK_BYTES);
        FRAME_BYTES.saturating_add(payloads).saturating_add(written).saturating_add(subtasks)
    }

    /// A report as it counts: an attempt has used no more than there was. None: it says more than it may.
    pub(super) fn report(&self, report: Report, now: Instant) -> Option<Report> {
        let fits = self.may_end(&report.outcome) && self.may_ask(&report.effects) && self.may_leave(&report.log);
        let usage = self.used(report.usage, now);
        fits.then_some(Report { usage, ..report })
    }

    fn may_end(&self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Returned(value) => self.fits(value),
            Outcome::Raised(exception, traceback) | Outcome::Faulted(Fault { exception, traceback, .. }) => {
                is_short(exception) && traceback.as_ref().is_none_or(|text| text.len() <= FAILURE_BYTES)
            }
            Outcome::Retried | Outcome::Replaced | Outcome::Ignored | Outcome::Rejected(_) | Outcome::Stopped(_) => {
                true
            }
        }
    }

    fn may_ask(&self, effects: &Effects) -> bool {
        let Effects { retry, replace, subtasks, add_to_chord } = effects;
        let sent = subtasks.iter().map(|(_, call)| call.as_str().len()).fold(0, usize::saturating_add);
        let retried = |retry: &RetryRequest| {
            is_short(&retry.exception) && retry.args.iter().chain(&retry.kwargs).all(|one| self.fits(one))
        };
        subtasks.len() <= self.subtasks
            && add_to_chord.len() <= subtasks.len()
            && sent <= self.sent_bytes
            && replace.iter().all(|call| self.fits(call))
            && retry.iter().all(retried)
    }

    fn may_leave(&self, log: &AttemptLog) -> bool {
        let most = self.output_bytes.saturating_mul(LOSSY);
        let records = log.records.iter().map(record_bytes).fold(0, usize::saturating_add);
        log.stdout.len() <= most && log.stderr.len() <= most && records <= self.output_bytes
    }

    fn used(&self, usage: Usage, now: Instant) -> Usage {
        let most = (now.saturating_duration_since(self.began) + SLACK).as_secs_f64();
        let seconds = |said: f64| said.max(0.0).min(most);
        Usage {
            fuel: usage.fuel.zip(self.fuel).map(|(said, most)| said.min(most)),
            peak_memory_bytes: usage.peak_memory_bytes.min(self.memory_bytes),
            // A guest has one thread.
            cpu_seconds: seconds(usage.cpu_seconds),
            wall_seconds: seconds(usage.wall_seconds),
            instantiate_seconds: seconds(usage.instantiate_seconds),
        }
    }

    fn fits(&self, json: &Json) -> bool {
        json.as_str().len() <= self.payload_bytes
    }
}

fn is_short(exception: &Exception) -> bool {
    let Exception { exc_type, exc_message, exc_module } = exception;
    exc_type.len().max(exc_message.as_str().len()).max(exc_module.len()) <= FAILURE_BYTES
}

#[cfg(test)]
pub(super) mod tests {
    use lovage_model::{LogLevel, Seconds, TaskId, Timestamp};

    use super::super::door::{self, Word};
    use super::*;
    use crate::attempt::{Bytes, RECORD_BYTES, Stop};
    use crate::clock;

    /// An attempt that may say little.
    pub(in super::super) fn few() -> Grants {
        Grants {
            fuel: Some(1000),
            memory_bytes: 1 << 20,
            output_bytes: 100,
            payload_bytes: 10,
            subtasks: 2,
            sent_bytes: 80,
            handler_fuel: Some(10),
            ..Grants::of_time(Duration::from_secs(10))
        }
    }

    fn text(bytes: usize) -> Json {
        Json::parse("9".repeat(bytes)).unwrap()
    }

    fn record(bytes: usize) -> LogRecord {
        LogRecord { at: Timestamp::from_micros(1), level: LogLevel::Info, message: "x".repeat(bytes) }
    }

    fn reported(outcome: Outcome, effects: Effects, log: AttemptLog) -> bool {
        let allowed = Allowed::by(&few(), 2, clock::instant());
        let report = Report { outcome, effects, log, ..Report::stopped(Stop::Lost) };
        allowed.report(report, clock::instant()).is_some()
    }

    #[test]
    fn what_is_said_meanwhile_is_bounded() {
        let mut allowed = Allowed::by(&few(), 0, clock::instant());
        for stderr in [false, true] {
            assert!(allowed.wrote(stderr, &"x".repeat(299)) && allowed.wrote(stderr, "x"));
            assert!(!allowed.wrote(stderr, "x"));
        }
        assert!(allowed.logged(&record(36)) && !allowed.logged(&record(0)));
        assert!(allowed.state("S", &text(10)) && !allowed.state("S", &text(11)));
        assert!(!allowed.state(&"S".repeat(101), &text(1)));
        let event = |bytes| allowed.event("e", &text(bytes));
        assert!(event(EventKind::MAX_BYTES) && !event(EventKind::MAX_BYTES + 1));
    }

    #[test]
    fn a_report_is_as_large_as_its_grants_allow() {
        let (none, quiet) = (Effects::default(), AttemptLog::default());
        let ended = |outcome| reported(outcome, Effects::default(), AttemptLog::default());
        assert!(ended(Outcome::Returned(text(10))) && !ended(Outcome::Returned(text(11))));
        let raised = |bytes: usize| Outcome::Raised(Exception::new("m", "E", "x".repeat(bytes)), None);
        assert!(ended(raised(FAILURE_BYTES / 2)) && !ended(raised(FAILURE_BYTES)));
        let asked = |effects| reported(Outcome::Ignored, effects, AttemptLog::default());
        let sent = |count: usize, bytes| {
            let subtasks = vec![(TaskId::new("a").unwrap(), text(bytes)); count];
            asked(Effects { subtasks, ..none.clone() })
        };
        assert!(sent(2, 40) && !sent(2, 41) && !sent(3, 1));
        assert!(!asked(Effects { add_to_chord: vec![TaskId::new("a").unwrap()], ..none.clone() }));
        assert!(!asked(Effects { replace: Some(text(11)), ..none.clone() }));
        let retry = |bytes| RetryRequest {
            exception: Exception::new("m", "E", ""),
            eta: Timestamp::from_micros(1),
            countdown: Seconds::new(1.0).unwrap(),
            args: Some(text(bytes)),
            kwargs: None,
            throw: true,
        };
        let retried = |bytes| asked(Effects { retry: Some(retry(bytes)), ..none.clone() });
        assert!(retried(10) && !retried(11));
        let left = |log| reported(Outcome::Ignored, Effects::default(), log);
        assert!(left(AttemptLog { stdout: "x".repeat(300), ..quiet.clone() }));
        assert!(!left(AttemptLog { stderr: "x".repeat(301), ..quiet.clone() }));
        assert!(!left(AttemptLog { records: vec![record(0); 2], ..quiet.clone() }));
    }

    #[test]
    fn the_longest_report_of_an_honest_process_fits_into_a_frame() {
        let many = Grants { subtasks: 40_000, sent_bytes: 40_000, ..few() };
        let loud = Grants { output_bytes: 2 << 20, payload_bytes: 1 << 20, ..few() };
        for grants in [few(), many, loud] {
            let id = TaskId::new("\"".repeat(ID_BYTES)).unwrap();
            let effects = Effects {
                replace: Some(text(grants.payload_bytes)),
                subtasks: vec![(id.clone(), text(grants.sent_bytes / grants.subtasks)); grants.subtasks],
                add_to_chord: vec![id; grants.subtasks],
                ..Effects::default()
            };
            let written = |bytes: usize| "\x01".repeat(bytes);
            let message = written(grants.output_bytes - RECORD_BYTES);
            let log = AttemptLog {
                stdout: written(grants.output_bytes),
                stderr: written(grants.output_bytes),
                records: vec![LogRecord { message, ..record(0) }],
                ..AttemptLog::default()
            };
            let outcome = Outcome::Returned(text(grants.payload_bytes));
            let report = Report { outcome, effects, log, ..Report::stopped(Stop::Lost) };
            let (allowed, now) = (Allowed::by(&grants, 0, clock::instant()), clock::instant());
            assert!(allowed.report(report.clone(), now).is_some());
            let mut frame = Vec::new();
            door::write(&mut frame, &Word::Ended { turn: u64::MAX, report: Box::new(report) });
            assert!(frame.len() <= allowed.frame_bytes(), "{} for {grants:?}", frame.len());
        }
    }

    #[test]
    fn what_is_asked_for_is_no_larger_than_an_honest_guest_can_ask() {
        let allowed = Allowed::by(&few(), 0, clock::instant());
        let request = |headers: usize, body: usize| {
            let headers = vec![("a".to_owned(), Bytes(b"b".to_vec())); headers];
            let (method, url, body) = ("GET".to_owned(), "http://a".to_owned(), Bytes(vec![0; body]));
            allowed.may_ask_for(&Ask::Http(HttpRequest { method, url, headers, body, timeout_millis: None }))
        };
        assert!(request(400, 10) && !request(400, 11) && !request(1000, 0));
        let value = |key: usize, call| {
            let (bucket, key) = ("b".to_owned(), "k".repeat(key));
            allowed.may_ask_for(&Ask::KeyValue(KeyValueCall { bucket, key, call }))
        };
        assert!(value(MAX_KEY_BYTES, KeyValueDo::Get) && !value(MAX_KEY_BYTES + 1, KeyValueDo::Get));
        assert!(value(1, KeyValueDo::Set(Bytes(vec![0; 10]))) && !value(1, KeyValueDo::Set(Bytes(vec![0; 11]))));
        let after = |bytes: usize| value(0, KeyValueDo::ListKeys(Some("k".repeat(bytes))));
        assert!(after(MAX_KEY_BYTES) && !after(MAX_KEY_BYTES + 1));
        let secret = |name: &str| allowed.may_ask_for(&Ask::Secret(name.to_owned()));
        assert!(secret("key") && !secret("") && !secret(&"k".repeat(64)));
    }

    #[test]
    fn nothing_has_used_more_than_there_was() {
        let began = clock::instant();
        let allowed = Allowed::by(&few(), 2, began);
        let usage = Usage {
            fuel: Some(u64::MAX),
            peak_memory_bytes: u64::MAX,
            cpu_seconds: 1e10,
            wall_seconds: f64::NAN,
            instantiate_seconds: -1.0,
        };
        let report = Report { usage, ..Report::stopped(Stop::Lost) };
        let used = allowed.report(report, began + Duration::from_secs(2)).unwrap().usage;
        assert_eq!((used.fuel, used.peak_memory_bytes, used.cpu_seconds), (Some(1020), 1 << 20, 3.0));
        assert_eq!((used.wall_seconds, used.instantiate_seconds), (0.0, 0.0));
    }
}
