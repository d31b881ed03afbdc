//! Events: what a worker told is told again in the same words.

use super::*;
use event::{Health, Node, Presence};
use lovage_model::{Called, Event, EventKind, Exception, Message};

/// What was told, one event after the other.
fn told(name: &str) -> Vec<String> {
    let channels = transcript(name).into_iter().filter(|said| said.key().starts_with("/5.celeryev/"));
    channels.flat_map(|said| bodies(&body(said.last()))).collect()
}

fn body(element: &[u8]) -> String {
    let element: Fields = serde_json::from_slice(element).unwrap();
    String::from_utf8(STANDARD.decode(element.read::<String>("body").unwrap()).unwrap()).unwrap()
}

fn bodies(text: &str) -> Vec<String> {
    let one = json(text);
    if one.is_array() {
        one.read::<Vec<Json>>().unwrap().iter().map(Json::to_string).collect()
    } else {
        vec![text.to_owned()]
    }
}

/// The event that Celery told, as one of ours.
fn ours(fields: &Fields) -> Option<Event> {
    let text = |name: &str| fields.read::<String>(name);
    let kind = match text("type").unwrap().as_str() {
        "task-sent" => EventKind::Sent { call: Some(Box::new(call(fields))) },
        "task-received" => EventKind::Received { call: Some(Box::new(call(fields))) },
        "task-started" => EventKind::Started,
        "task-succeeded" => {
            let (result, repr) = (String::new(), text("result").unwrap());
            EventKind::Succeeded { result, repr, runtime: fields.get("runtime").unwrap().as_str().parse().unwrap() }
        }
        "task-failed" => {
            let (exception, repr) = (String::new(), text("exception").unwrap());
            EventKind::Failed { exception, repr, traceback: text("traceback") }
        }
        "task-retried" => {
            let (exception, repr) = (String::new(), text("exception").unwrap());
            EventKind::Retried { exception, repr, traceback: text("traceback") }
        }
        "task-revoked" => EventKind::Revoked {
            terminated: fields.read("terminated").unwrap(),
            expired: fields.read("expired").unwrap(),
        },
        "task-rejected" => EventKind::Rejected { requeue: fields.read("requeue").unwrap() },
        other => panic!("{other}"),
    };
    let name = text("name").unwrap_or("unknown".to_owned()).parse().ok()?;
    let at: f64 = fields.read("timestamp").unwrap();
    let hostname = text("hostname").map(Into::into);
    let uuid = text("uuid").unwrap().parse().unwrap();
    Some(Event { hostname, ..Event::new(uuid, name, Timestamp::from_micros((at * 1e6).round() as i64), kind) })
}

fn call(fields: &Fields) -> Called {
    Called {
        args: String::new(),
        kwargs: String::new(),
        shadow: None,
        root_id: fields.read("root_id").unwrap(),
        parent_id: fields.read("parent_id"),
        retries: fields.read("retries").unwrap(),
        eta: fields.read("eta"),
        expires: fields.read("expires"),
        queue: fields.read("queue").unwrap_or_default(),
        argsrepr: fields.read("args").unwrap(),
        kwargsrepr: fields.read("kwargs").unwrap(),
    }
}

/// Times are kept to the microsecond here, and told by Celery with a little more.
fn without_time(event: &str) -> String {
    let mut fields: Fields = json(event).read().unwrap();
    fields.set("timestamp", json("0"));
    dumps(&fields).unwrap()
}

#[test]
fn events_of_tasks_are_told_as_they_were() {
    let mut kinds = Vec::new();
    for name in ["plain", "options", "failed", "retried", "revoked"] {
        for was in told(name) {
            let fields: Fields = json(&was).read().unwrap();
            let Some(event) = ours(&fields) else { continue };
            let node = Node { hostname: "nobody", pid: fields.read("pid").unwrap(), utcoffset: 0.0 };
            let is = event::task(&event, &node, fields.read("clock").unwrap()).unwrap().unwrap();
            assert_eq!(without_time(&is), without_time(&was));
            let time = |text: &str| json(text).read::<Fields>().unwrap().read::<f64>("timestamp").unwrap();
            assert!((time(&is) - time(&was)).abs() < 2e-6);
            kinds.push(fields.read::<String>("type").unwrap());
        }
    }
    kinds.sort();
    kinds.dedup();
    let all = "task-failed task-received task-rejected task-retried task-revoked task-sent task-started task-succeeded";
    assert_eq!(kinds.join(" "), all);
}

