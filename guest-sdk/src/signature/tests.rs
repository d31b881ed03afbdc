use std::collections::BTreeMap;

use lovage_model::{QueueName, Seconds, TaskId, TaskOptions, Timestamp};
use serde_json::Value;

use super::*;

#[test]
fn a_signature_is_celerys_json() {
    let options = Options::new().countdown(3.0).queue("slow");
    let json = Signature::of("m.add").arg(1).kwarg("y", "b").set(options).immutable().to_json().unwrap();
    assert_eq!(
        json.as_str(),
        r#"{"task":"m.add","args":[1],"kwargs":{"y":"b"},"options":{"countdown":3.0,"queue":"slow"},"subtask_type":null,"immutable":true}"#
    );
}

#[test]
fn every_option_is_one_that_the_model_knows() {
    let options = Options::new()
        .countdown(1.0)
        .eta("2026-11-21T12:00:00Z")
        .expires(60.0)
        .queue("slow")
        .priority(2)
        .time_limit(5.0)
        .soft_time_limit(4.0)
        .fuel(1_000)
        .ignore_result(true)
        .task_id("t-1")
        .shadow("other")
        .header("a", 1)
        .header("b", [2]);
    let json = Signature::of("m.add").set(options).to_json().unwrap();
    let read: lovage_model::Signature = json.read().unwrap();
    let seconds = |number| lovage_model::Seconds::new(number).ok();
    assert_eq!(
        read.options,
        lovage_model::SignatureOptions {
            task_id: TaskId::new("t-1").ok(),
            queue: QueueName::new("slow").ok(),
            priority: Some(2),
            countdown: seconds(1.0),
            eta: Timestamp::parse("2026-11-21T12:00:00Z").ok(),
            expires: seconds(60.0).map(lovage_model::Expires::In),
            time_limit: seconds(5.0),
            soft_time_limit: seconds(4.0),
            fuel: Some(1_000),
            ignore_result: Some(true),
            shadow: Some("other".to_owned()),
            headers: BTreeMap::from([
                ("a".to_owned(), Json::of(&1).unwrap()),
                ("b".to_owned(), Json::of(&[2]).unwrap()),
            ]),
            ..Default::default()
        }
    );
}

#[test]
fn what_went_wrong_while_building_is_raised_at_the_end() {
    let raised = |signature: Signature| signature.to_json().unwrap_err().to_string();
    assert_eq!(
        raised(Signature::of("m.f").set(Options::new().countdown(-1.0))),
        "ValueError: -1 is not a number of seconds between 0 and 31622400"
    );
    assert!(raised(Signature::of("a b")).starts_with("ValueError: \"a b\" is not a task name"));
    assert!(raised(Signature::of("m.f").set(Options::new().priority(10))).contains("priority 10"));
    assert!(raised(Signature::of("m.f").set(Options::new().eta("soon"))).contains("ISO 8601"));
    let unfit = BTreeMap::from([((1, 2), 3)]);
    assert!(raised(Signature::of("m.f").arg(unfit)).starts_with("EncodeError: an argument cannot be JSON"));
}

#[test]
fn every_option_of_a_task_can_be_overridden() {
    let options = Options::new()
        .max_retries(7)
        .default_retry_delay(1.0)
        .autoretry_for(&["KeyError"])
        .dont_autoretry_for(&["LookupError"])
        .retry_backoff(2.0)
        .retry_backoff_max(8.0)
        .retry_jitter(false)
        .throws(&["ValueError"])
        .acks_late(false)
        .acks_on_failure(false)
        .reject_on_worker_lost(false)
        .store_errors_even_if_ignored(false)
        .track_started(false)
        .rate_limit("10/m")
        .serializer(crate::Serializer::Msgpack)
        .compression(crate::Compression::Zstd)
        .resultrepr_maxsize(10)
        .trail(false)
        .typing(false);
    let read: lovage_model::Signature = Signature::of("m.add").set(options).to_json().unwrap().read().unwrap();
    let elsewhere = ["ignore_result", "time_limit", "soft_time_limit", "expires", "priority", "shadow"];
    let overridden = read.options.overrides.keys().map(String::as_str).chain(elsewhere);
    assert_eq!(overridden.collect::<std::collections::BTreeSet<_>>(), TaskOptions::NAMES.into());
    let in_force = TaskOptions::default().overridden(&read.options.overrides).unwrap();
    assert_eq!((in_force.max_retries, in_force.retry_backoff), (Some(7), Seconds::new(2.0).ok()));
}

