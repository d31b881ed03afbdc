//! What becomes of one call?
//!
//! Name and JSON in, JSON or an [`Ending`] out. What a task asks for by returning it (retry, replace) is asked of the
//! host here, once, after the task has returned; so is the retry that `autoretry_for` stands for.

use std::rc::Rc;

use lovage_model::{Exception, exc_module};
use serde::Serialize;

use crate::autoretry::autoretry;
use crate::error::Kind;
use crate::handlers::{End, Handled};
use crate::host::{Ending, Host, Raised, RetryOptions};
use crate::{Arguments, Context, Entry, Json, TaskError};

/// Runs the task of that name with a JSON array and a JSON object.
pub(crate) fn run(tasks: &[Entry], host: Rc<dyn Host>, task: &str, args: &str, kwargs: &str) -> Result<Json, Ending> {
    call(tasks, &Context::new(host.clone()), task, args, kwargs).map_err(|error| end(error, &*host, autoretry))
}

fn call(tasks: &[Entry], ctx: &Context, task: &str, args: &str, kwargs: &str) -> Result<Json, TaskError> {
    (find(tasks, task)?.call)(ctx, Arguments::parse(args, kwargs)?)
}

fn find<'a>(tasks: &'a [Entry], task: &str) -> Result<&'a Entry, TaskError> {
    let found = tasks.iter().find(|entry| entry.definition.name == task);
    found.ok_or_else(|| TaskError::raise("NotRegistered", exc_module::CELERY, [task]))
}

/// Calls what a task has before its run. What that raises fails the task: `autoretry_for` is about the task itself, as in Celery.
pub(crate) fn before_start(tasks: &[Entry], host: Rc<dyn Host>, task: &str) -> Result<(), Ending> {
    let handle = || -> Handled {
        let handler = find(tasks, task)?.handlers.before_start;
        handler.map_or(Ok(()), |handler| handler(&Context::new(host.clone())))
    };
    handle().map_err(|error| end(error, &*host, |_, _| None))
}

/// Calls what a task has after its run.
pub(crate) fn after(tasks: &[Entry], host: Rc<dyn Host>, task: &str, end: End<'_>) -> Result<(), Raised> {
    let told = find(tasks, task).and_then(|entry| entry.handlers.tell(&Context::new(host), end));
    told.map_err(TaskError::into_raised)
}

/// `tries_again` says whether the task does that by itself, and after how long.
fn end(
    error: TaskError,
    host: &dyn Host,
    tries_again: impl Fn(&dyn Host, &Exception) -> Option<Option<f64>>,
) -> Ending {
    let asked = match error.into_kind() {
        Kind::Raised(raised) => match tries_again(host, &raised.exception) {
            None => Err(raised),
            Some(countdown) => {
                try_again(host, &RetryOptions { exc: Some(raised), countdown, ..RetryOptions::default() })
            }
        },
        Kind::Ignore => Ok(Ending::Ignore),
        Kind::Reject { requeue } => Ok(Ending::Reject(requeue)),
        Kind::Retry(retry) => {
            retry.into_options().map_err(TaskError::into_raised).and_then(|options| try_again(host, &options))
        }
        Kind::Replace(signature) => insist(|| host.replace(&signature)).map(|()| Ending::Replaced),
    };
    asked.unwrap_or_else(Ending::Failure)
}

fn try_again(host: &dyn Host, options: &RetryOptions) -> Result<Ending, Raised> {
    insist(|| host.retry(options)).map(|()| Ending::Retry)
}

/// A task that has chosen its ending has no use for the notice of the soft limit, which a host gives once.
fn insist(ask: impl Fn() -> Result<(), Raised>) -> Result<(), Raised> {
    match ask() {
        Err(raised) if raised.is_soft_time_limit_exceeded() => ask(),
        answer => answer,
    }
}

/// What a task function returned. A `Result` has its own `settle`; anything else has that of [`Settle`].
#[derive(Debug)]
pub struct Returned<T>(pub T);

impl<T, E> Returned<Result<T, E>> {
    /// The value as JSON, or the error that ends the task.
    pub fn settle(self) -> Result<Json, TaskError>
    where
        T: Serialize,
        E: Into<TaskError>,
    {
        self.0.map_err(Into::into).and_then(|value| encode(&value))
    }
}

/// A task function that returns no `Result`.
pub trait Settle<T> {
    /// The value as JSON.
    fn settle(self) -> Result<Json, TaskError>
    where
        T: Serialize;
}

impl<T> Settle<T> for Returned<T> {
    fn settle(self) -> Result<Json, TaskError>
    where
        T: Serialize,
    {
        encode(&self.0)
    }
}

fn encode<T: Serialize>(value: &T) -> Result<Json, TaskError> {
    Json::of(value).map_err(|error| TaskError::encode("the value returned", &error))
}
