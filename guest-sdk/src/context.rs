//! What may a task know and do while it runs?
//!
//! Absent on purpose: waiting for another task; [`AsyncResult::get`] says why. Use [`Context::replace`], or let a task that
//! is sent last take the results.

use std::cell::OnceCell;
use std::fmt;
use std::rc::Rc;

use lovage_model::{LogLevel, Request};
use serde::Serialize;

use crate::host::{Host, Limits, Pollable};
use crate::http;
use crate::key_value::{self, Bucket};
use crate::retry::keyword;
use crate::{AsyncResult, Json, Retry, Signature, TaskError, TaskResult};

/// The running task: Celery's `self`. A task takes it as its first parameter, `ctx: &Context`.
pub struct Context {
    host: Rc<dyn Host>,
    request: OnceCell<Request>,
}

impl Context {
    /// A context on a host. Tasks are handed one; this is for a host of one's own in tests.
    pub fn new(host: Rc<dyn Host>) -> Self {
        Self { host, request: OnceCell::new() }
    }

    /// Celery's `self.request`: id, retries, args, eta, headers, ... Asked of the host once.
    ///
    /// Panics if the host's answer is not a request, which is the host's fault.
    pub fn request(&self) -> &Request {
        self.request.get_or_init(|| serde_json::from_str(&self.host.request()).expect("the host sends a request"))
    }

    /// Sets a state of the task's own, such as `PROGRESS`, with a meta for people who watch it. Cheap: the latest wins
    /// when they come faster than they can be stored.
    ///
    /// Fails with ValueError for a state that Celery defines, and with SoftTimeLimitExceeded.
    pub fn update_state(&self, state: &str, meta: impl Serialize) -> TaskResult<()> {
        let meta = Json::of(&meta).map_err(|error| TaskError::encode("the meta of a state", &error))?;
        Ok(self.host.update_state(state, &meta)?)
    }

    /// Another attempt, to be returned as the error: see [`Retry`].
    pub fn retry(&self) -> Retry {
        Retry::default()
    }

    /// Another attempt, as [`Context::retry`], and goes on: Celery's `retry(throw=False)`. It happens when this one has
    /// ended, however it ends, unless it is killed; what the task then returns or raises counts for nothing.
    ///
    /// Fails with what `retry` would raise once there are no retries left.
    pub fn retry_later(&self, retry: Retry) -> TaskResult<()> {
        Ok(self.host.retry_later(&retry.into_options()?)?)
    }

    /// Another task or canvas, to be returned as the error: it runs in this one's place and under its id.
    ///
    /// ```
    /// # use lovage_guest::prelude::*;
    /// # #[task] fn add(x: i64, y: i64) -> i64 { x + y }
    /// #[task]
    /// fn double(ctx: &Context, x: i64) -> TaskResult<i64> {
    ///     Err(ctx.replace(add::s(x, x)))
    /// }
    /// ```
    ///
    /// A chord lets it have the result of many tasks without waiting for them:
    ///
    /// ```
    /// # use lovage_guest::prelude::*;
    /// # #[task] fn add(x: i64, y: i64) -> i64 { x + y }
    /// # #[task] fn total(numbers: Vec<i64>) -> i64 { numbers.iter().sum() }
    /// #[task]
    /// fn sums(ctx: &Context, n: i64) -> TaskResult<i64> {
    ///     Err(ctx.replace(chord((0..n).map(|i| add::s(i, i)), total::partial())))
    /// }
    /// ```
    pub fn replace(&self, signature: impl Into<Signature>) -> TaskError {
        TaskError::replace(&signature.into())
    }

    /// Celery's `Ignore`, to be returned as the error: the task ends and leaves no result.
    pub fn ignore(&self) -> TaskError {
        TaskError::ignore()
    }

    /// Celery's `Reject`, to be returned as the error: the message is refused; `requeue` puts it at the end of its queue.
    pub fn reject(&self, requeue: bool) -> TaskError {
        TaskError::reject(requeue)
    }

    /// Sends a subtask or a canvas. It is published when this attempt ends, so one that is undone by a crash leaves none behind.
    ///
    /// Fails with ValueError for what is no signature and for what is too much for one attempt (calls, or bytes of them), and
    /// with SoftTimeLimitExceeded. Ok does not mean that it will run: whether there is such a task, whether its arguments and
    /// options fit, whether its id is free and its queue has room is found when this attempt's outcome is recorded. If not, the
    /// task fails with a ValueError that says what, whatever it returned, and nothing that it sent is sent.
    pub fn apply_async(&self, signature: impl Into<Signature>) -> TaskResult<AsyncResult> {
        let signature = signature.into().to_json()?;
        Ok(AsyncResult::new(self.host.apply_async(&signature)?))
    }

