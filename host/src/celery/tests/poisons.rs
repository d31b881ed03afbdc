//! Messages that cannot run: each is answered, with the exception that Celery has for it.

use super::*;

struct Element {
    headers: serde_json::Value,
    content_type: &'static str,
    body: Vec<u8>,
}

impl Element {
    fn new(body: &str) -> Self {
        Self {
            headers: serde_json::json!({"id": "a", "task": "t.b", "group": "g", "group_index": 3, "root_id": "r"}),
            content_type: "application/json",
            body: body.as_bytes().to_vec(),
        }
    }

    fn header(mut self, name: &str, value: serde_json::Value) -> Self {
        self.headers[name] = value;
        self
    }

    fn content_type(self, content_type: &'static str) -> Self {
        Self { content_type, ..self }
    }

    fn text(&self) -> String {
        serde_json::json!({
            "body": STANDARD.encode(&self.body), "content-type": self.content_type, "content-encoding": "utf-8",
            "headers": self.headers,
            "properties": {"body_encoding": "base64", "delivery_tag": "tag", "delivery_info": {"routing_key": "q"}},
        })
        .to_string()
    }

    fn poison(&self) -> Poison {
        *read(self.text().as_bytes(), &LIMITS).unwrap_err()
    }
}

const BODY: &str = r#"[[1],{},{"callbacks":null,"errbacks":null,"chain":null,"chord":{"task":"t.body"}}]"#;

/// The class, its argument, and whether the body of its chord could be read.
fn faults() -> Vec<(Element, &'static str, &'static str, bool)> {
    let body = || Element::new(BODY);
    let one = serde_json::Value::from(1);
    vec![
        (
            body().content_type("application/data"),
            "ContentDisallowed",
            "untrusted content of type application/data",
            false,
        ),
        (
            body().content_type("application/x-python-serialize"),
            "ContentDisallowed",
            "of type pickle (application/x-python",
            false,
        ),
        (body().content_type("application/x-yaml"), "ContentDisallowed", "of type yaml (application/x-yaml)", false),
        (body().header("compression", "application/x-own".into()), "DecodeError", "application/x-own", false),
        (body().header("compression", "zlib".into()), "DecodeError", "no zlib", false),
        (Element::new("[[],{}]"), "ValueError", "not enough values to unpack (expected 3, got 2)", false),
        (Element::new("[[],{},{},1]"), "ValueError", "too many values to unpack (expected 3)", false),
        (Element::new("\"text\""), "ValueError", "no list", false),
        (Element::new("[[],{},"), "DecodeError", "EOF", false),
        (
            Element::new(&format!("[{}{}, {{}}, {{}}]", "[".repeat(200), "]".repeat(200))),
            "DecodeError",
            "nested",
            false,
        ),
        (body().header("task", "no task/at all".into()), "NotRegistered", "no task/at all", true),
        (body().header("task", "".into()), "NotRegistered", "", true),
        (body().header("task", one.clone()), "InvalidTaskError", "task is 1", true),
        (body().header("eta", "tomorrow".into()), "InvalidTaskError", "invalid eta value \"tomorrow\"", true),
        (body().header("expires", one.clone()), "InvalidTaskError", "expires is 1", true),
        (body().header("retries", "x".into()), "InvalidTaskError", "retries", true),
        (body().header("timelimit", serde_json::json!([-1, null])), "InvalidTaskError", "timelimit", true),
        (body().header("parent_id", "a b".into()), "InvalidTaskError", "parent_id", true),
        (Element::new(&BODY.replace("{}", "[]")), "InvalidTaskError", "keyword arguments must be a mapping", true),
        (Element::new(&BODY.replace("[1]", "1")), "InvalidTaskError", "arguments must be a list", true),
        (Element::new(&BODY.replace("[1]", "[NaN]")), "ValueError", "not JSON compliant: nan", true),
        (Element::new(&BODY.replace("[1]", "[{\"k\":-Infinity}]")), "ValueError", "not JSON compliant: -inf", true),
        (Element::new(&BODY.replace("\"chain\":null", "\"chain\":[{\"task\":7}]")), "InvalidTaskError", "chain", true),
        (Element::new("\u{0}").content_type("application/x-msgpack"), "ValueError", "no list", false),
        (Element::new("\u{1}\u{1}").content_type("application/x-msgpack"), "DecodeError", "more than one value", false),
    ]
}

