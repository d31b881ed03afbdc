//! Canvases that were sent by a Celery client, taken to their end by what each task leaves.

use std::collections::{BTreeMap, VecDeque};

use lovage_model::{Embed, TaskDefinition, Then, WireShape};
use serde_json::{Value, json};

use super::*;
use crate::canvas::{Rules, Tasks};

mod bounds;

struct Known;

impl Tasks for Known {
    fn find(&self, name: &lovage_model::TaskName) -> Result<Option<Arc<TaskDefinition>>, Invalid> {
        let names: &[&str] = match name.as_str() {
            "t.new_style" => &["request", "exc", "traceback"],
            "t.labelled" => &["request_id", "label"],
            other if other.starts_with("t.") => &["x"],
            _ => return Ok(None),
        };
        let parameters: Vec<_> = names.iter().map(|name| json!({ "name": name, "required": true })).collect();
        Ok(Some(Arc::new(serde_json::from_value(json!({ "name": name, "parameters": parameters })).unwrap())))
    }
}

fn with<T>(decide: impl FnOnce(&mut Scope<'_>) -> T) -> T {
    let mut next = 0;
    let mut ids = || {
        next += 1;
        TaskId::new(format!("new-{next}")).unwrap()
    };
    let rules = Rules { message_bytes: 10_000, canvas_tasks: 100, lineage_depth: 9, replacements: 3 };
    decide(&mut Scope::new(&Known, &mut ids, rules, lovage_model::Timestamp::from_micros(1_000_000)))
}

fn id(text: &str) -> TaskId {
    TaskId::new(text).unwrap()
}

fn json(value: Value) -> Json {
    Json::from(value)
}

fn sig(value: Value) -> WireSignature {
    serde_json::from_value(value).unwrap()
}

/// A task, as a client has frozen it.
fn task(name: &str, id: &str) -> Value {
    json!({ "task": name, "args": [], "kwargs": {}, "options": { "task_id": id }, "subtask_type": null,
            "immutable": false })
}

fn of(mut value: Value, options: Value) -> Value {
    for (name, option) in options.as_object().unwrap() {
        value["options"][name] = option.clone();
    }
    value
}

fn group(tasks: Value) -> Value {
    json!({ "task": "celery.group", "args": [], "kwargs": { "tasks": tasks }, "options": {}, "subtask_type": "group",
            "immutable": false })
}

fn chain(tasks: Value) -> Value {
    json!({ "task": "celery.chain", "args": [], "kwargs": { "tasks": tasks }, "options": {}, "subtask_type": "chain",
            "immutable": false })
}

fn chord(header: Value, body: Value) -> Value {
    json!({ "task": "celery.chord", "args": [], "kwargs": { "kwargs": {}, "header": header, "body": body },
            "options": {}, "subtask_type": "chord", "immutable": false })
}

fn message(embed: Embed) -> Message {
    let queue = "q".parse().unwrap();
    Message { queue, embed: Some(Box::new(embed)), ..Message::new(id("a"), "t.a".parse().unwrap()) }
}

fn chained(steps: &[Value]) -> Message {
    // The next step is last.
    message(Embed { chain: steps.iter().rev().cloned().map(sig).collect(), ..Embed::default() })
}

/// Name, id and arguments of each message.
fn calls(inline: &Inline) -> Vec<(String, String, String)> {
    let call = |one: &Message| (one.task.to_string(), one.id.to_string(), one.args.to_string());
    inline.messages.iter().map(call).collect()
}

fn call(task: &str, id: &str, args: &str) -> (String, String, String) {
    (task.to_owned(), id.to_owned(), args.to_owned())
}

#[test]
fn the_next_step_carries_the_rest() {
    let message = chained(&[of(task("t.b", "b"), json!({ "queue": "slow" })), task("py.c", "c")]);
    let sent = with(|scope| returned(&message, &json(json!(7)), scope));
    assert_eq!(calls(&sent.inline), [call("t.b", "b", "[7]")]);
    let next = &sent.inline.messages[0];
    assert_eq!((next.queue.as_str(), &next.parent_id, &next.root_id), ("slow", &Some(id("a")), &id("a")));
    assert_eq!(next.embed.as_ref().unwrap().chain, [sig(task("py.c", "c"))]);
    assert_eq!(sent.children, [ResultTuple::of(id("b"))]);
    let sent = with(|scope| returned(next, &json(json!([8])), scope));
    assert_eq!(calls(&sent.inline), [call("py.c", "c", "[[8]]")]);
    let last = &sent.inline.messages[0];
    assert_eq!(last.queue.as_str(), "celery", "nobody here knows that task");
    assert!(last.embed.as_ref().unwrap().chain.is_empty());
    assert_eq!((&last.parent_id, &last.root_id), (&Some(id("b")), &id("a")));
}

/// In Celery a task may be called anything.
#[test]
fn what_is_not_ours_keeps_its_name() {
    let mut message = chained(&[task("t.b", "b"), task("\u{fc}ber/c", "c")]);
    message.embed.as_mut().unwrap().callbacks = vec![sig(task("reports/build v2", "r"))];
    let sent = with(|scope| returned(&message, &json(json!(7)), scope));
    assert_eq!(calls(&sent.inline), [call("reports_build_v2", "r", "[7]"), call("t.b", "b", "[7]")]);
    let [report, next] = sent.inline.messages.as_slice() else { panic!("{:?}", sent.inline.messages) };
    let named = |message: &Message| message.embed.as_ref().unwrap().named.as_ref().map(ToString::to_string);
    assert_eq!((named(report).as_deref(), named(next)), (Some("reports/build v2"), None));
    assert_eq!(report.queue.as_str(), "celery");
    assert_eq!(next.embed.as_ref().unwrap().chain[0].task.as_str(), "\u{fc}ber/c");
}

/// As Celery takes them where no routes say otherwise.
#[test]
fn a_routing_key_is_one_of_an_exchange() {
    for (options, queue) in [
        (json!({ "routing_key": "other" }), "celery"),
        (json!({ "exchange": "media" }), "celery"),
        (json!({ "exchange": "media", "routing_key": "other" }), "other"),
        (json!({ "exchange": "", "routing_key": "other" }), "celery"),
        (json!({ "queue": "files", "routing_key": "other" }), "files"),
    ] {
        let step = of(task("py.b", "b"), options.clone());
        let sent = with(|scope| returned(&chained(std::slice::from_ref(&step)), &json(json!(7)), scope));
        assert_eq!(sent.inline.messages[0].queue.as_str(), queue, "{options}");
    }
}

#[test]
fn a_queue_that_nothing_can_be_sent_to_is_said_and_not_another() {
    let odd = of(task("t.b", "b"), json!({ "queue": "high priority" }));
    let sent = with(|scope| returned(&chained(&[odd, task("py.c", "c")]), &json(json!(7)), scope));
    assert!(sent.inline.messages.is_empty());
    let ends: Vec<_> = sent.inline.ends.iter().map(|end| (end.id.as_str(), end.exception.message())).collect();
    let [("c", last), ("b", first)] = ends.as_slice() else { panic!("{ends:?}") };
    assert!(
        first == last && first.contains("options.queue \"high priority\" is not a queue name: 1 to 128"),
        "{first}"
    );
    assert!(sent.refused[0].contains("t.b, which comes next, was not sent"), "{:?}", sent.refused);
}

#[test]
fn a_failed_step_ends_the_rest() {
    let outer = sig(task("t.body", "body"));
    let last = of(task("t.c", "c"), json!({ "group_id": "g", "group_index": 2, "chord": outer }));
    let message = chained(&[task("t.b", "b"), last]);
    let exception = Exception::new("m", "E", "no");
    let sent = with(|scope| failed(&message, &exception, Some("there"), scope));
    let ends: Vec<_> = sent.inline.ends.iter().map(|end| (end.id.as_str(), end.traceback.as_deref())).collect();
    assert_eq!(ends, [("c", Some("there")), ("b", Some("there"))]);
    let part = &sent.inline.parts[0];
    assert_eq!((&part.group, part.index, &part.id, &part.state), (&id("g"), Some(2), &id("c"), &State::Failure));
    assert!(sent.inline.messages.is_empty());
    let sent = with(|scope| ended(&message, &State::Revoked, &Exception::revoked("revoked"), scope));
    assert_eq!((sent.inline.ends.len(), &sent.inline.ends[0].state), (2, &State::Revoked));
}

#[test]
fn errbacks_are_told_by_what_they_take() {
    let labelled = json!({ "task": "t.labelled", "args": ["x"], "kwargs": {}, "options": {} });
    let errbacks = [task("t.new_style", "n"), task("py.any", "p"), labelled].map(sig).into();
    let message = message(Embed { errbacks, ..Embed::default() });
    let exception = Exception::new("m", "E", "no");
    let sent = with(|scope| failed(&message, &exception, None, scope));
    let calls = calls(&sent.inline);
    assert_eq!(calls.iter().map(|call| call.0.as_str()).collect::<Vec<_>>(), ["t.new_style", "py.any", "t.labelled"]);
    assert!(calls[0].2.contains("\"id\":\"a\"") && calls[0].2.contains("\"exc_type\":\"E\""), "{}", calls[0].2);
    assert_eq!((calls[1].2.as_str(), calls[2].2.as_str()), (r#"["a"]"#, r#"["a","x"]"#));
    assert_eq!(sent.inline.messages[0].ignore_result, Some(true));
    assert!(sent.children.is_empty(), "as in Celery, which stores the failure before it tells them");
}

#[test]
fn a_part_is_counted_however_it_ends() {
    let embed = Embed { chord: Some(Arc::new(sig(task("t.body", "body")))), ..Embed::default() };
    let message = Message { group: Some(id("g")), group_index: Some(1), ..message(embed) };
    let exception = Exception::new("m", "E", "no");
    let parts = [
        with(|scope| returned(&message, &json(json!(1)), scope)),
        with(|scope| failed(&message, &exception, None, scope)),
        with(|scope| ended(&message, &State::Revoked, &exception, scope)),
    ];
    let states: Vec<_> = parts.iter().map(|sent| sent.inline.parts[0].state.as_str()).collect();
    assert_eq!(states, ["SUCCESS", "FAILURE", "REVOKED"]);
    assert_eq!(parts[0].inline.parts[0].result.as_str(), "1");
}

#[test]
fn a_group_before_a_step_is_a_chord() {
    let message = chained(&[chain(json!([group(json!([task("t.b", "b"), task("t.c", "c")])), task("t.d", "d")]))]);
    let sent = with(|scope| returned(&message, &json(json!(1)), scope));
    assert_eq!(calls(&sent.inline), [call("t.b", "b", "[1]"), call("t.c", "c", "[1]")]);
    let [(group, 2)] = sent.inline.sizes.as_slice() else { panic!("{:?}", sent.inline.sizes) };
    for (message, index) in sent.inline.messages.iter().zip(0..) {
        assert_eq!((message.group.as_ref(), message.group_index), (Some(group), Some(index)));
        let body = message.embed.as_ref().unwrap().chord.as_ref().unwrap();
        assert_eq!((body.task.as_str(), &body.options.task_id), ("t.d", &Some(id("d"))));
        assert_eq!(body.options.group_id.as_ref(), Some(group));
    }
}

#[test]
fn chunks_are_a_group_of_starmaps() {
    let chunks = json!({ "task": "celery.chunks", "args": [], "subtask_type": "chunks", "immutable": true, "options": {},
        "kwargs": { "task": task("t.add", "x"), "it": [[1, 2], [3, 4], [5, 6]], "n": 2 } });
    let message = message(Embed { callbacks: vec![sig(chunks)], ..Embed::default() });
    let sent = with(|scope| returned(&message, &json(json!(1)), scope));
    assert_eq!(sent.refused, Vec::<String>::new());
    let its: Vec<Value> =
        sent.inline.messages.iter().map(|one| one.kwargs.read::<Value>().unwrap()["it"].clone()).collect();
    assert_eq!(its, [json!([[1, 2], [3, 4]]), json!([[5, 6]])]);
    assert!(sent.inline.messages.iter().all(|one| one.task.as_str() == "celery.starmap" && one.args.as_str() == "[]"));
}

#[test]
fn a_map_goes_where_the_task_that_it_calls_is_known() {
    let map = |task: Value| {
        json!({ "task": "celery.map", "args": [], "subtask_type": "xmap", "immutable": true, "options": {},
                "kwargs": { "task": task, "it": [1, 2] } })
    };
    let chunks = json!({ "task": "celery.chunks", "args": [], "subtask_type": "chunks", "immutable": true, "options": {},
        "kwargs": { "task": task("py.add", "x"), "it": [[1, 2], [3, 4]], "n": 1 } });
    for (step, queue) in [(map(task("t.b", "x")), "q"), (map(task("py.b", "x")), "celery"), (chunks, "celery")] {
        let sent = with(|scope| returned(&chained(std::slice::from_ref(&step)), &json(json!(1)), scope));
        assert_eq!(sent.refused, Vec::<String>::new());
        let queues: Vec<_> = sent.inline.messages.iter().map(|one| one.queue.as_str()).collect();
        assert!(!queues.is_empty() && queues.iter().all(|one| *one == queue), "{step}: {queues:?}");
    }
}

#[test]
fn chunks_are_counted_before_they_are_made() {
    let it: Vec<_> = (0..500).map(|n| json!([n])).collect();
    let chunks = json!({ "task": "celery.chunks", "args": [], "subtask_type": "chunks", "immutable": true, "options": {},
        "kwargs": { "task": task("t.add", "x"), "it": it, "n": 1 } });
    let message = message(Embed { callbacks: vec![sig(chunks)], ..Embed::default() });
    let sent = with(|scope| returned(&message, &json(json!(1)), scope));
    assert!(sent.inline.is_empty() && sent.refused[0].contains("500 chunks"), "{:?}", sent.refused);
}

#[test]
fn what_fails_with_a_task_is_told_briefly_where_too_much_would_be_said() {
    let steps: Vec<_> = (0..90).map(|n| task("t.b", &format!("s{n}"))).collect();
    let exception = Exception::new("builtins", "ValueError", "x".repeat(9000));
    let sent = with(|scope| failed(&chained(&steps), &exception, Some("where"), scope));
    assert_eq!(sent.inline.ends.len(), 90);
    let whole = sent.inline.ends.iter().filter(|end| end.exception == exception).count();
    assert_eq!(whole, 35, "32 times 10,000 bytes");
    let brief = &sent.inline.ends[89];
    assert!(brief.exception.exc_type == "ValueError" && brief.exception.message().contains("see task a"));
}

#[test]
fn what_was_raised_is_told_as_it_is() {
    for said in ["[1e400]", r#"["\udce9"]"#, "[18446744073709551617]"] {
        let exception =
            Exception { exc_message: Json::parse(said.to_owned()).unwrap(), ..Exception::new("builtins", "E", "") };
        let message = message(Embed { errbacks: vec![sig(task("t.new_style", "e"))], ..Embed::default() });
        let sent = with(|scope| failed(&message, &exception, None, scope));
        assert_eq!(sent.refused, Vec::<String>::new());
        assert!(sent.inline.messages[0].args.as_str().contains(said), "{:?}", sent.inline.messages[0].args);
        let mut group = group(json!([task("t.b", "m1"), task("t.b", "m2")]));
        group["options"]["link_error"] = json!([task("t.new_style", "e")]);
        let parts = ChordParts { parts: vec![(id("a"), Arrival::Failed { task: id("a"), exception })], ..failing() };
        let inline = with(|scope| chord_ended(&id("g"), parts, sig(group), scope));
        assert!(inline.messages[0].args.as_str().contains(said));
    }
}

#[test]
fn a_wait_is_as_long_as_a_wait_may_be_and_a_time_that_is_over_is_over() {
    let odd = of(task("t.b", "b"), json!({ "countdown": 1e9, "expires": -5 }));
    let sent = with(|scope| returned(&chained(&[odd]), &json(json!(7)), scope));
    let now = lovage_model::Timestamp::from_micros(1_000_000);
    let message = &sent.inline.messages[0];
    assert_eq!(message.eta, Some(now.after(std::time::Duration::from_secs(366 * 86_400))));
    assert_eq!(message.expires, Some(now));
}

/// Where options travel in a body, a client's datetimes are no texts: kombu tags them.
#[test]
fn a_time_that_is_a_datetime_of_pythons_is_kept() {
    let datetime = |text: &str| json!({ "__type__": "datetime", "__value__": text });
    let times = json!({ "eta": datetime("2126-11-21T12:00:00"), "expires": datetime("2126-11-21T14:30:00+02:00") });
    let step = of(task("t.b", "b"), times);
    let header = chord(json!([task("t.x", "x")]), task("t.body", "body"));
    let late = of(header, json!({ "eta": datetime("2126-11-21T12:00:00") }));
    let message = message(Embed { callbacks: vec![sig(step), sig(late)], ..Embed::default() });
    let sent = with(|scope| returned(&message, &json(json!(7)), scope));
    let at = |text: &str| Some(lovage_model::Timestamp::parse(text).unwrap());
    let [linked, member] = sent.inline.messages.as_slice() else { panic!("{:?}", sent.inline.messages) };
    assert_eq!((linked.eta, linked.expires), (at("2126-11-21T12:00:00Z"), at("2126-11-21T12:30:00Z")));
    assert_eq!((member.task.as_str(), member.eta), ("t.x", at("2126-11-21T12:00:00Z")));
}

#[test]
fn a_complete_chord_sends_its_body() {
    let body = of(task("t.body", "body"), json!({ "chain": [task("t.last", "last")], "group_id": "g" }));
    let parts = ChordParts {
        parts: vec![(id("a"), Arrival::Value(json(json!(1)))), (id("b"), Arrival::Value(json(json!([2]))))],
        nested: None,
        sender: Sender::of(&Message { root_id: id("root"), ..Message::new(id("b"), "t.b".parse().unwrap()) }),
    };
    let inline = with(|scope| chord_ended(&id("g"), parts, sig(body), scope));
    assert_eq!(calls(&inline), [call("t.body", "body", "[[1, [2]]]")]);
    let message = &inline.messages[0];
    assert_eq!((&message.parent_id, &message.root_id), (&Some(id("b")), &id("root")));
    assert_eq!(message.embed.as_ref().unwrap().chain[0].options.task_id, Some(id("last")));
}

#[test]
fn nested_results_are_put_together_as_they_are() {
    let tuple: ResultTuple = serde_json::from_value(json!([
        ["g", null],
        [[["h", null], [[["a", null], null], [["b", null], null]]], [["c", null], null]]
    ]))
    .unwrap();
    let value = |n: i64| Arrival::Value(json(json!(n)));
    let parts = ChordParts {
        parts: vec![(id("c"), value(3)), (id("a"), value(1)), (id("b"), value(2))],
        nested: Some(tuple),
        sender: Sender::of(&Message::new(id("c"), "t.c".parse().unwrap())),
    };
    let inline = with(|scope| chord_ended(&id("g"), parts, sig(task("t.body", "body")), scope));
    assert_eq!(calls(&inline), [call("t.body", "body", "[[[1, 2], 3]]")]);
}

fn failing() -> ChordParts {
    let exception = Exception::new("builtins", "ValueError", "no");
    ChordParts {
        parts: vec![(id("a"), Arrival::Value(json(json!(1)))), (id("b"), Arrival::Failed { task: id("b"), exception })],
        nested: None,
        sender: Sender::of(&Message::new(id("b"), "t.b".parse().unwrap())),
    }
}

#[test]
fn the_body_of_a_failed_chord_fails_with_a_chord_error() {
    let outer = sig(task("t.outer", "outer"));
    let body = of(
        task("t.body", "body"),
        json!({ "link_error": [task("py.errback", "e")], "chain": [task("t.last", "last")], "chord": outer,
                "group_id": "og", "group_index": 4 }),
    );
    let inline = with(|scope| chord_ended(&id("g"), failing(), sig(body), scope));
    assert_eq!(calls(&inline), [call("py.errback", "e", r#"["body"]"#)]);
    let ends: Vec<_> = inline.ends.iter().map(|end| (end.id.as_str(), end.exception.repr())).collect();
    let error = "ChordError(\"Dependency b raised ValueError('no')\")".to_owned();
    assert_eq!(ends, [("body", error.clone()), ("last", error)]);
    assert!(inline.ends[0].children[0].children.is_some(), "what was sent while it ended");
    assert_eq!((&inline.parts[0].group, inline.parts[0].index), (&id("og"), Some(4)), "the outer chord goes on");
}

#[test]
fn what_is_nested_fails_as_a_join() {
    let tuple: ResultTuple =
        serde_json::from_value(json!([["g", null], [[["h", null], [[["a", null], null], [["b", null], null]]]]]))
            .unwrap();
    for (body, id) in [(task("t.body", "body"), "body"), (group(json!([task("t.x", "x")])), "x")] {
        let parts = ChordParts { nested: Some(tuple.clone()), ..failing() };
        let inline = with(|scope| chord_ended(&self::id("g"), parts, sig(body), scope));
        let [end] = inline.ends.as_slice() else { panic!("{:?}", inline.ends) };
        assert_eq!((end.id.as_str(), end.exception.exc_type.as_str()), (id, "ChordError"));
        assert_eq!(end.exception.message(), "Join error: ValueError('no')");
    }
}

#[test]
fn each_member_of_a_group_after_a_failed_chord_fails_with_the_cause() {
    let mut body = group(json!([
        of(task("t.x", "x"), json!({ "link_error": [task("py.errback", "e")] })),
        chain(json!([task("t.y", "y"), task("t.z", "z")])),
    ]));
    body["options"] = json!({ "task_id": "bg", "link_error": task("py.errback", "e") });
    let inline = with(|scope| chord_ended(&id("g"), failing(), sig(body), scope));
    let ends: Vec<_> = inline.ends.iter().map(|end| (end.id.as_str(), end.exception.exc_type.as_str())).collect();
    assert_eq!(ends, [("x", "ValueError"), ("z", "ValueError"), ("bg", "ValueError")]);
    assert_eq!(calls(&inline), [call("py.errback", "e", r#"["x"]"#), call("py.errback", "e", r#"["z"]"#)]);
}

fn signature(value: Value) -> Signature {
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_replacement_has_the_id_and_what_follows() {
    let replaced = Message {
        group: Some(id("g")),
        group_index: Some(3),
        ..message(Embed {
            callbacks: vec![sig(task("t.callback", "cb"))],
            chain: vec![sig(task("t.last", "last"))],
            ..Embed::default()
        })
    };
    let call = signature(json!({ "task": "celery.chain", "subtask_type": "chain", "kwargs": { "tasks": [
        { "task": "t.x", "args": [1] }, { "task": "t.y" }] } }));
    let sent = with(|scope| replacement(&replaced, &call, scope)).unwrap();
    let [first] = sent.inline.messages.as_slice() else { panic!("{:?}", sent.inline.messages) };
    assert_eq!((first.task.as_str(), first.replaced_task_nesting), ("t.x", 1));
    let embed = first.embed.as_ref().unwrap();
    let [last, second] = embed.chain.as_slice() else { panic!("{:?}", embed.chain) };
    assert_eq!((second.options.task_id.as_ref(), last.options.task_id.as_ref()), (Some(&id("a")), Some(&id("last"))));
    assert_eq!(second.options.link, [sig(task("t.callback", "cb"))]);
}

#[test]
fn a_group_that_replaces_a_part_gives_its_list() {
    let embed = Embed { chord: Some(Arc::new(sig(task("t.body", "body")))), ..Embed::default() };
    let replaced = Message { group: Some(id("g")), group_index: Some(3), ..message(embed) };
    let call = signature(json!({ "task": "celery.group", "subtask_type": "group", "kwargs": { "tasks": [
        { "task": "t.x" }, { "task": "t.y" }] } }));
    let sent = with(|scope| replacement(&replaced, &call, scope)).unwrap();
    assert_eq!(sent.inline.messages.len(), 2);
    for message in &sent.inline.messages {
        assert_ne!(message.group, Some(id("g")), "they are parts of a chord of their own");
        let body = message.embed.as_ref().unwrap().chord.clone().unwrap();
        assert_eq!((body.task.as_str(), body.options.task_id.as_ref()), ("celery.accumulate", Some(&id("a"))));
        assert_eq!(body.options.chord.as_ref().unwrap().task.as_str(), "t.body");
        assert_eq!((body.options.group_id.as_ref(), body.options.group_index), (Some(&id("g")), Some(3)));
    }
    let endless = Message { replaced_task_nesting: 3, ..replaced };
    let refused = with(|scope| replacement(&endless, &call, scope)).unwrap_err();
    assert!(refused.to_string().contains("limits.replacements"), "{refused}");
}

#[test]
fn chunks_of_a_guest_are_awaited_as_a_whole() {
    let call = signature(json!({ "task": "celery.chain", "subtask_type": "chain", "kwargs": { "tasks": [
        { "task": "celery.chunks", "kwargs": { "task": { "task": "t.add" }, "it": [[1, 2], [3, 4], [5, 6]], "n": 2 } },
        { "task": "t.total" }] } }));
    let sent = with(|scope| replacement(&message(Embed::default()), &call, scope)).unwrap();
    let [(_, 2)] = sent.inline.sizes.as_slice() else { panic!("{:?}", sent.inline.sizes) };
    for message in &sent.inline.messages {
        let body = message.embed.as_ref().unwrap().chord.as_ref().unwrap();
        assert_eq!((message.task.as_str(), body.task.as_str()), ("celery.starmap", "t.total"));
        assert_eq!(body.options.task_id, Some(id("a")));
    }
    let none = signature(
        json!({ "task": "celery.chunks", "kwargs": { "task": { "task": "t.add" }, "it": [[1, 2]], "n": 0 } }),
    );
    let refused = with(|scope| replacement(&message(Embed::default()), &none, scope)).unwrap_err();
    assert!(refused.to_string().contains("kwargs.n"), "{refused}");
}

#[test]
fn an_added_part_makes_the_chord_larger() {
    let embed = Embed { chord: Some(Arc::new(sig(task("t.body", "body")))), ..Embed::default() };
    let part = Message { group: Some(id("g")), group_index: Some(1), ..message(embed) };
    let call = signature(json!({ "task": "celery.chord", "subtask_type": "chord", "kwargs": { "kwargs": {},
        "header": [{ "task": "t.x" }, { "task": "t.y" }], "body": { "task": "t.sum" } } }));
    let (sent, result) = with(|scope| added_part(&part, &call, id("sum"), scope)).unwrap();
    assert_eq!((sent.inline.grown.as_slice(), &result.id), ([id("g")].as_slice(), &id("sum")));
    let body = sent.inline.messages[0].embed.as_ref().unwrap().chord.clone().unwrap();
    assert_eq!((body.options.group_id.as_ref(), body.options.group_index), (Some(&id("g")), Some(1)));
    assert!(body.options.chord.is_some());
    let alone = message(Embed::default());
    assert!(with(|scope| added_part(&alone, &call, id("sum"), scope)).is_err());
}

/// Runs everything that can be run until nothing is left: each task returns its id, a body the list that it got.
fn run(first: Message) -> Vec<(String, Value)> {
    let mut queue = VecDeque::from([first]);
    let (mut ran, mut sizes, mut parts) = (Vec::new(), BTreeMap::new(), BTreeMap::<_, Vec<Part>>::new());
    let mut groups = BTreeMap::new();
    let (mut counter, mut turns) = (0, 0);
    while let Some(message) = queue.pop_front() {
        turns += 1;
        assert!(turns < 1000, "it does not end");
        assert_eq!(message.then, None::<Then>);
        let args: Vec<Value> = message.args.read().unwrap();
        let value = match message.task.as_str() {
            "celery.accumulate" | "t.list" => args[0].clone(),
            _ => json!(message.id.to_string()),
        };
        ran.push((message.id.to_string(), value.clone()));
        let mut ids = || {
            counter += 1;
            TaskId::new(format!("new-{counter}")).unwrap()
        };
        let rules = Rules { message_bytes: 100_000, canvas_tasks: 1000, lineage_depth: 9, replacements: 3 };
        let now = lovage_model::Timestamp::from_micros(0);
        let mut scope = Scope::new(&Known, &mut ids, rules, now);
        let mut pending = VecDeque::from([returned(&message, &json(value), &mut scope).inline]);
        while let Some(inline) = pending.pop_front() {
            assert!(inline.ends.is_empty());
            sizes.extend(inline.sizes);
            groups.extend(inline.groups.into_iter().map(|group| (group.id.clone(), group)));
            queue.extend(inline.messages);
            for part in inline.parts {
                let group = part.group.clone();
                let all = parts.entry(group.clone()).or_default();
                all.push(part.clone());
                all.sort_by_key(|part| part.index);
                if all.len() as u64 == sizes[&group] {
                    let arrived = |part: &Part| (part.id.clone(), Arrival::Value(part.result.clone()));
                    let parts = all.iter().map(arrived).collect();
                    let nested = groups.get(&group).cloned();
                    let ended = ChordParts { parts, nested, sender: part.sender };
                    pending.push_back(chord_ended(&group, ended, (*part.chord).clone(), &mut scope));
                }
            }
        }
    }
    ran
}

#[test]
fn canvases_in_canvases_come_to_the_value_that_they_have_in_celery() {
    let list = |id: &str| task("t.list", id);
    let pair = || json!([task("t.b", "b"), task("t.c", "c")]);
    for (canvas, expected) in [
        (chain(json!([group(pair()), list("l")])), json!(["b", "c"])),
        (chain(json!([task("t.a", "x"), group(pair()), list("l"), list("m")])), json!(["b", "c"])),
        (
            chord(json!([chain(json!([task("t.b", "b"), task("t.c", "c")])), task("t.d", "d")]), list("l")),
            json!(["c", "d"]),
        ),
        (chord(json!([chord(pair(), list("k")), task("t.d", "d")]), list("l")), json!([["b", "c"], "d"])),
        (
            chord(json!([chain(json!([task("t.x", "x"), group(pair())])), task("t.d", "d")]), list("l")),
            json!([["b", "c"], "d"]),
        ),
        (
            chord(pair(), chain(json!([list("k"), group(json!([list("l"), list("m")])), list("n")]))),
            json!([["b", "c"], ["b", "c"]]),
        ),
        (group(json!([group(pair())])), json!("c")),
        (chain(json!([group(json!([])), task("t.z", "z")])), json!("z")),
        (chord(json!([]), list("l")), json!([])),
    ] {
        let ran = run(message(Embed { callbacks: vec![sig(canvas.clone())], ..Embed::default() }));
        assert_eq!(ran.last().map(|(_, value)| value), Some(&expected), "{canvas}: {ran:?}");
    }
}

#[test]
fn what_is_sent_grows_with_the_canvas_not_with_its_depth() {
    let mut canvas = task("t.list", "deepest");
    for depth in 0..10 {
        let header: Vec<_> = (0..5).map(|n| task("t.x", &format!("x-{depth}-{n}"))).collect();
        canvas = chain(json!([group(json!(header)), task("t.list", &format!("l-{depth}")), canvas]));
    }
    let message = message(Embed { callbacks: vec![sig(canvas)], ..Embed::default() });
    let sent = with(|scope| returned(&message, &json(json!(1)), scope));
    assert_eq!(sent.refused, Vec::<String>::new());
    let longest = sent.inline.messages.iter().map(|one| serde_json::to_string(one).unwrap().len()).max();
    assert!(longest.is_some_and(|bytes| bytes < 40_000), "{longest:?}");
}

#[test]
fn an_endless_canvas_is_refused() {
    let many: Vec<_> = (0..500).map(|n| task("t.x", &format!("x-{n}"))).collect();
    let message = message(Embed { callbacks: vec![sig(group(json!(many)))], ..Embed::default() });
    let sent = with(|scope| returned(&message, &json(json!(1)), scope));
    assert!(sent.inline.messages.is_empty());
    assert!(sent.refused[0].contains("limits.canvas_tasks"), "{:?}", sent.refused);
    assert!(matches!(sig(group(json!([]))).shape, WireShape::Group(_)));
}
