//! Is it what Celery writes? `golden.py` made `golden.txt`.

use serde_json::{Value, json};

use super::*;
use crate::Signature;

fn add(args: &[i64]) -> Canvas {
    args.iter().fold(Canvas::task("m.add"), |call, number| call.arg(Json::of(number).unwrap()))
}

fn total() -> Canvas {
    Canvas::task("m.total")
}

fn linked(canvas: Canvas) -> Canvas {
    canvas.link(total()).link_error(Canvas::task("m.oops"))
}

fn stamped(canvas: Canvas) -> Canvas {
    canvas.stamp("build", &Json::of(&12).unwrap())
}

fn items<const N: usize>(items: [Value; N]) -> Vec<Json> {
    items.into_iter().map(Json::from).collect()
}

fn canvases() -> [(&'static str, Canvas); 24] {
    let group = || Canvas::group([add(&[1, 1]), add(&[2, 2])]);
    let number = |number: f64| Json::of(&number).unwrap();
    let map = |all| Canvas::map(add(&[]), all);
    let chunks = |all, n| Canvas::chunks(add(&[]), all, n);
    let pairs = || items([json!([1, 2]), json!([3, 4])]);
    [
        ("task", add(&[1]).kwarg("y", Json::of(&2).unwrap())),
        ("immutable", add(&[1, 2]).immutable(true)),
        (
            "options",
            add(&[1])
                .option("countdown", number(1.5))
                .option("queue", Json::of("slow").unwrap())
                .option("max_retries", Json::of(&7).unwrap()),
        ),
        ("chain", Canvas::chain([add(&[1, 1]), add(&[2])])),
        ("chain in chain", Canvas::chain([add(&[1, 1]), Canvas::chain([add(&[2]), add(&[3])])])),
        ("pipe", add(&[1, 1]) | add(&[2]) | Canvas::chain([add(&[3]), add(&[4])])),
        ("pipe to group", add(&[1, 1]) | Canvas::group([add(&[2]), add(&[3])])),
        ("group", group()),
        ("chord", Canvas::chord(group(), total())),
        ("chord of group", Canvas::chord(group(), total())),
        (
            "group in chord",
            Canvas::chord(
                Canvas::group([Canvas::group([add(&[1, 1])]), add(&[2, 2])]),
                Canvas::chain([total(), add(&[1])]),
            ),
        ),
        (
            "chord in chain",
            Canvas::chain([add(&[1, 1]), Canvas::chord(Canvas::group([add(&[2]), add(&[3])]), total())]),
        ),
        ("map", map(items([json!(1), json!(2)]))),
        ("starmap", Canvas::starmap(add(&[]), pairs())),
        ("chunks", chunks(pairs(), 2)),
        ("map in group", Canvas::group([map(items([json!(1)])), Canvas::starmap(add(&[]), items([json!([1, 2])]))])),
        ("linked task", linked(linked(add(&[1, 1])))),
        ("linked chain", linked(Canvas::chain([add(&[1, 1]), add(&[2])]))),
        ("linked group", linked(group())),
        ("linked chord", linked(Canvas::chord(add(&[1, 1]), total()))),
        ("linked map", linked(map(items([json!(1)])))),
        ("stamped task", stamped(linked(add(&[1, 1])))),
        ("stamped chain", stamped(Canvas::chain([add(&[1, 1]), Canvas::group([add(&[2]), add(&[3])])]))),
        ("stamped chunks", stamped(chunks(items([json!([1, 2])]), 1))),
    ]
}

#[test]
fn a_canvas_is_celerys_json() {
    let celerys: BTreeMap<&str, Value> = include_str!("golden.txt")
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, text)| (name, serde_json::from_str(text).unwrap()))
        .collect();
    let canvases = canvases();
    assert_eq!(canvases.len(), celerys.len());
    for (name, canvas) in canvases {
        assert_eq!(serde_json::to_value(&canvas).unwrap(), celerys[name], "{name}");
    }
}

#[test]
fn what_is_written_can_be_read() {
    for (name, canvas) in canvases() {
        let text = serde_json::to_string(&canvas).unwrap();
        let read: Signature = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(serde_json::to_value(&read).unwrap(), serde_json::to_value(&canvas).unwrap(), "{name}");
    }
}

#[test]
fn stamps_reach_the_body_of_a_chord() {
    let chord = stamped(Canvas::chord(add(&[1, 1]), linked(total())));
    let text = serde_json::to_string(&chord).unwrap();
    assert_eq!(text.matches(r#""build":12"#).count(), 4, "{text}");
}

#[test]
fn a_chain_keeps_what_belongs_to_a_chain_in_it() {
    let inner = linked(Canvas::chain([add(&[2]), add(&[3])]));
    let outer = serde_json::to_value(Canvas::chain([add(&[1, 1]), inner])).unwrap();
    assert_eq!(outer["kwargs"]["tasks"].as_array().map(Vec::len), Some(2));
    assert_eq!(outer["kwargs"]["tasks"][1]["subtask_type"], "chain");
}

#[test]
fn a_header_keeps_the_options_of_its_group() {
    let header = Canvas::group([add(&[1, 1])]).option("queue", Json::of("slow").unwrap());
    let chord = serde_json::to_value(Canvas::chord(header, total())).unwrap();
    assert_eq!(chord["kwargs"]["header"]["options"]["queue"], "slow");
}