#[test]
fn hosts_say_that_they_are_there() {
    let mut told = Vec::new();
    for said in transcript("lifetime") {
        let was = body(said.last());
        let fields: Fields = json(&was).read().unwrap();
        let text = |name: &str| fields.read::<String>(name).unwrap();
        let (kind, hostname, ident, version, system) =
            (text("type"), text("hostname"), text("sw_ident"), text("sw_ver"), text("sw_sys"));
        let all = [Presence::Online, Presence::Heartbeat, Presence::Offline];
        let presence = all.into_iter().find(|it| it.name() == kind).unwrap();
        let health = Health {
            freq: fields.read("freq").unwrap(),
            active: fields.read("active").unwrap(),
            processed: fields.read("processed").unwrap(),
            loadavg: fields.read("loadavg").unwrap(),
            sw_ident: &ident,
            sw_ver: &version,
            sw_sys: &system,
        };
        let node = Node {
            hostname: &hostname,
            pid: fields.read("pid").unwrap(),
            utcoffset: fields.read("utcoffset").unwrap(),
        };
        let is = event::worker(presence, &health, said.at, &node, fields.read("clock").unwrap()).unwrap();
        assert_eq!(without_time(&is), without_time(&was));
        let element: Fields = serde_json::from_slice(said.last()).unwrap();
        let tag: String = element.read::<Fields>("properties").unwrap().read("delivery_tag").unwrap();
        let published = event::publish(&kind, &was, &node, &tag).unwrap();
        assert_eq!(published.envelope.as_bytes(), said.last());
        assert_eq!(channel(5, event::EXCHANGE, &published.routing_key), said.key());
        told.push(presence);
    }
    assert!(told.first() == Some(&Presence::Online) && told.last() == Some(&Presence::Offline) && told.len() > 2);
}

#[test]
fn many_events_go_together() {
    let multi: Vec<_> = transcript("plain").into_iter().filter(|said| said.key() == "/5.celeryev/task.multi").collect();
    assert!(!multi.is_empty());
    for said in multi {
        let element: Fields = serde_json::from_slice(said.last()).unwrap();
        let tag: String = element.read::<Fields>("properties").unwrap().read("delivery_tag").unwrap();
        let node = Node { hostname: "parity@recorder", pid: 1, utcoffset: 0.0 };
        let published = event::publish_tasks(&bodies(&body(said.last())), &node, &tag).unwrap();
        assert_eq!(published.envelope.as_bytes(), said.last());
        assert_eq!(published.routing_key, "task.multi");
    }
}

#[test]
fn texts_are_pythons() {
    let message =
        Message { args: json(r#"["it's",null]"#), ..Message::new("a".parse().unwrap(), "t.b".parse().unwrap()) };
    let node = Node { hostname: "w@h", pid: 1, utcoffset: 0.0 };
    let at = Timestamp::from_micros(1_500_000);
    let tell = |event: &Event| event::task(event, &node, 7).unwrap();
    let received = tell(&Event::received(&message, at)).unwrap();
    assert!(received.contains(r#""args": "('it\\'s', None)", "kwargs": "{}""#), "{received}");
    assert!(received.ends_with(r#""timestamp": 1.5, "type": "task-received"}"#), "{received}");
    let of = |kind: EventKind| tell(&Event::of(&message, at, kind));
    let exception = Exception::new("builtins", "KeyError", "x");
    assert!(of(EventKind::failed(&exception, None)).unwrap().contains(r#""exception": "KeyError('x')", "timestamp""#));
    let succeeded = of(EventKind::succeeded(&json("[1.0,\"x y\"]"), 1024, 0.25)).unwrap();
    assert!(succeeded.contains(r#""result": "[1.0, 'x y']", "runtime": 0.25"#), "{succeeded}");
    let fields = serde_json::json!({"uuid": "forged", "n": 1});
    let custom = of(EventKind::Custom { event: "task-own".to_owned(), fields }).unwrap();
    assert_eq!(
        custom,
        concat!(
            r#"{"hostname": "w@h", "utcoffset": 0.0, "pid": 1, "clock": 7, "uuid": "a", "n": 1, "#,
            r#""timestamp": 1.5, "type": "task-own"}"#
        )
    );
    for (name, key) in [("my-event", Some("my.event")), ("task-own", Some("task.own")), ("worker-elect", None)] {
        let fields = serde_json::json!({});
        let own = Event::of(&message, at, EventKind::Custom { event: name.to_owned(), fields });
        let published = event::own_name(&own).map(|name| event::publish(name, "{}", &node, "t").unwrap().routing_key);
        assert_eq!(published.as_deref(), key, "{name}");
    }
    for silent in [
        EventKind::Ignored,
        EventKind::progress("PROGRESS", &json("1")),
        EventKind::Replaced { by: message.task.clone() },
    ] {
        assert_eq!(of(silent), None);
    }
}
