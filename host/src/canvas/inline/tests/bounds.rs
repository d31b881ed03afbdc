//! What is copied for many is counted before.

use super::*;

/// So many tasks of one name.
fn some(name: &str, count: usize) -> Value {
    json!((0..count).map(|n| task(name, &format!("{name}-{n}"))).collect::<Vec<_>>())
}

#[test]
fn what_is_linked_to_many_is_counted_before_it_is_copied() {
    let errbacks = some("t.e", 1000);
    let many = || some("t.x", 50);
    for canvas in [group(many()), chain(many()), chord(some("t.h", 1), group(many()))] {
        let message = chained(&[of(canvas, json!({ "link_error": errbacks }))]);
        let sent = with(|scope| returned(&message, &json(json!(1)), scope));
        assert!(sent.inline.messages.is_empty());
        assert!(sent.refused[0].contains("more than 20000 links"), "{:?}", sent.refused);
    }
    let embed = Embed { errbacks: serde_json::from_value(errbacks).unwrap(), ..Embed::default() };
    let steps = vec![json!({ "task": "t.x" }); 50];
    let call = signature(json!({ "task": "celery.chain", "subtask_type": "chain", "kwargs": { "tasks": steps } }));
    let refused = with(|scope| replacement(&message(embed), &call, scope)).unwrap_err();
    assert!(refused.to_string().contains("more than 20000 links"), "{refused}");
}

/// What follows with ten members is sent; with fifty it would be too much text.
fn is_counted_with_each(canvas: impl Fn(usize) -> Value) {
    let sent = |count| with(|scope| returned(&chained(&[canvas(count)]), &json(json!(1)), scope));
    assert_eq!(sent(10).inline.messages.len(), 10);
    let refused = sent(50);
    assert!(refused.inline.messages.is_empty());
    assert!(refused.refused[0].contains("limits.message_bytes"), "{:?}", refused.refused);
}

#[test]
fn what_is_said_of_a_group_is_counted_with_each_member() {
    let headers = json!({ "headers": { "h": "x".repeat(9000) } });
    is_counted_with_each(|count| of(group(some("t.x", count)), headers.clone()));
}

#[test]
fn the_body_of_a_chord_is_counted_with_each_part_that_carries_it() {
    let mut body = task("t.body", "body");
    body["args"] = json!(["x".repeat(9000)]);
    is_counted_with_each(|count| chord(some("t.x", count), body.clone()));
}

#[test]
fn of_many_that_end_the_later_ones_do_not_list_what_was_sent_for_all_before_them() {
    let body = of(group(some("t.x", 50)), json!({ "task_id": "bg", "link_error": some("t.e", 1) }));
    let inline = with(|scope| chord_ended(&id("g"), failing(), sig(body), scope));
    assert_eq!((inline.ends.len(), inline.messages.len()), (51, 50));
    let listed: usize = inline.ends.iter().map(|end| end.children.len()).sum();
    assert!((300..=400).contains(&listed), "{listed}");
}

#[test]
fn parts_that_fail_with_a_task_say_briefly_why_where_too_much_would_be_said() {
    let part = |n: usize| {
        let options = json!({ "group_id": format!("g-{n}"), "chord": task("t.body", "body") });
        of(task("t.b", &format!("s{n}")), options)
    };
    let steps: Vec<_> = (0..90).map(part).collect();
    let exception = Exception::new("builtins", "ValueError", "x".repeat(9000));
    let sent = with(|scope| failed(&chained(&steps), &exception, None, scope));
    assert_eq!(sent.inline.parts.len(), 90);
    let whole = sent.inline.parts.iter().filter(|part| part.result.as_str().len() > 9000).count();
    assert!((1..35).contains(&whole), "{whole}");
    assert!(sent.inline.parts[89].result.as_str().contains("see task a"));
}
