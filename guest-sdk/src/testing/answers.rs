//! What does the fake host answer?

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use lovage_model::{EventKind, Exception, Json, LogLevel, Seconds, Signature, State, Timestamp, exc_module};

use super::{FakeHost, Inner};
use crate::host::{Host, Limits, Pollable, Raised, RetryOptions};
use crate::http::{Request, Response};
use crate::key_value::HostBucket;

/// What a fake attempt may have: the default of a real host.
const MEMORY_BYTES: u64 = 256 << 20;

impl Inner {
    fn soft_remaining(&self) -> Option<f64> {
        self.request.timelimit.soft.map(|limit| (limit.get() - self.elapsed).max(0.0))
    }

    fn soft_limit_passed(&self) -> bool {
        self.soft_remaining() == Some(0.0)
    }

    /// Every call that can fail tells of the soft limit, once.
    fn answer(&mut self) -> Result<(), Raised> {
        if self.soft_limit_passed() && !std::mem::replace(&mut self.told, true) {
            return Err(Raised::soft_time_limit_exceeded());
        }
        Ok(())
    }

    fn accept(&mut self, retry: &RetryOptions) -> Result<(), Raised> {
        self.answer()?;
        self.refuse_after_the_end("retry")?;
        let most = retry.max_retries.or(self.request.options.max_retries);
        if most.is_some_and(|most| self.request.retries >= most) {
            return Err(retry.exc.clone().unwrap_or_else(|| self.out_of_retries().into()));
        }
        retry.countdown.map(Seconds::new).transpose().map_err(value_error)?;
        let eta = retry.eta.as_deref().map(Timestamp::parse).transpose().map_err(value_error)?;
        match eta.filter(|eta| *eta > now().after(Duration::from_secs_f64(Seconds::MAX))) {
            Some(eta) => Err(value_error(format!("eta {eta} is more than a year ahead"))),
            None => Ok(()),
        }
    }

    fn refuse_after_the_end(&self, what: &str) -> Result<(), Raised> {
        let text = format!("{what}: the run has ended, so its handlers cannot change how");
        if self.ended { Err(Exception::new(exc_module::BUILTINS, "RuntimeError", text).into()) } else { Ok(()) }
    }

    fn out_of_retries(&self) -> Exception {
        let request = &self.request;
        let text =
            format!("Can't retry {}[{}] args:{} kwargs:{}", request.task, request.id, request.args, request.kwargs);
        Exception::new(exc_module::CELERY, "MaxRetriesExceededError", text)
    }
}

/// The time of day, which is no fake's own: a task takes it from the clock.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

fn value_error(text: impl ToString) -> Raised {
    Exception::new(exc_module::BUILTINS, "ValueError", text.to_string()).into()
}

fn signature(json: &Json) -> Result<Signature, Raised> {
    let signature: Signature = json.read().map_err(|error| value_error(format!("not a signature: {error}")))?;
    signature.check_arguments().map_err(value_error)?;
    Ok(signature)
}

impl Host for FakeHost {
    fn request(&self) -> String {
        serde_json::to_string(&self.inner.borrow().request).expect("a request is plain data")
    }

    fn update_state(&self, state: &str, meta: &Json) -> Result<(), Raised> {
        let inner = &mut *self.inner.borrow_mut();
        inner.answer()?;
        State::check_own(state).map_err(value_error)?;
        inner.records.states.push((state.to_owned(), meta.clone()));
        Ok(())
    }

    fn retry(&self, options: &RetryOptions) -> Result<(), Raised> {
        let inner = &mut *self.inner.borrow_mut();
        inner.accept(options)?;
        inner.retry = Some(options.clone());
        Ok(())
    }

    fn retry_later(&self, options: &RetryOptions) -> Result<(), Raised> {
        let inner = &mut *self.inner.borrow_mut();
        inner.accept(options)?;
        inner.late_retry = Some(options.clone());
        Ok(())
    }

    fn replace(&self, json: &Json) -> Result<(), Raised> {
        let inner = &mut *self.inner.borrow_mut();
        inner.answer()?;
        inner.refuse_after_the_end("replace")?;
        inner.replace = Some(signature(json)?);
        Ok(())
    }

    fn apply_async(&self, json: &Json) -> Result<String, Raised> {
        let inner = &mut *self.inner.borrow_mut();
        inner.answer()?;
        let signature = signature(json)?;
        let given = signature.options.task_id.as_ref().map(ToString::to_string);
        inner.records.subtasks.push(signature);
        Ok(given.unwrap_or_else(|| format!("subtask-{}", inner.records.subtasks.len())))
    }

    fn add_to_chord(&self, json: &Json) -> Result<String, Raised> {
        if self.inner.borrow().request.chord.is_none() {
            return Err(value_error("add_to_chord: the task is not a part of a chord's header: use apply_async"));
        }
        let id = self.apply_async(json)?;
        self.inner.borrow_mut().records.added_to_chord.push(signature(json)?);
        Ok(id)
    }

