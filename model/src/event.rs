//! What listeners are told: Celery's task events.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Exception, Json, Message, QueueName, TaskId, TaskName, Timestamp, python};

/// One event about one task. See <https://docs.celeryq.dev/en/stable/userguide/monitoring.html#event-reference>.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The task.
    pub uuid: TaskId,
    /// Its name.
    pub name: TaskName,
    /// When.
    pub timestamp: Timestamp,
    /// The host where it happened; none for what a client did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Arc<str>>,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

impl Event {
    /// Something that happened to a task, at no host yet.
    pub fn new(uuid: TaskId, name: TaskName, timestamp: Timestamp, kind: EventKind) -> Self {
        Self { uuid, name, timestamp, hostname: None, kind }
    }

    /// Something that happened to the task of a message.
    pub fn of(message: &Message, timestamp: Timestamp, kind: EventKind) -> Self {
        Self::new(message.id.clone(), message.task.clone(), timestamp, kind)
    }

    /// That a message was queued, with what it says.
    pub fn sent(message: &Message, timestamp: Timestamp) -> Self {
        Self::of(message, timestamp, EventKind::Sent { call: Some(Box::new(Called::of(message))) })
    }

    /// That a host has taken a message, with what it says.
    pub fn received(message: &Message, timestamp: Timestamp) -> Self {
        Self::of(message, timestamp, EventKind::Received { call: Some(Box::new(Called::of(message))) })
    }
}

/// What a message says, for those who watch. Arguments are JSON texts, cut if they are long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Called {
    /// Positional arguments, at most [`Called::MAX_BYTES`].
    pub args: String,
    /// Keyword arguments, at most [`Called::MAX_BYTES`].
    pub kwargs: String,
    /// Another name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<String>,
    /// The first ancestor.
    pub root_id: TaskId,
    /// The task that sent it.
    pub parent_id: Option<TaskId>,
    /// How often it has been retried.
    pub retries: u32,
    /// Not to be run before this.
    pub eta: Option<Timestamp>,
    /// Not to be started after this.
    pub expires: Option<Timestamp>,
    /// Where it waits.
    pub queue: QueueName,
    /// The positional arguments as their sender shows them, or as Python does: for Celery's own monitors, not told over HTTP.
    #[serde(skip)]
    pub argsrepr: String,
    /// The keyword arguments, likewise.
    #[serde(skip)]
    pub kwargsrepr: String,
}

impl Called {
    /// The most bytes of arguments: as many as Celery shows.
    pub const MAX_BYTES: usize = 1024;

    fn of(message: &Message) -> Self {
        let embed = message.embed.as_deref();
        let shown = |repr: Option<&String>| repr.map(|repr| excerpt(repr, 2 * Self::MAX_BYTES));
        let argsrepr = embed.and_then(|embed| shown(embed.argsrepr.as_ref()));
        let kwargsrepr = embed.and_then(|embed| shown(embed.kwargsrepr.as_ref()));
        Self {
            argsrepr: argsrepr.unwrap_or_else(|| python::saferepr_args(&message.args, Self::MAX_BYTES)),
            kwargsrepr: kwargsrepr.unwrap_or_else(|| python::saferepr(&message.kwargs, Self::MAX_BYTES)),
            args: excerpt(message.args.as_str(), Self::MAX_BYTES),
            kwargs: excerpt(message.kwargs.as_str(), Self::MAX_BYTES),
            shadow: message.shadow.clone(),
            root_id: message.root_id.clone(),
            parent_id: message.parent_id.clone(),
            retries: message.retries,
            eta: message.eta,
            expires: message.expires,
            queue: message.queue.clone(),
        }
    }
}

