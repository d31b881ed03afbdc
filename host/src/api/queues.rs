//! Queues: what waits in them.

use axum::Json;
use axum::extract::State;
use lovage_model::QueueName;
use lovage_model::api::{Problem, PurgeReply, QueueView};

use super::Shared;
use super::input::{Named, Tenant};
use super::problem::Reply;
use crate::clock;

/// Every queue that has a message.
#[utoipa::path(get, path = "/v1/queues", tag = "queues", responses((status = 200, body = Vec<QueueView>),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list_queues(State(rooms): State<Shared>, Tenant(tenant): Tenant) -> Reply<Json<Vec<QueueView>>> {
    Ok(Json(rooms.api.store.queues(&tenant, clock::now()).await?))
}

/// Revokes everything that waits in a queue.
#[utoipa::path(post, path = "/v1/queues/{name}/purge", tag = "queues",
    params(("name" = String, Path, description = "The queue's name")),
    responses((status = 200, body = PurgeReply),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn purge_queue(
    State(rooms): State<Shared>,
    Tenant(tenant): Tenant,
    Named(queue): Named<QueueName>,
) -> Reply<Json<PurgeReply>> {
    Ok(Json(PurgeReply { purged: rooms.control.purge(&tenant, &queue, clock::now()).await? }))
}
