//! Tasks that are tried again, or refuse their message.

use std::collections::BTreeMap;

use lovage_guest::prelude::*;
use serde_json::Value;

use crate::failing::{expected, unpickleable};

/// After so many attempts it returns what it was given.
const ATTEMPTS: u32 = 3;

#[task(name = "t.integration.tasks.retry", default_retry_delay = 1)]
pub(crate) fn retry(ctx: &Context, return_value: Option<Value>) -> TaskResult<Value> {
    match return_value {
        Some(value) if ctx.request().retries >= ATTEMPTS => Ok(value),
        _ => Err(ctx.retry().exc(expected(Vec::new())).countdown(5.0).into()),
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct RetryOptions {
    countdown: Option<f64>,
    max_retries: Option<u32>,
}

#[task(name = "t.integration.tasks.retry_unpickleable", default_retry_delay = 1)]
pub(crate) fn retry_unpickleable(ctx: &Context, foo: Value, bar: Value, retry_kwargs: RetryOptions) -> TaskResult<()> {
    let _ = bar;
    let mut retry = ctx.retry().exc(unpickleable(foo));
    if let Some(seconds) = retry_kwargs.countdown {
        retry = retry.countdown(seconds);
    }
    if let Some(most) = retry_kwargs.max_retries {
        retry = retry.max_retries(most);
    }
    Err(retry.into())
}

#[task(name = "t.integration.tasks.retry_with_args_after_kwargs", max_retries = 1)]
pub(crate) fn retry_with_args_after_kwargs(
    ctx: &Context,
    foo: i64,
    bar: i64,
    label: Option<String>,
) -> TaskResult<Value> {
    let request = ctx.request();
    if request.retries == 0 {
        return Err(ctx.retry().args((foo + 1, bar + 1)).countdown(0.0).into());
    }
    Ok(json!({"foo": foo, "bar": bar, "label": label, "retries": request.retries, "is_eager": request.is_eager}))
}

#[task(name = "t.integration.tasks.retry_with_kwargs_after_args", max_retries = 1)]
pub(crate) fn retry_with_kwargs_after_args(ctx: &Context, foo: i64, bar: i64) -> TaskResult<Value> {
    let request = ctx.request();
    if request.retries == 0 {
        return Err(ctx.retry().kwargs(json!({ "foo": foo + 1 })).countdown(0.0).into());
    }
    Ok(json!({"foo": foo, "bar": bar, "retries": request.retries, "is_eager": request.is_eager}))
}

/// As the suite asks for it, by its keywords.
fn again(ctx: &Context, named: &BTreeMap<String, Value>) -> TaskError {
    let countdown = named.get("countdown").and_then(Value::as_f64).unwrap_or(0.1);
    let most = named.get("max_retries").and_then(Value::as_u64).and_then(|most| u32::try_from(most).ok());
    ctx.retry().countdown(countdown).max_retries(most.unwrap_or(1)).into()
}

#[task(name = "t.integration.tasks.retry_once", expires = 120, max_retries = 1)]
pub(crate) fn retry_once(
    ctx: &Context,
    #[args] _args: Vec<Value>,
    #[kwargs] named: BTreeMap<String, Value>,
) -> TaskResult<u32> {
    match ctx.request().retries {
        0 => Err(again(ctx, &named)),
        retries => Ok(retries),
    }
}

#[task(name = "t.integration.tasks.retry_once_ignore_result", ignore_result = true)]
pub(crate) fn retry_once_ignore_result(ctx: &Context) -> TaskResult<u32> {
    match ctx.request().retries {
        0 => Err(ctx.retry().countdown(0.0).into()),
        retries => Ok(retries),
    }
}

#[task(name = "t.integration.tasks.retry_once_with_result", ignore_result = false)]
pub(crate) fn retry_once_with_result(ctx: &Context) -> TaskResult<u32> {
    match ctx.request().retries {
        0 => Err(ctx.retry().countdown(0.0).into()),
        retries => Ok(retries),
    }
}

#[task(name = "t.integration.tasks.retry_once_priority", max_retries = 1)]
pub(crate) fn retry_once_priority(
    ctx: &Context,
    #[args] _args: Vec<Value>,
    #[kwargs] named: BTreeMap<String, Value>,
) -> TaskResult<u8> {
    match ctx.request().retries {
        0 => Err(again(ctx, &named)),
        _ => Ok(ctx.request().delivery_info.priority),
    }
}

#[task(name = "t.integration.tasks.retry_once_headers", max_retries = 1)]
pub(crate) fn retry_once_headers(
    ctx: &Context,
    #[args] _args: Vec<Value>,
    #[kwargs] named: BTreeMap<String, Value>,
) -> TaskResult<BTreeMap<String, Json>> {
    match ctx.request().retries {
        0 => Err(again(ctx, &named)),
        _ => Ok(ctx.request().headers.clone()),
    }
}

#[task(name = "auto_retry_class_task", autoretry_for = ["ValueError"], max_retries = 1, retry_backoff = 1)]
pub(crate) fn auto_retry_class_task(ctx: &Context) -> TaskResult<u32> {
    match ctx.request().retries {
        0 => Err(TaskError::raise("ValueError", "builtins", Vec::<Value>::new())),
        retries => Ok(retries),
    }
}

#[task(name = "t.integration.tasks.reject_then_succeed")]
pub(crate) fn reject_then_succeed(ctx: &Context) -> TaskResult<String> {
    if ctx.request().delivery_info.redelivered { Ok("second-pass".to_owned()) } else { Err(ctx.reject(true)) }
}

#[task(name = "t.integration.tasks.reject_without_requeue")]
pub(crate) fn reject_without_requeue(ctx: &Context) -> TaskResult<()> {
    Err(ctx.reject(false))
}