/// What happened to a task. `type` and the fields are Celery's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum EventKind {
    /// It was queued.
    #[serde(rename = "task-sent")]
    Sent {
        /// What was sent; none if only that is known.
        #[serde(flatten)]
        call: Option<Box<Called>>,
    },
    /// A host has taken it, and starts it once it has a slot.
    #[serde(rename = "task-received")]
    Received {
        /// What was received; none if only that is known.
        #[serde(flatten)]
        call: Option<Box<Called>>,
    },
    /// It starts.
    #[serde(rename = "task-started")]
    Started,
    /// It set a state of its own, such as PROGRESS. (Celery tells its clients through the result's channel.)
    #[serde(rename = "task-progress")]
    Progress {
        /// The state's name.
        state: String,
        /// Its meta.
        meta: serde_json::Value,
    },
    /// It returned.
    #[serde(rename = "task-succeeded")]
    Succeeded {
        /// What, as JSON text; cut at the task's `resultrepr_maxsize`.
        #[serde(default)]
        result: String,
        /// The value as Python shows it: for Celery's own monitors, not told over HTTP.
        #[serde(skip)]
        repr: String,
        /// Seconds from start to end.
        runtime: f64,
    },
    /// It failed.
    #[serde(rename = "task-failed")]
    Failed {
        /// `ValueError: no`
        exception: String,
        /// It as Python shows it: for Celery's own monitors, not told over HTTP.
        #[serde(skip)]
        repr: String,
        /// Where.
        traceback: Option<String>,
    },
    /// It will run again.
    #[serde(rename = "task-retried")]
    Retried {
        /// Why.
        exception: String,
        /// It as Python shows it: for Celery's own monitors, not told over HTTP.
        #[serde(skip)]
        repr: String,
        /// Where.
        traceback: Option<String>,
    },
    /// It was revoked, expired or terminated.
    #[serde(rename = "task-revoked")]
    Revoked {
        /// Whether it was stopped while running.
        terminated: bool,
        /// Whether it was too late to start it.
        expired: bool,
    },
    /// Another task takes its place, under its id.
    #[serde(rename = "task-replaced")]
    Replaced {
        /// The other task.
        by: TaskName,
    },
    /// It ended without a result.
    #[serde(rename = "task-ignored")]
    Ignored,
    /// It asked to be queued again.
    #[serde(rename = "task-rejected")]
    Rejected {
        /// Whether it was queued again.
        requeue: bool,
    },
    /// The author's own event (`send_event`).
    #[serde(rename = "task-custom")]
    Custom {
        /// The author's name for it.
        event: String,
        /// The author's fields: a JSON object.
        fields: serde_json::Value,
    },
    /// It wrote something; only for who follows this task's log.
    #[serde(rename = "task-log")]
    Log {
        /// `stdout`, `stderr`, or a level.
        stream: String,
        /// The text.
        text: String,
    },
}

impl EventKind {
    /// The event's `type`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sent { .. } => "task-sent",
            Self::Received { .. } => "task-received",
            Self::Started => "task-started",
            Self::Progress { .. } => "task-progress",
            Self::Succeeded { .. } => "task-succeeded",
            Self::Failed { .. } => "task-failed",
            Self::Retried { .. } => "task-retried",
            Self::Revoked { .. } => "task-revoked",
            Self::Replaced { .. } => "task-replaced",
            Self::Ignored => "task-ignored",
            Self::Rejected { .. } => "task-rejected",
            Self::Custom { .. } => "task-custom",
            Self::Log { .. } => "task-log",
        }
    }

    /// Whether nothing follows it for its task.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Succeeded { .. } | Self::Failed { .. } | Self::Revoked { .. } | Self::Ignored)
    }

    /// The most bytes of a text or a JSON text in an event: many events are kept, and what is larger is in the result.
    pub const MAX_BYTES: usize = 16 << 10;

    /// Whether a task may send an event of its own with this name and these fields; the error says why not.
    pub fn check_own(name: &str, fields: &Json) -> Result<(), String> {
        let (bytes, most) = (fields.as_str().len(), Self::MAX_BYTES);
        if bytes > most {
            return Err(format!("send_event: fields has {bytes} bytes, at most {most} are allowed"));
        }
        if !fields.is_object() || !(1..=100).contains(&name.len()) {
            return Err("send_event: a name of 1 to 100 bytes, and a JSON object".to_owned());
        }
        Ok(())
    }

    /// A return of a value, of which at most `max_bytes` are shown.
    pub fn succeeded(result: &Json, max_bytes: usize, runtime: f64) -> Self {
        let max_bytes = max_bytes.min(Self::MAX_BYTES);
        let repr = python::saferepr(result, max_bytes);
        Self::Succeeded { result: excerpt(result.as_str(), max_bytes), repr, runtime }
    }

    /// A failure of an exception; texts over [`EventKind::MAX_BYTES`] are cut.
    pub fn failed(exception: &Exception, traceback: Option<String>) -> Self {
        let repr = cut(exception.repr());
        Self::Failed { exception: cut(exception.to_string()), repr, traceback: traceback.map(cut) }
    }

    /// A retry because of an exception; texts over [`EventKind::MAX_BYTES`] are cut.
    pub fn retried(exception: &Exception, traceback: Option<String>) -> Self {
        let repr = cut(exception.repr());
        Self::Retried { exception: cut(exception.to_string()), repr, traceback: traceback.map(cut) }
    }

    /// A progress report; meta over [`EventKind::MAX_BYTES`], or that a `Value` cannot hold, becomes `null`.
    pub fn progress(state: &str, meta: &Json) -> Self {
        let fits = meta.as_str().len() <= Self::MAX_BYTES;
        let meta = if fits { meta.read().unwrap_or_default() } else { serde_json::Value::Null };
        Self::Progress { state: state.to_owned(), meta }
    }
}

