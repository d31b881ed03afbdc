//! What a guest may call: the host's side of `lovage:task/host`.
//!
//! Every function is bounded: payloads by the grants, counts by the grants, waits by the limits. None of them touches a
//! store: what the guest asks for becomes data that leaves through the door.

use std::time::{Duration, Instant};

use lovage_model::{
    EventKind, Exception, Json, LogLevel, LogRecord, Seconds, Signature, State, TaskId, Timestamp, exc_module,
};
use wasmtime::component::Resource;
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use super::bindings::lovage::task::{host, types};
use super::guest::{Guest, soft_time_limit_exceeded};
use crate::attempt::{RetryRequest, SENT_PAYLOADS};
use crate::clock;

pub(super) type Answer<T> = wasmtime::Result<Result<T, types::Exception>>;

impl types::Host for Guest {}

impl host::Host for Guest {
    fn request(&mut self) -> wasmtime::Result<String> {
        Ok(serde_json::to_string(&self.attempt.request)?)
    }

    fn update_state(&mut self, state: String, meta: String) -> Answer<()> {
        answer(self.set_state(&state, meta))
    }

    fn retry(&mut self, options: types::RetryOptions) -> Answer<()> {
        answer(self.ask_retry(options, true, clock::now()))
    }

    fn retry_later(&mut self, options: types::RetryOptions) -> Answer<()> {
        answer(self.ask_retry(options, false, clock::now()))
    }

    fn replace(&mut self, signature: String) -> Answer<()> {
        answer(self.ask_replace(signature))
    }

    fn apply_async(&mut self, signature: String) -> Answer<String> {
        answer(self.send(signature))
    }

    fn add_to_chord(&mut self, signature: String) -> Answer<String> {
        answer(self.grow_chord(signature))
    }

    fn send_event(&mut self, name: String, fields: String) -> Answer<()> {
        answer(self.tell(&name, fields))
    }

    fn log(&mut self, level: types::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            types::Level::Debug => LogLevel::Debug,
            types::Level::Info => LogLevel::Info,
            types::Level::Warning => LogLevel::Warning,
            types::Level::Error => LogLevel::Error,
        };
        self.output.log(LogRecord { at: clock::now(), level, message });
        Ok(())
    }

    fn limits(&mut self) -> wasmtime::Result<types::AttemptLimits> {
        let now = clock::instant();
        Ok(types::AttemptLimits {
            soft_remaining: self.deadline.soft.map(|soft| Self::remaining(soft, now)),
            hard_remaining: Some(Self::remaining(self.deadline.hard, now)),
            memory_bytes: self.limiter.limit_bytes() as u64,
            fuel: self.grants.fuel,
        })
    }

    fn soft_time_limit_exceeded(&mut self) -> wasmtime::Result<bool> {
        Ok(self.deadline.soft_has_passed(clock::instant()))
    }

    async fn sleep(&mut self, seconds: f64) -> Answer<()> {
        answer(self.wait(seconds).await)
    }

    fn subscribe_soft_limit(&mut self) -> wasmtime::Result<Resource<DynPollable>> {
        let soft = self.deadline.soft;
        let table = self.ctx().table;
        let limit = table.push(SoftLimit(soft))?;
        subscribe(table, limit)
    }
}

impl Guest {
    fn set_state(&mut self, state: &str, meta: String) -> Result<(), Exception> {
        self.check_soft_limit(clock::instant())?;
        State::check_own(state).map_err(value_error)?;
        let meta = self.json("meta", meta)?;
        self.progress.state(state, meta);
        Ok(())
    }

    fn ask_replace(&mut self, signature: String) -> Result<(), Exception> {
        self.check_soft_limit(clock::instant())?;
        self.refuse_after_the_end("replace")?;
        self.effects.replace = Some(self.signature(signature)?.0);
        Ok(())
    }

    fn refuse_after_the_end(&self, what: &str) -> Result<(), Exception> {
        let text = format!("{what}: the run has ended, so its handlers cannot change how");
        if self.ended { Err(Exception::new(exc_module::BUILTINS, "RuntimeError", text)) } else { Ok(()) }
    }

