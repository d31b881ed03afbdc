use lovage_model::{Expires, TaskId, Timestamp};
use serde_json::{Value, json};

use super::*;

fn value(signature: &Signature) -> Value {
    signature.to_json().unwrap().read().unwrap()
}

fn wrong(signature: Signature) -> String {
    signature.build().unwrap_err().to_string()
}

#[test]
fn a_call_becomes_celerys_json() {
    let call =
        s("tour.add", (1, "x")).kwarg("z", 1).kwarg("a", 2).kwarg("z", 3).countdown(1.5).queue("slow").priority(3);
    assert_eq!(
        call.header("h", [1]).header("i", 2).to_json().unwrap().as_str(),
        r#"{"task":"tour.add","args":[1,"x"],"kwargs":{"a":2,"z":3},"options":{"countdown":1.5,"headers":{"h":[1],"i":2},"priority":3,"queue":"slow"},"subtask_type":null,"immutable":false}"#
    );
    let none = si("tour.hello", ());
    assert_eq!((&value(&none)["args"], &value(&none)["immutable"]), (&json!([]), &json!(true)));
}

#[test]
fn every_option_is_read_as_it_was_meant() {
    let id = |text: &str| TaskId::new(text).unwrap();
    let at = Timestamp::parse("2026-11-21T12:00:00Z").unwrap();
    let call = Signature::of("m.f").task_id(id("t")).group_id(id("g")).eta(at).expires(Expires::At(at));
    let call = call.time_limit(5.0).soft_time_limit(4.0).fuel(9).ignore_result().shadow("other");
    let call = call.set("max_retries", 7).set("rate_limit", "10/s").stamp("build", 12);
    let options = call.build().unwrap().signature.unwrap().options;
    assert_eq!((options.task_id, options.group_id), (Some(id("t")), Some(id("g"))));
    assert_eq!((options.eta, options.expires), (Some(at), Some(Expires::At(at))));
    assert_eq!(options.time_limit.map(|limit| limit.get()), Some(5.0));
    assert_eq!(options.soft_time_limit.map(|limit| limit.get()), Some(4.0));
    assert_eq!((options.fuel, options.ignore_result, options.shadow.as_deref()), (Some(9), Some(true), Some("other")));
    assert_eq!(options.overrides["max_retries"].as_str(), "7");
    assert_eq!(options.stamps["build"].as_str(), "12");
}

#[test]
fn canvases_nest() {
    let add = || Signature::of("m.add");
    let canvas = group((0..2).map(|i| add().arg(i))) | chain([add(), add().starmap([(1, 2)])]) | add();
    let canvas = chord([canvas, add().chunks([(1, 2), (3, 4)], 1)], add().link(add()).link_error(add()));
    let written = value(&canvas);
    assert_eq!(written["subtask_type"], "chord");
    let header = &written["kwargs"]["header"][0];
    assert_eq!(header["kwargs"]["tasks"].as_array().unwrap().len(), 4, "chains in a chain are part of it");
    assert_eq!(header["kwargs"]["tasks"][0]["kwargs"]["tasks"][1]["args"], json!([1]));
    assert_eq!(written["kwargs"]["header"][1]["kwargs"]["it"], json!([[1, 2], [3, 4]]));
    assert_eq!(written["kwargs"]["body"]["options"]["link"][0]["task"], "m.add");
    assert_eq!(written["kwargs"]["body"]["options"]["link_error"][0]["task"], "m.add");
    assert_eq!(value(&add().map([1, 2]))["task"], "celery.map");
    assert_eq!(value(&chord(group([add(), add()]), add()))["kwargs"]["header"].as_array().unwrap().len(), 2);
    assert_eq!(value(&group([add()]).stamp("b", 1))["kwargs"]["tasks"][0]["options"]["b"], 1);
    assert!(canvas.build().unwrap().signature.is_some());
}

#[test]
fn the_first_fault_is_told_with_its_field() {
    let call = || Signature::of("m.f");
    assert!(wrong(call().countdown(-1.0).queue("no good")).starts_with("countdown: -1"));
    let unkeyed = || std::collections::HashMap::from([((1, 2), 3)]);
    assert!(wrong(call().kwarg("map", unkeyed())).starts_with("kwargs.map: "));
    assert!(wrong(call().header("h", unkeyed())).starts_with("headers.h: "));
    assert!(wrong(Signature::of("no good")).starts_with("task: "));
    assert!(wrong(s("m.f", 1)).contains("give a tuple or a list"));
    assert!(wrong(call().priority(10)).starts_with("priority: 10"));
    assert!(wrong(call().set("prioritty", 1)).contains("there is no such option"));
    assert!(wrong(call().set("max_retries", "many")).starts_with("max_retries: "));
    assert!(wrong(call().chunks([(1, 2)], 0)).starts_with("n: "));
}

#[test]
fn a_fault_anywhere_is_the_fault_of_the_whole() {
    let (good, bad) = (|| Signature::of("m.f"), || Signature::of("m.f").countdown(-1.0));
    for canvas in [
        chain([good(), bad()]),
        group([bad()]) | good(),
        chord([good()], bad()),
        good().link(bad()),
        good().link_error(bad()),
        bad().map([1]),
    ] {
        assert!(wrong(canvas).starts_with("countdown: "));
    }
    assert!(wrong(group([good()]).arg(1)).starts_with("args: a canvas takes no arguments"));
    assert!(wrong(good().map([1]).kwarg("x", 1)).starts_with("kwargs.x: a canvas"));
}
