//! Modules: push, list, show, roll back, remove.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::IntoResponse;
use axum::{Json, response::Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use lovage_model::api::Problem;
use lovage_model::{Digest, ModuleName, ModuleVersion, TenantId};
use serde::Deserialize;
use tokio::sync::SemaphorePermit;

use super::body::{Cap, expect_type, read_watched};
use super::input::{Asked, Deploys, Named, Reads};
use super::problem::{BAD_DIGEST, BAD_QUERY, DRAINING, Failure, NO_OLDER_VERSION, RATE_EXCEEDED, Reply};
use super::{Rooms, Shared, UPLOADS};
use crate::access::{OpenStream, TooMany};
use crate::clock;
use crate::modules::{PushError, Pushed, digest_of};
use crate::sandbox::Shape;

/// How long a component may take to arrive.
const UPLOAD_DEADLINE: Duration = Duration::from_secs(300);
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
/// Of an answer: the component was missing from the store, or damaged there, and is there again.
const RESTORED: HeaderName = HeaderName::from_static("lovage-restored");

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct PushQuery {
    /// Check everything, store nothing.
    #[param(value_type = Option<bool>)]
    dry_run: Option<String>,
}

impl PushQuery {
    /// `?dry_run` alone means yes.
    fn is_dry(&self) -> Reply<bool> {
        match self.dry_run.as_deref() {
            Some("" | "true" | "1") => Ok(true),
            None | Some("false" | "0") => Ok(false),
            Some(other) => Err(BAD_QUERY.because(format!("dry_run is {other:?}: say true or false"))),
        }
    }
}

/// Makes a component the active version of a module. The same bytes again change nothing.
#[utoipa::path(put, path = "/v1/modules/{name}", tag = "modules",
    params(("name" = String, Path, description = "The module's name"), PushQuery,
        ("Content-Digest" = Option<String>, Header, description = "`sha-256=:<base64>:`; verified if sent")),
    request_body(content = Vec<u8>, content_type = "application/wasm", description = "The component"),
    responses((status = 201, description = "A new version", body = ModuleVersion),
        (status = 200, description = "Unchanged, or a dry run", body = ModuleVersion,
            headers(("Lovage-Restored" = bool, description = "There if the component was missing from the store, or damaged"))),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn push_module(
    State(rooms): State<Shared>,
    Deploys(tenant): Deploys,
    Named(name): Named<ModuleName>,
    Asked(query): Asked<PushQuery>,
    request: Request,
) -> Reply<Response> {
    let dry_run = query.is_dry()?;
    // It counts until it is stored: it waits for a compiler, too, and takes its memory meanwhile.
    let (component, _upload) = receive(&rooms, &tenant, request).await?;
    let now = clock::now();
    let Pushed { version, is_restored } = rooms.api.modules.push(&tenant, &name, component, dry_run, now).await?;
    let is_new = !dry_run && version.pushed_at == now;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = (status, Json(version)).into_response();
    if is_restored {
        response.headers_mut().insert(RESTORED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

async fn receive<'a>(rooms: &'a Rooms, tenant: &TenantId, request: Request) -> Reply<(Bytes, Upload<'a>)> {
    if rooms.is_draining() {
        return Err(DRAINING.because("push again when the daemon is back"));
    }
    expect_type(request.headers(), &["application/wasm", "application/octet-stream"])?;
    let digest = announced(request.headers())?;
    let own = rooms.api.access.open_upload(tenant, UPLOADS / 2).map_err(|TooMany { most }| {
        RATE_EXCEEDED.because(format!(
            "{most} uploads of the tenant are under way, and no more may be: push again when one is over"
        ))
    })?;
    let turn = rooms.uploads.acquire().await.expect("never closed");
    let bytes = rooms.api.bodies.module_bytes;
    let cap = Cap { bytes, limit: "limits.module_bytes", deadline: UPLOAD_DEADLINE };
    let mut shape = Some(Shape::default());
    let component = read_watched(request, cap, |so_far| {
        let Some(looking) = &mut shape else { return Ok(()) };
        match looking.look(so_far, false) {
            Ok(()) => Ok(()),
            // Of what is broken is said what it is when all of it is there.
            Err(refusal) if refusal.is_broken() => {
                shape = None;
                Ok(())
            }
            Err(refusal) => Err(PushError::from(refusal).into()),
        }
    })
    .await?;
    if let Some(digest) = digest {
        check_digest(&component, &digest).await?;
    }
    Ok((component, Upload { _own: own, _turn: turn }))
}

/// A component that is here, and is counted.
struct Upload<'a> {
    _own: OpenStream,
    _turn: SemaphorePermit<'a>,
}

async fn check_digest(component: &Bytes, announced: &Digest) -> Reply<()> {
    if digest_of(component).await == *announced {
        return Ok(());
    }
    Err(BAD_DIGEST.because(format!(
        "the {} bytes that arrived have another sha-256 than Content-Digest says: send them again",
        component.len()
    )))
}

/// The SHA-256 that a request says its body has, if it says one. What cannot be read is refused: who sends it wants it verified.
fn announced(headers: &HeaderMap) -> Reply<Option<Digest>> {
    let mut fields = headers.get_all(&CONTENT_DIGEST).iter();
    let Some(first) = fields.next() else { return Ok(None) };
    match (first.to_str(), fields.next()) {
        (Ok(field), None) => sha256_in(field).map(Some),
        (Ok(_), Some(_)) => Err(BAD_DIGEST.because("Content-Digest is there more than once: send one")),
        (Err(_), _) => Err(BAD_DIGEST.because("Content-Digest is no ASCII: write sha-256=:<base64 of 32 bytes>:")),
    }
}

/// The SHA-256 in a Content-Digest (RFC 9530), which may list others too.
fn sha256_in(field: &str) -> Reply<Digest> {
    let wrong = || BAD_DIGEST.because(format!("Content-Digest is {field:?}: write sha-256=:<base64 of 32 bytes>:"));
    let listed = field.split(',').find_map(|entry| entry.trim().strip_prefix("sha-256=")).ok_or_else(wrong)?;
    let text = listed.strip_prefix(':').and_then(|rest| rest.strip_suffix(':')).ok_or_else(wrong)?;
    let bytes = STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.map(|bytes: [u8; 32]| Digest::from_bytes(&bytes)).ok_or_else(wrong)
}

/// The active version of every module.
#[utoipa::path(get, path = "/v1/modules", tag = "modules", responses((status = 200, body = Vec<ModuleVersion>),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list_modules(State(rooms): State<Shared>, Reads(tenant): Reads) -> Reply<Json<Vec<ModuleVersion>>> {
    let _place = rooms.reading(&tenant).await;
    Ok(Json(rooms.api.modules.list(&tenant).await?))
}

/// The versions of a module, the newest first.
#[utoipa::path(get, path = "/v1/modules/{name}", tag = "modules",
    params(("name" = String, Path, description = "The module's name")),
    responses((status = 200, body = Vec<ModuleVersion>),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn show_module(
    State(rooms): State<Shared>,
    Reads(tenant): Reads,
    Named(name): Named<ModuleName>,
) -> Reply<Json<Vec<ModuleVersion>>> {
    let _place = rooms.reading(&tenant).await;
    let versions = rooms.api.modules.versions(&tenant, &name).await?;
    if versions.is_empty() { Err(Failure::unknown_module(&name)) } else { Ok(Json(versions)) }
}

/// Makes the version before the active one active.
#[utoipa::path(post, path = "/v1/modules/{name}/rollback", tag = "modules",
    params(("name" = String, Path, description = "The module's name")),
    responses((status = 200, description = "The version that is active now", body = ModuleVersion),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn rollback_module(
    State(rooms): State<Shared>,
    Deploys(tenant): Deploys,
    Named(name): Named<ModuleName>,
) -> Reply<Json<ModuleVersion>> {
    if let Some(version) = rooms.api.modules.rollback(&tenant, &name).await? {
        return Ok(Json(version));
    }
    if rooms.api.modules.versions(&tenant, &name).await?.is_empty() {
        return Err(Failure::unknown_module(&name));
    }
    Err(NO_OLDER_VERSION.because(format!("{name} has no version before the active one; push one")))
}

/// Removes a module with all its versions. Messages for its tasks fail when they run.
#[utoipa::path(delete, path = "/v1/modules/{name}", tag = "modules",
    params(("name" = String, Path, description = "The module's name")),
    responses((status = 204, description = "It is gone"),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn remove_module(
    State(rooms): State<Shared>,
    Deploys(tenant): Deploys,
    Named(name): Named<ModuleName>,
) -> Reply<StatusCode> {
    if rooms.api.modules.remove(&tenant, &name).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Failure::unknown_module(&name))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_digest_is_found_among_others() {
        let text = format!("sha-512=:AAAA:, sha-256=:{}:", STANDARD.encode([7; 32]));
        assert_eq!(sha256_in(&text).unwrap(), Digest::from_bytes(&[7; 32]));
        for bad in ["", "sha-256=abc", "sha-256=:AAAA:", "sha-256=:!:", "sha-512=:AAAA:"] {
            assert_eq!(sha256_in(bad).unwrap_err().kind.code, "bad_digest", "{bad}");
        }
    }

    #[test]
    fn no_digest_is_passed_over() {
        let good = format!("sha-256=:{}:", STANDARD.encode([7; 32]));
        let said = |fields: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(CONTENT_DIGEST, HeaderValue::from_bytes(field).unwrap());
            }
            announced(&headers).map_err(|failure| failure.kind.code)
        };
        assert_eq!(said(&[]), Ok(None));
        assert_eq!(said(&[good.as_bytes()]), Ok(Some(Digest::from_bytes(&[7; 32]))));
        assert_eq!(said(&[b"sha-256=:\xff:"]), Err("bad_digest"));
        assert_eq!(said(&[good.as_bytes(), good.as_bytes()]), Err("bad_digest"));
    }
}