    fn ask_retry(&mut self, options: types::RetryOptions, throw: bool, now: Timestamp) -> Result<(), Exception> {
        self.check_soft_limit(clock::instant())?;
        self.refuse_after_the_end("retry")?;
        let most = options.max_retries.or(self.attempt.request.options.max_retries);
        let request = &self.attempt.request;
        let exception = options.exc.map(exception_of).transpose()?;
        if most.is_some_and(|most| request.retries >= most) {
            return Err(exception.unwrap_or_else(|| {
                let text = format!(
                    "Can't retry {}[{}] args:{} kwargs:{}",
                    request.task, request.id, request.args, request.kwargs
                );
                Exception::new(exc_module::CELERY, "MaxRetriesExceededError", text)
            }));
        }
        let eta = match (&options.eta, options.countdown) {
            (Some(eta), _) => within_a_year(Timestamp::parse(eta).map_err(value_error)?, now)?,
            (None, Some(countdown)) => now.after(seconds("countdown", countdown)?.duration()),
            (None, None) => now.after(self.attempt.request.options.default_retry_delay.duration()),
        };
        let args = options.args.map(|args| self.json("args", args)).transpose()?;
        let kwargs = options.kwargs.map(|kwargs| self.json("kwargs", kwargs)).transpose()?;
        if args.as_ref().is_some_and(|args| !args.is_array()) || kwargs.as_ref().is_some_and(|kw| !kw.is_object()) {
            return Err(value_error("retry: args must be a JSON array and kwargs a JSON object"));
        }
        let countdown = Seconds::from(eta.since(now));
        let exception = exception
            .unwrap_or_else(|| Exception::new(exc_module::CELERY, "Retry", format!("Retry in {}s", countdown.get())));
        self.effects.retry = Some(RetryRequest { exception, eta, countdown, args, kwargs, throw });
        Ok(())
    }

    fn send(&mut self, signature: String) -> Result<String, Exception> {
        self.check_soft_limit(clock::instant())?;
        if self.effects.subtasks.len() >= self.grants.subtasks {
            let most = self.grants.subtasks;
            return Err(value_error(format!("a run may send at most {most} subtasks (limits.subtasks)")));
        }
        let bytes = self.sent_bytes.saturating_add(signature.len());
        let most = self.grants.sent_bytes;
        if bytes > most {
            return Err(value_error(format!(
                "the subtasks of this run have {bytes} bytes together, at most {most} are allowed ({SENT_PAYLOADS} times \
                 limits.result_bytes, for all items of a map together): send fewer, or less in each"
            )));
        }
        let (text, call) = self.signature(signature)?;
        self.sent_bytes = bytes;
        let id = promised(&call).unwrap_or_else(|| TaskId::from_uuid(uuid::Uuid::now_v7()));
        self.effects.subtasks.push((id.clone(), text));
        Ok(id.to_string())
    }

    fn grow_chord(&mut self, signature: String) -> Result<String, Exception> {
        if self.attempt.request.chord.is_none() {
            return Err(value_error("add_to_chord: the task is not a part of a chord's header: use apply_async"));
        }
        let id = self.send(signature)?;
        self.effects.add_to_chord.extend(self.effects.subtasks.last().map(|(id, _)| id.clone()));
        Ok(id)
    }

    fn tell(&mut self, name: &str, fields: String) -> Result<(), Exception> {
        self.check_soft_limit(clock::instant())?;
        let fields = self.json("fields", fields)?;
        EventKind::check_own(name, &fields).map_err(value_error)?;
        self.progress.event(name, fields);
        Ok(())
    }

    async fn wait(&mut self, seconds_asked: f64) -> Result<(), Exception> {
        self.check_soft_limit(clock::instant())?;
        let wake = clock::instant() + seconds("sleep", seconds_asked)?.duration();
        let told = self.deadline.soft.filter(|soft| !self.soft_limit_raised && *soft < wake);
        tokio::time::sleep_until(told.unwrap_or(wake).into()).await;
        if told.is_some() {
            self.soft_limit_raised = true;
            return Err(soft_time_limit_exceeded());
        }
        Ok(())
    }

    /// A text that is a signature, and what it says.
    fn signature(&self, text: String) -> Result<(Json, Signature), Exception> {
        let text = self.json("signature", text)?;
        let signature: Signature = text.read().map_err(|error| value_error(format!("not a signature: {error}")))?;
        signature.check_arguments().map_err(value_error)?;
        Ok((text, signature))
    }

