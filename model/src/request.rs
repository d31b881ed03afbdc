//! What a running task may know about its own run: Celery's `task.request`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Json, Message, QueueName, TaskId, TaskName, TaskOptions, Then, TimeLimit, Timestamp};

/// The context of one attempt, with the field names of `celery.app.task.Context`.
/// See <https://docs.celeryq.dev/en/stable/userguide/tasks.html#task-request-info>.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The task's id.
    pub id: TaskId,
    /// Its name.
    pub task: TaskName,
    /// Positional arguments: a JSON array.
    pub args: Json,
    /// Keyword arguments: a JSON object.
    pub kwargs: Json,
    /// How often it has been retried before.
    pub retries: u32,
    /// The first ancestor.
    pub root_id: TaskId,
    /// The task that sent this one.
    pub parent_id: Option<TaskId>,
    /// When it was to run.
    pub eta: Option<Timestamp>,
    /// When it would have expired.
    pub expires: Option<Timestamp>,
    /// The limits in force for this attempt: the least of what operator, task and sender ask for.
    pub timelimit: TimeLimit,
    /// The fuel of this attempt, if it is metered.
    pub fuel: Option<u64>,
    /// Whether its result is dropped.
    pub ignore_result: bool,
    /// Another name for logs and lists.
    pub shadow: Option<String>,
    /// Who sent it.
    pub origin: Option<String>,
    /// How many times it has been replaced.
    pub replaced_task_nesting: u32,
    /// The sender's own headers.
    pub headers: BTreeMap<String, Json>,
    /// The id that its result is known by: the task's own.
    pub correlation_id: TaskId,
    /// The group it is a member of.
    #[serde(default)]
    pub group: Option<TaskId>,
    /// Which member.
    #[serde(default)]
    pub group_index: Option<u32>,
    /// The header of a chord that it is a part of, itself or as the last of a chain: see `add_to_chord`.
    #[serde(default)]
    pub chord: Option<TaskId>,
    /// Sent with its result once it has returned: signatures as Celery writes them.
    #[serde(default)]
    pub callbacks: Vec<Json>,
    /// What follows it in its chain, the next one last: signatures as Celery writes them. Only of a message that a Celery
    /// client sent; elsewhere what follows waits in the store.
    #[serde(default)]
    pub chain: Vec<Json>,
    /// Sent with its id once it has failed: signatures as Celery writes them.
    #[serde(default)]
    pub errbacks: Vec<Json>,
    /// The names of its stamps.
    #[serde(default)]
    pub stamped_headers: Vec<String>,
    /// Its stamps, by name.
    #[serde(default)]
    pub stamps: BTreeMap<String, Json>,
    /// How many tasks are above it: 0 for one that a client sent.
    #[serde(default)]
    pub depth: u32,
    /// The options in force: those of the task, with what its sender overrides.
    #[serde(default)]
    pub options: TaskOptions,
    /// The host that runs it.
    pub hostname: String,
    /// The message's properties, as a Celery client sent them: a JSON object.
    #[serde(default = "Json::empty_object")]
    pub properties: Json,
    /// How it came.
    pub delivery_info: DeliveryInfo,
    /// Whether it runs without a daemon (`lovage exec`).
    pub is_eager: bool,
    /// Always false: a task in a sandbox is never called as a plain function.
    pub called_directly: bool,
}

/// How a message came to the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeliveryInfo {
    /// Always empty: messages go to queues by name.
    pub exchange: String,
    /// The queue.
    pub routing_key: QueueName,
    /// 0 (first) to 9 (last).
    pub priority: u8,
    /// Whether an earlier delivery ended without an outcome: a host was killed, or the task rejected it.
    pub redelivered: bool,
}

/// As text: a task module should not carry what reads signatures.
fn written<S: Serialize>(signatures: &[S]) -> Vec<Json> {
    signatures.iter().filter_map(|signature| Json::of(signature).ok()).collect()
}

