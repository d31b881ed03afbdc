//! Results as Celery's Redis backend keeps them: of a task, of a group, and the parts of a chord.
//!
//! See <https://docs.celeryq.dev/en/stable/userguide/configuration.html#result-backend-settings> and
//! <https://docs.celeryq.dev/en/stable/reference/celery.backends.base.html>.

use std::borrow::Cow;
use std::collections::BTreeMap;

use lovage_model::{Exception, Fields, Json, Message, ResultTuple, State, TaskId, Timestamp};
use serde::de::DeserializeOwned;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::json::{carried, dumps};
use super::{Limits, compression};

/// What stands before a compressed result; the way of compression and a zero byte follow.
const COMPRESSED: &[u8] = b"\0celery-compressed\0";

/// A result that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("no result of Celery's: {0}")]
pub struct Unreadable(String);

/// The result of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Meta {
    /// The task.
    pub task_id: TaskId,
    /// Its state.
    pub status: State,
    /// Its value, its exception, or the meta of a custom state.
    pub result: Json,
    /// Where it failed.
    pub traceback: Option<String>,
    /// What it sent.
    pub children: Vec<ResultTuple>,
    /// When it became ready.
    pub date_done: Option<Timestamp>,
    /// The group it is a member of.
    pub group_id: Option<TaskId>,
    /// What came before it.
    pub parent_id: Option<TaskId>,
    /// What is kept with `result_extended`.
    pub extended: Option<Extended>,
}

/// What a meta says of the call, with `result_extended`.
#[derive(Debug, Clone, PartialEq)]
pub struct Extended {
    /// Name of the task.
    pub name: Option<String>,
    /// Positional arguments.
    pub args: Json,
    /// Keyword arguments.
    pub kwargs: Json,
    /// The host that ran it.
    pub worker: Option<String>,
    /// How often it was retried.
    pub retries: Option<u32>,
    /// Its queue.
    pub queue: Option<String>,
    /// Its stamps.
    pub stamps: BTreeMap<String, Json>,
}

impl Extended {
    /// Of the call that a message is; no worker: nobody ran it.
    pub fn of(message: &Message, worker: Option<&str>) -> Self {
        Self {
            name: Some(message.task.to_string()),
            args: message.args.clone(),
            kwargs: message.kwargs.clone(),
            worker: worker.map(str::to_owned),
            retries: Some(message.retries),
            queue: Some(message.queue.to_string()),
            stamps: message.stamps.clone(),
        }
    }
}

impl Serialize for Meta {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = serializer.serialize_map(None)?;
        all.serialize_entry("status", &self.status)?;
        all.serialize_entry("result", &self.result)?;
        all.serialize_entry("traceback", &self.traceback)?;
        all.serialize_entry("children", &self.children)?;
        all.serialize_entry("date_done", &self.date_done)?;
        for (name, id) in [("group_id", &self.group_id), ("parent_id", &self.parent_id)] {
            if let Some(id) = id {
                all.serialize_entry(name, id)?;
            }
        }
        if let Some(Extended { name, args, kwargs, worker, retries, queue, stamps }) = &self.extended {
            all.serialize_entry("name", name)?;
            all.serialize_entry("args", args)?;
            all.serialize_entry("kwargs", kwargs)?;
            all.serialize_entry("worker", worker)?;
            all.serialize_entry("retries", retries)?;
            all.serialize_entry("queue", queue)?;
            if !stamps.is_empty() {
                all.serialize_entry("stamped_headers", &stamps.keys().collect::<Vec<_>>())?;
            }
            for (name, value) in stamps {
                all.serialize_entry(name, value)?;
            }
        }
        all.serialize_entry("task_id", &self.task_id)?;
        all.end()
    }
}

/// The value of `celery-task-meta-<id>`, and what is published on the channel of that name. Fails for nothing that can be in
/// one.
pub fn write(meta: &Meta) -> serde_json::Result<String> {
    dumps(meta)
}

/// A result that was written, under another id: also one that no task can have.
pub fn under(id: &str, written: &str) -> serde_json::Result<String> {
    let mut fields: Fields = serde_json::from_str(written)?;
    fields.set("task_id", Json::of(id)?);
    dumps(&fields)
}

