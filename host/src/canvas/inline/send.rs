//! Which message is one task of a canvas? What a signature's options say goes where Celery's messages have it.

use std::sync::Arc;
use std::time::Duration;

use lovage_model::{
    Embed, Expires, Fields, Json, Message, QueueName, Seconds, TaskDefinition, TaskName, TimeLimit, Timestamp,
    WireName, WireShape, WireSignature,
};

use super::extent::Extent;
use super::{Inliner, Invalid};
use crate::canvas::builtin;

/// Options that are said elsewhere in a message, or were meant for whoever sends it.
const NOT_PROPERTIES: [&str; 26] = [
    "add_to_parent",
    "argsrepr",
    "compression",
    "countdown",
    "eta",
    "exchange",
    "expires",
    "headers",
    "ignore_result",
    "kwargsrepr",
    "max_retries",
    "origin",
    "priority",
    "queue",
    "replaced_task_nesting",
    "retries",
    "retry",
    "retry_policy",
    "route_name",
    "routing_key",
    "serializer",
    "shadow",
    "soft_time_limit",
    "stamped_headers",
    "time_limit",
    "timeout",
];

/// The task that a map calls.
#[derive(serde::Deserialize)]
struct Called {
    task: WireName,
}

impl Inliner<'_, '_> {
    /// One more message or id.
    pub(super) fn count(&mut self) -> Result<(), Invalid> {
        self.made += 1;
        let most = self.scope.rules.canvas_tasks;
        // A task of a canvas is frozen, often twice, and sent.
        if self.made <= most.saturating_mul(4) {
            return Ok(());
        }
        let text = format!("has more than {most} tasks, the limit (limits.canvas_tasks): send several");
        Err(Invalid::too_large("signature", text))
    }

    pub(super) fn message(&mut self, sig: WireSignature) -> Result<Message, Invalid> {
        self.count()?;
        self.scope.make_task()?;
        let WireSignature { task, args, shape, options, .. } = sig;
        let WireShape::Task(fields) = shape else { unreachable!("only tasks are messages") };
        let kwargs = Json::of(&fields).map_err(|error| Invalid::wrong("kwargs", error.to_string()))?;
        self.check_size(&args, &kwargs)?;
        // A chord's body is written into each of its parts.
        self.scope.make(Extent::of(options.chord.as_deref()).text_bytes())?;
        let definition = self.definition(&task);
        let declared = definition.as_deref().map(|definition| &definition.options);
        let rest = &options.rest;
        let id = match options.task_id {
            Some(id) => id,
            None => self.new_id(),
        };
        let now = self.scope.now;
        let expires = rest
            .read("expires")
            .or_else(|| seconds(rest, "expires").map(Expires::In))
            .or(declared.and_then(|declared| declared.expires.map(Expires::In)));
        let (name, named) = named(definition.as_deref(), &task);
        let queue = self.queue(rest, definition.is_some() || self.is_builtin(&task, &fields))?;
        let properties = properties(rest);
        Ok(Message {
            args,
            kwargs,
            queue,
            priority: rest.read("priority").or(declared.and_then(|declared| declared.priority)).unwrap_or(0),
            eta: eta(rest, now),
            expires: expires.map(|expires| match expires {
                Expires::At(time) => time,
                Expires::In(seconds) => now.after(seconds.duration()),
            }),
            timelimit: TimeLimit { soft: rest.read("soft_time_limit"), hard: rest.read("time_limit") },
            root_id: options.root_id.unwrap_or_else(|| self.sender.root_id.clone()),
            parent_id: Some(options.parent_id.unwrap_or_else(|| self.sender.id.clone())),
            ignore_result: rest.read("ignore_result").or(declared.map(|declared| declared.ignore_result)),
            shadow: rest.read("shadow"),
            retries: rest.read("retries").unwrap_or(0),
            replaced_task_nesting: rest.read("replaced_task_nesting").unwrap_or(0),
            headers: rest.read("headers").unwrap_or_default(),
            stamps: stamps(rest),
            group: options.group_id,
            group_index: options.group_index.and_then(|index| u32::try_from(index).ok()),
            embed: Some(Box::new(Embed {
                callbacks: options.link,
                errbacks: options.link_error,
                chain: options.chain.unwrap_or_default(),
                chord: options.chord,
                named,
                properties,
                argsrepr: rest.read("argsrepr"),
                kwargsrepr: rest.read("kwargsrepr"),
            })),
            ..Message::new(id, name)
        })
    }

