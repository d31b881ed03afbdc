//! Tokens: issued, listed, revoked.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use lovage_model::api::Problem;
use lovage_model::{IssuedToken, NewToken, TokenId, TokenView};

use super::Shared;
use super::body::{self, Cap};
use super::input::{Administers, Named};
use super::problem::Reply;
use crate::clock;

/// Every token there ever was, the oldest first, without what proves that somebody has it.
#[utoipa::path(get, path = "/v1/tokens", tag = "access", responses((status = 200, body = Vec<TokenView>),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list_tokens(State(rooms): State<Shared>, _: Administers) -> Reply<Json<Vec<TokenView>>> {
    Ok(Json(rooms.api.access.tokens()))
}

/// Makes a token. The reply has it whole, and nothing else ever has.
#[utoipa::path(post, path = "/v1/tokens", tag = "access", request_body = NewToken,
    responses((status = 201, body = IssuedToken),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn issue_token(
    State(rooms): State<Shared>,
    _: Administers,
    request: Request,
) -> Reply<(StatusCode, Json<IssuedToken>)> {
    let new: NewToken = body::json(request, Cap::small()).await?;
    Ok((StatusCode::CREATED, Json(rooms.api.access.issue(new, clock::now()).await?)))
}

/// Revokes a token: requests with it are refused from now on, and its event streams end.
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "access",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "It is good for nothing any more", body = TokenView),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn revoke_token(
    State(rooms): State<Shared>,
    _: Administers,
    Named(id): Named<TokenId>,
) -> Reply<Json<TokenView>> {
    Ok(Json(rooms.api.access.revoke(&id, clock::now()).await?))
}
