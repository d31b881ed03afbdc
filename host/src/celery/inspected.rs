//! What a host says of itself to Celery's `inspect`: the parts of its answers that have a shape of their own on the wire.
//! See <https://docs.celeryq.dev/en/stable/userguide/workers.html#inspecting-workers>.

use lovage_model::inspect::{ScheduledInfo, TaskInfo};
use lovage_model::{DeliveryInfo, Json, TaskId, TaskName, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};

/// The tasks that every application of Celery's has, as far as hosts run them.
pub const BUILTINS: [&str; 9] = [
    "celery.accumulate",
    "celery.backend_cleanup",
    "celery.chain",
    "celery.chord",
    "celery.chunks",
    "celery.group",
    "celery.map",
    "celery.ping",
    "celery.starmap",
];

/// What Celery's timer has for a task that waits for its time.
const PRIORITY_OF_TIMER: u8 = 6;

/// A task that a host has.
#[derive(Debug, Serialize)]
pub struct Task<'a> {
    id: &'a TaskId,
    /// As lists show it.
    name: &'a str,
    args: &'a Json,
    kwargs: &'a Json,
    #[serde(rename = "type")]
    kind: &'a TaskName,
    hostname: &'a str,
    /// Seconds since 1970.
    time_start: Option<f64>,
    acknowledged: bool,
    delivery_info: &'a DeliveryInfo,
    /// Of no process before it begins.
    worker_pid: Option<u32>,
}

impl<'a> Task<'a> {
    /// As it is written.
    pub fn of(info: &'a TaskInfo) -> Self {
        Self {
            id: &info.id,
            name: info.shadow.as_deref().unwrap_or(info.name.as_str()),
            args: &info.args,
            kwargs: &info.kwargs,
            kind: &info.kind,
            hostname: &info.hostname,
            time_start: info.time_start.map(|at| at.as_micros() as f64 / 1e6),
            acknowledged: info.acknowledged,
            delivery_info: &info.delivery_info,
            worker_pid: info.time_start.map(|_| info.worker_pid),
        }
    }
}

/// A task that waits for its time.
#[derive(Debug, Serialize)]
pub struct Scheduled<'a> {
    eta: Timestamp,
    /// Of the timer, not of the message.
    priority: u8,
    request: Task<'a>,
}

impl<'a> Scheduled<'a> {
    /// As it is written.
    pub fn of(info: &'a ScheduledInfo) -> Self {
        Self { eta: info.eta, priority: PRIORITY_OF_TIMER, request: Task::of(&info.request) }
    }
}

/// A queue that a host takes from, as kombu describes one.
pub fn queue(name: &str) -> Value {
    json!({
        "name": name,
        "exchange": {
            "name": name, "type": "direct", "arguments": null, "durable": true, "passive": false, "auto_delete": false,
            "delivery_mode": null, "no_declare": false,
        },
        "routing_key": name, "queue_arguments": null, "binding_arguments": null, "consumer_arguments": null,
        "durable": true, "exclusive": false, "auto_delete": false, "no_ack": false, "alias": null, "bindings": [],
        "no_declare": null, "expires": null, "message_ttl": null, "max_length": null, "max_length_bytes": null,
        "max_priority": null,
    })
}

/// A text in a set, as Python shows it: `{'a', 'b'}`.
pub fn set(items: &[TaskId]) -> String {
    if items.is_empty() {
        return "set()".to_owned();
    }
    let quoted: Vec<String> = items.iter().map(|item| format!("'{item}'")).collect();
    format!("{{{}}}", quoted.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_shown_by_its_shadow() {
        let mut info: TaskInfo = serde_json::from_value(json!({
            "id": "a", "name": "t.b", "args": [], "kwargs": {}, "type": "t.b", "hostname": "w@h", "time_start": null,
            "acknowledged": false, "worker_pid": 1,
            "delivery_info": {"exchange": "", "routing_key": "q", "priority": 0, "redelivered": false},
        }))
        .unwrap();
        let shown = |info: &TaskInfo| serde_json::to_value(Task::of(info)).unwrap();
        assert_eq!(shown(&info)["name"], "t.b");
        info.shadow = Some("nightly build".to_owned());
        assert_eq!((&shown(&info)["name"], &shown(&info)["type"]), (&json!("nightly build"), &json!("t.b")));
    }
}
