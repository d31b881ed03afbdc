//! The host of a component: the functions that `lovage:task/host` imports, and the ending in the words of the contract.

use std::rc::Rc;

use lovage_model::{Exception, Json, LogLevel};

use super::{Ending, Host, Limits, Pollable, Raised, RetryOptions};
use crate::bindings::lovage::task::{host, types};
use crate::bindings::wasi::io::poll;
use crate::{Entry, run};

/// The imports.
struct Imports;

/// Runs a task of the table, as the contract's `run` has it.
pub fn run(tasks: &[Entry], task: &str, args: &str, kwargs: &str) -> Result<String, types::Ending> {
    run::run(tasks, Rc::new(Imports), task, args, kwargs)
        .map(|json| json.as_str().to_owned())
        .map_err(types::Ending::from)
}

impl Host for Imports {
    fn request(&self) -> String {
        host::request()
    }

    fn update_state(&self, state: &str, meta: &Json) -> Result<(), Raised> {
        Ok(host::update_state(state, meta.as_str())?)
    }

    fn retry(&self, options: &RetryOptions) -> Result<(), Raised> {
        Ok(host::retry(&types::RetryOptions {
            exc: options.exc.clone().map(types::Exception::from),
            countdown: options.countdown,
            eta: options.eta.clone(),
            max_retries: options.max_retries,
            args: options.args.as_ref().map(ToString::to_string),
            kwargs: options.kwargs.as_ref().map(ToString::to_string),
        })?)
    }

    fn replace(&self, signature: &Json) -> Result<(), Raised> {
        Ok(host::replace(signature.as_str())?)
    }

    fn apply_async(&self, signature: &Json) -> Result<String, Raised> {
        Ok(host::apply_async(signature.as_str())?)
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