    fn send_event(&self, name: &str, fields: &Json) -> Result<(), Raised> {
        let inner = &mut *self.inner.borrow_mut();
        inner.answer()?;
        EventKind::check_own(name, fields).map_err(value_error)?;
        inner.records.events.push((name.to_owned(), fields.clone()));
        Ok(())
    }

    fn log(&self, level: LogLevel, message: &str) {
        self.inner.borrow_mut().records.logs.push((level, message.to_owned()));
    }

    fn limits(&self) -> Limits {
        let inner = self.inner.borrow();
        let hard_remaining = inner.request.timelimit.hard.map(|limit| (limit.get() - inner.elapsed).max(0.0));
        let fuel = inner.request.fuel;
        Limits { soft_remaining: inner.soft_remaining(), hard_remaining, memory_bytes: MEMORY_BYTES, fuel }
    }

    fn soft_time_limit_exceeded(&self) -> bool {
        self.inner.borrow().soft_limit_passed()
    }

    fn sleep(&self, seconds: f64) -> Result<(), Raised> {
        let inner = &mut *self.inner.borrow_mut();
        let wanted = Seconds::new(seconds).map_err(value_error)?.get();
        let cut = inner.soft_remaining().filter(|_| !inner.told).unwrap_or(wanted);
        inner.elapsed += wanted.min(cut);
        inner.answer()
    }

    fn subscribe_soft_limit(&self) -> Box<dyn Pollable> {
        Box::new(SoftLimit { host: self.clone() })
    }

    fn http(&self, request: &Request) -> Result<Response, Raised> {
        let inner = &mut *self.inner.borrow_mut();
        inner.answer()?;
        inner.records.requests.push(request.clone());
        let text = format!("{} {}: the test has no answer: FakeHost::answers", request.method, request.url);
        let nobody = || Exception::new(exc_module::BUILTINS, "PermissionError", text).into();
        if inner.responses.is_empty() { Err(nobody()) } else { Ok(inner.responses.remove(0)) }
    }

    fn bucket(&self, name: &str) -> Result<Rc<dyn HostBucket>, Raised> {
        Ok(Rc::new(FakeBucket { host: self.clone(), name: name.to_owned() }))
    }

    fn secret(&self, name: &str) -> Result<Option<String>, Raised> {
        let inner = &mut *self.inner.borrow_mut();
        inner.answer()?;
        Ok(inner.secrets.get(name).cloned())
    }

    fn random(&self) -> f64 {
        self.inner.borrow().random
    }
}

/// Ready once the fake's own time has passed the soft limit.
struct SoftLimit {
    host: FakeHost,
}

impl Pollable for SoftLimit {
    fn ready(&self) -> bool {
        self.host.soft_time_limit_exceeded()
    }

    /// Panics when there is no soft limit: a real task would wait for ever.
    fn block(&self) {
        let inner = &mut *self.host.inner.borrow_mut();
        inner.elapsed += inner.soft_remaining().expect("a soft limit to wait for");
    }

    fn into_handle(self: Box<Self>) -> Option<u32> {
        None
    }
}

/// A bucket of the fake's own.
struct FakeBucket {
    host: FakeHost,
    name: String,
}

impl FakeBucket {
    fn place(&self, key: &str) -> (String, String) {
        (self.name.clone(), key.to_owned())
    }
}

impl HostBucket for FakeBucket {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Raised> {
        Ok(self.host.inner.borrow().values.get(&self.place(key)).cloned())
    }

    fn set(&self, key: &str, value: Option<&[u8]>) -> Result<(), Raised> {
        let values = &mut self.host.inner.borrow_mut().values;
        match value {
            Some(value) => _ = values.insert(self.place(key), value.to_vec()),
            None => _ = values.remove(&self.place(key)),
        }
        Ok(())
    }

    fn increment(&self, key: &str, by: u64) -> Result<u64, Raised> {
        let there = self.get(key)?.unwrap_or_else(|| b"0".to_vec());
        let sum = String::from_utf8(there).ok().and_then(|digits| digits.parse::<u64>().ok()?.checked_add(by));
        let Some(sum) = sum else {
            let text = "what is there is no whole number";
            return Err(Exception::new(exc_module::BUILTINS, "RuntimeError", text).into());
        };
        self.set(key, Some(sum.to_string().as_bytes()))?;
        Ok(sum)
    }

    fn keys(&self) -> Result<Vec<String>, Raised> {
        let inner = self.host.inner.borrow();
        Ok(inner.values.keys().filter(|(bucket, _)| *bucket == self.name).map(|(_, key)| key.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_a_signature_are_a_list_and_a_map() {
        let host = FakeHost::new();
        let sent = |text: &str| host.apply_async(&Json::parse(text.to_owned()).unwrap());
        assert!(sent(r#"{"task": "t.a", "args": [1], "kwargs": {"x": 1}}"#).is_ok());
        for odd in [r#"{"task": "t.a", "args": {"x": 1}}"#, r#"{"task": "t.a", "args": [], "kwargs": [1]}"#] {
            let refused = sent(odd).unwrap_err().exception.to_string();
            assert!(refused.contains("args must be a JSON array and its kwargs a JSON object"), "{refused}");
        }
    }
}
