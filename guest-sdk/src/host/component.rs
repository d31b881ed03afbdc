//! The host of a component: the functions that `lovage:task/host` imports, and the ending in the words of the contract.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::rc::Rc;

use lovage_model::{Exception, Json, LogLevel};

use super::{Ending, Host, Limits, Pollable, Raised, RetryOptions};
use crate::bindings::lovage::task::{host, types};
use crate::bindings::wasi::io::poll;
use crate::handlers::End;
use crate::{Entry, run};

/// The imports.
struct Imports;

/// Runs a task of the table, as the contract's `run` has it.
pub fn run(tasks: &[Entry], task: &str, args: &str, kwargs: &str) -> Result<String, types::Ending> {
    run::run(tasks, Rc::new(Imports), task, args, kwargs)
        .map(|json| json.as_str().to_owned())
        .map_err(types::Ending::from)
}

/// Calls what a task has before its run.
pub fn before_start(tasks: &[Entry], task: &str) -> Result<(), types::Ending> {
    run::before_start(tasks, Rc::new(Imports), task).map_err(types::Ending::from)
}

fn after(tasks: &[Entry], task: &str, end: End<'_>) -> Result<(), types::Exception> {
    run::after(tasks, Rc::new(Imports), task, end).map_err(types::Exception::from)
}

/// Calls what a task has after its run returned this.
pub fn on_success(tasks: &[Entry], task: &str, retval: String) -> Result<(), types::Exception> {
    after(tasks, task, End::Success(&json(retval)))
}

/// Calls what a task has after its run that will be tried again.
pub fn on_retry(tasks: &[Entry], task: &str, exc: types::Exception) -> Result<(), types::Exception> {
    after(tasks, task, End::Retry(&exc.into()))
}

/// Calls what a task has after its run failed.
pub fn on_failure(tasks: &[Entry], task: &str, exc: types::Exception) -> Result<(), types::Exception> {
    after(tasks, task, End::Failure(&exc.into()))
}

/// Calls what a task has after either end.
pub fn after_return(
    tasks: &[Entry],
    task: &str,
    status: &str,
    retval: Result<String, types::Exception>,
) -> Result<(), types::Exception> {
    let retval = retval.map(json).map_err(Raised::from);
    after(tasks, task, End::Return(status, retval.as_ref()))
}

fn json(text: String) -> Json {
    Json::parse(text).unwrap_or_else(|_| Json::null())
}

impl Host for Imports {
    fn request(&self) -> String {
        host::request()
    }

    fn update_state(&self, state: &str, meta: &Json) -> Result<(), Raised> {
        Ok(host::update_state(state, meta.as_str())?)
    }

    fn retry(&self, options: &RetryOptions) -> Result<(), Raised> {
        Ok(host::retry(&options.into())?)
    }

    fn retry_later(&self, options: &RetryOptions) -> Result<(), Raised> {
        Ok(host::retry_later(&options.into())?)
    }

    fn replace(&self, signature: &Json) -> Result<(), Raised> {
        Ok(host::replace(signature.as_str())?)
    }

    fn apply_async(&self, signature: &Json) -> Result<String, Raised> {
        Ok(host::apply_async(signature.as_str())?)
    }

    fn add_to_chord(&self, signature: &Json) -> Result<String, Raised> {
        Ok(host::add_to_chord(signature.as_str())?)
    }

    fn send_event(&self, name: &str, fields: &Json) -> Result<(), Raised> {
        Ok(host::send_event(name, fields.as_str())?)
    }

    fn log(&self, level: LogLevel, message: &str) {
        let level = match level {
            LogLevel::Debug => types::Level::Debug,
            LogLevel::Info => types::Level::Info,
            LogLevel::Warning => types::Level::Warning,
            LogLevel::Error => types::Level::Error,
        };
        host::log(level, message);
    }

    fn limits(&self) -> Limits {
        let limits = host::limits();
        Limits {
            soft_remaining: limits.soft_remaining,
            hard_remaining: limits.hard_remaining,
            memory_bytes: limits.memory_bytes,
            fuel: limits.fuel,
        }
    }

    fn soft_time_limit_exceeded(&self) -> bool {
        host::soft_time_limit_exceeded()
    }

    fn sleep(&self, seconds: f64) -> Result<(), Raised> {
        Ok(host::sleep(seconds)?)
    }

    fn subscribe_soft_limit(&self) -> Box<dyn Pollable> {
        Box::new(host::subscribe_soft_limit())
    }

    /// What seeds the standard library's maps is random, and costs no dependency.
    fn random(&self) -> f64 {
        let random = RandomState::new().build_hasher().finish();
        (random >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl Pollable for poll::Pollable {
    fn ready(&self) -> bool {
        poll::Pollable::ready(self)
    }

    fn block(&self) {
        poll::Pollable::block(self);
    }

    fn into_handle(self: Box<Self>) -> Option<u32> {
        Some(self.take_handle())
    }
}

impl From<&RetryOptions> for types::RetryOptions {
    fn from(options: &RetryOptions) -> Self {
        Self {
            exc: options.exc.clone().map(types::Exception::from),
            countdown: options.countdown,
            eta: options.eta.clone(),
            max_retries: options.max_retries,
            args: options.args.as_ref().map(ToString::to_string),
            kwargs: options.kwargs.as_ref().map(ToString::to_string),
        }
    }
}

impl From<types::Exception> for Raised {
    fn from(exception: types::Exception) -> Self {
        let types::Exception { exc_type, exc_message, exc_module, traceback } = exception;
        let exc_message = Json::parse(exc_message).unwrap_or_else(|_| Json::empty_array());
        Self { exception: Exception { exc_type, exc_message, exc_module }, traceback }
    }
}

impl From<Raised> for types::Exception {
    fn from(raised: Raised) -> Self {
        let Raised { exception, traceback } = raised;
        Self {
            exc_type: exception.exc_type,
            exc_message: exception.exc_message.to_string(),
            exc_module: exception.exc_module,
            traceback,
        }
    }
}

impl From<Ending> for types::Ending {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Failure(raised) => Self::Failure(raised.into()),
            Ending::Retry => Self::Retry,
            Ending::Replaced => Self::Replaced,
            Ending::Ignore => Self::Ignore,
            Ending::Reject(requeue) => Self::Reject(requeue),
        }
    }
}