/// Reads what any worker wrote. A number that is not finite becomes a text, such as `NaN`: there is no other in JSON.
pub fn read(raw: &[u8], limits: &Limits) -> Result<Meta, Unreadable> {
    let text = text(raw, limits)?;
    let mut fields: Fields = parse(&carried(&text))?;
    let extended = fields.get("name").is_some().then(|| extended(&fields));
    let mut take = |name: &str| fields.remove(name).filter(|value| value.as_str() != "null");
    Ok(Meta {
        task_id: needed(take("task_id"), "task_id")?,
        status: needed(take("status"), "status")?,
        result: take("result").unwrap_or_else(Json::null),
        traceback: take("traceback").and_then(|text| text.read().ok()),
        children: take("children").and_then(|all| all.read().ok()).unwrap_or_default(),
        date_done: take("date_done").and_then(|time| time.read().ok()),
        group_id: take("group_id").and_then(|id| id.read().ok()),
        parent_id: take("parent_id").and_then(|id| id.read().ok()),
        extended,
    })
}

fn extended(fields: &Fields) -> Extended {
    let names: Vec<String> = fields.read("stamped_headers").unwrap_or_default();
    let stamps = names.into_iter().filter_map(|name| fields.get(&name).cloned().map(|value| (name, value))).collect();
    let json = |name: &str, none: fn() -> Json| fields.get(name).cloned().unwrap_or_else(none);
    Extended {
        name: fields.read("name"),
        args: json("args", Json::empty_array),
        kwargs: json("kwargs", Json::empty_object),
        worker: fields.read("worker"),
        retries: fields.read("retries"),
        queue: fields.read("queue"),
        stamps,
    }
}

fn needed<T: DeserializeOwned>(value: Option<Json>, name: &str) -> Result<T, Unreadable> {
    let value = value.ok_or_else(|| Unreadable(format!("there is no {name}")))?;
    value.read().map_err(|error| Unreadable(format!("{name}: {error}")))
}

/// The exception that a result is, or stands in the place of one that is written in a way that nobody knows.
pub fn exception(result: &Json) -> Exception {
    result.read().unwrap_or_else(|_| {
        let fields: Fields = result.read().unwrap_or_default();
        let text = |name: &str, other: &str| fields.read(name).unwrap_or_else(|| other.to_owned());
        let args = fields.get("exc_message").filter(|args| args.is_array()).cloned();
        Exception {
            exc_type: text("exc_type", "Exception"),
            exc_message: args.or_else(|| Json::of(&[result]).ok()).unwrap_or_else(Json::empty_array),
            exc_module: text("exc_module", "builtins"),
        }
    })
}

/// The value of `celery-taskset-meta-<id>`.
pub fn write_group(group: &ResultTuple) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Group<'a> {
        result: &'a ResultTuple,
    }
    dumps(&Group { result: group })
}

/// Reads the members of a group.
pub fn read_group(raw: &[u8], limits: &Limits) -> Result<ResultTuple, Unreadable> {
    let mut fields: Fields = parse(&text(raw, limits)?)?;
    needed(fields.remove("result"), "result")
}

/// The end of one part of a chord, as it is kept until all are there.
#[derive(Debug, Clone, PartialEq)]
pub struct PartEnd {
    /// The task.
    pub id: TaskId,
    /// SUCCESS, FAILURE or REVOKED.
    pub state: State,
    /// Its value, or its exception.
    pub result: Json,
}

/// A member of `celery-taskset-meta-<id>.j`.
pub fn write_part(part: &PartEnd) -> serde_json::Result<String> {
    dumps(&(1, &part.id, &part.state, &part.result))
}

/// Reads one that any worker wrote. Numbers that JSON has not are carried to the body of the chord.
pub fn read_part(raw: &[u8], limits: &Limits) -> Result<PartEnd, Unreadable> {
    let text = text(raw, limits)?;
    let (_, id, state, result): (Json, TaskId, State, Json) = parse(&carried(&text))?;
    Ok(PartEnd { id, state, result })
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Unreadable> {
    serde_json::from_str(text).map_err(|error| Unreadable(error.to_string()))
}

fn text<'a>(raw: &'a [u8], limits: &Limits) -> Result<Cow<'a, str>, Unreadable> {
    let Some(packed) = raw.strip_prefix(COMPRESSED) else {
        return std::str::from_utf8(raw).map(Cow::Borrowed).map_err(|error| Unreadable(error.to_string()));
    };
    let end = packed.iter().position(|&byte| byte == 0).unwrap_or(packed.len());
    let (way, packed) = (String::from_utf8_lossy(&packed[..end]), packed.get(end + 1..).unwrap_or_default());
    let bytes = compression::unpack(&way, packed, limits.body_bytes).map_err(|error| Unreadable(error.to_string()))?;
    String::from_utf8(bytes).map(Cow::Owned).map_err(|error| Unreadable(error.to_string()))
}
