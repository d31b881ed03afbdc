//! Does a task retry by itself as it declares, go on after it asked for a retry, and tell its handlers?

use lovage_guest::prelude::*;
use lovage_guest::testing::{FakeHost, Outcome};
use lovage_guest::{__private::describe, Entry};
use lovage_model::{Handler, TaskDefinition};

#[task(
    autoretry_for = ["OSError", "http.Error"],
    dont_autoretry_for = ["http.Error"],
    retry_backoff = 2,
    retry_backoff_max = 10,
    max_retries = 5
)]
fn shaky(module: String, class: String) -> TaskResult<()> {
    Err(TaskError::raise(&class, &module, ["down"]))
}

#[task(autoretry_for = ["Exception"])]
fn patient(class: String) -> TaskResult<i64> {
    Err(TaskError::builtin(&class, "down"))
}

fn countdown(host: FakeHost) -> Option<f64> {
    host.run::<shaky>(("builtins", "OSError")).retry().countdown
}

#[test]
fn what_is_named_is_tried_again_after_a_wait_that_doubles() {
    let tried = |retries| FakeHost::new().retries(retries);
    assert_eq!(countdown(tried(0)), Some(2.0));
    assert_eq!(countdown(tried(2)), Some(8.0));
    assert_eq!(countdown(tried(4)), Some(10.0));
    assert_eq!(countdown(tried(2).random(0.25)), Some(2.0));
    let why = tried(0).run::<shaky>(("builtins", "OSError"));
    assert_eq!(why.retry().exc.as_ref().unwrap().exception.to_string(), "OSError: down");
}

#[test]
fn what_is_not_named_is_raised_and_so_is_the_last() {
    let raised = |host: FakeHost, module, class| host.run::<shaky>((module, class)).exception().to_string();
    assert_eq!(raised(FakeHost::new(), "builtins", "KeyError"), "KeyError: down");
    assert_eq!(raised(FakeHost::new(), "http", "Error"), "Error: down");
    assert_eq!(raised(FakeHost::new().retries(5), "builtins", "OSError"), "OSError: down");
}

#[test]
fn without_a_backoff_it_waits_as_any_retry_does() {
    assert_eq!(FakeHost::new().run::<patient>(("KeyError",)).retry().countdown, None);
    let unfit = FakeHost::new().run::<patient>(());
    assert_eq!(unfit.retry().exc.as_ref().unwrap().exception.exc_type, "TypeError");
}

#[test]
fn a_sender_may_say_otherwise() {
    let host = || FakeHost::new().option("retry_backoff", 0.5).option("retry_jitter", false);
    assert_eq!(countdown(host().retries(1).random(0.0)), Some(1.0));
    let none = host().option("autoretry_for", json!([]));
    assert!(matches!(none.run::<shaky>(("builtins", "OSError")), Outcome::Raised(_)));
}

#[task(max_retries = 1)]
fn goes_on(ctx: &Context) -> TaskResult<&'static str> {
    ctx.retry_later(ctx.retry().countdown(3.0).exc(TaskError::builtin("OSError", "half done")))?;
    Ok("went on")
}

#[test]
fn a_later_retry_lets_the_run_go_on() {
    let host = FakeHost::new();
    assert_eq!(host.run::<goes_on>(()).value::<String>(), "went on");
    assert_eq!(host.retry_later().unwrap().countdown, Some(3.0));
    let last = FakeHost::new().retries(1);
    assert_eq!(last.run::<goes_on>(()).exception().to_string(), "OSError: half done");
    assert_eq!(last.retry_later(), None);
}

#[task]
fn grows(ctx: &Context) -> TaskResult<AsyncResult> {
    ctx.add_to_chord(shaky::s("a".to_owned(), "b".to_owned()))
}

