//! What calls expand to: each canvas, each in each other, and what is wrong with others.

use std::collections::HashMap;

use lovage_model::{Expires, Json, Message, QueueName, Seconds, TaskName, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);
const RULES: Rules = Rules { message_bytes: 1 << 20, canvas_tasks: 20_000, lineage_depth: 5, replacements: 3 };

fn id(text: &str) -> TaskId {
    TaskId::new(text).unwrap()
}

fn scoped<T>(decide: impl FnOnce(&mut Scope<'_>) -> T) -> T {
    let mut count = 0;
    let mut ids = || {
        count += 1;
        id(&format!("i{count}"))
    };
    decide(&mut Scope::new(&AnyTask, &mut ids, RULES, NOW))
}

fn task(name: &str) -> Value {
    json!({"task": format!("m.{name}"), "args": [], "kwargs": {}, "options": {"task_id": name}, "subtask_type": null, "immutable": false})
}

fn canvas(kind: &str, kwargs: Value) -> Value {
    json!({"task": format!("celery.{kind}"), "args": [], "kwargs": kwargs, "options": {}, "subtask_type": kind, "immutable": false})
}

fn chain(tasks: &[Value]) -> Value {
    canvas("chain", json!({"tasks": tasks}))
}

fn group(tasks: &[Value]) -> Value {
    canvas("group", json!({"tasks": tasks}))
}

fn chord(header: &[Value], body: Value) -> Value {
    canvas("chord", json!({"header": header, "body": body, "kwargs": {}}))
}

fn with(mut canvas: Value, options: Value) -> Value {
    canvas["options"] = options;
    canvas
}

fn try_sent(call: Value) -> Result<Sent, Invalid> {
    let call: Signature = serde_json::from_value(call).unwrap();
    scoped(|scope| expand(call, None, scope))
}

fn sent(call: Value) -> Sent {
    try_sent(call).unwrap()
}

/// Each task with what it waits for and what its end is for, in a line.
fn lines(sent: &Sent) -> Vec<String> {
    let then = |then: &Option<Then>| match then {
        None => String::new(),
        Some(Then::Next) => " >".to_owned(),
        Some(Then::Part { group, index }) => format!(" {group}[{index}]"),
    };
    let task = |one: &Planned| {
        let awaits = one.awaits.as_ref().map(|id| format!("{id}: ")).unwrap_or_default();
        format!("{awaits}{}{}", one.message.id, then(&one.message.then))
    };
    let join = |join: &lovage_model::Join| format!("{}={}{}", join.group, join.size, then(&Some(join.then.clone())));
    sent.plan.tasks.iter().map(task).chain(sent.plan.joins.iter().map(join)).collect()
}

fn tuple(sent: &Sent) -> Value {
    serde_json::to_value(&sent.result).unwrap()
}

#[test]
fn a_chain_is_a_line_of_tasks() {
    let sent = sent(chain(&[task("a"), task("b"), task("c")]));
    assert_eq!(lines(&sent), ["a >", "a: b >", "b: c"]);
    assert_eq!(tuple(&sent), json!([["c", [["b", [["a", null], null]], null]], null]));
    let of = |index: usize| &sent.plan.tasks[index].message;
    assert_eq!((of(2).root_id.as_str(), of(2).parent_id.as_ref().unwrap().as_str()), ("a", "b"));
    assert_eq!(of(1).successor, Some(ResultTuple::of(id("c"))));
}

#[test]
fn a_group_that_nobody_waits_for_needs_no_join() {
    let sent = sent(group(&[task("a"), task("b")]));
    assert_eq!(lines(&sent), ["a", "b"]);
    assert_eq!(tuple(&sent), json!([["i1", null], [[["a", null], null], [["b", null], null]]]));
    let place = |index: usize| sent.plan.tasks[index].message.group_index;
    assert_eq!((place(0), place(1)), (Some(0), Some(1)));
}

#[test]
fn a_group_before_a_task_is_a_chord() {
    let piped = sent(chain(&[task("z"), group(&[task("a"), task("b")]), task("c")]));
    assert_eq!(lines(&piped), ["z >", "z: a i1[0]", "z: b i1[1]", "i1: c", "i1=2 >"]);
    let whole = sent(chord(&[task("a"), task("b")], task("c")));
    assert_eq!(lines(&whole), ["a i1[0]", "b i1[1]", "i1: c", "i1=2 >"]);
    assert_eq!(tuple(&whole), json!([["c", [["i1", null], [[["a", null], null], [["b", null], null]]]], null]));
    assert_eq!(whole.plan.tasks[0].message.successor, Some(ResultTuple::of(id("c"))), "the way to the body");
}

#[test]
fn a_group_in_a_header_is_a_list_in_the_list() {
    let sent = sent(chord(&[group(&[task("a"), task("b")]), task("c")], task("d")));
    assert_eq!(lines(&sent), ["a i2[0]", "b i2[1]", "c i1[1]", "i1: d", "i1=2 >", "i2=2 i1[0]"]);
}

#[test]
fn chains_and_chords_are_parts_of_a_header_by_their_last_task() {
    let part = chain(&[task("a"), task("b")]);
    let inner = chord(&[task("x")], task("y"));
    let nested = sent(chord(&[part, inner], task("d")));
    assert_eq!(lines(&nested), ["a >", "a: b i1[0]", "x i2[0]", "i2: y i1[1]", "i1: d", "i1=2 >", "i2=1 >"]);
}

#[test]
fn a_body_may_be_anything() {
    let chained = sent(chord(&[task("a")], chain(&[task("b"), task("c")])));
    assert_eq!(lines(&chained), ["a i1[0]", "i1: b >", "b: c", "i1=1 >"]);
    let grouped = sent(chain(&[chord(&[task("a")], group(&[task("b"), task("c")])), task("d")]));
    assert_eq!(lines(&grouped), ["a i1[0]", "i1: b i2[0]", "i1: c i2[1]", "i2: d", "i1=1 >", "i2=2 >"]);
}

#[test]
fn empty_groups_are_passed_over_and_an_empty_header_is_an_empty_list() {
    assert_eq!(lines(&sent(chain(&[task("a"), group(&[]), task("b")]))), ["a >", "a: b"]);
    let body = sent(chord(&[], task("b")));
    assert_eq!((lines(&body), body.plan.tasks[0].message.args.as_str()), (vec!["b".to_owned()], "[[]]"));
}

#[test]
fn chunks_are_a_group_of_starmaps() {
    let sent = sent(canvas("chunks", json!({"task": task("add"), "it": [[1, 2], [3, 4], [5, 6]], "n": 2})));
    assert_eq!(sent.plan.tasks.len(), 2);
    let first = &sent.plan.tasks[0].message;
    assert_eq!(first.task.as_str(), builtin::STARMAP);
    let mapped = Mapped::<Signature>::of(&first.kwargs).unwrap();
    assert_eq!((mapped.task.task.as_str(), mapped.items(true, RULES).unwrap().len()), ("m.add", 2));
}

#[test]
fn the_items_of_a_map_are_counted_before_they_are_held() {
    let map = |items: usize| json!({"task": "celery.map", "kwargs": {"task": task("add"), "it": vec![1; items]}});
    sent(map(RULES.canvas_tasks));
    let refused = try_sent(map(RULES.canvas_tasks + 1)).unwrap_err();
    assert_eq!((refused.kind, refused.field.as_str()), (Fault::TooLarge, "kwargs.it"));
    assert!(refused.message.contains("20001 items") && refused.message.contains("limits.canvas_tasks"), "{refused}");
}

#[test]
fn chunks_are_counted_before_they_are_made_and_hold_their_items_as_they_are() {
    let chunks = |task: Value, it: &str, n: usize| {
        let it: Json = Json::parse(it.to_owned()).unwrap();
        let kwargs = Json::parse(format!(r#"{{"task":{task},"it":{it},"n":{n}}}"#)).unwrap();
        Signature { kwargs, ..Signature::new(builtin::CHUNKS.parse().unwrap(), Json::empty_array()) }
    };
    let expanded = |call| scoped(|scope| expand(call, None, scope));
    let items = r#"[[18446744073709551617,1e400,"\ud800"]]"#;
    let sent = expanded(chunks(task("add"), items, 1)).unwrap();
    assert!(sent.plan.tasks[0].message.kwargs.as_str().contains(&items[1..items.len() - 1]));
    let many = format!("[{}[0]]", "[0],".repeat(30_000));
    let refused = expanded(chunks(task("add"), &many, 1)).unwrap_err();
    assert!(refused.kind == Fault::TooLarge && refused.message.contains("limits.canvas_tasks"), "{refused}");
    let mut large = task("add");
    large["args"] = json!(["x".repeat(1 << 19)]);
    let refused = expanded(chunks(large, &many, 10)).unwrap_err();
    assert!(refused.kind == Fault::TooLarge && refused.message.contains("limits.message_bytes"), "{refused}");
}

#[test]
fn whichever_step_of_a_replacement_fails_its_errbacks_are_told() {
    let replaced =
        Message { errbacks: vec![call(json!({"task": "m.hear"}))], ..Message::new(id("r"), "m.r".parse().unwrap()) };
    let by = |value| scoped(|scope| replacement(&replaced, call(value), scope)).unwrap();
    let (last, plan) = by(chain(&[task("a"), task("b")]));
    let told = |message: &Message| message.errbacks.iter().map(|one| one.task.to_string()).collect::<Vec<_>>();
    assert_eq!(
        (told(&last.message), told(&plan.tasks[0].message)),
        (vec!["m.hear".to_owned()], vec!["m.hear".to_owned()])
    );
    let (body, header) = by(chord(&[task("a")], task("b")));
    assert_eq!((told(&body.message).len(), told(&header.tasks[0].message).len()), (1, 0));
}

#[test]
fn what_is_linked_to_a_canvas_goes_where_celery_sends_it() {
    let links = json!({"link": task("l"), "link_error": task("e")});
    let count = |sent: &Sent| {
        let of = |one: &Planned| (one.message.callbacks.len(), one.message.errbacks.len());
        sent.plan.tasks.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(count(&sent(with(chain(&[task("a"), task("b")]), links.clone()))), [(0, 1), (1, 1)]);
    assert_eq!(count(&sent(with(group(&[task("a"), task("b")]), links.clone()))), [(1, 1), (0, 1)]);
    assert_eq!(count(&sent(with(chord(&[task("a")], task("b")), links))), [(0, 0), (1, 1)]);
}

#[test]
fn what_a_canvas_says_holds_for_all_its_tasks_and_a_countdown_for_the_first() {
    let options = json!({"queue": "slow", "countdown": 5.0, "expires": 60.0, "stamped_headers": ["k"], "k": 1});
    let sent = sent(with(chain(&[task("a"), with(task("b"), json!({"queue": "own", "countdown": 2.0}))]), options));
    let [first, second] = [0, 1].map(|index| &sent.plan.tasks[index].message);
    assert_eq!((first.queue.as_str(), second.queue.as_str()), ("slow", "own"));
    assert_eq!((first.eta, first.countdown), (Some(NOW.after(std::time::Duration::from_secs(5))), None));
    assert_eq!((second.eta, second.countdown), (None, Seconds::new(2.0).ok()), "from the end of the first");
    assert_eq!((second.expires, second.expires_in), (None, Seconds::new(60.0).ok()));
    assert_eq!(second.stamps["k"].as_str(), "1");
}

#[test]
fn what_is_wrong_is_named_wherever_it_is() {
    let long = "x".repeat(1 << 21);
    let mut odd = task("a");
    odd["subtask_type"] = json!("choir");
    let cases = [
        (chain(&[]), "kwargs.tasks", Fault::Wrong),
        (group(&[]), "kwargs.tasks", Fault::Wrong),
        (odd, "subtask_type", Fault::Wrong),
        (chain(&[task("a"), task("a")]), "options.task_id", Fault::Wrong),
        (chain(&[task("a"), with(task("b"), json!({"priority": 10}))]), "tasks[1].options.priority", Fault::Wrong),
        (chord(&[with(task("b"), json!({"fuel": 0}))], task("c")), "header.tasks[0].options.fuel", Fault::Wrong),
        (chord(&[task("b")], with(task("c"), json!({"time_limit": 0}))), "body.options.time_limit", Fault::Wrong),
        (chain(&[task("a"), chord(&[], task("b"))]), "tasks[1].kwargs.header", Fault::Wrong),
        (canvas("chunks", json!({"task": task("a"), "it": [[1]], "n": 0})), "kwargs.n", Fault::Wrong),
        (canvas("chain", json!({"steps": []})), "kwargs", Fault::Wrong),
        (json!({"task": "m.a", "args": [long]}), "args", Fault::TooLarge),
        (with(task("a"), json!({"link": chain(&[])})), "options.link.kwargs.tasks", Fault::Wrong),
        (json!({"task": "celery.map", "kwargs": {"it": [1]}}), "kwargs", Fault::Wrong),
        (json!({"task": "celery.starmap", "kwargs": {"task": task("a"), "it": [1]}}), "kwargs.it", Fault::Wrong),
    ];
    for (call, field, kind) in cases {
        let shown = call.to_string().chars().take(200).collect::<String>();
        let invalid = try_sent(call).expect_err(&shown);
        assert_eq!((invalid.field.as_str(), invalid.kind), (field, kind), "{shown}: {invalid}");
    }
}

#[test]
fn the_stamps_of_a_task_are_counted_with_their_values() {
    let stamped = |call: Value, values: usize| {
        let values: Vec<usize> = (0..values).collect();
        with(call, json!({"stamped_headers": ["job", "page"], "job": values, "page": 1}))
    };
    assert_eq!(sent(stamped(task("a"), Message::MOST_STAMPS - 1)).plan.tasks.len(), 1);
    let link = json!({"link": stamped(task("l"), 500)});
    for call in [stamped(task("a"), Message::MOST_STAMPS), with(task("b"), link)] {
        let refused = try_sent(call).unwrap_err();
        assert!(refused.field.ends_with("options.stamped_headers"), "{refused}");
        assert!(refused.message.contains("the limit is 100"), "{refused}");
    }
    // Each is an entry of its own for the store, so that few tasks have many, or many have few.
    let many: Vec<_> = (0..RULES.canvas_tasks).map(|_| json!({"task": "m.a"})).collect();
    let refused = try_sent(stamped(group(&many), 9)).unwrap_err();
    assert_eq!(refused.kind, Fault::TooLarge, "{refused}");
}

#[test]
fn a_chord_inside_itself_is_two_tasks_of_one_id() {
    let inner = chord(&[task("a")], task("b"));
    assert_eq!(try_sent(chord(&[inner], task("b"))).unwrap_err().field, "options.task_id");
}

#[test]
fn a_canvas_is_bounded() {
    let many: Vec<_> = (0..RULES.canvas_tasks + 1).map(|_| json!({"task": "m.a"})).collect();
    let refused = try_sent(group(&many)).unwrap_err();
    assert!(refused.kind == Fault::TooLarge && refused.message.contains("limits.canvas_tasks"), "{refused}");
}

#[test]
fn what_one_attempt_sends_is_counted_before_it_is_made() {
    let rules = Rules { canvas_tasks: 100, ..RULES };
    let many = group(&vec![json!({"task": "m.a"}); 100]);
    // How many of three groups are made, and why the next one is not.
    let sends = |room: Room| {
        let mut ids = || TaskId::from_uuid(uuid::Uuid::now_v7());
        let scope = &mut Scope::new(&AnyTask, &mut ids, rules, NOW).within(room);
        let parent = running("p");
        let sent: Vec<_> = (0..3).map(|_| subtask(&parent, call(many.clone()), None, scope)).collect();
        let made = sent.iter().filter(|sent| sent.is_ok()).count();
        (made, sent.into_iter().find_map(Result::err))
    };
    assert_eq!(sends(Room::UNLIMITED), (3, None));
    let (made, refused) = sends(Room { descendants: 250, ..Room::UNLIMITED });
    let refused = refused.unwrap();
    assert_eq!((made, refused.kind), (2, Fault::TooLarge));
    assert!(refused.message.contains("250 tasks") && refused.message.contains("limits.lineage_tasks"), "{refused}");
    assert_eq!(sends(Room { queued_tasks: 150, ..Room::UNLIMITED }).0, 1);
    assert_eq!(sends(Room { descendants: 0, ..Room::UNLIMITED }).0, 1, "of one canvas the store says it");
}

#[test]
fn members_are_counted_while_they_are_read() {
    let many: Vec<_> = (0..Signature::MOST_LINKED + 1).map(|_| json!({"task": "m.a"})).collect();
    let few = Rules { canvas_tasks: 100, ..RULES };
    for call in [group(&many), chain(&many), chord(&many, task("b"))] {
        let call = serde_json::from_value(call).unwrap();
        let refused = expand(call, None, &mut Scope::new(&AnyTask, &mut || id("x"), few, NOW)).unwrap_err();
        assert!(refused.message.contains("too many signatures"), "{refused}");
    }
}

#[test]
fn what_links_take_in_memory_is_bounded() {
    let (members, links) = (vec![json!({"task": "m.a"}); 41], vec![json!({"task": "m.e"}); 2000]);
    let refused = try_sent(with(group(&members), json!({"link_error": links}))).unwrap_err();
    assert!(refused.kind == Fault::TooLarge && refused.message.contains("times limits.canvas_tasks"), "{refused}");
    let few = with(group(&vec![json!({"task": "m.a"}); 5000]), json!({"link_error": {"task": "m.e"}}));
    let small = Rules { message_bytes: 65_536, ..RULES };
    let few = serde_json::from_value(few).unwrap();
    expand(few, None, &mut Scope::new(&AnyTask, &mut || TaskId::from_uuid(uuid::Uuid::now_v7()), small, NOW)).unwrap();
}

#[test]
fn what_is_linked_to_all_is_looked_at_once() {
    let mut call = json!({"task": "m.hear"});
    for _ in 0..12 {
        let members: Vec<_> = (0..10).map(|_| json!({"task": "m.a"})).collect();
        call = with(group(&members), json!({"link_error": [call]}));
    }
    // Ten to the power of twelve, if each copy were looked at.
    assert_eq!(sent(call).plan.tasks.len(), 10);
    let many: Vec<_> = (0..150).map(|n| json!({"task": "m.a", "args": [n]})).collect();
    let few = Rules { canvas_tasks: 100, ..RULES };
    let call = serde_json::from_value(with(task("a"), json!({"link": many}))).unwrap();
    let refused = expand(call, None, &mut Scope::new(&AnyTask, &mut || id("x"), few, NOW));
    assert!(refused.unwrap_err().message.contains("callbacks"));
}

#[test]
fn what_is_said_for_all_tasks_is_bounded_for_all_together() {
    let long = "x".repeat(100_000);
    let members: Vec<_> = (0..5000).map(|_| json!({"task": "m.a"})).collect();
    let mut said = group(&members);
    said["args"] = json!([long]);
    let linked = with(group(&members), json!({"link_error": [{"task": "m.e", "args": [long]}]}));
    let headers = chord(&members, with(task("b"), json!({})));
    let headers = with(headers, json!({"headers": {"h": long}}));
    for call in [said, linked, headers] {
        let refused = try_sent(call).unwrap_err();
        assert!(refused.kind == Fault::TooLarge && refused.message.contains("limits.message_bytes"), "{refused}");
    }
}

#[test]
fn an_id_of_the_last_task_is_that_of_the_call() {
    let call = chain(&[task("a"), task("b")]);
    assert_eq!(sent(call.clone()).result.id, id("b"));
    let call: Signature = serde_json::from_value(call).unwrap();
    let refused = scoped(|scope| expand(call, Some(id("other")), scope)).unwrap_err();
    assert_eq!(refused.field, "tasks[1].options.task_id");
}

#[test]
fn who_waits_says_so_until_it_has_what_it_waited_for() {
    let sent = sent(chain(&[task("a"), task("b")]));
    let [first, second] = [0, 1].map(|index| sent.plan.tasks[index].message.clone());
    assert!(!first.unreleased && second.unreleased);
    assert!(!second.receive(&Json::null(), NOW).unwrap().unreleased);
}

#[test]
fn long_pipelines_have_small_messages() {
    let steps: Vec<_> = (0..1000).map(|n| task(&format!("t{n}"))).collect();
    let sent = sent(chain(&steps));
    let largest = sent.plan.tasks.iter().map(|one| serde_json::to_string(&one.message).unwrap().len()).max();
    assert!(sent.plan.tasks.len() == 1000 && largest < Some(600), "{largest:?}");
}

fn running(name: &str) -> Message {
    Message { queue: QueueName::new("own").unwrap(), ..Message::new(id(name), TaskName::new("m.run").unwrap()) }
}

fn call(value: Value) -> Signature {
    serde_json::from_value(value).unwrap()
}

#[test]
fn lineage_is_kept_and_ends_somewhere() {
    let mut parent = running("root");
    for depth in 1..=RULES.lineage_depth {
        let sent = scoped(|scope| subtask(&parent, call(task("a")), Some(id(&format!("c{depth}"))), scope)).unwrap();
        let child = sent.plan.tasks.into_iter().next().unwrap().message;
        assert_eq!((child.depth, child.root_id.as_str(), child.queue.as_str()), (depth, "root", "own"));
        assert_eq!(child.parent_id.as_ref(), Some(&parent.id));
        parent = child;
    }
    let refused = scoped(|scope| subtask(&parent, call(task("a")), None, scope)).unwrap_err();
    assert!(refused.message.contains("limits.lineage_depth"), "{refused}");
}

#[test]
fn a_replacement_takes_the_place_whole() {
    let part = Then::Part { group: id("g"), index: 3 };
    let replaced = Message { then: Some(part.clone()), group: Some(id("g")), group_index: Some(3), ..running("r") };
    let by = |value| scoped(|scope| replacement(&replaced, call(value), scope)).unwrap();
    let (last, others) = by(chain(&[json!({"task": "m.a"}), json!({"task": "m.b"})]));
    assert_eq!((last.message.id.as_str(), &last.message.then), ("r", &Some(part.clone())));
    assert_eq!((last.awaits, others.tasks[0].message.then.clone()), (Some(id("i1")), Some(Then::Next)));
    assert_eq!((last.message.replaced_task_nesting, last.message.group_index), (1, Some(3)));
    let (last, others) = by(group(&[json!({"task": "m.a"}), json!({"task": "m.b"})]));
    assert_eq!((last.message.task.as_str(), last.message.then), (builtin::ACCUMULATE, Some(part)));
    assert_eq!((others.tasks.len(), others.joins[0].then.clone()), (2, Then::Next));
}

#[test]
fn a_replacement_keeps_what_is_linked_and_replacing_ends_somewhere() {
    let mut message = Message { callbacks: vec![call(task("l"))], ..running("r") };
    for _ in 0..RULES.replacements {
        let (by, _) = scoped(|scope| replacement(&message, call(json!({"task": "m.a"})), scope)).unwrap();
        message = by.message;
        assert_eq!(message.callbacks.len(), 1);
    }
    let refused = scoped(|scope| replacement(&message, call(json!({"task": "m.a"})), scope)).unwrap_err();
    assert_eq!(refused.field, "replace");
}

#[test]
fn a_part_can_be_added_to_ones_own_chord_only() {
    let part = Then::Part { group: id("g"), index: 3 };
    let member = Message { then: Some(part.clone()), ..running("r") };
    let added = scoped(|scope| added_part(&member, call(task("a")), None, scope)).unwrap();
    assert_eq!(added.plan.tasks[0].message.then, Some(part));
    let refused = scoped(|scope| added_part(&running("r"), call(task("a")), None, scope)).unwrap_err();
    assert_eq!(refused.field, "add_to_chord");
}

#[test]
fn what_a_join_gathers_is_bounded_and_in_order() {
    let value = |text: &str| Arrival::Value(Json::parse(text.to_owned()).unwrap());
    let list = gathered(vec![value("1"), value("[2]")], &id("g"), 100);
    assert_eq!(list, value("[1,[2]]"));
    let failed = Arrival::Failed { task: id("x"), exception: Exception::revoked("revoked") };
    assert_eq!(gathered(vec![value("1"), failed.clone()], &id("g"), 100), failed);
    let long = gathered(vec![value("123456789"); 20], &id("g"), 100);
    assert!(matches!(long, Arrival::Failed { exception, .. } if exception.message().contains("limits.message_bytes")));
}

#[test]
fn a_time_in_the_past_is_now_and_an_expiry_is_a_time() {
    let mut soon = call(json!({"task": "m.a"}));
    soon.options.eta = Some(Timestamp::from_micros(1));
    soon.options.expires = Seconds::new(5.0).ok().map(Expires::In);
    let sent = scoped(|scope| expand(soon, None, scope)).unwrap();
    let message = &sent.plan.tasks[0].message;
    assert_eq!((message.eta, message.expires), (None, Some(NOW.after(std::time::Duration::from_secs(5)))));
}

/// Any canvas, of tasks without ids.
fn canvases() -> impl Strategy<Value = Value> {
    let leaf = Just(json!({"task": "m.a"}));
    leaf.prop_recursive(5, 40, 4, |inner| {
        let some = proptest::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            some.clone().prop_map(|tasks| chain(&tasks)),
            some.clone().prop_map(|tasks| group(&tasks)),
            (some, inner).prop_map(|(header, body)| chord(&header, body)),
        ]
    })
}

proptest! {
    /// Ends that lead nowhere, or waiting for nothing, would hang.
    #[test]
    fn every_plan_can_run_to_its_end(call in canvases()) {
        let Sent { plan, result } = sent(call);
        let mut left: HashMap<&TaskId, u32> = plan.joins.iter().map(|join| (&join.group, join.size)).collect();
        let then_of: HashMap<&TaskId, &Then> = plan.joins.iter().map(|join| (&join.group, &join.then)).collect();
        let mut ready: Vec<&Planned> = plan.tasks.iter().filter(|one| one.awaits.is_none()).collect();
        let mut ran = 0;
        while let Some(one) = ready.pop() {
            ran += 1;
            let mut end = one.message.then.as_ref().map(|then| (&one.message.id, then));
            while let Some((ended, then)) = end.take() {
                match then {
                    Then::Next => {
                        let mut next = plan.tasks.iter().filter(|other| other.awaits.as_ref() == Some(ended)).peekable();
                        prop_assert!(next.peek().is_some(), "nothing waits for {ended}");
                        ready.extend(next);
                    }
                    Then::Part { group, .. } => {
                        let missing = left.get_mut(group).unwrap();
                        *missing -= 1;
                        if *missing == 0 {
                            end = Some((group, then_of[group]));
                        }
                    }
                }
            }
        }
        prop_assert_eq!(ran, plan.tasks.len());
        prop_assert!(left.values().all(|missing| *missing == 0));
        let is_last = plan.tasks.iter().any(|one| one.message.id == result.id && one.message.then.is_none());
        prop_assert!(is_last || result.children.is_some());
    }
}
