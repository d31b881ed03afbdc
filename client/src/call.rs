//! A call to be made: a task, its arguments, its options.

use lovage_model::api::SubmitRequest;
use lovage_model::{Expires, Json, QueueName, Seconds, SignatureOptions, TaskId, TaskName, Timestamp};
use serde::Serialize;
use serde::ser::SerializeMap;

use crate::{Error, Result};

/// A task with arguments and options: what Celery's `task.apply_async(args, kwargs, **options)` takes.
///
/// What is wrong with a value is told when the call is built or sent; the first fault counts.
#[derive(Debug, Clone)]
#[must_use = "a call does nothing until it is passed to `Client::apply_async`"]
pub struct Call {
    task: String,
    args: Vec<Json>,
    kwargs: Vec<(String, Json)>,
    options: SignatureOptions,
    wrong: Option<Error>,
}

impl Call {
    /// A call of a task by name; the last part of the name is enough while only one task ends in it.
    pub fn new(task: impl Into<String>) -> Self {
        let options = SignatureOptions::default();
        Self { task: task.into(), args: Vec::new(), kwargs: Vec::new(), options, wrong: None }
    }

    /// One more positional argument.
    pub fn arg(mut self, value: impl Serialize) -> Self {
        if let Some(value) = self.checked("args", Json::of(&value)) {
            self.args.push(value);
        }
        self
    }

    /// One more keyword argument; a later one of the same name takes its place.
    pub fn kwarg(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        let name = name.into();
        if let Some(value) = self.checked(&format!("kwargs.{name}"), Json::of(&value)) {
            self.kwargs.retain(|(known, _)| *known != name);
            self.kwargs.push((name, value));
        }
        self
    }

    /// The id it shall have, so that sending it twice runs it once.
    pub fn task_id(mut self, id: TaskId) -> Self {
        self.options.task_id = Some(id);
        self
    }

    /// Run no earlier than this many seconds from now.
    pub fn countdown(mut self, seconds: f64) -> Self {
        self.options.countdown = self.checked("countdown", Seconds::new(seconds));
        self
    }

    /// Run no earlier than at this time.
    pub fn eta(mut self, at: Timestamp) -> Self {
        self.options.eta = Some(at);
        self
    }

    /// Revoke instead of starting it after this: [`Expires::In`] seconds or [`Expires::At`] a time.
    pub fn expires(mut self, expires: Expires) -> Self {
        self.options.expires = Some(expires);
        self
    }

    /// 0 (first) to 9 (last).
    pub fn priority(mut self, priority: u8) -> Self {
        self.options.priority = Some(priority);
        self
    }

    /// Queue to go to.
    pub fn queue(mut self, queue: impl AsRef<str>) -> Self {
        self.options.queue = self.checked("queue", QueueName::new(queue));
        self
    }

    /// Hard limit in seconds: the task is killed.
    pub fn time_limit(mut self, seconds: f64) -> Self {
        self.options.time_limit = self.checked("time_limit", Seconds::new(seconds));
        self
    }

    /// Soft limit in seconds: the task is told.
    pub fn soft_time_limit(mut self, seconds: f64) -> Self {
        self.options.soft_time_limit = self.checked("soft_time_limit", Seconds::new(seconds));
        self
    }

    /// Units of fuel it may burn.
    pub fn fuel(mut self, units: u64) -> Self {
        self.options.fuel = Some(units);
        self
    }

    /// Keep no result.
    pub fn ignore_result(mut self) -> Self {
        self.options.ignore_result = Some(true);
        self
    }

    /// A header of the sender's own, kept across retries.
    pub fn header(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        let name = name.into();
        if let Some(value) = self.checked(&format!("headers.{name}"), Json::of(&value)) {
            self.options.headers.insert(name, value);
        }
        self
    }

    /// The body of the request; or the first fault in it.
    pub fn build(self) -> Result<SubmitRequest> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let json = |json: serde_json::Result<Json>| json.map_err(|error| Error::invalid("args", error));
        Ok(SubmitRequest {
            task: Some(TaskName::new(&self.task).map_err(|error| Error::invalid("task", error))?),
            args: Some(json(Json::of(&self.args))?),
            kwargs: Some(json(Json::of(&InOrder(&self.kwargs)))?),
            options: Some(self.options),
            signature: None,
        })
    }

    fn checked<T, E: std::fmt::Display>(&mut self, field: &str, value: std::result::Result<T, E>) -> Option<T> {
        value.map_err(|why| self.wrong.get_or_insert(Error::invalid(field, why)).clone()).ok()
    }
}

/// An object whose keys keep their order.
struct InOrder<'a>(&'a [(String, Json)]);

impl Serialize for InOrder<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_becomes_celerys_json() {
        let call = Call::new("tour.add").arg(1).arg("x").kwarg("z", 1).kwarg("a", 2).kwarg("z", 3).countdown(1.5);
        let body = serde_json::to_string(&call.queue("slow").priority(3).build().unwrap()).unwrap();
        assert_eq!(
            body,
            r#"{"task":"tour.add","args":[1,"x"],"kwargs":{"a":2,"z":3},"options":{"queue":"slow","priority":3,"countdown":1.5}}"#
        );
    }

    #[test]
    fn the_first_fault_is_told_with_its_field() {
        let error = Call::new("a").countdown(-1.0).queue("no good").build().unwrap_err().to_string();
        assert!(error.starts_with("countdown: -1"), "{error}");
        let unkeyed = std::collections::HashMap::from([((1, 2), 3)]);
        let error = Call::new("a").kwarg("map", unkeyed).build().unwrap_err().to_string();
        assert!(error.starts_with("kwargs.map: "), "{error}");
        assert!(Call::new("no good").build().unwrap_err().to_string().starts_with("task: "));
    }
}
