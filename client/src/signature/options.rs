//! How shall a call be run? Celery's names and units; each takes the place of what was said before.

use std::collections::BTreeMap;

use lovage_model::{Expires, Json, QueueName, Seconds, SignatureOptions, TaskId, TaskOptions, Timestamp};
use serde::Serialize;

use super::Signature;
use crate::Error;

impl Signature {
    /// The id it shall have, so that sending it twice runs it once. Of a chain that is the id of its last task, of a chord
    /// that of the body.
    pub fn task_id(self, id: TaskId) -> Self {
        self.choose("task_id", Ok::<_, String>(id))
    }

    /// The id that a group shall have.
    pub fn group_id(self, id: TaskId) -> Self {
        self.choose("group_id", Ok::<_, String>(id))
    }

    /// Run no earlier than this many seconds from now.
    pub fn countdown(self, seconds: f64) -> Self {
        self.choose("countdown", Seconds::new(seconds))
    }

    /// Run no earlier than at this time.
    pub fn eta(self, at: Timestamp) -> Self {
        self.choose("eta", Ok::<_, String>(at))
    }

    /// Revoke instead of starting it after this: [`Expires::In`] seconds or [`Expires::At`] a time.
    pub fn expires(self, expires: Expires) -> Self {
        self.choose("expires", Ok::<_, String>(expires))
    }

    /// 0 (first) to 9 (last).
    pub fn priority(self, priority: u8) -> Self {
        let known = if priority <= 9 { Ok(priority) } else { Err(format!("{priority} is not 0 (first) to 9 (last)")) };
        self.choose("priority", known)
    }

    /// Queue to go to.
    pub fn queue(self, queue: impl AsRef<str>) -> Self {
        self.choose("queue", QueueName::new(queue))
    }

    /// Hard limit in seconds: the task is killed.
    pub fn time_limit(self, seconds: f64) -> Self {
        self.choose("time_limit", Seconds::new(seconds))
    }

    /// Soft limit in seconds: the task is told.
    pub fn soft_time_limit(self, seconds: f64) -> Self {
        self.choose("soft_time_limit", Seconds::new(seconds))
    }

    /// Units of fuel it may burn.
    pub fn fuel(self, units: u64) -> Self {
        self.choose("fuel", Ok::<_, String>(units))
    }

    /// Keep no result.
    pub fn ignore_result(self) -> Self {
        self.choose("ignore_result", Ok::<_, String>(true))
    }

    /// Another name for logs and lists.
    pub fn shadow(self, name: &str) -> Self {
        self.choose("shadow", Ok::<_, String>(name))
    }

    /// A header of the sender's own, kept across retries.
    pub fn header(self, name: impl Into<String>, value: impl Serialize) -> Self {
        let name = name.into();
        let (mut this, value) = self.checked(&format!("headers.{name}"), Json::of(&value));
        this.headers.extend(value.map(|value| (name, value)));
        let headers = Json::of(&this.headers);
        this.choose("headers", headers)
    }

    /// Any option by Celery's name: those above, and those that the task declares, such as `max_retries`, `rate_limit` or
    /// `acks_late`, for this call.
    pub fn set(self, name: &str, value: impl Serialize) -> Self {
        let known = Json::of(&value).map_err(|error| error.to_string()).and_then(|value| check(name, value));
        self.choose(name, known)
    }

    fn choose<T: Serialize, E: std::fmt::Display>(self, name: &str, value: Result<T, E>) -> Self {
        let json = value
            .map_err(|why| Error::invalid(name, why))
            .and_then(|value| Json::of(&value).map_err(|error| Error::invalid(name, error)));
        match json {
            Ok(json) => self.with(|canvas| canvas.option(name, json)),
            Err(error) => Self { wrong: self.wrong.or(Some(error)), ..self },
        }
    }
}

/// Reads an option as whoever gets it will.
fn check(name: &str, value: Json) -> Result<Json, String> {
    let one = BTreeMap::from([(name, &value)]);
    let read: SignatureOptions = Json::of(&one).and_then(|one| one.read()).map_err(|error| error.to_string())?;
    let declared = TaskOptions::default().overridden(&read.overrides);
    declared.map(|_| value).map_err(|bad| bad.why)
}
