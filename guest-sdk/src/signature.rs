//! How is a call described without making it?
//!
//! A [`Signature`] is Celery's, built step by step; a step that cannot be taken (a value that is not JSON, a negative
//! countdown) is kept and raised when the signature is used, so that building needs no `?`.
//!
//! It is written field by field, not by way of the model's type: that would make every module carry the code that
//! writes dates.
//!
//! Absent: chain, group and chord.

use std::collections::BTreeMap;
use std::fmt::Display;

use lovage_model::{Json, QueueName, Seconds, TaskId, TaskName, Timestamp};
use serde::Serialize;

use crate::{Context, TaskError, TaskResult};

/// A call of a task, to be sent or to replace the running one: Celery's `add.s(2, 2)`.
///
/// Each `#[task]` makes its own, typed: `add::s(2, 2)`. [`Signature::of`] names a task of another module.
#[derive(Debug, Clone)]
#[must_use = "a signature only describes a call: send it with delay, or return it with ctx.replace"]
pub struct Signature {
    task: String,
    args: Vec<Json>,
    kwargs: BTreeMap<String, Json>,
    options: Options,
    immutable: bool,
    fault: Option<TaskError>,
}

impl Signature {
    /// A call of the task of that name, without arguments.
    pub fn of(task: &str) -> Self {
        Self {
            task: task.to_owned(),
            args: Vec::new(),
            kwargs: BTreeMap::new(),
            options: Options::default(),
            immutable: false,
            fault: None,
        }
    }

    /// With one more positional argument.
    pub fn arg(mut self, value: impl Serialize) -> Self {
        match Json::of(&value) {
            Ok(json) => self.args.push(json),
            Err(error) => _ = self.fault.get_or_insert(TaskError::encode("an argument", &error)),
        }
        self
    }

    /// With a keyword argument.
    pub fn kwarg(mut self, name: &str, value: impl Serialize) -> Self {
        match Json::of(&value) {
            Ok(json) => _ = self.kwargs.insert(name.to_owned(), json),
            Err(error) => _ = self.fault.get_or_insert(TaskError::encode(&format!("argument '{name}'"), &error)),
        }
        self
    }

    /// Runs it so: replaces all options set before.
    pub fn set(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Leaves the result of the task before it out of its arguments: Celery's `si`.
    pub fn immutable(mut self) -> Self {
        self.immutable = true;
        self
    }

    /// Sends it: see [`Context::apply_async`].
    pub fn delay(self, ctx: &Context) -> TaskResult<AsyncResult> {
        ctx.apply_async(self)
    }

    /// As Celery writes it, or what went wrong on the way.
    pub fn to_json(&self) -> Result<Json, TaskError> {
        if let Some(fault) = self.fault.as_ref().or(self.options.fault.as_ref()) {
            return Err(fault.clone());
        }
        let task = TaskName::new(&self.task).map_err(|error| value_error(&error))?;
        let written = Written {
            task: task.as_str(),
            args: &self.args,
            kwargs: &self.kwargs,
            options: &self.options.chosen,
            subtask_type: (),
            immutable: self.immutable,
        };
        Json::of(&written).map_err(|error| TaskError::encode("a signature", &error))
    }
}

/// Celery's fields, in its order.
#[derive(Serialize)]
struct Written<'a> {
    task: &'a str,
    args: &'a [Json],
    kwargs: &'a BTreeMap<String, Json>,
    options: &'a BTreeMap<&'static str, Json>,
    subtask_type: (),
    immutable: bool,
}

/// How to run a call: what Celery's `apply_async` and `set` take besides arguments.
///
/// A value out of range is raised as ValueError when the signature is used.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Options {
    chosen: BTreeMap<&'static str, Json>,
    headers: BTreeMap<String, Json>,
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
        self.choose("fuel", Ok::<_, String>(fuel))
    }

    /// Whether to keep no result.
    pub fn ignore_result(self, ignore: bool) -> Self {
        self.choose("ignore_result", Ok::<_, String>(ignore))
    }

    /// The id it will have, instead of a new one.
    pub fn task_id(self, id: &str) -> Self {
        self.choose("task_id", TaskId::new(id))
    }

    /// Another name for logs and lists.
    pub fn shadow(self, name: &str) -> Self {
        self.choose("shadow", Ok::<_, String>(name))
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

    fn choose<T: Serialize, E: Display>(mut self, name: &'static str, value: Result<T, E>) -> Self {
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

fn value_error(error: &impl Display) -> TaskError {
    TaskError::unlocated("ValueError", &error.to_string())
}

/// A task that was sent. Its result cannot be waited for: see [`Context`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsyncResult {
    id: String,
}

impl AsyncResult {
    pub(crate) fn new(id: String) -> Self {
        Self { id }
    }

    /// The id, by which anybody can ask for the result later.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl Serialize for AsyncResult {
    /// Its id.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_celerys_json() {
        let options = Options::new().countdown(3.0).queue("slow");
        let json = Signature::of("m.add").arg(1).kwarg("y", "b").set(options).immutable().to_json().unwrap();
        assert_eq!(
            json.as_str(),
            r#"{"task":"m.add","args":[1],"kwargs":{"y":"b"},"options":{"countdown":3.0,"queue":"slow"},"subtask_type":null,"immutable":true}"#
        );
    }

    #[test]
    fn every_option_is_one_that_the_model_knows() {
        let options = Options::new()
            .countdown(1.0)
            .eta("2026-11-21T12:00:00Z")
            .expires(60.0)
            .queue("slow")
            .priority(2)
            .time_limit(5.0)
            .soft_time_limit(4.0)
            .fuel(1_000)
            .ignore_result(true)
            .task_id("t-1")
            .shadow("other")
            .header("a", 1)
            .header("b", [2]);
        let json = Signature::of("m.add").set(options).to_json().unwrap();
        let read: lovage_model::Signature = json.read().unwrap();
        let seconds = |number| lovage_model::Seconds::new(number).ok();
        assert_eq!(
            read.options,
            lovage_model::SignatureOptions {
                task_id: TaskId::new("t-1").ok(),
                queue: QueueName::new("slow").ok(),
                priority: Some(2),
                countdown: seconds(1.0),
                eta: Timestamp::parse("2026-11-21T12:00:00Z").ok(),
                expires: seconds(60.0).map(lovage_model::Expires::In),
                time_limit: seconds(5.0),
                soft_time_limit: seconds(4.0),
                fuel: Some(1_000),
                ignore_result: Some(true),
                shadow: Some("other".to_owned()),
                headers: BTreeMap::from([
                    ("a".to_owned(), Json::of(&1).unwrap()),
                    ("b".to_owned(), Json::of(&[2]).unwrap()),
                ]),
                ..Default::default()
            }
        );
    }

    #[test]
    fn what_went_wrong_while_building_is_raised_at_the_end() {
        let raised = |signature: Signature| signature.to_json().unwrap_err().to_string();
        assert_eq!(
            raised(Signature::of("m.f").set(Options::new().countdown(-1.0))),
            "ValueError: -1 is not a number of seconds between 0 and 31622400"
        );
        assert!(raised(Signature::of("a b")).starts_with("ValueError: \"a b\" is not a task name"));
        assert!(raised(Signature::of("m.f").set(Options::new().priority(10))).contains("priority 10"));
        assert!(raised(Signature::of("m.f").set(Options::new().eta("soon"))).contains("ISO 8601"));
        let unfit = BTreeMap::from([((1, 2), 3)]);
        assert!(raised(Signature::of("m.f").arg(unfit)).starts_with("EncodeError: an argument cannot be JSON"));
    }
}
