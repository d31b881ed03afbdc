//! Tasks with handlers: some tell what they are told, some misbehave.
#![allow(missing_docs, clippy::empty_loop)]

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};

use lovage_guest::prelude::*;

/// How often code of this instance was entered: tells a fresh instance from one that was used.
static ENTERED: AtomicU32 = AtomicU32::new(0);

fn note(ctx: &Context, what: &str) {
    let before = ENTERED.fetch_add(1, Ordering::Relaxed);
    ctx.info(format_args!("{before} {what}"));
}

fn begins(ctx: &Context) -> TaskResult<()> {
    note(ctx, "before_start");
    behave(ctx, 0).map(drop)
}

fn succeeded(ctx: &Context, retval: &Json) -> TaskResult<()> {
    note(ctx, &format!("on_success {retval}"));
    behave(ctx, 2).map(drop)
}

fn tried(ctx: &Context, exc: &Raised) {
    note(ctx, &format!("on_retry {}", exc.exception));
}

fn failed(ctx: &Context, exc: &Raised) -> TaskResult<()> {
    note(ctx, &format!("on_failure {}", exc.exception));
    behave(ctx, 2).map(drop)
}

fn returned(ctx: &Context, status: &str, retval: Retval<'_>) {
    note(
        ctx,
        &format!("after_return {status} {}", retval.map_or_else(|exc| exc.exception.to_string(), Json::to_string)),
    );
}

/// Behaves as each of three words say: before its run, in it, and in the handler after it.
#[task(
    before_start = begins,
    on_success = succeeded,
    on_retry = tried,
    on_failure = failed,
    after_return = returned
)]
fn told(ctx: &Context, before: String, run: String, after: String) -> TaskResult<i64> {
    note(ctx, &format!("run {}", before.len().min(run.len()).min(after.len()).min(1)));
    behave(ctx, 1)
}

/// Has none but the last, so that nothing else is called.
#[task(after_return = returned)]
fn told_at_last(ctx: &Context, before: String, run: String, after: String) -> TaskResult<i64> {
    told(ctx, before, run, after)
}

#[task]
fn nothing() {}

fn behave(ctx: &Context, place: usize) -> TaskResult<i64> {
    let words: Vec<String> = ctx.request().args.read()?;
    match words.get(place).map_or("", String::as_str) {
        "" => Ok(7),
        "raise" => Err(TaskError::builtin("KeyError", "raised")),
        "panic" => panic!("on purpose"),
        "spin" => loop {
            black_box(0);
        },
        "sleep" => ctx.sleep(1000.0).map(|()| 0),
        "wait" => {
            ctx.update_state("WAITING", place)?;
            ctx.sleep(1000.0).map(|()| 0)
        }
        "hoard" => {
            let mut kept = Vec::new();
            loop {
                kept.push(black_box(vec![1_u8; 1 << 20]));
            }
        }
        "send" => nothing::delay(ctx).map(|_| 1),
        "flood" => (0..10_000).map(|_| nothing::delay(ctx).map(|_| 1)).sum(),
        "grow" => ctx.add_to_chord(nothing::s()).map(|_| 1),
        "retry" => Err(ctx.retry().exc(TaskError::builtin("OSError", "down")).into()),
        "later" => ctx.retry_later(ctx.retry().countdown(2.0).exc(TaskError::builtin("OSError", "down"))).map(|()| 1),
        "later, then raise" => {
            ctx.retry_later(ctx.retry())?;
            Err(TaskError::builtin("KeyError", "raised"))
        }
        "later, then panic" => {
            ctx.retry_later(ctx.retry())?;
            panic!("on purpose")
        }
        "replace" => Err(ctx.replace(chord([nothing::s()], told::partial()))),
        "ignore" => Err(ctx.ignore()),
        "reject" => Err(ctx.reject(false)),
        other => Err(TaskError::builtin("ValueError", other)),
    }
}

fn says(ctx: &Context, what: &str) -> TaskResult<()> {
    ctx.send_event(&format!("task-{what}-{}", ctx.request().retries), json!({}))
}

fn says_before(ctx: &Context) -> TaskResult<()> {
    says(ctx, "before-start")
}

fn says_success(ctx: &Context, _: &Json) -> TaskResult<()> {
    says(ctx, "on-success")
}

fn says_retry(ctx: &Context, _: &Raised) -> TaskResult<()> {
    says(ctx, "on-retry")
}

fn says_failure(ctx: &Context, _: &Raised) -> TaskResult<()> {
    says(ctx, "on-failure")
}

fn says_return(ctx: &Context, _: &str, _: Retval<'_>) -> TaskResult<()> {
    says(ctx, "after-return")
}

/// Tells monitors of each of its handlers, and of its run, which ends as it is told.
#[task(
    before_start = says_before,
    on_success = says_success,
    on_retry = says_retry,
    on_failure = says_failure,
    after_return = says_return
)]
fn announced(ctx: &Context, end: String) -> TaskResult<String> {
    says(ctx, "run")?;
    match end.as_str() {
        "failure" => Err(TaskError::builtin("ValueError", "as told")),
        "retry" if ctx.request().retries == 0 => Err(ctx.retry().countdown(0.0).into()),
        "ignore" => Err(ctx.ignore()),
        "reject" => Err(ctx.reject(false)),
        _ => Ok(end),
    }
}

export_tasks!(told, told_at_last, nothing, announced);
