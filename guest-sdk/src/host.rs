//! What stands behind a task?
//!
//! The seam between the SDK and whoever runs it: the imports of a component, or a fake in a native test. One trait and
//! the plain data that crosses it; `component` is the only code that knows the WIT bindings.

#[cfg(target_arch = "wasm32")]
pub mod component;

use lovage_model::{Exception, Json, LogLevel, exc_module};

/// What a running task may ask of its host: `lovage:task/host`, function by function.
///
/// Every function that returns [`Raised`] fails with SoftTimeLimitExceeded once the soft limit has passed and until the
/// task has seen it so once.
pub trait Host {
    /// Celery's `task.request` as a JSON object.
    fn request(&self) -> String;
    /// Sets a state of the task's own.
    fn update_state(&self, state: &str, meta: &Json) -> Result<(), Raised>;
    /// Asks for another attempt. The error is what the task should raise instead.
    fn retry(&self, options: &RetryOptions) -> Result<(), Raised>;
    /// Asks for another attempt once the run has ended, however it ends.
    fn retry_later(&self, options: &RetryOptions) -> Result<(), Raised>;
    /// Asks for another task, a signature as Celery writes it, to run in this one's place.
    fn replace(&self, signature: &Json) -> Result<(), Raised>;
    /// Sends a subtask, a signature as Celery writes it; returns its id.
    fn apply_async(&self, signature: &Json) -> Result<String, Raised>;
    /// Sends a subtask that the chord waits for which the task is a part of; returns its id.
    fn add_to_chord(&self, signature: &Json) -> Result<String, Raised>;
    /// Tells listeners something: a name and a JSON object.
    fn send_event(&self, name: &str, fields: &Json) -> Result<(), Raised>;
    /// Writes a record into the task's log.
    fn log(&self, level: LogLevel, message: &str);
    /// The limits, and what is left of the time.
    fn limits(&self) -> Limits;
    /// Whether the soft limit has passed.
    fn soft_time_limit_exceeded(&self) -> bool;
    /// Waits for that many seconds, or until the soft limit.
    fn sleep(&self, seconds: f64) -> Result<(), Raised>;
    /// Something that is ready once the soft limit has passed; never, if there is none.
    fn subscribe_soft_limit(&self) -> Box<dyn Pollable>;
    /// Sends a request to a server. A component has imports of their own for this and the next two, which it has only if one
    /// of its tasks uses them.
    #[cfg(not(target_arch = "wasm32"))]
    fn http(&self, request: &crate::http::Request) -> Result<crate::http::Response, Raised>;
    /// Opens a bucket.
    #[cfg(not(target_arch = "wasm32"))]
    fn bucket(&self, name: &str) -> Result<std::rc::Rc<dyn crate::key_value::HostBucket>, Raised>;
    /// A secret by its name.
    #[cfg(not(target_arch = "wasm32"))]
    fn secret(&self, name: &str) -> Result<Option<String>, Raised>;
    /// A random number from 0 up to 1: how much of its wait a retry with jitter waits.
    fn random(&self) -> f64;
}

/// Something that can be waited for: a `wasi:io/poll` pollable.
pub trait Pollable {
    /// Whether it is ready now.
    fn ready(&self) -> bool;
    /// Waits until it is ready.
    fn block(&self);
    /// The component's handle to it, for a `poll` together with pollables of other bindings; the new owner drops it.
    /// None outside a component.
    fn into_handle(self: Box<Self>) -> Option<u32>;
}

/// An exception and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Raised {
    /// The exception.
    pub exception: Exception,
    /// Where it came from, as text for people; may be empty.
    pub traceback: String,
}

impl Raised {
    /// The notice that the soft time limit has passed.
    pub fn soft_time_limit_exceeded() -> Self {
        let exception = Exception::with_args::<Json>(exc_module::BILLIARD, "SoftTimeLimitExceeded", &[]);
        Self { exception, traceback: String::new() }
    }

    /// Whether it is that notice.
    pub fn is_soft_time_limit_exceeded(&self) -> bool {
        self.exception.exc_type == "SoftTimeLimitExceeded" && self.exception.exc_module == exc_module::BILLIARD
    }
}

impl From<Exception> for Raised {
    fn from(exception: Exception) -> Self {
        Self { exception, traceback: String::new() }
    }
}

/// How a run ends when it does not return a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// It raises.
    Failure(Raised),
    /// It ends for the retry that the host accepted.
    Retry,
    /// It ends for the replacement that the host accepted.
    Replaced,
    /// It ends and leaves no result.
    Ignore,
    /// It refuses the message; true: queue it again.
    Reject(bool),
}

/// What a retry asks for; what is left out has the task's own defaults.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RetryOptions {
    /// Why.
    pub exc: Option<Raised>,
    /// Seconds to wait first.
    pub countdown: Option<f64>,
    /// When, in ISO 8601; goes before the countdown.
    pub eta: Option<String>,
    /// The most retries, for this call.
    pub max_retries: Option<u32>,
    /// Other positional arguments: a JSON array.
    pub args: Option<Json>,
    /// Other keyword arguments: a JSON object.
    pub kwargs: Option<Json>,
}

/// The limits of the running attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Seconds until the soft limit, if there is one; 0 once it has passed.
    pub soft_remaining: Option<f64>,
    /// Seconds until the hard limit.
    pub hard_remaining: Option<f64>,
    /// Bytes of linear memory and tables it may have in all.
    pub memory_bytes: u64,
    /// Fuel of the whole attempt, if it is metered.
    pub fuel: Option<u64>,
}
