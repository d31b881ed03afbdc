//! Tasks that tell of their request.

use lovage_guest::prelude::*;
use serde_json::Value;

type Lineage = (String, Option<String>, Value);

fn lineage(ctx: &Context, i: Value) -> Lineage {
    let request = ctx.request();
    (request.root_id.to_string(), request.parent_id.as_ref().map(ToString::to_string), i)
}

#[task(name = "t.integration.tasks.ids")]
pub(crate) fn ids(ctx: &Context, i: Value) -> Lineage {
    lineage(ctx, i)
}

#[task(name = "t.integration.tasks.collect_ids")]
pub(crate) fn collect_ids(ctx: &Context, res: Value, i: Value) -> (Value, Lineage) {
    (res, lineage(ctx, i))
}

#[task(name = "t.integration.tasks.return_priority")]
pub(crate) fn return_priority(ctx: &Context, #[args] _args: Vec<Value>) -> String {
    format!("Priority: {}", ctx.request().delivery_info.priority)
}

#[task(name = "t.integration.tasks.return_request_eta")]
pub(crate) fn return_request_eta(ctx: &Context) -> Option<Timestamp> {
    ctx.request().eta
}

#[task(name = "t.integration.tasks.return_properties")]
pub(crate) fn return_properties(ctx: &Context) -> Json {
    ctx.request().properties.clone()
}

/// The limits that the sender or the task asks for; those that the operator sets for all are not among them.
fn asked(ctx: &Context) -> Value {
    let options = &ctx.request().options;
    json!({ "time_limit": options.time_limit, "soft_time_limit": options.soft_time_limit })
}

#[task(name = "t.integration.tasks.return_request_time_limits")]
pub(crate) fn return_request_time_limits(ctx: &Context) -> Value {
    asked(ctx)
}

#[task(name = "t.integration.tasks.task_with_declared_time_limits", time_limit = 60, soft_time_limit = 45)]
pub(crate) fn task_with_declared_time_limits(ctx: &Context) -> Value {
    asked(ctx)
}
