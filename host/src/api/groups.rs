//! Results of groups: kept, found and dropped by their ids.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use lovage_model::api::Problem;
use lovage_model::{ResultTuple, TaskId};

use super::Shared;
use super::body::{self, Cap};
use super::input::{Named, Reads, Submits};
use super::problem::{Failure, INVALID_REQUEST, QUOTA_EXCEEDED, Reply};
use crate::clock;
use crate::outside::no_room;

/// Keeps the result of a group as long as results are kept.
#[utoipa::path(put, path = "/v1/groups/{id}", tag = "groups", request_body = Vec<Object>,
    params(("id" = String, Path, description = "The group's id")),
    responses((status = 204, description = "It is kept"),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn save_group(
    State(rooms): State<Shared>,
    Submits(tenant): Submits,
    Named(id): Named<TaskId>,
    request: Request,
) -> Reply<StatusCode> {
    let group: ResultTuple = body::json(request, Cap::call(rooms.api.limits.rules.message_bytes)).await?;
    if group.id != id {
        return Err(INVALID_REQUEST.because(format!("the id is {}, but the path says {id}: send one id", group.id)));
    }
    if group.children.is_none() {
        return Err(INVALID_REQUEST.because(format!("{id} has no members: send [[id, parent], [member, ...]]")));
    }
    let now = clock::now();
    rooms.api.access.may_submit(&tenant, 1, now)?;
    let most_bytes = rooms.api.outside.most_bytes(rooms.api.access.policy(&tenant).key_value_bytes);
    if !rooms.api.store.save_group(&tenant, &id, &group, most_bytes, now).await? {
        return Err(QUOTA_EXCEEDED.because(no_room(most_bytes)));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// The result of a group that was kept, as Celery's result tuple.
#[utoipa::path(get, path = "/v1/groups/{id}", tag = "groups",
    params(("id" = String, Path, description = "The group's id")),
    responses((status = 200, description = "`[[id, parent], [member, ...]]`", body = Vec<Object>),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn restore_group(
    State(rooms): State<Shared>,
    Reads(tenant): Reads,
    Named(id): Named<TaskId>,
) -> Reply<Json<ResultTuple>> {
    let _place = rooms.reading(&tenant).await;
    let group = rooms.api.store.group(&tenant, &id).await?;
    group.map(Json).ok_or_else(|| Failure::unknown_group(&id))
}

/// Drops the result of a group; its members stay.
#[utoipa::path(delete, path = "/v1/groups/{id}", tag = "groups",
    params(("id" = String, Path, description = "The group's id")),
    responses((status = 204, description = "It is gone"),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn delete_group(
    State(rooms): State<Shared>,
    Submits(tenant): Submits,
    Named(id): Named<TaskId>,
) -> Reply<StatusCode> {
    match rooms.api.store.delete_group(&tenant, &id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Failure::unknown_group(&id)),
    }
}
