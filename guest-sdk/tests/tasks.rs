//! Does a task do what its author wrote, between the JSON that comes in and the ending that goes out?
//!
//! Everything here runs on the fake host; what it shares with a component is all but the host itself.

use lovage_guest::host::Pollable;
use lovage_guest::prelude::*;
use lovage_guest::testing::{FakeHost, Outcome};
use lovage_guest::{__private::describe, Compression, Entry, Serializer};
use lovage_model::{Seconds, TaskDefinition, TaskOptions};

/// Joins words.
///
/// With a separator.
#[task]
fn join(
    words: Vec<String>,
    #[default(", ")] separator: String,
    #[default] upper: bool,
    limit: Option<usize>,
) -> String {
    let joined = words.iter().take(limit.unwrap_or(usize::MAX)).cloned().collect::<Vec<_>>().join(&separator);
    if upper { joined.to_uppercase() } else { joined }
}

#[task(
    name = "other.name",
    max_retries = None,
    default_retry_delay = 2,
    soft_time_limit = 5.0,
    time_limit = 10.5,
    ignore_result = true,
    priority = 5
)]
fn configured(ctx: &Context, r#type: i64) -> Result<i64, std::num::ParseIntError> {
    ctx.debug("starts");
    format!("{type}", type = r#type).parse()
}

#[task(
    max_retries = 9,
    default_retry_delay = 1.0,
    autoretry_for = ["KeyError", "requests.exceptions.Timeout"],
    dont_autoretry_for = ["LookupError"],
    retry_backoff = true,
    retry_backoff_max = 60,
    retry_jitter = false,
    throws = ["ValueError"],
    acks_late = false,
    acks_on_failure = false,
    reject_on_worker_lost = false,
    ignore_result = true,
    store_errors_even_if_ignored = false,
    track_started = false,
    rate_limit = "10/m",
    time_limit = 3,
    soft_time_limit = 2,
    expires = 90,
    priority = 4,
    serializer = "msgpack",
    compression = "zstd",
    resultrepr_maxsize = 64,
    trail = false,
    shadow = "odd",
    typing = false
)]
fn peculiar() {}

#[task]
fn echo(mut value: Json) -> Json {
    std::mem::replace(&mut value, Json::null())
}

#[task(max_retries = 2)]
fn again(ctx: &Context, how: String) -> TaskResult<()> {
    let retry = match how.as_str() {
        "plain" => ctx.retry(),
        "why" => ctx.retry().exc(TaskError::builtin("OSError", "down")).countdown(60.0),
        "eta" => ctx.retry().eta("2026-11-21T12:00:00Z"),
        "other" => ctx.retry().args(["plain"]).kwargs(json!({"how": 1})).max_retries(9),
        "rust" => ctx.retry().exc("x".parse::<i64>().unwrap_err()),
        "bad args" => ctx.retry().args("one"),
        _ => ctx.retry().countdown(-1.0),
    };
    Err(retry.into())
}

#[task]
fn ending(ctx: &Context, how: String) -> TaskResult<()> {
    Err(match how.as_str() {
        "ignore" => ctx.ignore(),
        "reject" => ctx.reject(true),
        "drop" => ctx.reject(false),
        "replace" => ctx.replace(join::s(vec!["a".to_owned()]).kwarg("upper", true)),
        "named" => ctx.replace(Signature::of("far.away").arg(1)),
        "chord" => ctx.replace(chord((0..3).map(configured::s), echo::partial())),
        _ => ctx.replace(Signature::of("no name")),
    })
}

#[task]
fn polite(ctx: &Context) -> TaskResult<String> {
    if ctx.check().is_err_and(|error| error.is_soft_time_limit_exceeded()) {
        ctx.check()?;
        ctx.update_state("WRAPPING_UP", ())?;
        return Ok("fallback".to_owned());
    }
    Ok("done".to_owned())
}

#[task]
fn late(ctx: &Context) -> TaskResult<()> {
    assert!(ctx.soft_time_limit_exceeded(), "the test lets it pass");
    Err(ctx.retry().into())
}

#[task]
fn unfit() -> std::collections::BTreeMap<(u8, u8), u8> {
    std::collections::BTreeMap::from([((1, 2), 3)])
}

