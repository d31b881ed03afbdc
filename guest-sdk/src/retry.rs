//! How is another attempt asked for?
//!
//! A [`Retry`] is a description. The host is asked when the task returns it; if there are no retries left, the host
//! answers with the exception to raise, and the task raises that.

use std::fmt::Display;

use serde::Serialize;

use crate::host::RetryOptions;
use crate::{Json, TaskError};

/// Another attempt, from [`Context::retry`](crate::Context::retry): Celery's `raise self.retry(...)`.
///
/// `?` turns it into the error that ends the task; in the last expression `.into()` does.
///
/// ```
/// # use lovage_guest::prelude::*;
/// # fn get(url: &str) -> Result<String, std::fmt::Error> { Ok(url.to_owned()) }
/// #[task(max_retries = 5)]
/// fn fetch(ctx: &Context, url: String) -> TaskResult<String> {
///     let page = get(&url).map_err(|error| ctx.retry().countdown(60.0).exc(error))?;
///     if page.is_empty() {
///         return Err(ctx.retry().into());
///     }
///     Ok(page)
/// }
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a retry happens when the task returns it as its error"]
pub struct Retry {
    options: RetryOptions,
    fault: Option<TaskError>,
}

impl Retry {
    /// Waits that many seconds first, instead of the task's `default_retry_delay`.
    pub fn countdown(mut self, seconds: f64) -> Self {
        self.options.countdown = Some(seconds);
        self
    }

    /// Waits until then: a [`Timestamp`](crate::Timestamp), or a text in ISO 8601. Goes before the countdown.
    pub fn eta(mut self, eta: impl Display) -> Self {
        self.options.eta = Some(eta.to_string());
        self
    }

    /// Why: kept as the result of the RETRY state, and raised once there are no retries left.
    #[track_caller]
    pub fn exc(mut self, why: impl Into<TaskError>) -> Self {
        self.options.exc = Some(why.into().into_raised());
        self
    }

    /// The most retries for this call, instead of the task's `max_retries`.
    pub fn max_retries(mut self, most: u32) -> Self {
        self.options.max_retries = Some(most);
        self
    }

    /// Other positional arguments: a tuple, an array or a `Vec`. What is not JSON is raised as `EncodeError` instead.
    pub fn args(mut self, args: impl Serialize) -> Self {
        match positional(&args) {
            Ok(array) => self.options.args = Some(array),
            Err(error) => self.fault = Some(error),
        }
        self
    }

    /// Other keyword arguments: a map, a struct or `json!({..})`. What is not JSON is raised as `EncodeError` instead.
    pub fn kwargs(mut self, kwargs: impl Serialize) -> Self {
        match keyword(&kwargs) {
            Ok(object) => self.options.kwargs = Some(object),
            Err(error) => self.fault = Some(error),
        }
        self
    }

    /// What to ask the host, or what to raise instead.
    pub(crate) fn into_options(self) -> Result<RetryOptions, TaskError> {
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok(self.options),
        }
    }
}

/// A value as a JSON array; nothing at all is an empty one.
pub(crate) fn positional(args: &(impl Serialize + ?Sized)) -> Result<Json, TaskError> {
    match Json::of(args).map_err(|error| TaskError::encode("args", &error))? {
        json if json.is_array() => Ok(json),
        json if json.as_str() == "null" => Ok(Json::empty_array()),
        json => Err(TaskError::unlocated("TypeError", &format!("args must be an array or a tuple, not {json}"))),
    }
}

/// A value as a JSON object; nothing at all is an empty one.
pub(crate) fn keyword(kwargs: &(impl Serialize + ?Sized)) -> Result<Json, TaskError> {
    match Json::of(kwargs).map_err(|error| TaskError::encode("kwargs", &error))? {
        json if json.is_object() => Ok(json),
        json if json.as_str() == "null" => Ok(Json::empty_object()),
        json => Err(TaskError::unlocated("TypeError", &format!("kwargs must be a map or a struct, not {json}"))),
    }
}
