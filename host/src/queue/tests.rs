//! Admission: which calls become messages, and what is said of the others.

use std::time::Duration;

use lovage_model::{Message, Parameter, QueueName, Seconds, SignatureOptions, TaskOptions};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const LIMITS: Limits = Limits {
    rules: Rules { message_bytes: 100, canvas_tasks: 10, lineage_depth: 5, replacements: 5 },
    room: lovage_model::Room::UNLIMITED,
};
const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

/// One task, `tour.add`, by whatever name it is called.
struct One(TaskOptions);

impl Tasks for One {
    fn find(&self, _: &TaskName) -> Result<Option<Arc<TaskDefinition>>, Refusal> {
        let parameter = |name: &str| Parameter::one(name, false);
        Ok(Some(Arc::new(TaskDefinition {
            name: "tour.add".parse().unwrap(),
            doc: String::new(),
            parameters: ["x", "y"].map(parameter).to_vec(),
            options: self.0.clone(),
            handlers: vec![],
        })))
    }
}

fn id(text: &str) -> TaskId {
    TaskId::new(text).unwrap()
}

fn admitted(call: Signature, options: TaskOptions) -> Result<Message, Refusal> {
    let mut sent = admit(call, Ids::Given(id("a")), &One(options), &LIMITS, NOW)?;
    Ok(sent.plan.tasks.remove(0).message)
}

fn submit(request: Value) -> Result<Message, Refusal> {
    let request: SubmitRequest = serde_json::from_value(request).unwrap();
    admitted(call(request)?, TaskOptions::default())
}

#[test]
fn a_bare_call_gets_celerys_defaults() {
    let message = submit(json!({"task": "add"})).unwrap();
    assert_eq!(message.task.as_str(), "tour.add", "the whole name");
    assert_eq!((message.args.as_str(), message.kwargs.as_str()), ("[]", "{}"));
    assert_eq!(message.queue, QueueName::default());
    assert_eq!((message.priority, message.retries, message.eta, message.expires), (0, 0, None, None));
    assert_eq!((message.root_id, message.parent_id), (id("a"), None));
}

#[test]
fn a_signature_says_the_same_as_its_parts() {
    let options = json!({"queue": "q", "priority": 3, "expires": 5.0, "headers": {"h": 1}, "ignore_result": true});
    let parts = submit(json!({"task": "add", "args": [1], "kwargs": {"y": 2}, "options": options}));
    let whole = submit(json!({"signature": {"task": "add", "args": [1], "kwargs": {"y": 2}, "options": options,
        "subtask_type": null, "immutable": false}}));
    assert_eq!(parts, whole);
    assert_eq!(parts.unwrap().expires, Some(NOW.after(Duration::from_secs(5))));
}