#[task]
fn watched(ctx: &Context) -> TaskResult<(f64, bool)> {
    let limit: Box<dyn Pollable> = ctx.soft_limit_pollable();
    let before = ctx.limits().soft_remaining.unwrap_or(f64::NAN);
    limit.block();
    Ok((before, limit.ready()))
}

#[task]
fn memory(ctx: &Context) -> u64 {
    ctx.limits().memory_bytes
}

#[task]
fn talk(ctx: &Context) -> TaskResult<Vec<AsyncResult>> {
    ctx.send_event("half-way", json!({"at": ctx.request().retries}))?;
    ctx.error(format_args!("{} of {}", 1, 2));
    let options = Options::new().countdown(3.0).task_id("mine");
    Ok(vec![echo::delay(ctx, Json::null())?, echo::apply_async(ctx, (json!(1).into(),), options)?])
}

/// Can be read, not written: such a task has no signatures, but is a task.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    Left,
    Right,
}

#[task]
fn turn(side: Side, ctx: i64, options: i64) -> i64 {
    match side {
        Side::Left => ctx,
        Side::Right => options,
    }
}

macro_rules! constant_task {
    ($name:ident, $ty:ty, $value:expr) => {
        #[task]
        fn $name(#[default($value)] value: $ty) -> $ty {
            value
        }
    };
}

constant_task!(seven, i64, 7);

#[test]
fn any_type_and_any_name_of_an_argument_will_do() {
    let host = FakeHost::new();
    assert_eq!(host.run::<turn>(("left", 1, 2)).value::<i64>(), 1);
    assert_eq!(host.call::<turn>(("right",), json!({"ctx": 1, "options": 2})).value::<i64>(), 2);
    assert_eq!(host.run::<seven>(()).value::<i64>(), 7);
    let unknown = host.run::<turn>(("up", 1, 2)).exception().message();
    assert_eq!(unknown, "turn() argument 'side': unknown variant `up`, expected `left` or `right`");
}

#[test]
fn what_may_be_left_out_may_be_left_out() {
    let host = FakeHost::new();
    let words = ["a", "b", "c"];
    assert_eq!(host.run::<join>((words,)).value::<String>(), "a, b, c");
    assert_eq!(host.run::<join>((words, "-", true, 2)).value::<String>(), "A-B");
    assert_eq!(host.call::<join>((words,), json!({"limit": 1})).value::<String>(), "a");
    assert_eq!(host.call::<join>((words,), json!({"limit": null})).value::<String>(), "a, b, c");
    let null = host.call::<join>((words,), json!({"upper": null}));
    assert_eq!(null.exception().message(), "join() argument 'upper': invalid type: null, expected a boolean");
}

#[test]
fn a_definition_says_what_the_author_wrote() {
    let described = describe(&[Entry::of::<join>(), Entry::of::<configured>()]);
    let tasks: Vec<TaskDefinition> = serde_json::from_str(&described).unwrap();
    let (join, configured) = (&tasks[0], &tasks[1]);
    assert_eq!((join.name.as_str(), join.doc.as_str()), ("tasks.join", "Joins words.\n\nWith a separator."));
    let parameters: Vec<_> = join.parameters.iter().map(|one| (one.name.as_str(), one.required)).collect();
    assert_eq!(parameters, [("words", true), ("separator", false), ("upper", false), ("limit", false)]);
    assert_eq!(join.options, TaskOptions::default());
    assert_eq!(configured.parameters[0].name, "type");
    let seconds = |number| Seconds::new(number).unwrap();
    let wanted = TaskOptions {
        max_retries: None,
        default_retry_delay: seconds(2.0),
        soft_time_limit: Some(seconds(5.0)),
        time_limit: Some(seconds(10.5)),
        ignore_result: true,
        priority: Some(5),
        ..TaskOptions::default()
    };
    assert_eq!((configured.name.as_str(), &configured.options), ("other.name", &wanted));
}

