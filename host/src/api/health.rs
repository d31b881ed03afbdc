//! Whether the daemon is alive, whether it is of use, and what it can be asked.

use axum::Json;
use axum::extract::State;
use lovage_model::api::{Health, Problem};

use super::problem::{DRAINING, Reply};
use super::{Rooms, Shared};

/// Answers while the process does.
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, body = Health)))]
pub(crate) async fn livez(State(rooms): State<Shared>) -> Json<Health> {
    Json(health(&rooms))
}

/// Answers 200 while tasks can be stored and run.
#[utoipa::path(get, path = "/readyz", tag = "health", responses((status = 200, body = Health),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn readyz(State(rooms): State<Shared>) -> Reply<Json<Health>> {
    if rooms.is_draining() {
        return Err(DRAINING.because(format!("{} tasks still run here", rooms.api.running.len())));
    }
    if *rooms.control.standing.resting().borrow() {
        let why = "this worker was told to take no tasks; calls are accepted, and `lovage worker drain --resume` lets it go on";
        return Err(DRAINING.because(why));
    }
    rooms.api.store.healthy().await?;
    Ok(Json(health(&rooms)))
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "health",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub(crate) async fn openapi() -> Json<utoipa::openapi::OpenApi> {
    Json(super::document())
}

fn health(rooms: &Rooms) -> Health {
    Health {
        status: "ok".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hostname: rooms.api.host.hostname.clone(),
        running: rooms.api.running.len() as u64,
        concurrency: rooms.api.host.concurrency as u64,
    }
}
