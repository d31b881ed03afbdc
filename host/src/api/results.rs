//! Results, for those who wait.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header::RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use lovage_model::api::Problem;
use lovage_model::{EventKind, ResultMeta, TaskId, TenantId};
use serde::Deserialize;

use super::input::{Asked, Listens, Named};
use super::problem::{BAD_QUERY, Failure, Reply};
use super::{Rooms, Shared};
use crate::access::{Caller, Denied};
use crate::events::{Notice, Subscription};

/// The longest a request waits, in seconds.
const LONGEST_WAIT: f64 = 60.0;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct WaitQuery {
    /// Seconds to wait for the end, at most 60; none: answer at once.
    wait: Option<f64>,
}

impl WaitQuery {
    fn span(&self) -> Reply<Duration> {
        let seconds = self.wait.unwrap_or_default();
        if seconds >= 0.0 {
            return Ok(Duration::from_secs_f64(seconds.min(LONGEST_WAIT)));
        }
        Err(BAD_QUERY.because(format!("wait is {seconds}: a number of seconds from 0 to {LONGEST_WAIT}")))
    }
}

/// The result, if need be after a wait. A task that failed is answered with 200 too: its state says so.
#[utoipa::path(get, path = "/v1/tasks/{id}/result", tag = "tasks",
    params(("id" = String, Path, description = "The task's id"), WaitQuery),
    responses((status = 200, description = "It has ended", body = ResultMeta),
        (status = 202, description = "Not yet; ask again after Retry-After", body = ResultMeta),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn wait_for_result(
    State(rooms): State<Shared>,
    Listens(caller): Listens,
    Named(id): Named<TaskId>,
    Asked(query): Asked<WaitQuery>,
) -> Reply<Response> {
    let span = query.span()?;
    let mut meta = read(&rooms, &caller.tenant, &id).await?;
    if !meta.status.is_terminal() && !span.is_zero() {
        meta = wait(&rooms, &caller, &id, span).await?;
    }
    Ok(if meta.status.is_terminal() {
        Json(meta).into_response()
    } else {
        let meta = rooms.explained(&caller.tenant, meta).await?;
        (StatusCode::ACCEPTED, [(RETRY_AFTER, "1")], Json(meta)).into_response()
    })
}

/// Waits until the task has ended, the span is over, the daemon goes down or the caller may not ask any more.
async fn wait(rooms: &Rooms, caller: &Caller, id: &TaskId, span: Duration) -> Reply<ResultMeta> {
    let tenant = &caller.tenant;
    // Who has as many that wait as it may is told at once what is known, and to ask again: others need connections, too.
    let Ok(_place) = rooms.api.access.wait(tenant, rooms.api.waits) else { return read(rooms, tenant, id).await };
    let mut following = rooms.api.hub.follow(tenant, id, None);
    let ended = async {
        loop {
            // Following comes first, so an end after this read wakes us.
            let meta = read(rooms, tenant, id).await?;
            if meta.status.is_terminal() {
                return Ok(meta);
            }
            until_it_may_have_ended(&mut following).await;
        }
    };
    tokio::select! {
        meta = ended => meta,
        () = tokio::time::sleep(span) => read(rooms, tenant, id).await,
        () = rooms.drained() => read(rooms, tenant, id).await,
        () = rooms.api.access.barred(caller) => Err(Denied::Unknown.into()),
    }
}

async fn until_it_may_have_ended(following: &mut Subscription) {
    loop {
        match following.next().await {
            Notice::Lagged(_) | Notice::Recheck => return,
            Notice::Event(numbered) => match &numbered.event.kind {
                kind if kind.is_terminal() => return,
                EventKind::Rejected { .. } => return,
                _ => {}
            },
        }
    }
}

async fn read(rooms: &Rooms, tenant: &TenantId, id: &TaskId) -> Reply<ResultMeta> {
    let _place = rooms.reading(tenant).await;
    rooms.api.store.task(tenant, id).await?.ok_or_else(|| Failure::unknown_id(id))
}