#[test]
fn every_option_can_be_declared() {
    let tasks: Vec<TaskDefinition> = serde_json::from_str(&describe(&[Entry::of::<peculiar>()])).unwrap();
    let seconds = |number| Seconds::new(number).unwrap();
    let texts = |text: &str| vec![text.to_owned()];
    let wanted = TaskOptions {
        max_retries: Some(9),
        default_retry_delay: seconds(1.0),
        autoretry_for: vec!["KeyError".to_owned(), "requests.exceptions.Timeout".to_owned()],
        dont_autoretry_for: texts("LookupError"),
        retry_backoff: Some(seconds(1.0)),
        retry_backoff_max: seconds(60.0),
        retry_jitter: false,
        throws: texts("ValueError"),
        acks_late: false,
        acks_on_failure: false,
        reject_on_worker_lost: false,
        ignore_result: true,
        store_errors_even_if_ignored: false,
        track_started: false,
        rate_limit: "10/m".parse().ok(),
        time_limit: Some(seconds(3.0)),
        soft_time_limit: Some(seconds(2.0)),
        expires: Some(seconds(90.0)),
        priority: Some(4),
        serializer: Serializer::Msgpack,
        compression: Some(Compression::Zstd),
        resultrepr_maxsize: 64,
        trail: false,
        shadow: Some("odd".to_owned()),
        typing: false,
    };
    assert_eq!(tasks[0].options, wanted);
}

#[test]
fn a_keyword_of_rust_is_passed_by_its_plain_name() {
    assert_eq!(FakeHost::new().call::<configured>((), json!({"type": 7})).value::<i64>(), 7);
}

#[test]
fn json_passes_through_unchanged() {
    let text = r#"{"b":100000000000000000000000000000001,"a":[1.50,"\u00e9"]}"#;
    let value = Json::parse(text.to_owned()).unwrap();
    assert_eq!(FakeHost::new().run::<echo>((&value,)), Outcome::Returned(value));
}

