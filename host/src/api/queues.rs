//! Queues: what waits in them.

use axum::Json;
use axum::extract::State;
use lovage_model::api::{PauseReply, Problem, PurgeReply, QueueView};
use lovage_model::{QueueName, TenantId};

use super::input::{Deploys, Named, Reads};
use super::problem::{QUOTA_EXCEEDED, Reply};
use super::{Rooms, Shared};
use crate::clock;
use crate::store::{MOST_PAUSED, Paused};

/// Every queue that has a message.
#[utoipa::path(get, path = "/v1/queues", tag = "queues", responses((status = 200, body = Vec<QueueView>),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list_queues(State(rooms): State<Shared>, Reads(tenant): Reads) -> Reply<Json<Vec<QueueView>>> {
    let _place = rooms.listing(&tenant).await;
    Ok(Json(rooms.api.store.queues(&tenant, clock::now()).await?))
}

/// Revokes everything that waits in a queue.
#[utoipa::path(post, path = "/v1/queues/{name}/purge", tag = "queues",
    params(("name" = String, Path, description = "The queue's name")),
    responses((status = 200, body = PurgeReply),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn purge_queue(
    State(rooms): State<Shared>,
    Deploys(tenant): Deploys,
    Named(queue): Named<QueueName>,
) -> Reply<Json<PurgeReply>> {
    Ok(Json(PurgeReply { purged: rooms.control.purge(&tenant, &queue, clock::now()).await? }))
}

/// Lets no more tasks of a queue begin. What runs goes on, calls are accepted; holds across restarts.
#[utoipa::path(post, path = "/v1/queues/{name}/pause", tag = "queues",
    params(("name" = String, Path, description = "The queue's name")),
    responses((status = 200, body = PauseReply),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn pause_queue(
    State(rooms): State<Shared>,
    Deploys(tenant): Deploys,
    Named(queue): Named<QueueName>,
) -> Reply<Json<PauseReply>> {
    pause(&rooms, &tenant, &queue, true).await
}

/// Lets tasks of a queue begin again.
#[utoipa::path(post, path = "/v1/queues/{name}/resume", tag = "queues",
    params(("name" = String, Path, description = "The queue's name")),
    responses((status = 200, body = PauseReply),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn resume_queue(
    State(rooms): State<Shared>,
    Deploys(tenant): Deploys,
    Named(queue): Named<QueueName>,
) -> Reply<Json<PauseReply>> {
    pause(&rooms, &tenant, &queue, false).await
}

async fn pause(rooms: &Rooms, tenant: &TenantId, queue: &QueueName, paused: bool) -> Reply<Json<PauseReply>> {
    let changed = match rooms.control.pause(tenant, queue, paused).await? {
        Paused::Changed => true,
        Paused::AsBefore => false,
        Paused::Full => {
            return Err(QUOTA_EXCEEDED.because(format!("the tenant may pause {MOST_PAUSED} queues: resume some first")));
        }
    };
    Ok(Json(PauseReply { name: queue.to_string(), paused, changed }))
}