#[test]
fn whoever_waits_is_told() {
    for (element, class, text, has_chord) in faults() {
        let poison = element.poison();
        let shown = poison.to_string();
        assert_eq!(poison.exception.exc_type, class, "{shown}");
        assert!(poison.exception.message().contains(text), "{shown}");
        let message = poison.message.unwrap();
        assert_eq!(message.id.as_str(), "a", "{shown}");
        assert_eq!((message.group.unwrap().as_str(), message.group_index), ("g", Some(3)), "{shown}");
        assert_eq!((message.root_id.as_str(), message.queue.as_str(), poison.delivery.tag.as_str()), ("r", "q", "tag"));
        assert_eq!(message.embed.unwrap().chord.is_some(), has_chord, "{shown}");
    }
}

#[test]
fn a_name_that_no_task_can_have_is_spelled_in_one_that_it_can() {
    let name = |name: &str| Element::new(BODY).header("task", name.into()).poison().message.unwrap().task.to_string();
    assert_eq!(name("my tasks/add"), "my_tasks_add");
    assert_eq!(name(""), "unknown");
    assert_eq!(name(&"\u{e9}".repeat(200)).len(), 254);
}

/// All that `dateutil` and Celery take for a time.
#[test]
fn times_are_read_as_celery_reads_them() {
    let eta = |text: &str| {
        let element = Element::new(BODY).header("eta", text.into());
        read(element.text().as_bytes(), &LIMITS).map(|received| received.message.eta.unwrap().to_string()).ok()
    };
    for (text, time) in [
        ("2026-11-21T12:00:00.500000+00:00", "2026-11-21T12:00:00.500000+00:00"),
        ("2026-11-21T12:00:00+00:00", "2026-11-21T12:00:00.000000+00:00"),
        ("2026-11-21T14:00:00+0200", "2026-11-21T12:00:00.000000+00:00"),
        ("2026-11-21T14:00:00+02", "2026-11-21T12:00:00.000000+00:00"),
        ("2026-11-21T12:00:00Z", "2026-11-21T12:00:00.000000+00:00"),
        ("2026-11-21T12:00:00", "2026-11-21T12:00:00.000000+00:00"),
        ("2026-11-21 12:00:00.5", "2026-11-21T12:00:00.500000+00:00"),
        ("2026-11-21T12:00", "2026-11-21T12:00:00.000000+00:00"),
        ("20261121T120000", "2026-11-21T12:00:00.000000+00:00"),
        ("2026-11-21", "2026-11-21T00:00:00.000000+00:00"),
    ] {
        assert_eq!(eta(text).as_deref(), Some(time), "{text}");
    }
    let none = Element::new(BODY).header("eta", "".into()).header("expires", "".into());
    let message = read(none.text().as_bytes(), &LIMITS).unwrap().message;
    assert_eq!((message.eta, message.expires), (None, None));
    for text in ["soon", "2026-13-01T00:00:00", "12:00", "2026-11-21T25:00:00"] {
        assert_eq!(eta(text), None, "{text}");
    }
}

#[test]
fn one_without_an_id_is_nobodys() {
    for text in [
        "",
        "no JSON",
        "[]",
        "null",
        "{}",
        "\u{7b}\"body\": 1}",
        &Element::new(BODY).header("id", "".into()).text(),
        &Element::new(BODY).header("id", serde_json::Value::Null).text(),
        &Element::new(BODY).header("id", 7.into()).text(),
    ] {
        let poison = read(text.as_bytes(), &LIMITS).unwrap_err();
        assert_eq!(poison.id(), None, "{text}");
        assert!(!poison.exception.message().is_empty(), "{text}");
    }
    assert!(read(b"\xff", &LIMITS).is_err());
}

/// Celery takes any text; who waits for it is told what an id may be.
#[test]
fn an_id_that_no_task_can_have_is_kept_to_answer_it() {
    let long = "x".repeat(300);
    for (id, spelled) in [("a b", "a%20b"), ("\u{a0}\n", "%c2%a0%0a"), (long.as_str(), &long[..255])] {
        let poison = Element::new(BODY).header("id", id.into()).header("root_id", id.into()).poison();
        assert_eq!(poison.misnamed.as_deref(), Some(id));
        assert!(poison.exception.message().contains("1 to 255 bytes, no spaces"), "{poison}");
        let message = poison.message.unwrap();
        assert_eq!((message.id.as_str(), message.root_id.as_str()), (spelled, spelled));
        assert!(message.embed.unwrap().chord.is_some());
    }
}