    /// As it says; else a task that is known here goes where its sender came from, and others to Celery's default queue.
    fn queue(&self, rest: &Fields, known: bool) -> Result<QueueName, Invalid> {
        let says = |name: &'static str| Some((name, rest.get(name).filter(|value| !is_none(value))?));
        // A routing key is one of an exchange: in Celery, too, one alone says nothing of the queue.
        match says("queue").or_else(|| says("exchange").and_then(|_| says("routing_key"))) {
            Some((name, queue)) => queue_of(queue).map_err(|why| Invalid::wrong(format!("options.{name}"), why)),
            None if known => Ok(self.sender.queue.clone()),
            None => Ok(QueueName::default()),
        }
    }

    /// Whether it is a task of Celery's own that runs wherever its sender does. A map runs where the task that it calls is known.
    fn is_builtin(&self, task: &WireName, kwargs: &Fields) -> bool {
        if ![builtin::MAP, builtin::STARMAP].contains(&task.as_str()) {
            return builtin::ALL.contains(&task.as_str());
        }
        let called: Option<Called> = kwargs.read("task");
        called.is_some_and(|called| self.definition(&called.task).is_some())
    }

    /// What is known here of a task.
    pub(super) fn definition(&self, task: &WireName) -> Option<Arc<TaskDefinition>> {
        self.scope.tasks.find(&TaskName::new(task.as_str()).ok()?).ok().flatten()
    }

    fn check_size(&mut self, args: &Json, kwargs: &Json) -> Result<(), Invalid> {
        let (bytes, most) = (args.as_str().len() + kwargs.as_str().len(), self.scope.rules.message_bytes);
        if bytes <= most {
            return self.scope.make(bytes);
        }
        let text = format!("with kwargs are {bytes} bytes, the limit is {most} (limits.message_bytes): return less");
        Err(Invalid::too_large("args", text))
    }
}

/// Whether an option is written that says nothing.
fn is_none(value: &Json) -> bool {
    matches!(value.as_str(), "null" | "\"\"")
}

/// In Celery a queue may be called anything. Here it is a key beside others, so one of another name would be somewhere else.
fn queue_of(value: &Json) -> Result<QueueName, String> {
    let name: String = value.read().map_err(|error| format!("{value} is no text: {error}"))?;
    QueueName::new(name).map_err(|error| error.to_string())
}

/// What a task is called here; and by others, if it has no such name.
fn named(definition: Option<&TaskDefinition>, task: &WireName) -> (TaskName, Option<WireName>) {
    match definition.map_or_else(|| TaskName::new(task.as_str()), |definition| Ok(definition.name.clone())) {
        Ok(name) => (name, None),
        Err(_) => (TaskName::spelled(task.as_str()), Some(task.clone())),
    }
}

/// When it runs at the earliest: a time in the past means now.
fn eta(rest: &Fields, now: Timestamp) -> Option<Timestamp> {
    let countdown = seconds(rest, "countdown").filter(|countdown| countdown.duration() > Duration::ZERO);
    countdown.map(|countdown| now.after(countdown.duration())).or_else(|| rest.read("eta")).filter(|eta| *eta > now)
}

/// A span, as far as one can be waited for: what is longer is the longest, what is negative is none.
fn seconds(rest: &Fields, name: &str) -> Option<Seconds> {
    rest.read::<f64>(name).and_then(|seconds| Seconds::new(seconds.clamp(0.0, Seconds::MAX)).ok())
}

fn stamps(rest: &Fields) -> std::collections::BTreeMap<String, Json> {
    let names: Vec<String> = rest.read("stamped_headers").unwrap_or_default();
    names.into_iter().filter_map(|name| rest.get(&name).cloned().map(|value| (name, value))).collect()
}

/// What is left is for the message's properties, as Celery hands it to its transport.
fn properties(rest: &Fields) -> Json {
    let stamped: Vec<String> = rest.read("stamped_headers").unwrap_or_default();
    let is_property = |name: &str| !NOT_PROPERTIES.contains(&name) && !stamped.iter().any(|stamp| stamp == name);
    let properties: Fields = rest
        .iter()
        .filter(|(name, _)| is_property(name))
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .collect();
    Json::of(&properties).unwrap_or_else(|_| Json::empty_object())
}