    fn json(&self, what: &str, text: String) -> Result<Json, Exception> {
        let most = self.grants.payload_bytes;
        if text.len() > most {
            return Err(value_error(format!("{what} has {} bytes, at most {most} are allowed", text.len())));
        }
        Json::parse(text).map_err(|error| value_error(format!("{what} is not JSON: {error}")))
    }
}

/// The id that a call asks to be known by: a group has a name for it of its own.
fn promised(call: &Signature) -> Option<TaskId> {
    let options = &call.options;
    let group = options.group_id.as_ref().filter(|_| call.subtask_type.as_deref() == Some("group"));
    group.or(options.task_id.as_ref()).cloned()
}

/// Ready once the soft limit has passed; never, if there is none.
struct SoftLimit(Option<Instant>);

#[wasmtime_wasi::async_trait]
impl Pollable for SoftLimit {
    async fn ready(&mut self) {
        match self.0 {
            Some(soft) => tokio::time::sleep_until(soft.into()).await,
            None => std::future::pending().await,
        }
    }
}

pub(super) fn answer<T>(result: Result<T, Exception>) -> Answer<T> {
    Ok(result.map_err(|exception| types::Exception {
        exc_type: exception.exc_type,
        exc_message: exception.exc_message.to_string(),
        exc_module: exception.exc_module,
        traceback: String::new(),
    }))
}

/// The longest name of an exception's class, or of its module, in bytes.
const MAX_CLASS_BYTES: usize = 255;
/// So much is kept of what an exception says, and of its traceback, in bytes: all that is linked to a task, and all that fails with
/// it, gets them.
const MAX_RAISED_BYTES: usize = 64 << 10;

/// An exception as the guest raised it, checked; what it says is cut where it is very long.
pub(super) fn exception_of(raised: types::Exception) -> Result<Exception, Exception> {
    let types::Exception { exc_type, exc_message, exc_module, .. } = raised;
    if exc_type.len() > MAX_CLASS_BYTES || exc_module.len() > MAX_CLASS_BYTES {
        let text = format!("the names of an exception's class and module have at most {MAX_CLASS_BYTES} bytes each");
        return Err(value_error(text));
    }
    let read = Json::parse(exc_message)
        .map_err(|error| value_error(format!("exc_message of {exc_type} is not JSON: {error}")))?;
    let exception = Exception { exc_type, exc_message: read, exc_module };
    if exception.exc_message.as_str().len() <= MAX_RAISED_BYTES {
        return Ok(exception);
    }
    Ok(Exception::new(&exception.exc_module, &exception.exc_type, cut(exception.message())))
}

/// A text that an attempt raised, cut where it is very long.
pub(super) fn cut(mut text: String) -> String {
    let bytes = text.len();
    if bytes > MAX_RAISED_BYTES {
        text.truncate(text.floor_char_boundary(MAX_RAISED_BYTES));
        text.push_str(&format!("... ({bytes} bytes, of which the first {MAX_RAISED_BYTES} are kept)"));
    }
    text
}

fn value_error(message: impl AsRef<str>) -> Exception {
    Exception::new(exc_module::BUILTINS, "ValueError", message)
}

fn seconds(what: &str, number: f64) -> Result<Seconds, Exception> {
    Seconds::new(number).map_err(|error| value_error(format!("{what}: {error}")))
}

