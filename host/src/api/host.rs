//! This host: what it says of itself, and what is ordered of it until it restarts.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use lovage_model::api::{
    CleanupReply, DrainRequest, OrderReply, Problem, RateLimitRequest, TimeLimitRequest, WorkerView,
};
use lovage_model::{TaskId, TimeLimit};
use serde::{Deserialize, Serialize};

use super::body::{self, Cap};
use super::input::{Administers, Asked, Deploys, Reads};
use super::problem::{BAD_QUERY, INVALID_REQUEST, Reply};
use super::{Rooms, Shared};
use crate::clock;
use crate::queue;

/// The most tasks of one question.
const ASKED_AT_ONCE: usize = 100;

/// What can be asked; Celery's names.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    Active,
    Reserved,
    Scheduled,
    Revoked,
    Registered,
    Stats,
    QueryTask,
    Ping,
    Conf,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct InspectQuery {
    /// Which tasks `query_task` asks for: ids, separated by commas.
    ids: Option<String>,
}

/// What this host says of itself: `active`, `reserved`, `scheduled`, `revoked`, `registered`, `stats`, `query_task`, `ping`
/// or `conf`, with the fields that Celery's `inspect` has.
#[utoipa::path(get, path = "/v1/inspect/{what}", tag = "hosts",
    params(("what" = String, Path, description = "What to ask"), InspectQuery),
    responses((status = 200, description = "What each host says, by its name", body = Object),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn inspect(
    State(rooms): State<Shared>,
    Reads(tenant): Reads,
    admin: Reply<Administers>,
    path: Result<Path<String>, PathRejection>,
    Asked(query): Asked<InspectQuery>,
) -> Reply<Response> {
    let Path(name) = path.map_err(|rejection| INVALID_REQUEST.because(rejection.body_text()))?;
    let what = what(&name)?;
    let (control, _place) = (&rooms.control, rooms.reading(&tenant).await);
    Ok(match what {
        What::Active => by_host(&rooms, control.active(&tenant).await?),
        What::Reserved => by_host(&rooms, control.reserved(&tenant).await?),
        What::Scheduled => by_host(&rooms, control.scheduled(&tenant).await?),
        What::Revoked => by_host(&rooms, control.revoked(&tenant).await?),
        What::Registered => by_host(&rooms, control.registered(&tenant).await?),
        What::Stats => by_host(&rooms, control.stats(&tenant, clock::now())),
        What::QueryTask => by_host(&rooms, control.query_task(&tenant, &ids(query.ids)?).await?),
        What::Ping => by_host(&rooms, serde_json::json!({"ok": "pong"})),
        What::Conf => {
            // The settings are the operator's.
            admin?;
            by_host(&rooms, rooms.api.conf.clone())
        }
    })
}

fn what(text: &str) -> Reply<What> {
    let name = serde::de::value::StrDeserializer::<serde::de::value::Error>::new(text);
    What::deserialize(name).map_err(|error| INVALID_REQUEST.because(format!("what to inspect: {error}")))
}

fn ids(text: Option<String>) -> Reply<Vec<TaskId>> {
    let text = text.unwrap_or_default();
    let ids: Vec<_> = text.split(',').map(str::trim).filter(|id| !id.is_empty()).collect();
    if ids.is_empty() || ids.len() > ASKED_AT_ONCE {
        return Err(BAD_QUERY.because(format!("ids: {} of them, ask for 1 to {ASKED_AT_ONCE}", ids.len())));
    }
    let id = |id: &str| id.parse().map_err(|error: lovage_model::NameError| BAD_QUERY.because(format!("ids: {error}")));
    ids.into_iter().map(id).collect()
}

/// As Celery answers: each host for itself.
fn by_host<T: Serialize>(rooms: &Rooms, says: T) -> Response {
    Json(BTreeMap::from([(rooms.control.host.hostname.clone(), says)])).into_response()
}

/// Changes the rate limit of a task: on this host, at once, until it restarts. What waits by the old one waits by the new.
#[utoipa::path(post, path = "/v1/control/rate_limit", tag = "hosts", request_body = RateLimitRequest,
    responses((status = 200, body = OrderReply),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn rate_limit(
    State(rooms): State<Shared>,
    Deploys(tenant): Deploys,
    request: Request,
) -> Reply<Json<OrderReply>> {
    let RateLimitRequest { task, rate_limit } = body::json(request, Cap::small()).await?;
    let task = queue::Known { modules: &rooms.api.modules, tenant: &tenant }.task(&task)?;
    rooms.control.standing.set_rate_limit((tenant, task.name.clone()), rate_limit);
    Ok(Json(OrderReply { ok: "new rate limit set successfully".to_owned() }))
}

/// Changes the time limits of a task: for runs that begin here from now on, until this host restarts. What a call asks for
/// goes before them, and the operator's limits hold.
#[utoipa::path(post, path = "/v1/control/time_limit", tag = "hosts", request_body = TimeLimitRequest,
    responses((status = 200, body = OrderReply),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn time_limit(
    State(rooms): State<Shared>,
    Deploys(tenant): Deploys,
    request: Request,
) -> Reply<Json<OrderReply>> {
    let TimeLimitRequest { task, soft, hard } = body::json(request, Cap::small()).await?;
    if soft.zip(hard).is_some_and(|(soft, hard)| soft > hard) {
        return Err(INVALID_REQUEST.because("soft is above hard: the soft limit must come first"));
    }
    let task = queue::Known { modules: &rooms.api.modules, tenant: &tenant }.task(&task)?;
    let limit = (soft.is_some() || hard.is_some()).then_some(TimeLimit { soft, hard });
    rooms.control.standing.set_time_limit((tenant, task.name.clone()), limit);
    Ok(Json(OrderReply { ok: "time limits set successfully".to_owned() }))
}

/// Drops the results whose time is over, now.
#[utoipa::path(post, path = "/v1/control/cleanup", tag = "hosts", responses((status = 200, body = CleanupReply),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn cleanup(State(rooms): State<Shared>, _: Administers) -> Reply<Json<CleanupReply>> {
    Ok(Json(CleanupReply { expired: rooms.control.cleanup(clock::now()).await? }))
}

/// The workers: this host.
#[utoipa::path(get, path = "/v1/workers", tag = "hosts", responses((status = 200, body = Vec<WorkerView>),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list_workers(State(rooms): State<Shared>, Reads(tenant): Reads) -> Reply<Json<Vec<WorkerView>>> {
    Ok(Json(vec![worker(&rooms, &tenant)]))
}

/// Lets this host take no more messages, or take them again. What runs goes on, what has not begun goes back to its queue,
/// calls are accepted.
#[utoipa::path(post, path = "/v1/worker/drain", tag = "hosts", request_body = Option<DrainRequest>,
    responses((status = 200, description = "The worker as it is now", body = WorkerView),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn drain_worker(
    State(rooms): State<Shared>,
    Administers(tenant): Administers,
    request: Request,
) -> Reply<Json<WorkerView>> {
    let DrainRequest { resume } = body::json_or_default(request, Cap::small()).await?;
    rooms.control.standing.rest(!resume);
    Ok(Json(worker(&rooms, &tenant)))
}

fn worker(rooms: &Rooms, tenant: &lovage_model::TenantId) -> WorkerView {
    let host = &rooms.control.host;
    let held = rooms.control.running.all(tenant);
    let active = held.iter().filter(|brief| brief.time_start.is_some()).count();
    let told = rooms.control.standing.share();
    let queues = told.borrow().queues.as_ref().map(|names| names.iter().map(ToString::to_string).collect());
    WorkerView {
        hostname: host.hostname.clone(),
        status: if rooms.takes_nothing() { "draining" } else { "ok" }.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime_seconds: clock::now().since(host.since).as_secs(),
        active,
        reserved: held.len() - active,
        concurrency: rooms.control.slots(),
        queues,
    }
}
