//! Events as Celery's monitors read them: what happens to tasks, and that a host is there.
//!
//! What Celery has no event for (a task that was replaced or ignored, its progress, its log) is not told.
//! See <https://docs.celeryq.dev/en/stable/userguide/monitoring.html#event-reference>.

use lovage_model::{Called, Event, EventKind, Timestamp};
use serde::Serialize;

use super::channel::{self, Address};
use super::json::dumps;

/// The exchange that all events go to.
pub const EXCHANGE: &str = "celeryev";

/// What killed a task that was terminated: SIGKILL.
const TERMINATED_BY: u8 = 9;

/// Whose events they are.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    /// Its name, `celery@host`.
    pub hostname: &'a str,
    /// Its process.
    pub pid: u32,
    /// How many hours its clock on the wall is behind UTC.
    pub utcoffset: f64,
}

/// That a host is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It has come.
    Online,
    /// It is still there.
    Heartbeat,
    /// It goes.
    Offline,
}

impl Presence {
    /// The event's `type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Online => "worker-online",
            Self::Heartbeat => "worker-heartbeat",
            Self::Offline => "worker-offline",
        }
    }
}

/// How a host is.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Health<'a> {
    /// Seconds between two heartbeats.
    pub freq: f64,
    /// Tasks that it runs.
    pub active: usize,
    /// Tasks that it has run.
    pub processed: u64,
    /// Of the machine, over 1, 5 and 15 minutes.
    pub loadavg: [f64; 3],
    /// Which software it is.
    pub sw_ident: &'a str,
    /// Its version.
    pub sw_ver: &'a str,
    /// The operating system.
    pub sw_sys: &'a str,
}

/// Something that happened to a task, as the body of an event; none, if Celery has no event for it.
pub fn task(event: &Event, node: &Node<'_>, clock: u64) -> serde_json::Result<Option<String>> {
    let hostname = event.hostname.as_deref().unwrap_or(node.hostname);
    let mut body = Body::begin(hostname, node, clock)?;
    body.field("uuid", &event.uuid)?;
    let kind = match &event.kind {
        EventKind::Sent { call } => body.sent(event, call.as_deref())?,
        EventKind::Received { call } => body.received(event, call.as_deref())?,
        EventKind::Succeeded { repr, runtime, .. } => body.field("result", repr)?.field("runtime", runtime)?,
        EventKind::Failed { repr, traceback, .. } | EventKind::Retried { repr, traceback, .. } => {
            body.field("exception", repr)?.some("traceback", traceback.as_ref())?
        }
        EventKind::Revoked { terminated, expired } => {
            let signum = terminated.then_some(TERMINATED_BY);
            body.field("terminated", terminated)?.field("signum", &signum)?.field("expired", expired)?
        }
        EventKind::Rejected { requeue } => body.field("requeue", requeue)?,
        EventKind::Started => &mut body,
        EventKind::Custom { event: name, fields } => {
            for (name, value) in
                fields.as_object().into_iter().flatten().filter(|(name, _)| !OF_EVENTS.contains(&name.as_str()))
            {
                body.field(name, value)?;
            }
            return body.end(event.timestamp, name).map(Some);
        }
        EventKind::Progress { .. } | EventKind::Replaced { .. } | EventKind::Ignored | EventKind::Log { .. } => {
            return Ok(None);
        }
    };
    kind.end(event.timestamp, event.kind.name()).map(Some)
}

/// The name under which an event is published by itself, as Celery's `send_event` does with an author's own; none, if it goes with
/// others. What is called as events of workers are would reach workers, who take those for orders: it goes with others, too.
pub fn own_name(event: &Event) -> Option<&str> {
    match &event.kind {
        EventKind::Custom { event: name, .. } if !name.starts_with("worker") => Some(name),
        _ => None,
    }
}

