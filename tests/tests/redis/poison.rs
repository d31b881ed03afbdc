//! Messages that nobody can run, as a broken or hostile client puts them on a queue: each is answered, none is fatal.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lovage_tests::guests;
use lovage_tests::redis::{RedisServer, until};
use redis::{Commands, Connection};
use serde_json::{Value, json};

use crate::work::host;

fn element(id: &str, content_type: &str, body: &[u8]) -> Value {
    json!({
        "body": STANDARD.encode(body), "content-encoding": "utf-8", "content-type": content_type,
        "headers": {"lang": "py", "task": "tour.add", "id": id, "root_id": id, "retries": 0},
        "properties": {"correlation_id": id, "delivery_info": {"exchange": "", "routing_key": "celery"}, "priority": 0,
            "body_encoding": "base64", "delivery_tag": id},
    })
}

fn plain(id: &str, body: &str) -> Value {
    element(id, "application/json", body.as_bytes())
}

/// Sends a task as a client of Celery does.
pub(crate) fn put(server: &RedisServer, id: &lovage_model::TaskId) {
    server.connect().lpush::<_, _, ()>("celery", plain(id.as_str(), "[[1, 2], {}, {}]").to_string()).unwrap();
}

/// What is read of a meta: its arguments may be no JSON to us.
#[derive(Debug, serde::Deserialize)]
struct Meta {
    status: String,
    result: Value,
}

fn meta(connection: &mut Connection, id: &str) -> Meta {
    until(id, || {
        let meta: Option<String> = connection.get(format!("celery-task-meta-{id}")).unwrap();
        let meta: Meta = serde_json::from_str(&meta?).unwrap();
        ["SUCCESS", "FAILURE", "REVOKED"].contains(&meta.status.as_str()).then_some(meta)
    })
}

#[test]
fn every_poison_is_answered_and_the_next_task_runs() {
    let server = RedisServer::start();
    let mut a = host(&server.url(), "a@test");
    a.push(guests::tour()).ok();
    let mut redis = server.connect();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let mut broken_base64 = plain("base64", "[]");
    broken_base64["body"] = json!("%%%");
    let mut packed = plain("packed", "[[],{},{}]");
    packed["headers"]["compression"] = json!("application/x-gzip");
    let mut urgent = plain("urgent", "[[1, 2], {}, {}]");
    urgent["properties"]["priority"] = json!(-7);
    let poisons = [
        ("unknown", element("unknown", "application/data", b"x")),
        ("pickle", element("pickle", "application/x-python-serialize", b"\x80\x05N.")),
        ("syntax", plain("syntax", "[[1, 2], {")),
        ("two", plain("two", "[[1, 2], {}]")),
        ("four", plain("four", "[[1, 2], {}, {}, {}]")),
        ("scalar", plain("scalar", "7")),
        ("deep", plain("deep", &deep)),
        ("nan", plain("nan", "[[NaN, 1], {}, {}]")),
        ("huge", plain("huge", "[[1e400, 1], {}, {}]")),
        ("swapped", plain("swapped", "[{}, [], {}]")),
        ("links", plain("links", r#"[[1, 2], {}, {"callbacks": 7}]"#)),
        ("latin", element("latin", "application/json", b"[[\"\xff\"], {}, {}]")),
        ("base64", broken_base64),
        ("packed", packed),
    ];
    for (id, poison) in &poisons {
        redis.lpush::<_, _, ()>("celery", poison.to_string()).unwrap();
        let meta = meta(&mut redis, id);
        assert_eq!(meta.status, "FAILURE", "{id}: {meta:?}");
        assert!(meta.result["exc_type"].as_str().is_some_and(|name| !name.is_empty()), "{id}: {meta:?}");
    }
    // Those that say of whom they are, to nobody.
    for nameless in ["not json", "[]", "{}", "7", "\u{0}", r#"{"body": 1}"#] {
        redis.lpush::<_, _, ()>("celery", nameless).unwrap();
    }
    until("they are put aside", || (redis.llen::<_, usize>("lovage:dead").unwrap() >= 6).then_some(()));
    redis.lpush::<_, _, ()>("celery", urgent.to_string()).unwrap();
    assert_eq!(meta(&mut redis, "urgent").result, 3);
    assert_eq!(a.lovage(["task", "run", "tour.add", "2", "3"]).ok(), "5");
    let unacked: usize = redis.hlen("unacked").unwrap();
    assert_eq!(unacked, 0, "nothing is left with anybody");
    assert!(a.terminate().success());
}

#[test]
fn a_chord_with_a_task_that_nobody_knows_ends() {
    let server = RedisServer::start();
    let a = host(&server.url(), "a@test");
    a.push(guests::tour()).ok();
    let mut redis = server.connect();
    let body = json!({"task": "tour.total", "args": [], "kwargs": {}, "options": {"task_id": "body", "group_id": "g"},
        "subtask_type": null, "immutable": false});
    redis.set::<_, _, ()>("celery-taskset-meta-g.s", 2).unwrap();
    for (index, task) in ["tour.add", "nobody.knows"].into_iter().enumerate() {
        let id = format!("part-{index}");
        let call = json!([[1, 1], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": body}]);
        let mut part = plain(&id, &call.to_string());
        part["headers"]["task"] = json!(task);
        part["headers"]["group"] = json!("g");
        part["headers"]["group_index"] = json!(index);
        redis.lpush::<_, _, ()>("celery", part.to_string()).unwrap();
    }
    let Meta { status, result } = meta(&mut redis, "body");
    assert_eq!((status.as_str(), &result["exc_type"]), ("FAILURE", &json!("ChordError")), "{result}");
    assert!(result["exc_message"][0].as_str().unwrap().contains("NotRegistered('nobody.knows')"), "{result}");
}