#[test]
fn options_add_up() {
    let signature = Signature::of("m.add").set(Options::new().queue("slow").priority(1));
    let signature = signature.set(Options::new().priority(2).group_id("g").add_to_parent(false));
    let read: lovage_model::Signature = signature.to_json().unwrap().read().unwrap();
    assert_eq!((read.options.queue, read.options.priority), (QueueName::new("slow").ok(), Some(2)));
    assert_eq!((read.options.group_id, read.options.add_to_parent), (TaskId::new("g").ok(), Some(false)));
}

fn add(args: &[i64]) -> Signature {
    args.iter().fold(Signature::of("m.add"), |call, number| call.arg(number))
}

fn linked(signature: Signature) -> Signature {
    let (total, oops) = (Signature::of("m.total"), Signature::of("m.oops"));
    signature.link(total.clone()).set(Options::new().link(total)).link_error(oops)
}

#[test]
fn a_canvas_is_celerys_json() {
    let total = || Signature::of("m.total");
    let group = || group([add(&[1, 1]), add(&[2, 2])]);
    let pairs = [[1, 2], [3, 4]];
    let wanted = [
        ("pipe", add(&[1, 1]) | add(&[2]) | chain([add(&[3]), add(&[4])])),
        ("group", group()),
        ("chord", chord((1..3).map(|i| add(&[i, i])), total())),
        ("chord of group", chord(group(), total())),
        ("chord in chain", chain([add(&[1, 1]), chord([add(&[2]), add(&[3])], total())])),
        ("map", add(&[]).map([1, 2])),
        ("starmap", add(&[]).starmap(pairs)),
        ("chunks", add(&[]).chunks(pairs, 2)),
        ("linked task", linked(add(&[1, 1]))),
        ("linked group", linked(group())),
        ("linked chord", linked(chord([add(&[1, 1])], total()))),
        ("stamped task", linked(add(&[1, 1])).stamp("build", 12)),
    ];
    let golden = include_str!("../../../model/src/canvas/golden.txt");
    for (name, signature) in wanted {
        let celerys = golden.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap();
        let ours: Value = signature.to_json().unwrap().read().unwrap();
        assert_eq!(ours, serde_json::from_str::<Value>(celerys).unwrap(), "{name}");
    }
}

#[test]
fn a_fault_anywhere_in_a_canvas_is_raised() {
    let raised = |signature: Signature| signature.to_json().unwrap_err().to_string();
    let bad = || Signature::of("a b");
    let good = || add(&[1, 2]);
    for canvas in [
        chain([good(), bad()]),
        group([bad()]),
        chord([bad()], good()),
        chord([good()], bad()),
        chord(group([bad()]), good()),
        bad().map([1]),
        good().link(bad()),
        good().set(Options::new().link_error(bad())),
    ] {
        assert!(raised(canvas).contains("is not a task name"));
    }
    assert!(raised(group([good()]).arg(1)).starts_with("TypeError: a canvas takes no arguments"));
    assert!(raised(good().stamp("s", BTreeMap::from([((1, 2), 3)]))).starts_with("EncodeError: stamp 's'"));
    let unfit = [BTreeMap::from([((1, 2), 3)])];
    assert!(raised(good().map(unfit)).starts_with("EncodeError: an item"));
}

#[test]
fn nobody_waits_inside_a_task() {
    let refused = AsyncResult::new("t".to_owned()).get().unwrap_err().to_string();
    assert!(refused.starts_with("RuntimeError: Never call result.get() within a task!"), "{refused}");
}