#[test]
fn only_a_part_of_a_chord_can_add_to_it() {
    let alone = FakeHost::new().run::<grows>(());
    assert!(
        alone.exception().to_string().starts_with("ValueError: add_to_chord: the task is not a part of a"),
        "{alone:?}"
    );
    let host = FakeHost::new().request(|request| request.chord = "g".parse().ok());
    assert_eq!(host.run::<grows>(()).value::<String>(), "subtask-1");
    assert_eq!((host.subtasks().len(), host.added_to_chord()[0].task.as_str()), (1, "again.shaky"));
}

fn refuses(_: &Context) -> TaskResult<()> {
    Err(TaskError::builtin("OSError", "not yet"))
}

#[task(before_start = refuses, autoretry_for = ["Exception"])]
fn guarded() {}

#[test]
fn what_is_raised_before_the_run_fails_the_task_and_is_not_tried_again() {
    assert_eq!(FakeHost::new().run::<guarded>(()).exception().to_string(), "OSError: not yet");
}

fn begins(ctx: &Context) -> TaskResult<()> {
    ctx.info(format_args!("before {}", ctx.request().args));
    match ctx.request().headers.get("stop") {
        Some(_) => Err(TaskError::builtin("PermissionError", "not today")),
        None => Ok(()),
    }
}

fn succeeded(ctx: &Context, retval: &Json) {
    ctx.info(format_args!("success {retval}"));
}

fn tried(ctx: &Context, exc: &Raised) {
    ctx.info(format_args!("retry {}", exc.exception));
}

fn failed(ctx: &Context, exc: &Raised) -> TaskResult<()> {
    ctx.info(format_args!("failure {}", exc.exception));
    Err(ctx.replace(shaky::partial()))
}

fn returned(ctx: &Context, status: &str, retval: Retval<'_>) -> Result<(), std::num::ParseIntError> {
    ctx.info(format_args!("return {status} {}", retval.is_ok()));
    "x".parse::<i32>().map(drop)
}

#[task(
    before_start = begins,
    on_success = succeeded,
    on_retry = tried,
    on_failure = failed,
    after_return = self::returned
)]
fn told(ctx: &Context, how: String) -> TaskResult<i64> {
    match how.as_str() {
        "works" => Ok(7),
        "retries" => Err(ctx.retry().exc(TaskError::builtin("OSError", "down")).into()),
        "later" => ctx.retry_later(ctx.retry()).map(|()| 1),
        "ignored" => Err(ctx.ignore()),
        _ => Err(TaskError::builtin("KeyError", how)),
    }
}

fn heard(host: &FakeHost, how: &str) -> Vec<String> {
    let _ = host.run::<told>((how,));
    host.logs().into_iter().map(|(_, text)| text).collect()
}

#[test]
fn handlers_are_told_in_celerys_order() {
    let heard = |how| heard(&FakeHost::new(), how);
    let invalid = "after_return raised ParseIntError: invalid digit found in string";
    assert_eq!(heard("works"), ["before [\"works\"]", "success 7", "return SUCCESS true", invalid]);
    assert_eq!(heard("retries"), ["before [\"retries\"]", "retry OSError: down"]);
    assert_eq!(heard("later"), ["before [\"later\"]", "retry Retry: Retry"]);
    assert_eq!(heard("ignored"), ["before [\"ignored\"]"]);
    let failed = ["before [\"x\"]", "failure KeyError: x", "on_failure raised Ignore", "return FAILURE false", invalid];
    assert_eq!(heard("x"), failed);
}

#[test]
fn a_task_that_is_stopped_before_it_starts_fails() {
    let host = FakeHost::new().request(|request| _ = request.headers.insert("stop".to_owned(), Json::null()));
    assert_eq!(heard(&host, "works")[1], "failure PermissionError: not today");
}

#[test]
fn a_module_says_which_handlers_there_are() {
    let described = describe(&[Entry::of::<told>(), Entry::of::<grows>()]);
    let tasks: Vec<TaskDefinition> = serde_json::from_str(&described).unwrap();
    let all = [Handler::BeforeStart, Handler::OnSuccess, Handler::OnRetry, Handler::OnFailure, Handler::AfterReturn];
    assert_eq!(tasks[0].handlers, all);
    assert_eq!(tasks[1].handlers, []);
}