fn within_a_year(eta: Timestamp, now: Timestamp) -> Result<Timestamp, Exception> {
    let latest = now.after(Duration::from_secs_f64(Seconds::MAX));
    if eta <= latest { Ok(eta) } else { Err(value_error(format!("eta {eta} is more than a year ahead"))) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lovage_model::Digest;

    use super::*;
    use crate::attempt::Grants;
    use crate::sandbox::admission;
    use crate::sandbox::guest::Deadline;

    #[test]
    fn what_is_raised_is_cut_where_it_is_very_long() {
        let raised = |exc_type: &str, exc_message: String| types::Exception {
            exc_type: exc_type.to_owned(),
            exc_message,
            exc_module: "builtins".to_owned(),
            traceback: String::new(),
        };
        let long = format!("[\"{}\"]", "\u{e9}".repeat(MAX_RAISED_BYTES));
        let exception = exception_of(raised("ValueError", long)).unwrap();
        let text = exception.message();
        assert!(text.len() < MAX_RAISED_BYTES + 100 && text.contains("131072 bytes"), "{} bytes", text.len());
        assert_eq!(exception_of(raised("ValueError", "[1e400]".to_owned())).unwrap().exc_message.as_str(), "[1e400]");
        let refused = exception_of(raised(&"V".repeat(MAX_CLASS_BYTES + 1), "[]".to_owned())).unwrap_err();
        assert!(refused.message().contains("255"), "{refused}");
    }

    fn grants(payload_bytes: usize) -> Grants {
        let hard_limit = Duration::from_secs(60);
        Grants {
            payload_bytes,
            subtasks: 1000,
            sent_bytes: payload_bytes * SENT_PAYLOADS,
            handler_limit: hard_limit,
            ..Grants::of_time(hard_limit)
        }
    }

    fn guest(payload_bytes: usize) -> Guest {
        of(grants(payload_bytes))
    }

    fn of(grants: Grants) -> Guest {
        let deadline = Deadline::start(&grants, clock::instant());
        Guest::new(admission::question(&Digest::from_bytes(&[7; 32])), grants, Arc::new(()), deadline)
    }

    #[test]
    fn subtasks_are_bounded_together() {
        let call = Signature::new("a".parse().unwrap(), Json::empty_array());
        let call = serde_json::to_string(&call).unwrap();
        let mut guest = guest(call.len());
        for _ in 0..SENT_PAYLOADS {
            guest.send(call.clone()).unwrap();
        }
        let refused = guest.send(call).unwrap_err().to_string();
        assert!(refused.contains("limits.result_bytes"), "{refused}");
        assert_eq!(guest.effects.subtasks.len(), SENT_PAYLOADS);
    }

    #[test]
    fn every_call_that_may_raise_tells_of_the_soft_limit_once() {
        let options = || types::RetryOptions {
            exc: None,
            countdown: None,
            eta: None,
            max_retries: None,
            args: None,
            kwargs: None,
        };
        type Call<'a> = &'a dyn Fn(&mut Guest) -> Result<(), Exception>;
        let call = r#"{"task":"a","args":[],"kwargs":{}}"#;
        let calls: [(&str, Call<'_>); 6] = [
            ("retry", &|guest: &mut Guest| guest.ask_retry(options(), true, clock::now())),
            ("replace", &|guest: &mut Guest| guest.ask_replace(call.to_owned())),
            ("apply_async", &|guest: &mut Guest| guest.send(call.to_owned()).map(drop)),
            ("update_state", &|guest: &mut Guest| guest.set_state("PROGRESS", "1".to_owned())),
            ("send_event", &|guest: &mut Guest| guest.tell("it", "{}".to_owned())),
            ("retry_later", &|guest: &mut Guest| guest.ask_retry(options(), false, clock::now())),
        ];
        for (name, call) in calls {
            let mut guest = of(Grants { soft_limit: Some(Duration::ZERO), ..grants(100) });
            assert_eq!(call(&mut guest), Err(soft_time_limit_exceeded()), "{name}");
            assert_eq!(call(&mut guest), Ok(()), "{name}");
        }
    }

    #[test]
    fn what_is_sent_is_held_as_it_was_written_and_has_few_links() {
        let linked =
            |count| format!(r#"{{"task":"a","options":{{"link":[{}]}}}}"#, vec![r#"{"task":"a"}"#; count].join(","));
        let mut guest = guest(1 << 20);
        guest.send(linked(3)).unwrap();
        guest.ask_replace(linked(2)).unwrap();
        assert_eq!(guest.effects.subtasks[0].1.as_str(), linked(3));
        assert_eq!(guest.effects.replace.as_ref().map(Json::as_str), Some(linked(2).as_str()));
        let refused = guest.send(linked(Signature::MOST_LINKED + 1)).unwrap_err().to_string();
        assert!(refused.contains("too many signatures"), "{refused}");
    }

    #[test]
    fn a_fresh_instance_is_told_of_the_same_attempt_without_a_copy() {
        let mut guest = guest(100);
        let fresh = guest.renewed();
        assert!(Arc::ptr_eq(&guest.attempt, &fresh.attempt));
    }

    #[test]
    fn events_are_small() {
        let fields = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes));
        let mut guest = guest(1 << 20);
        guest.tell("it", fields(EventKind::MAX_BYTES / 2)).unwrap();
        let refused = guest.tell("it", fields(EventKind::MAX_BYTES)).unwrap_err().to_string();
        assert!(refused.contains("16384"), "{refused}");
    }
}
