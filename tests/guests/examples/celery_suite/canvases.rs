//! Tasks that send canvases.

use lovage_guest::prelude::*;
use serde_json::Value;

use crate::plain::{add, adding, tsum};

#[task(name = "t.integration.tasks.chain_add")]
pub(crate) fn chain_add(ctx: &Context, x: Value, y: Value) -> TaskResult<()> {
    (adding(&x, &x) | add::partial().arg(y)).delay(ctx).map(drop)
}

#[task(name = "t.integration.tasks.chord_add")]
pub(crate) fn chord_add(ctx: &Context, x: Value, y: Value) -> TaskResult<()> {
    chord([adding(&x, &x)], add::partial().arg(y)).delay(ctx).map(drop)
}

#[task(name = "t.integration.tasks.add_to_all_to_chord")]
pub(crate) fn add_to_all_to_chord(ctx: &Context, nums: Vec<Value>, val: Value) -> TaskResult<i64> {
    for num in nums {
        ctx.add_to_chord(adding(num, &val))?;
    }
    Ok(0)
}

#[task(name = "t.integration.tasks.add_chord_to_chord")]
pub(crate) fn add_chord_to_chord(ctx: &Context, nums: Vec<Value>, val: Value) -> TaskResult<i64> {
    ctx.add_to_chord(group(nums.into_iter().map(|num| adding(num, &val))) | tsum::partial())?;
    Ok(0)
}

#[task(name = "t.integration.tasks.build_chain_inside_task")]
pub(crate) fn build_chain_inside_task(ctx: &Context) -> TaskResult<Json> {
    let more = |y: i64| add::partial().arg(y);
    (adding(1, 1) | more(2) | group([more(3), more(4)]) | more(5)).delay(ctx).map(|sent| sent.as_tuple())
}
