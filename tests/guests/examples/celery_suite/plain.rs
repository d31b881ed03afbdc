//! Tasks that are functions and nothing more.

use lovage_guest::prelude::*;
use serde_json::Value;

fn unsupported() -> TaskError {
    TaskError::builtin("TypeError", "unsupported operand type(s) for +")
}

/// Python's `+`, as far as JSON has values for it.
fn plus(x: Value, y: Value) -> TaskResult<Value> {
    Ok(match (x, y) {
        (Value::String(x), Value::String(y)) => json!(x + &y),
        (Value::Array(x), Value::Array(y)) => x.into_iter().chain(y).collect(),
        (x, y) => match (x.as_i64(), y.as_i64()) {
            (Some(x), Some(y)) => json!(x + y),
            _ => json!(x.as_f64().ok_or_else(unsupported)? + y.as_f64().ok_or_else(unsupported)?),
        },
    })
}

fn sum(numbers: Vec<Value>) -> TaskResult<Value> {
    numbers.into_iter().try_fold(json!(0), plus)
}

fn is_true(value: &Value) -> bool {
    ![json!(null), json!(false), json!(0), json!(""), json!([]), json!({})].contains(value)
}

#[task(name = "t.integration.tasks.identity")]
pub(crate) fn identity(x: Json) -> Json {
    x
}

#[task(name = "t.integration.tasks.add")]
pub(crate) fn add(x: Value, y: Value, z: Option<Value>) -> TaskResult<Value> {
    let both = plus(x, y)?;
    match z {
        Some(z) if is_true(&z) => plus(both, z),
        _ => Ok(both),
    }
}

/// A call of it, with values of any type.
pub(crate) fn adding(x: impl Serialize, y: impl Serialize) -> Signature {
    add::partial().arg(x).arg(y)
}

#[task(name = "t.integration.tasks.mul")]
pub(crate) fn mul(x: i64, y: i64) -> i64 {
    x * y
}

#[task(name = "t.integration.tasks.add_not_typed", typing = false)]
pub(crate) fn add_not_typed(x: Value, y: Value) -> TaskResult<Value> {
    plus(x, y)
}

#[task(name = "t.integration.tasks.add_ignore_result", ignore_result = true)]
pub(crate) fn add_ignore_result(x: Value, y: Value) -> TaskResult<Value> {
    plus(x, y)
}

#[task(name = "t.integration.tasks.add_with_result", ignore_result = false)]
pub(crate) fn add_with_result(x: Value, y: Value) -> TaskResult<Value> {
    plus(x, y)
}

#[task(name = "t.integration.tasks.delayed_sum")]
pub(crate) fn delayed_sum(ctx: &Context, numbers: Vec<Value>, #[default(1.0)] pause_time: f64) -> TaskResult<Value> {
    ctx.sleep(pause_time)?;
    sum(numbers)
}

#[task(name = "t.integration.tasks.delayed_sum_with_soft_guard")]
pub(crate) fn delayed_sum_with_soft_guard(
    ctx: &Context,
    numbers: Vec<Value>,
    #[default(1.0)] pause_time: f64,
) -> TaskResult<Value> {
    match ctx.sleep(pause_time) {
        Err(error) if error.is_soft_time_limit_exceeded() => Ok(json!(0)),
        slept => slept.and_then(|()| sum(numbers)),
    }
}

#[task(name = "t.integration.tasks.tsum")]
pub(crate) fn tsum(nums: Vec<Value>) -> TaskResult<Value> {
    sum(nums)
}

#[task(name = "t.integration.tasks.xsum")]
pub(crate) fn xsum(nums: Vec<Value>) -> TaskResult<Value> {
    nums.into_iter()
        .map(|num| if let Value::Array(nums) = num { sum(nums) } else { Ok(num) })
        .collect::<TaskResult<_>>()
        .and_then(sum)
}

#[task(name = "t.integration.tasks.print_unicode")]
pub(crate) fn print_unicode(
    ctx: &Context,
    #[default("håå®ƒ valmuefrø")] log_message: String,
    #[default("hiöäüß")] print_message: String,
) {
    ctx.warning(log_message);
    println!("{print_message}");
}

#[task(name = "t.integration.tasks.return_exception")]
pub(crate) fn return_exception(e: Json) -> (Json, bool) {
    (e, true)
}

/// Gone from its queue as soon as it starts, as tasks of Celery's are by default: the suite looks at that.
#[task(name = "t.integration.tasks.sleeping", acks_late = false)]
pub(crate) fn sleeping(ctx: &Context, i: f64, #[kwargs] _named: Json) -> TaskResult<()> {
    ctx.sleep(i)
}

#[task(name = "t.integration.tasks.replaced_with_me")]
pub(crate) fn replaced_with_me() -> bool {
    true
}

#[derive(Serialize, Deserialize)]
pub(crate) struct AddParameterModel {
    x: i64,
    y: i64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct AddResultModel {
    result: i64,
}

#[task(name = "t.integration.tasks.add_pydantic")]
pub(crate) fn add_pydantic(data: AddParameterModel) -> AddResultModel {
    AddResultModel { result: data.x + data.y }
}

#[task(name = "t.integration.tasks.add_pydantic_string_annotations")]
pub(crate) fn add_pydantic_string_annotations(data: AddParameterModel) -> AddResultModel {
    AddResultModel { result: data.x + data.y }
}

/// In the suite its limits contradict each other, and the client refuses it.
#[task(name = "t.integration.tasks.soft_time_limit_must_exceed_time_limit")]
pub(crate) fn soft_time_limit_must_exceed_time_limit() {}
