//! Tasks that let others run in their place.

use std::collections::BTreeMap;

use lovage_guest::prelude::*;
use serde_json::Value;

use crate::failing::{fail, raise_error};
use crate::outside::redis_echo;
use crate::plain::{add, adding, identity, replaced_with_me};

#[task(name = "t.integration.tasks.add_replaced")]
pub(crate) fn add_replaced(ctx: &Context, x: Value, y: Value) -> TaskResult<()> {
    Err(ctx.replace(adding(x, y)))
}

#[task(name = "t.integration.tasks.record_replaced_task_nesting")]
pub(crate) fn record_replaced_task_nesting(
    ctx: &Context,
    replacements: u32,
    nesting: Option<Vec<u32>>,
) -> TaskResult<Vec<u32>> {
    let mut nesting = nesting.unwrap_or_default();
    nesting.push(ctx.request().replaced_task_nesting);
    match replacements {
        0 => Ok(nesting),
        left => Err(ctx.replace(record_replaced_task_nesting::s(left - 1).arg(nesting))),
    }
}

#[task(name = "t.integration.tasks.add_replaced_with_chain")]
pub(crate) fn add_replaced_with_chain(ctx: &Context, x: Value, y: Value) -> TaskResult<()> {
    Err(ctx.replace(chain([adding(x, y), identity::partial()])))
}

/// What tells of a chain: its result, or this message.
fn echo(named: &BTreeMap<String, Value>) -> Signature {
    match named.get("link_msg") {
        Some(message) if !message.is_null() => redis_echo::si(message.clone()),
        _ => redis_echo::partial(),
    }
}

fn with(signature: Signature, args: Vec<Value>) -> Signature {
    args.into_iter().fold(signature, |signature, arg| signature.arg(arg))
}

#[task(name = "t.integration.tasks.replace_with_chain")]
pub(crate) fn replace_with_chain(
    ctx: &Context,
    #[args] args: Vec<Value>,
    #[kwargs] named: BTreeMap<String, Value>,
) -> TaskResult<()> {
    let steps = chain([with(identity::partial(), args), identity::partial()]);
    Err(ctx.replace(steps.link(echo(&named))))
}

#[task(name = "t.integration.tasks.replace_with_chain_which_raises")]
pub(crate) fn replace_with_chain_which_raises(
    ctx: &Context,
    #[args] args: Vec<Value>,
    #[kwargs] named: BTreeMap<String, Value>,
) -> TaskResult<()> {
    let steps = chain([with(identity::partial(), args), raise_error::partial()]);
    Err(ctx.replace(steps.link_error(echo(&named))))
}

#[task(name = "t.integration.tasks.replace_with_empty_chain")]
pub(crate) fn replace_with_empty_chain(ctx: &Context, #[args] _args: Vec<Value>) -> TaskResult<()> {
    Err(ctx.replace(chain(Vec::<Signature>::new())))
}

#[task(name = "t.integration.tasks.replace_with_chain_which_contains_a_group")]
pub(crate) fn replace_with_chain_which_contains_a_group(ctx: &Context) -> TaskResult<()> {
    let more = || add::partial().arg(1);
    Err(ctx.replace(chain([adding(1, 2), group([more(), more()])])))
}

#[task(name = "t.integration.tasks.add_to_all")]
pub(crate) fn add_to_all(ctx: &Context, nums: Vec<Value>, val: Value) -> TaskResult<()> {
    Err(ctx.replace(group(nums.into_iter().map(|num| adding(num, &val)))))
}

#[task(name = "t.integration.tasks.second_order_replace1")]
pub(crate) fn second_order_replace1(ctx: &Context, #[default] state: Value) -> TaskResult<()> {
    let echo = "redis-echo".to_owned();
    if state == json!(true) {
        return redis_echo_now("Out A", echo);
    }
    redis_echo_now("In A", echo)?;
    Err(ctx.replace(chain([
        second_order_replace2::partial(),
        second_order_replace1::partial().kwarg("state", true).immutable(),
    ])))
}

#[task(name = "t.integration.tasks.second_order_replace2")]
pub(crate) fn second_order_replace2(ctx: &Context, #[default] state: Value) -> TaskResult<()> {
    let echo = "redis-echo".to_owned();
    if state == json!(true) {
        return redis_echo_now("Out B", echo);
    }
    redis_echo_now("In B", echo)?;
    Err(ctx.replace(chain([
        redis_echo::s(json!("In/Out C")),
        second_order_replace2::partial().kwarg("state", true).immutable(),
    ])))
}

fn redis_echo_now(text: &str, key: String) -> TaskResult<()> {
    redis_echo(json!(text), key)
}

#[task(name = "t.integration.tasks.fail_replaced")]
pub(crate) fn fail_replaced(ctx: &Context, #[args] args: Vec<Value>) -> TaskResult<()> {
    Err(ctx.replace(with(fail::partial(), args).immutable()))
}

#[task(name = "t.integration.tasks.replace_with_stamped_task")]
pub(crate) fn replace_with_stamped_task(ctx: &Context, replace_with: Option<Value>) -> TaskResult<()> {
    let named = replace_with.as_ref().and_then(|signature| signature["task"].as_str());
    let signature = match (named, &replace_with) {
        (Some(task), Some(call)) => {
            let args = call["args"].as_array().cloned().unwrap_or_default();
            with(Signature::of(task), args)
        }
        _ => replaced_with_me::s(),
    };
    Err(ctx.replace(signature.stamp("StampOnReplace", "This is the replaced task")))
}
