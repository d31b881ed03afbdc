//! How shall a call be run?

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Display;

use lovage_model::{Canvas, Json, QueueName, Seconds, TaskId, Timestamp};
use serde::Serialize;

use super::{Signature, value_error};
use crate::TaskError;

/// How to run a call: what Celery's `apply_async` and `set` take besides arguments.
///
/// A value out of range is raised as ValueError when the signature is used.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Options {
    chosen: BTreeMap<&'static str, Json>,
    headers: BTreeMap<String, Json>,
    link: Vec<Signature>,
    link_error: Vec<Signature>,
    fault: Option<TaskError>,
}

impl Options {
    /// Nothing but defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs it no earlier than that many seconds from now.
    pub fn countdown(self, seconds: f64) -> Self {
        self.choose("countdown", Seconds::new(seconds))
    }

    /// Runs it no earlier than then: a [`Timestamp`], or a text in ISO 8601.
    pub fn eta(self, eta: impl Display) -> Self {
        let eta = eta.to_string();
        let checked = Timestamp::parse(&eta).map(|_| eta);
        self.choose("eta", checked)
    }

    /// Revokes it instead of starting it more than that many seconds from now.
    pub fn expires(self, seconds: f64) -> Self {
        self.choose("expires", Seconds::new(seconds))
    }

    /// Sends it to that queue.
    pub fn queue(self, queue: &str) -> Self {
        self.choose("queue", QueueName::new(queue))
    }

    /// 0 (first) to 9 (last).
    pub fn priority(self, priority: u8) -> Self {
        let checked = if priority <= 9 { Ok(priority) } else { Err(format!("priority {priority} is not 0 to 9")) };
        self.choose("priority", checked)
    }

    /// Its hard limit in seconds.
    pub fn time_limit(self, seconds: f64) -> Self {
        self.choose("time_limit", Seconds::new(seconds))
    }

    /// Its soft limit in seconds.
    pub fn soft_time_limit(self, seconds: f64) -> Self {
        self.choose("soft_time_limit", Seconds::new(seconds))
    }

    /// Fuel it may burn.
    pub fn fuel(self, fuel: u64) -> Self {
        self.choose("fuel", sure(fuel))
    }

    /// Whether to keep no result.
    pub fn ignore_result(self, ignore: bool) -> Self {
        self.choose("ignore_result", sure(ignore))
    }

    /// The id it will have, instead of a new one.
    pub fn task_id(self, id: &str) -> Self {
        self.choose("task_id", TaskId::new(id))
    }

    /// Another name for logs and lists.
    pub fn shadow(self, name: &str) -> Self {
        self.choose("shadow", sure(name))
    }

    /// A header of one's own, which it finds in its request.
    pub fn header(mut self, name: &str, value: impl Serialize) -> Self {
        match Json::of(&value) {
            Ok(value) => _ = self.headers.insert(name.to_owned(), value),
            Err(error) => _ = self.fault.get_or_insert(TaskError::encode("a header", &error)),
        }
        let headers = Json::of(&self.headers).map_err(|error| error.to_string());
        self.choose("headers", headers)
    }

    /// The id that a group will have, instead of a new one.
    pub fn group_id(self, id: &str) -> Self {
        self.choose("group_id", TaskId::new(id))
    }

    /// Whether the task that sends it lists it among its children; true if left out.
    pub fn add_to_parent(self, add: bool) -> Self {
        self.choose("add_to_parent", sure(add))
    }

    /// As [`Signature::link`].
    pub fn link(mut self, callback: Signature) -> Self {
        self.link.push(callback);
        self
    }

    /// As [`Signature::link_error`].
    pub fn link_error(mut self, errback: Signature) -> Self {
        self.link_error.push(errback);
        self
    }

    /// Puts them onto a canvas; what was wrong with them, or with the callbacks, is told with it.
    pub(super) fn onto(self, canvas: Canvas) -> (Canvas, Option<TaskError>) {
        let canvas = self.chosen.into_iter().fold(canvas, |canvas, (name, value)| canvas.option(name, value));
        let mut whole = Signature { canvas, fault: self.fault };
        for callback in self.link {
            whole = whole.link(callback);
        }
        for errback in self.link_error {
            whole = whole.link_error(errback);
        }
        (whole.canvas, whole.fault)
    }

    pub(super) fn choose<T: Serialize, E: Display>(mut self, name: &'static str, value: Result<T, E>) -> Self {
        let json = value
            .map_err(|error| value_error(&error))
            .and_then(|value| Json::of(&value).map_err(|error| TaskError::encode(name, &error)));
        match json {
            Ok(json) => _ = self.chosen.insert(name, json),
            Err(error) => _ = self.fault.get_or_insert(error),
        }
        self
    }
}

/// A value that needs no check.
pub(super) fn sure<T>(value: T) -> Result<T, Infallible> {
    Ok(value)
}