fn cut(text: String) -> String {
    if text.len() > EventKind::MAX_BYTES { excerpt(&text, EventKind::MAX_BYTES) } else { text }
}

/// The text, or its beginning and an ellipsis.
fn excerpt(text: &str, max_bytes: usize) -> String {
    if text.len() <= max_bytes {
        return text.to_owned();
    }
    format!("{}\u{2026}", &text[..text.floor_char_boundary(max_bytes)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_stay_small_whatever_a_task_says() {
        let large = "\u{e9}".repeat(EventKind::MAX_BYTES);
        let exception = Exception::new("a", "B", &large);
        for kind in [
            EventKind::failed(&exception, Some(large.clone())),
            EventKind::retried(&exception, Some(large.clone())),
            EventKind::progress("PROGRESS", &Json::from(serde_json::Value::from(large.clone()))),
        ] {
            let bytes = serde_json::to_string(&kind).unwrap().len();
            assert!(bytes < 2 * EventKind::MAX_BYTES + 200, "{bytes}");
        }
        let message = Message {
            args: Json::from(serde_json::Value::from(vec![large.clone()])),
            ..Message::new("a".parse().unwrap(), "t".parse().unwrap())
        };
        assert!(serde_json::to_string(&Event::sent(&message, Timestamp::from_micros(0))).unwrap().len() < 2000);
        let small = EventKind::failed(&Exception::new("a", "B", "no"), None);
        assert_eq!(
            small,
            EventKind::Failed { exception: "B: no".to_owned(), repr: "B('no')".to_owned(), traceback: None }
        );
    }

    #[test]
    fn an_event_of_a_tasks_own_is_a_short_name_and_a_small_object() {
        let (none, long) = (Json::empty_object(), "x".repeat(101));
        let large = format!(r#"{{"text":"{}"}}"#, "x".repeat(EventKind::MAX_BYTES));
        assert_eq!(EventKind::check_own(&long[1..], &none), Ok(()));
        let refused = |name: &str, fields: &Json| EventKind::check_own(name, fields).unwrap_err();
        for (name, fields) in [("", &none), (long.as_str(), &none), ("a", &Json::empty_array())] {
            assert!(refused(name, fields).contains("a name of 1 to 100 bytes, and a JSON object"), "{name}");
        }
        assert!(refused("a", &Json::parse(large).unwrap()).contains("fields has 16"));
    }

    #[test]
    fn what_was_sent_is_told_in_celerys_words() {
        let message = Message {
            args: Json::parse("[2, 3]".to_owned()).unwrap(),
            shadow: Some("sum".to_owned()),
            ..Message::new("a".parse().unwrap(), "tour.add".parse().unwrap())
        };
        let event = Event::sent(&message, Timestamp::from_micros(0));
        let told = serde_json::to_value(&event).unwrap();
        let expected = serde_json::json!({
            "type": "task-sent", "uuid": "a", "name": "tour.add", "timestamp": "1970-01-01T00:00:00.000000+00:00",
            "args": "[2, 3]", "kwargs": "{}", "shadow": "sum", "root_id": "a", "parent_id": null, "retries": 0, "eta": null,
            "expires": null, "queue": "celery",
        });
        assert_eq!(told, expected);
        let read: Event = serde_json::from_value(told.clone()).unwrap();
        assert_eq!((serde_json::to_value(&read).unwrap(), &read.uuid), (told, &event.uuid));
        let EventKind::Sent { call: Some(call) } = event.kind else { panic!() };
        assert_eq!((call.argsrepr.as_str(), call.kwargsrepr.as_str()), ("(2, 3)", "{}"));
        let bare = serde_json::json!({"type": "task-received", "uuid": "a", "name": "b", "hostname": "w@h",
            "timestamp": "1970-01-01T00:00:00Z"});
        let bare: Event = serde_json::from_value(bare).unwrap();
        assert_eq!((bare.kind, bare.hostname.as_deref()), (EventKind::Received { call: None }, Some("w@h")));
    }
}