/// As kombu's JSON has an object of that class.
#[test]
fn an_id_may_be_a_uuid_of_pythons() {
    let uuid = || serde_json::json!({"__type__": "uuid", "__value__": {"hex": "0123456789abcdef0123456789abcdef"}});
    let body = serde_json::json!([[], {}, {"chain": [{"task": "t.c", "kwargs": {}, "options": {"task_id": uuid()}}]}]);
    let element = ["id", "root_id", "parent_id", "group"]
        .iter()
        .fold(Element::new(&body.to_string()), |element, name| element.header(name, uuid()));
    let message = read(element.text().as_bytes(), &LIMITS).unwrap().message;
    let embed = message.embed.unwrap();
    let ids = [Some(message.id), Some(message.root_id), message.parent_id, message.group];
    for id in ids.into_iter().chain([embed.chain[0].options.task_id.clone()]) {
        assert_eq!(id.unwrap().as_str(), "01234567-89ab-cdef-0123-456789abcdef");
    }
}

#[test]
fn protocol_1_is_answered_too() {
    let text = |body: &str| {
        let element = Element { headers: serde_json::json!({}), ..Element::new(body) };
        read(element.text().as_bytes(), &LIMITS)
    };
    let poison = text(r#"{"task":"t.b","id":"a","args":[],"kwargs":[],"taskset":"g"}"#).unwrap_err();
    assert_eq!(poison.exception.message(), "Task keyword arguments must be a mapping");
    assert_eq!(poison.message.unwrap().group.unwrap().as_str(), "g");
    let fine = text(r#"{"task":"t.b","id":"a"}"#).unwrap().message;
    assert_eq!((fine.args.as_str(), fine.kwargs.as_str()), ("[]", "{}"));
    assert!(text(r#"{"args":[]}"#).unwrap_err().message.is_none());
}

/// Celery takes a body of protocol 1 under headers of protocol 2, which then count.
#[test]
fn hybrids_are_read() {
    let element = Element::new(r#"{"task":"t.other","id":"z","args":[1],"kwargs":{},"retries":2,"utc":true}"#);
    let message = read(element.text().as_bytes(), &LIMITS).unwrap().message;
    assert_eq!((message.task.as_str(), message.id.as_str(), message.retries), ("t.b", "a", 2));
    assert!(message.headers.is_empty());
}

#[test]
fn a_bomb_is_answered() {
    use std::io::Write;
    let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(&vec![b' '; 4 << 20]).unwrap();
    let bomb = Element { body: packer.finish().unwrap(), ..Element::new("").header("compression", "gzip".into()) };
    assert!(bomb.poison().to_string().contains("larger than 1048576 bytes"));
    let long = Element::new(&format!("[[\"{}\"],{{}},{{}}]", "x".repeat(2 << 20)));
    assert!(long.poison().to_string().contains("at most 1048576"));
}

/// Only who gets such a number fails for it.
#[test]
fn numbers_that_json_has_not_go_on_to_others() {
    let body = concat!(
        r#"[[1], {}, {"callbacks": null, "errbacks": null, "chain": [{"task": "py.c", "args": [NaN, -Infinity], "#,
        r#""kwargs": {"x": Infinity}, "options": {}, "subtask_type": null, "immutable": false}], "chord": null}]"#
    );
    let message = read(Element::new(body).text().as_bytes(), &LIMITS).unwrap().message;
    let envelope =
        Envelope { ours: None, tag: "t", origin: "o", redelivered: false, now: Timestamp::from_micros(1_000_000) };
    let element: Fields = json(&write(&message, &envelope).unwrap()).read().unwrap();
    let written = STANDARD.decode(element.read::<String>("body").unwrap()).unwrap();
    assert_eq!(String::from_utf8(written).unwrap(), body);
}

#[test]
fn numbers_that_json_has_not_are_named() {
    let all = elements("python_types");
    let poisons: Vec<_> = all.iter().filter_map(|said| read(said.last(), &LIMITS).err()).collect();
    assert_eq!(poisons.len(), 1);
    assert_eq!(poisons[0].exception.repr(), "ValueError('Out of range float values are not JSON compliant: nan')");
    assert!(poisons[0].id().is_some());
}