    /// Sends a subtask that the chord's body waits for as well: its value is in the list.
    ///
    /// Fails with ValueError if this task is not a part of a chord's header, and as [`Context::apply_async`].
    pub fn add_to_chord(&self, signature: impl Into<Signature>) -> TaskResult<AsyncResult> {
        let signature = signature.into().to_json()?;
        Ok(AsyncResult::new(self.host.add_to_chord(&signature)?))
    }

    /// Tells listeners something, now: a name, and fields as a map, a struct or `json!({..})`. Nobody keeps it.
    pub fn send_event(&self, name: &str, fields: impl Serialize) -> TaskResult<()> {
        Ok(self.host.send_event(name, &keyword(&fields)?)?)
    }

    /// Sends a request to a server that the operator has granted to the module, and returns its whole response.
    ///
    /// Fails with PermissionError if there is no such grant, ConnectionError if there is no response, TimeoutError if it
    /// takes too long, ValueError for what is no request or too large, and with SoftTimeLimitExceeded.
    ///
    /// ```
    /// # use lovage_guest::prelude::*;
    /// # use lovage_guest::http;
    /// #[task(autoretry_for = ["ConnectionError"], retry_backoff = 1.0)]
    /// fn title(ctx: &Context, page: String) -> TaskResult<String> {
    ///     let response = ctx.http(http::Request::get(page).header("accept", "text/html"))?.ok()?;
    ///     Ok(response.text()?.lines().next().unwrap_or_default().to_owned())
    /// }
    /// ```
    pub fn http(&self, request: http::Request) -> TaskResult<http::Response> {
        #[cfg(target_arch = "wasm32")]
        let response = http::component::send(&request);
        #[cfg(not(target_arch = "wasm32"))]
        let response = self.host.http(&request);
        Ok(response?)
    }

    /// Opens a bucket of the tenant's key-value store, which is there under any name.
    ///
    /// Fails with PermissionError if the module was not granted it.
    ///
    /// ```
    /// # use lovage_guest::prelude::*;
    /// #[task]
    /// fn visit(ctx: &Context, page: String) -> TaskResult<u64> {
    ///     ctx.bucket("visits")?.increment(&page, 1)
    /// }
    /// ```
    pub fn bucket(&self, name: &str) -> TaskResult<Bucket> {
        #[cfg(target_arch = "wasm32")]
        return key_value::open(name);
        #[cfg(not(target_arch = "wasm32"))]
        return Ok(key_value::of(self.host.bucket(name)?));
    }

    /// A secret that the tenant has set for the module (`lovage secret set`). The host tells it to nobody else; what a task
    /// returns, logs or raises is told.
    ///
    /// Fails with KeyError if it was not set, and with SoftTimeLimitExceeded.
    #[track_caller]
    pub fn secret(&self, name: &str) -> TaskResult<String> {
        #[cfg(target_arch = "wasm32")]
        let secret = crate::bindings::lovage::task::secrets::get(name).map_err(crate::Raised::from)?;
        #[cfg(not(target_arch = "wasm32"))]
        let secret = self.host.secret(name)?;
        secret.ok_or_else(|| TaskError::builtin("KeyError", name))
    }

    /// Whether the soft time limit has passed: cheap enough for a loop.
    pub fn soft_time_limit_exceeded(&self) -> bool {
        self.host.soft_time_limit_exceeded()
    }

    /// Fails with SoftTimeLimitExceeded once the limit has passed: call it in loops, with `?`. Like every call that
    /// fails so, it does it once; afterwards there is time for a fallback, until the hard limit.
    pub fn check(&self) -> TaskResult<()> {
        if self.soft_time_limit_exceeded() { self.sleep(0.0) } else { Ok(()) }
    }

    /// Waits. Fails with SoftTimeLimitExceeded as soon as the limit passes, and with ValueError for what is no time.
    pub fn sleep(&self, seconds: f64) -> TaskResult<()> {
        Ok(self.host.sleep(seconds)?)
    }

    /// The limits, and what is left of the time.
    pub fn limits(&self) -> Limits {
        self.host.limits()
    }

    /// Something that is ready once the soft limit has passed, to wait for together with other `wasi:io` pollables.
    pub fn soft_limit_pollable(&self) -> Box<dyn Pollable> {
        self.host.subscribe_soft_limit()
    }

    /// Writes a record into the task's log. `format_args!` saves a copy.
    pub fn log(&self, level: LogLevel, message: impl fmt::Display) {
        self.host.log(level, &message.to_string());
    }

    /// Logs for who looks for a fault.
    pub fn debug(&self, message: impl fmt::Display) {
        self.log(LogLevel::Debug, message);
    }

    /// Logs what went as expected.
    pub fn info(&self, message: impl fmt::Display) {
        self.log(LogLevel::Info, message);
    }

    /// Logs what was unexpected, and handled.
    pub fn warning(&self, message: impl fmt::Display) {
        self.log(LogLevel::Warning, message);
    }

    /// Logs what failed.
    pub fn error(&self, message: impl fmt::Display) {
        self.log(LogLevel::Error, message);
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("request", self.request()).finish()
    }
}
