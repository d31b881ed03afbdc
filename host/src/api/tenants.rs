//! Tenants: what there is, what each may use.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use lovage_model::api::Problem;
use lovage_model::{TenantId, TenantPolicy, TenantView};

use super::Shared;
use super::body::{self, Cap};
use super::input::{Administers, Named};
use super::problem::Reply;
use crate::clock;

/// Every tenant that was added.
#[utoipa::path(get, path = "/v1/tenants", tag = "access", responses((status = 200, body = Vec<TenantView>),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list_tenants(State(rooms): State<Shared>, _: Administers) -> Reply<Json<Vec<TenantView>>> {
    Ok(Json(rooms.api.access.tenants()))
}

/// Adds a tenant, or changes what it may use: the whole policy, what is not said is not limited.
#[utoipa::path(put, path = "/v1/tenants/{name}", tag = "access", request_body = TenantPolicy,
    params(("name" = String, Path, description = "Its name")),
    responses((status = 201, description = "It is new", body = TenantView),
        (status = 200, description = "It was changed", body = TenantView),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn set_tenant(
    State(rooms): State<Shared>,
    _: Administers,
    Named(name): Named<TenantId>,
    request: Request,
) -> Reply<Response> {
    let policy: TenantPolicy = body::json(request, Cap::small()).await?;
    let (tenant, is_new) = rooms.api.access.set_tenant(name, policy, clock::now()).await?;
    Ok((if is_new { StatusCode::CREATED } else { StatusCode::OK }, Json(tenant)).into_response())
}

/// Takes a tenant away, and revokes its tokens. It must have no modules, and no tasks that have not ended; its
/// results expire, and its name is free after that.
#[utoipa::path(delete, path = "/v1/tenants/{name}", tag = "access",
    params(("name" = String, Path, description = "Its name")), responses((status = 204, description = "It is gone"),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn remove_tenant(
    State(rooms): State<Shared>,
    _: Administers,
    Named(name): Named<TenantId>,
) -> Reply<StatusCode> {
    rooms.api.access.remove_tenant(&name, clock::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}
