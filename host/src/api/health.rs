//! Whether the daemon is alive, whether it is of use, and what it can be asked.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use lovage_model::api::{Health, Problem};
use tokio::sync::Mutex;

use super::problem::{DRAINING, Reply};
use super::{Rooms, Shared};
use crate::clock;
use crate::store::{self, Store};

/// The store is asked again whether it is sound after so long: to find out it writes, and anybody may ask.
const FRESH: Duration = Duration::from_secs(1);

/// Whether the store is sound: when it was found to be.
#[derive(Debug, Default)]
pub(crate) struct Sound(Mutex<Option<Instant>>);

impl Sound {
    /// Asks the store, unless it was found sound lately. One asks at a time, for those who came meanwhile too.
    pub(crate) async fn check(&self, store: &dyn Store, now: Instant) -> store::Result<()> {
        let mut found = self.0.lock().await;
        if found.is_none_or(|at| now.saturating_duration_since(at) >= FRESH) {
            store.healthy().await?;
            *found = Some(now);
        }
        Ok(())
    }
}

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
    rooms.sound.check(&*rooms.api.store, clock::instant()).await?;
    Ok(Json(health(&rooms)))
}

/// The document as it is sent: the same for all, and some work to make.
static DOCUMENT: LazyLock<Bytes> =
    LazyLock::new(|| serde_json::to_vec(&super::document()).expect("the document is JSON").into());

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "health",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub(crate) async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.clone()).into_response()
}

fn health(rooms: &Rooms) -> Health {
    Health {
        status: "ok".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hostname: rooms.api.host.hostname.clone(),
        running: rooms.api.running.len() as u64,
        concurrency: rooms.control.slots() as u64,
    }
}
