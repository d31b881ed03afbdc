//! What a request says outside its body: whose it is, names in the path, the query.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use lovage_model::{NameError, TenantId};
use serde::de::DeserializeOwned;

use super::problem::{BAD_QUERY, Failure, INVALID_REQUEST, Reply};

/// Whose request it is. The only place that decides this.
#[derive(Debug)]
pub(crate) struct Tenant(pub(crate) TenantId);

impl<S: Sync> FromRequestParts<S> for Tenant {
    type Rejection = Failure;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Reply<Self> {
        Ok(Self(TenantId::default()))
    }
}

/// The one name in the path.
#[derive(Debug)]
pub(crate) struct Named<T>(pub(crate) T);

impl<S: Send + Sync, T: FromStr<Err = NameError>> FromRequestParts<S> for Named<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Reply<Self> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = path.map_err(|rejection| INVALID_REQUEST.because(rejection.body_text()))?;
        text.parse().map(Self).map_err(|error| INVALID_REQUEST.because(error.to_string()))
    }
}

/// The query string.
#[derive(Debug)]
pub(crate) struct Asked<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Reply<Self> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(rejection) => Err(BAD_QUERY.because(rejection.body_text())),
        }
    }
}

/// A header as text, if it is there and is text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