impl Request {
    /// The context of an attempt at a message, with the default options.
    pub fn of(message: &Message, hostname: &str, redelivered: bool) -> Self {
        let embed = message.embed.as_deref();
        Self {
            id: message.id.clone(),
            task: message.task.clone(),
            args: message.args.clone(),
            kwargs: message.kwargs.clone(),
            retries: message.retries,
            root_id: message.root_id.clone(),
            parent_id: message.parent_id.clone(),
            eta: message.eta,
            expires: message.expires,
            timelimit: message.timelimit,
            fuel: message.fuel,
            ignore_result: message.ignore_result.unwrap_or(false),
            shadow: message.shadow.clone(),
            origin: message.origin.clone(),
            replaced_task_nesting: message.replaced_task_nesting,
            headers: message.headers.clone(),
            correlation_id: message.id.clone(),
            group: message.group.clone(),
            group_index: message.group_index,
            chord: match (&message.then, embed) {
                (Some(Then::Part { group, .. }), _) => Some(group.clone()),
                (_, Some(embed)) if embed.chord.is_some() => message.group.clone(),
                _ => None,
            },
            callbacks: embed.map_or_else(|| written(&message.callbacks), |embed| written(&embed.callbacks)),
            chain: embed.map(|embed| written(&embed.chain)).unwrap_or_default(),
            errbacks: embed.map_or_else(|| written(&message.errbacks), |embed| written(&embed.errbacks)),
            stamped_headers: message.stamps.keys().cloned().collect(),
            stamps: message.stamps.clone(),
            depth: message.depth,
            options: TaskOptions::default(),
            hostname: hostname.to_owned(),
            properties: embed.map_or_else(Json::empty_object, |embed| embed.properties.clone()),
            delivery_info: DeliveryInfo {
                exchange: String::new(),
                routing_key: message.queue.clone(),
                priority: message.priority,
                redelivered,
            },
            is_eager: false,
            called_directly: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Signature;

    #[test]
    fn a_request_has_celerys_names() {
        let id = |text: &str| TaskId::new(text).unwrap();
        let message = Message {
            args: Json::parse("[18446744073709551616]".to_owned()).unwrap(),
            retries: 2,
            root_id: id("root"),
            parent_id: Some(id("parent")),
            headers: [("k".to_owned(), Json::null())].into(),
            stamps: [("build".to_owned(), Json::null())].into(),
            callbacks: vec![Signature::new("t.back".parse().unwrap(), Json::empty_array())],
            errbacks: vec![Signature::new("t.wrong".parse().unwrap(), Json::empty_array())],
            then: Some(Then::Part { group: id("g"), index: 3 }),
            group: Some(id("g")),
            group_index: Some(3),
            timelimit: TimeLimit { soft: crate::Seconds::new(1.0).ok(), hard: crate::Seconds::new(2.0).ok() },
            ..Message::new(id("a"), "t.add".parse().unwrap())
        };
        let request = Json::of(&Request::of(&message, "lovage@here", true)).unwrap();
        assert!(request.as_str().contains("[18446744073709551616]"), "{request}");
        let fields: serde_json::Value = request.read().unwrap();
        let expected = serde_json::json!({
            "id": "a", "task": "t.add", "kwargs": {}, "retries": 2, "root_id": "root", "parent_id": "parent", "eta": null,
            "expires": null, "timelimit": {"soft": 1.0, "hard": 2.0}, "ignore_result": false, "shadow": null,
            "origin": null, "replaced_task_nesting": 0, "headers": {"k": null}, "correlation_id": "a", "group": "g",
            "group_index": 3, "chord": "g", "stamped_headers": ["build"], "stamps": {"build": null},
            "hostname": "lovage@here", "is_eager": false, "called_directly": false,
        });
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&fields[name], value, "{name}");
        }
        assert_eq!(
            (&fields["callbacks"][0]["task"], &fields["errbacks"][0]["task"]),
            (&"t.back".into(), &"t.wrong".into())
        );
        let delivery = serde_json::json!({"exchange": "", "routing_key": "celery", "priority": 0, "redelivered": true});
        assert_eq!(fields["delivery_info"], delivery);
    }
}