/// That a host is there, as the body of an event.
pub fn worker(
    presence: Presence,
    health: &Health<'_>,
    at: Timestamp,
    node: &Node<'_>,
    clock: u64,
) -> serde_json::Result<String> {
    let mut body = Body::begin(node.hostname, node, clock)?;
    body.field("freq", &health.freq)?.field("active", &health.active)?.field("processed", &health.processed)?;
    body.field("loadavg", &health.loadavg)?.field("sw_ident", health.sw_ident)?;
    body.field("sw_ver", health.sw_ver)?.field("sw_sys", health.sw_sys)?;
    body.end(at, presence.name())
}

/// What is published, and under which routing key: see `channel`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The routing key.
    pub routing_key: String,
    /// What is published.
    pub envelope: String,
}

/// One event of a type. Each copy has an id of its own.
pub fn publish(kind: &str, body: &str, node: &Node<'_>, tag: &str) -> serde_json::Result<Publication> {
    publication(kind.replace('-', "."), body, node, tag)
}

/// Many events of tasks at once.
pub fn publish_tasks(bodies: &[String], node: &Node<'_>, tag: &str) -> serde_json::Result<Publication> {
    publication("task.multi".to_owned(), &format!("[{}]", bodies.join(", ")), node, tag)
}

fn publication(routing_key: String, body: &str, node: &Node<'_>, tag: &str) -> serde_json::Result<Publication> {
    #[derive(Serialize)]
    struct Headers<'a> {
        hostname: &'a str,
    }
    let to = Address { exchange: EXCHANGE, routing_key: &routing_key, delivery_mode: 1, tag };
    let envelope = channel::envelope(body, Headers { hostname: node.hostname }, to)?;
    Ok(Publication { routing_key, envelope })
}

/// The fields that all events have: an author's own event cannot set them.
const OF_EVENTS: [&str; 7] = ["hostname", "utcoffset", "pid", "clock", "uuid", "timestamp", "type"];

/// The body of an event, field after field.
struct Body(String);

impl Body {
    fn begin(hostname: &str, node: &Node<'_>, clock: u64) -> serde_json::Result<Self> {
        let mut body = Self(String::with_capacity(512));
        body.field("hostname", hostname)?.field("utcoffset", &node.utcoffset)?;
        body.field("pid", &node.pid)?.field("clock", &clock)?;
        Ok(body)
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> serde_json::Result<&mut Self> {
        self.0.push_str(if self.0.is_empty() { "{" } else { ", " });
        self.0.push_str(&dumps(name)?);
        self.0.push_str(": ");
        self.0.push_str(&dumps(value)?);
        Ok(self)
    }

    fn some<T: Serialize>(&mut self, name: &str, value: Option<&T>) -> serde_json::Result<&mut Self> {
        match value {
            Some(value) => self.field(name, value),
            None => Ok(self),
        }
    }

    fn sent(&mut self, event: &Event, call: Option<&Called>) -> serde_json::Result<&mut Self> {
        let Some(call) = call else { return self.field("name", &event.name) };
        self.field("root_id", &call.root_id)?.field("parent_id", &call.parent_id)?.field("name", &event.name)?;
        self.field("args", &call.argsrepr)?.field("kwargs", &call.kwargsrepr)?.field("retries", &call.retries)?;
        self.field("eta", &call.eta)?.field("expires", &call.expires)?;
        self.field("queue", &call.queue)?.field("exchange", "")?.field("routing_key", &call.queue)
    }

    fn received(&mut self, event: &Event, call: Option<&Called>) -> serde_json::Result<&mut Self> {
        let Some(call) = call else { return self.field("name", &event.name) };
        self.field("name", call.shadow.as_deref().unwrap_or(event.name.as_str()))?;
        self.field("args", &call.argsrepr)?.field("kwargs", &call.kwargsrepr)?;
        self.field("root_id", &call.root_id)?.field("parent_id", &call.parent_id)?.field("retries", &call.retries)?;
        self.field("eta", &call.eta)?.field("expires", &call.expires)
    }

    fn end(&mut self, at: Timestamp, kind: &str) -> serde_json::Result<String> {
        self.field("timestamp", &seconds(at))?.field("type", kind)?;
        self.0.push('}');
        Ok(std::mem::take(&mut self.0))
    }
}

/// Seconds since 1970.
fn seconds(at: Timestamp) -> f64 {
    at.as_micros() as f64 / 1e6
}
