//! Periodic tasks: what there is, what is set, what is taken away.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header::LOCATION};
use axum::response::{IntoResponse, Response};
use lovage_model::api::{PeriodicView, Problem, SubmitReply};
use lovage_model::{EntryName, PeriodicTask, State as TaskState};

use super::Shared;
use super::body::{self, Cap};
use super::input::{Deploys, Named, Reads, Submits};
use super::problem::{DRAINING, Reply};
use super::submit::location;
use crate::beat::Shown;
use crate::clock;

/// Every periodic task.
#[utoipa::path(get, path = "/v1/beat", tag = "beat", responses((status = 200, body = Vec<PeriodicView>),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list_beat(State(rooms): State<Shared>, Reads(tenant): Reads) -> Reply<Json<Vec<PeriodicView>>> {
    let _place = rooms.listing(&tenant).await;
    Ok(Json(rooms.api.beat.list(&tenant, clock::now()).await?.into_iter().map(view).collect()))
}

/// One periodic task.
#[utoipa::path(get, path = "/v1/beat/{name}", tag = "beat",
    params(("name" = String, Path, description = "Its name")), responses((status = 200, body = PeriodicView),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn show_beat(
    State(rooms): State<Shared>,
    Reads(tenant): Reads,
    Named(name): Named<EntryName>,
) -> Reply<Json<PeriodicView>> {
    let _place = rooms.reading(&tenant).await;
    Ok(Json(view(rooms.api.beat.show(&tenant, &name, clock::now()).await?)))
}

/// Declares a periodic task: `task`, `args`, `kwargs`, `options`, `every` or `crontab` (with `timezone`), `enabled`,
/// `catch_up`.
#[utoipa::path(put, path = "/v1/beat/{name}", tag = "beat", request_body = Object,
    params(("name" = String, Path, description = "Its name")),
    responses((status = 201, description = "It is new", body = PeriodicView),
        (status = 200, description = "It takes the place of the one there was", body = PeriodicView),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn set_beat(
    State(rooms): State<Shared>,
    Deploys(tenant): Deploys,
    Named(name): Named<EntryName>,
    request: Request,
) -> Reply<Response> {
    let entry: PeriodicTask = body::json(request, Cap::call(rooms.api.limits.rules.message_bytes)).await?;
    let is_new = rooms.api.beat.set(&tenant, &name, entry, clock::now()).await?;
    let shown = view(rooms.api.beat.show(&tenant, &name, clock::now()).await?);
    Ok((if is_new { StatusCode::CREATED } else { StatusCode::OK }, Json(shown)).into_response())
}

/// Takes a periodic task away. What it has sent stays.
#[utoipa::path(delete, path = "/v1/beat/{name}", tag = "beat",
    params(("name" = String, Path, description = "Its name")), responses((status = 204, description = "It is gone"),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn remove_beat(
    State(rooms): State<Shared>,
    Deploys(tenant): Deploys,
    Named(name): Named<EntryName>,
) -> Reply<StatusCode> {
    rooms.api.beat.remove(&tenant, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a periodic task now, beside its times.
#[utoipa::path(post, path = "/v1/beat/{name}/run", tag = "beat",
    params(("name" = String, Path, description = "Its name")),
    responses((status = 202, description = "Queued; Location is the task", body = SubmitReply),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn run_beat(
    State(rooms): State<Shared>,
    Submits(tenant): Submits,
    Named(name): Named<EntryName>,
) -> Reply<Response> {
    if rooms.is_draining() {
        return Err(DRAINING.because("run it when the daemon is back"));
    }
    rooms.api.access.may_submit(&tenant, 1, clock::now())?;
    let result_tuple = rooms.api.beat.run_now(&tenant, &name).await?;
    let reply = SubmitReply { id: result_tuple.id.clone(), state: TaskState::Pending, result_tuple };
    Ok((StatusCode::ACCEPTED, [(LOCATION, location(&reply.id))], Json(reply)).into_response())
}

fn view(shown: Shown) -> PeriodicView {
    let Shown { periodic, next_run_at, last_error } = shown;
    PeriodicView {
        name: periodic.name,
        entry: periodic.entry,
        of_config: periodic.of_config,
        last_run_at: periodic.last_run.map(|last| last.at),
        next_run_at,
        total_run_count: periodic.total_run_count,
        last_error,
    }
}
