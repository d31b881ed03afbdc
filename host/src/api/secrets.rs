//! Secrets: set and taken away. No route tells one, or which there are.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use lovage_model::api::Problem;
use lovage_model::{ModuleName, SecretName};

use super::Shared;
use super::body::{Cap, read};
use super::input::{Deploys, NamedIn};
use super::problem::{INVALID_REQUEST, QUOTA_EXCEEDED, Reply, UNKNOWN_SECRET};
use crate::outside::{MAX_SECRET_BYTES, no_room};

const CAP: Cap = Cap { bytes: MAX_SECRET_BYTES, limit: "the most of a secret", deadline: Duration::from_secs(30) };

/// Sets a secret for the tasks of one module, instead of the one of that name. The body is the secret, as text.
#[utoipa::path(put, path = "/v1/modules/{name}/secrets/{secret}", tag = "modules",
    params(("name" = String, Path, description = "The module's name; it need not be there yet"),
        ("secret" = String, Path, description = "The secret's name")),
    request_body(content = String, content_type = "text/plain", description = "The secret: at most 64 KiB"),
    responses((status = 204, description = "Its tasks are told it from now on"),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn set_secret(
    State(rooms): State<Shared>,
    Deploys(tenant): Deploys,
    NamedIn(module, name): NamedIn<ModuleName, SecretName>,
    request: Request,
) -> Reply<StatusCode> {
    let secret = read(request, CAP).await?.bytes;
    if std::str::from_utf8(&secret).is_err() {
        return Err(INVALID_REQUEST.because("the secret is not UTF-8: send text, such as base64 of bytes"));
    }
    let own = rooms.api.access.policy(&tenant).key_value_bytes;
    let set = rooms.api.outside.set_secret(tenant, &module, &name, secret, own).await?;
    set.map_err(|most_bytes| QUOTA_EXCEEDED.because(no_room(most_bytes)))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a secret away.
#[utoipa::path(delete, path = "/v1/modules/{name}/secrets/{secret}", tag = "modules",
    params(("name" = String, Path, description = "The module's name"),
        ("secret" = String, Path, description = "The secret's name")),
    responses((status = 204, description = "It is gone"),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn remove_secret(
    State(rooms): State<Shared>,
    Deploys(tenant): Deploys,
    NamedIn(module, name): NamedIn<ModuleName, SecretName>,
) -> Reply<StatusCode> {
    if rooms.api.outside.remove_secret(tenant, &module, &name).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(UNKNOWN_SECRET.because(format!("no secret {name} is set for {module}")))
    }
}
