//! Orders about tasks: revoke, retry, forget.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header::LOCATION};
use axum::response::{IntoResponse, Response};
use lovage_model::api::{ControlReply, Problem, RevokeItem, RevokeManyRequest, RevokeReply, RevokeRequest};
use lovage_model::{Json as Raw, TaskId};

use super::Shared;
use super::body::{self, Cap};
use super::input::{Named, Submits};
use super::problem::{DRAINING, Failure, INVALID_REQUEST, QUEUE_FULL, Reply, TASK_BUSY};
use super::submit::location;
use crate::clock;
use crate::control::Found;

/// The most tasks of one order.
const AT_ONCE: usize = 10_000;
/// Values of stamps in one request: each is looked for by itself, and nothing else is written meanwhile.
const STAMPS_AT_ONCE: usize = 1000;
/// What to do about a task that is busy when it is revoked.
const PASSING: &str = "it is passing from one host to another just now: try again";

/// Revokes a task that waits; with `terminate` one that runs, too.
#[utoipa::path(post, path = "/v1/tasks/{id}/revoke", tag = "tasks", request_body = Option<RevokeRequest>,
    params(("id" = String, Path, description = "The task's id")),
    responses((status = 200, description = "What was found and done", body = ControlReply),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn revoke_task(
    State(rooms): State<Shared>,
    Submits(tenant): Submits,
    Named(id): Named<TaskId>,
    request: Request,
) -> Reply<Json<ControlReply>> {
    let RevokeRequest { terminate } = body::json_or_default(request, Cap::small()).await?;
    let found = rooms.control.revoke(&tenant, &id, terminate, clock::now()).await?;
    answer(id, found, PASSING).map(Json)
}

/// Revokes several tasks, by their ids or by their stamps; each is answered on its own.
#[utoipa::path(post, path = "/v1/tasks:revoke", tag = "tasks", request_body = RevokeManyRequest,
    responses((status = 200, description = "What was found and done, in order", body = RevokeReply),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn revoke_tasks(
    State(rooms): State<Shared>,
    Submits(tenant): Submits,
    request: Request,
) -> Reply<Json<RevokeReply>> {
    let asked: RevokeManyRequest = body::json(request, Cap::ids()).await?;
    let RevokeManyRequest { ids, stamped_headers, terminate } = asked;
    if ids.len() > AT_ONCE {
        return Err(
            INVALID_REQUEST.because(format!("ids: {} of them, the limit is {AT_ONCE}: send several", ids.len()))
        );
    }
    if ids.is_empty() && stamped_headers.is_empty() {
        return Err(INVALID_REQUEST.because("ids or stamped_headers: which tasks?"));
    }
    let stamped_headers = read_stamps(stamped_headers)?;
    let now = clock::now();
    let found = rooms.control.revoke_many(&tenant, &ids, terminate, now).await?;
    let mut stamped = BTreeMap::new();
    for (stamp, values) in &stamped_headers {
        for (id, found) in rooms.control.revoke_stamped(&tenant, (stamp, values), terminate, now).await? {
            stamped.entry(id).or_insert(found);
        }
    }
    let found = ids.into_iter().zip(found).chain(stamped);
    let item = |(id, found)| match answer(id, found, PASSING) {
        Ok(reply) => RevokeItem::Found(reply),
        Err(failure) => RevokeItem::Refused(failure.problem()),
    };
    Ok(Json(RevokeReply { results: found.map(item).collect() }))
}

/// The values of each stamp.
fn read_stamps(stamped_headers: BTreeMap<String, Raw>) -> Reply<BTreeMap<String, Vec<Raw>>> {
    let read = |(stamp, values): (String, Raw)| one_or_many(&stamp, &values).map(|values| (stamp, values));
    let stamps = stamped_headers.into_iter().map(read).collect::<Reply<BTreeMap<_, _>>>()?;
    // Also none are something to look at.
    let values: usize = stamps.values().map(|values| values.len().max(1)).sum();
    if values > STAMPS_AT_ONCE {
        return Err(INVALID_REQUEST
            .because(format!("stamped_headers: {values} values, the limit is {STAMPS_AT_ONCE}: send several")));
    }
    Ok(stamps)
}

/// The values of a stamp that are meant: a list of them, or one.
fn one_or_many(stamp: &str, values: &Raw) -> Reply<Vec<Raw>> {
    if !values.is_array() {
        return Ok(vec![values.clone()]);
    }
    values.read().map_err(|error| INVALID_REQUEST.because(format!("stamped_headers.{stamp}: {error}")))
}

/// Queues a task that has ended once more, under its id.
#[utoipa::path(post, path = "/v1/tasks/{id}/retry", tag = "tasks",
    params(("id" = String, Path, description = "The task's id")),
    responses((status = 202, description = "Queued again", body = ControlReply),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn retry_task(
    State(rooms): State<Shared>,
    Submits(tenant): Submits,
    Named(id): Named<TaskId>,
) -> Reply<Response> {
    if rooms.is_draining() {
        return Err(DRAINING.because("retry it when the daemon is back"));
    }
    let now = clock::now();
    rooms.api.access.may_submit(&tenant, 1, now)?;
    let room = rooms.api.access.room(&tenant, rooms.api.limits.room);
    let found = rooms.control.retry(&tenant, &id, room, now).await?;
    let reply = answer(id, found, "only a task that has ended can run again: wait for it, or revoke it")?;
    Ok((StatusCode::ACCEPTED, [(LOCATION, location(&reply.id))], Json(reply)).into_response())
}

/// Forgets a task that has ended, with its result and log.
#[utoipa::path(delete, path = "/v1/tasks/{id}", tag = "tasks",
    params(("id" = String, Path, description = "The task's id")),
    responses((status = 200, description = "It is gone; its last state", body = ControlReply),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn forget_task(
    State(rooms): State<Shared>,
    Submits(tenant): Submits,
    Named(id): Named<TaskId>,
) -> Reply<Json<ControlReply>> {
    let found = rooms.control.forget(&tenant, &id).await?;
    answer(id, found, "only a task that has ended can be forgotten: wait for it, or revoke it").map(Json)
}

fn full(field: &str) -> Failure {
    QUEUE_FULL.because(format!("as many tasks wait as may ({field} of the tenant, or limits.{field}): try again later"))
}

fn answer(id: TaskId, found: Found, cure: &str) -> Reply<ControlReply> {
    match found {
        Found::Done(state, outcome) | Found::Unchanged(state, outcome) => {
            Ok(ControlReply { id, state, outcome: outcome.to_owned() })
        }
        Found::Full(quota) => Err(full(quota.field())),
        Found::Busy(state) | Found::Elsewhere(state) => Err(TASK_BUSY.because(format!("{id} is {state}: {cure}"))),
        Found::Unknown => Err(Failure::unknown_id(&id)),
    }
}