#[test]
fn a_retry_says_what_it_was_told() {
    let ended = |how: &str| FakeHost::new().run::<again>((how,));
    assert_eq!(ended("plain").retry(), &lovage_guest::host::RetryOptions::default());
    let why = ended("why");
    assert_eq!(why.retry().countdown, Some(60.0));
    assert_eq!(why.retry().exc.as_ref().unwrap().exception.to_string(), "OSError: down");
    assert_eq!(ended("eta").retry().eta.as_deref(), Some("2026-11-21T12:00:00Z"));
    let other = ended("other");
    assert_eq!(other.retry().args.as_ref().unwrap().as_str(), r#"["plain"]"#);
    assert_eq!(other.retry().kwargs.as_ref().unwrap().as_str(), r#"{"how":1}"#);
    assert_eq!(ended("rust").retry().exc.as_ref().unwrap().exception.exc_type, "ParseIntError");
    assert!(ended("bad args").exception().to_string().starts_with("TypeError: args must be an array or a tuple"));
    assert!(ended("negative").exception().to_string().starts_with("ValueError: -1 is not a number of seconds"));
}

#[test]
fn without_retries_left_the_reason_is_raised() {
    let last = FakeHost::new().retries(2);
    assert_eq!(last.run::<again>(("why",)).exception().to_string(), "OSError: down");
    let none = last.run::<again>(("plain",));
    assert_eq!(none.exception().exc_type, "MaxRetriesExceededError");
    assert!(none.exception().message().starts_with("Can't retry tasks.again["), "{none:?}");
    assert_eq!(last.run::<again>(("other",)).retry().max_retries, Some(9));
}

#[test]
fn every_ending_arrives() {
    let ended = |how: &str| FakeHost::new().run::<ending>((how,));
    assert_eq!(ended("ignore"), Outcome::Ignored);
    assert_eq!(ended("reject"), Outcome::Rejected { requeue: true });
    assert_eq!(ended("drop"), Outcome::Rejected { requeue: false });
    let replaced = ended("replace");
    assert_eq!(replaced.replacement().task.as_str(), "tasks.join");
    assert_eq!(replaced.replacement().kwargs.as_str(), r#"{"upper":true}"#);
    assert_eq!(ended("chord").replacement().subtask_type.as_deref(), Some("chord"));
    assert_eq!(ended("named").replacement().task.as_str(), "far.away");
    assert!(ended("?").exception().to_string().starts_with("ValueError: \"no name\" is not a task name"));
}

#[test]
fn the_soft_limit_is_told_once() {
    let host = FakeHost::new().soft_time_limit(0.0);
    assert_eq!(host.run::<polite>(()).value::<String>(), "fallback");
    assert_eq!(host.states(), [("WRAPPING_UP".to_owned(), Json::null())]);
    assert_eq!(FakeHost::new().run::<polite>(()).value::<String>(), "done");
}

#[test]
fn a_chosen_ending_is_not_lost_to_the_soft_limit() {
    let ended = FakeHost::new().soft_time_limit(0.0).run::<late>(());
    assert!(matches!(ended, Outcome::Retried(_)), "{ended:?}");
}

#[test]
fn a_wait_for_the_soft_limit_ends_with_it() {
    assert_eq!(FakeHost::new().soft_time_limit(4.0).run::<watched>(()).value::<(f64, bool)>(), (4.0, true));
}

#[test]
fn the_memory_is_a_hosts_default() {
    // `limits.memory_bytes`.
    assert_eq!(FakeHost::new().run::<memory>(()).value::<u64>(), 256 << 20);
}

#[task]
fn asks(ctx: &Context, what: String) -> TaskResult<()> {
    match what.as_str() {
        "spaces" => ctx.update_state("HALF WAY", ()),
        "long" => ctx.update_state(&"X".repeat(51), ()),
        "large" => ctx.send_event("large", json!({"text": "x".repeat(16 << 10)})),
        "nameless" => ctx.send_event("", json!({})),
        "late" => Err(ctx.retry().eta("2999-01-01T00:00:00Z").into()),
        _ => ctx.update_state(&"X".repeat(50), ()),
    }
}

#[test]
fn the_fake_host_refuses_what_a_host_refuses() {
    let told = |what: &str| FakeHost::new().run::<asks>((what,)).exception().to_string();
    for what in ["spaces", "long"] {
        assert!(told(what).contains("is not a state: 1 to 50 bytes, no spaces"), "{}", told(what));
    }
    assert!(told("large").starts_with("ValueError: send_event: fields has 16"), "{}", told("large"));
    assert!(told("nameless").contains("a name of 1 to 100 bytes"), "{}", told("nameless"));
    assert!(told("late").contains("is more than a year ahead"), "{}", told("late"));
    let _: Json = FakeHost::new().run::<asks>(("right",)).value();
}

#[test]
fn a_value_that_is_not_json_is_an_encode_error() {
    let outcome = FakeHost::new().run::<unfit>(());
    assert_eq!(outcome.exception().exc_module, "kombu.exceptions");
    assert!(outcome.exception().message().starts_with("the value returned cannot be JSON"), "{outcome:?}");
}

#[test]
fn events_logs_and_subtasks_are_recorded() {
    let host = FakeHost::new().retries(1);
    assert_eq!(host.run::<talk>(()).value::<Vec<String>>(), ["subtask-1", "mine"]);
    assert_eq!(host.events()[0], ("half-way".to_owned(), json!({"at": 1}).into()));
    assert_eq!(host.logs(), [(LogLevel::Error, "1 of 2".to_owned())]);
    let sent = host.subtasks();
    assert_eq!((sent[0].args.as_str(), sent[1].args.as_str()), ("[null]", "[1]"));
    assert_eq!(sent[1].options.countdown.map(|seconds| seconds.get()), Some(3.0));
}

#[test]
fn signatures_name_the_task_they_belong_to() {
    let written = |signature: Signature| signature.to_json().unwrap().to_string();
    assert!(written(configured::si(1)).contains(r#""task":"other.name","args":[1]"#));
    assert!(written(configured::si(1)).contains(r#""immutable":true"#));
    assert!(written(configured::partial()).contains(r#""args":[]"#));
    assert!(
        written(configured::map([1, 2])).starts_with(r#"{"task":"celery.map","args":[],"kwargs":{"task":{"task":"oth"#)
    );
    assert!(written(turn::starmap([("left", 1, 2)])).contains(r#""it":[["left",1,2]]"#));
    assert!(written(configured::chunks([(1,), (2,), (3,)], 2)).contains(r#""it":[[1],[2],[3]],"n":2"#));
}

#[test]
fn celerys_states_are_its_own() {
    #[task]
    fn cheat(ctx: &Context) -> TaskResult<()> {
        ctx.update_state("SUCCESS", 1)
    }
    let outcome = FakeHost::new().run::<cheat>(());
    assert!(outcome.exception().to_string().starts_with("ValueError: SUCCESS is"), "{outcome:?}");
}