#[test]
fn each_wrong_field_is_named() {
    let long = "x".repeat(300);
    let cases = [
        (json!({}), "task", RefusalCode::Wrong),
        (json!({"task": "a", "signature": {"task": "a"}}), "signature", RefusalCode::Wrong),
        (json!({"args": [1], "signature": {"task": "a"}}), "signature", RefusalCode::Wrong),
        (json!({"task": "a", "args": {"x": 1}}), "args", RefusalCode::Wrong),
        (json!({"task": "a", "kwargs": [1]}), "kwargs", RefusalCode::Wrong),
        (json!({"task": "a", "args": [long]}), "args", RefusalCode::TooLarge),
        (json!({"task": "a", "options": {"headers": {"h": long}}}), "args", RefusalCode::TooLarge),
        (json!({"task": "a", "options": {"priority": 10}}), "options.priority", RefusalCode::Wrong),
        (json!({"task": "a", "options": {"eta": "2999-01-01T00:00:00Z"}}), "options.eta", RefusalCode::Wrong),
        (json!({"task": "a", "options": {"fuel": 0}}), "options.fuel", RefusalCode::Wrong),
        (json!({"task": "a", "options": {"time_limit": 0}}), "options.time_limit", RefusalCode::Wrong),
        (json!({"task": "a", "options": {"shadow": long}}), "options.shadow", RefusalCode::Wrong),
        (
            json!({"task": "a", "options": {"soft_time_limit": 5, "time_limit": 2}}),
            "options.soft_time_limit",
            RefusalCode::Wrong,
        ),
        (json!({"signature": {"task": "a", "subtask_type": "chord"}}), "kwargs", RefusalCode::Wrong),
        (json!({"signature": {"task": "a", "subtask_type": "choir"}}), "subtask_type", RefusalCode::Wrong),
        (json!({"task": "a", "args": [1, 2, 3]}), "args", RefusalCode::Wrong),
        (json!({"task": "a", "kwargs": {"z": 1}}), "kwargs", RefusalCode::Wrong),
        (json!({"task": "a", "options": {"rate_limit": "fast"}}), "options.rate_limit", RefusalCode::Wrong),
    ];
    for (request, field, code) in cases {
        let refusal = submit(request.clone()).unwrap_err();
        assert_eq!((refusal.field.as_str(), refusal.kind), (field, code), "{request}: {refusal}");
    }
}

#[test]
fn another_canvas_under_one_id_has_other_tasks() {
    let ids = |last: i64| {
        let step = |arg: i64| json!({"task": "add", "args": [arg]});
        let chain = json!({"task": "celery.chain", "kwargs": {"tasks": [step(1), step(last)]}});
        let call = serde_json::from_value(chain).unwrap();
        let sent = admit(call, Ids::Given(id("k")), &One(TaskOptions::default()), &LIMITS, NOW).unwrap();
        sent.plan.tasks.into_iter().map(|task| task.message.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(2), ids(2));
    assert_eq!((ids(2)[1].clone(), ids(3)[1].clone()), (id("k"), id("k")));
    assert_ne!(ids(2)[0], ids(3)[0], "so the store finds one id in use, and the other not");
}

#[test]
fn a_time_in_the_past_means_now_and_expiry_is_left_to_the_start() {
    let past = "2001-01-01T00:00:00+00:00";
    let message = submit(json!({"task": "a", "options": {"eta": past, "expires": past}})).unwrap();
    assert!(message.eta.is_none() && message.expires.unwrap() < NOW);
}

#[test]
fn the_tasks_priority_holds_unless_the_message_says() {
    let declared = TaskOptions { priority: Some(7), ..TaskOptions::default() };
    let plain = Signature::new("tour.add".parse().unwrap(), Json::empty_array());
    let mut own = plain.clone();
    own.options.priority = Some(2);
    let priority = |call| admitted(call, declared.clone()).unwrap().priority;
    assert_eq!((priority(plain), priority(own)), (7, 2));
}

proptest! {
    #[test]
    fn what_is_admitted_is_within_its_bounds(
        countdown in proptest::option::of(0.0..Seconds::MAX),
        eta in proptest::option::of(any::<i32>()),
        priority in proptest::option::of(any::<u8>()),
        text in "[a-z]{0,120}",
    ) {
        let options = SignatureOptions {
            countdown: countdown.map(|c| Seconds::new(c).unwrap()),
            eta: eta.map(|seconds| Timestamp::from_micros(i64::from(seconds) * 1_000_000)),
            priority,
            ..SignatureOptions::default()
        };
        let call = Signature { options, ..Signature::new("a".parse().unwrap(), Json::of(&[text]).unwrap()) };
        if let Ok(message) = admitted(call, TaskOptions::default()) {
            prop_assert!(message.priority <= 9);
            prop_assert!(message.args.as_str().len() + message.kwargs.as_str().len() <= LIMITS.rules.message_bytes);
            prop_assert!(message.eta.is_none_or(|eta| eta <= NOW.after(Duration::from_secs_f64(Seconds::MAX))));
        }
    }
}
