//! What a request says outside its body: whose it is and what he may do, names in the path, the query.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header::AUTHORIZATION};
use lovage_model::{NameError, Scope, TenantId};
use serde::de::DeserializeOwned;

use super::Shared;
use super::body::Owner;
use super::problem::{BAD_QUERY, Failure, INVALID_REQUEST, Reply};
use crate::access::Caller;
use crate::clock;

/// Who asks, if he may do this. The only place that decides it: a handler gets a tenant by naming what it needs. From then on the
/// body counts as that tenant's.
fn identify(parts: &mut Parts, rooms: &Shared, scope: Scope) -> Reply<Caller> {
    let presented = parts.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
    let token = presented.map(|text| {
        let (scheme, token) = text.split_once(' ').unwrap_or_default();
        if scheme.eq_ignore_ascii_case("bearer") { token.trim() } else { "" }
    });
    let caller = rooms.api.access.identify(token, scope, clock::now())?;
    let is_alone = !rooms.api.access.is_shared();
    parts.extensions.insert(Owner {
        tenant: caller.tenant.clone(),
        arrivals: rooms.arrivals.clone(),
        is_alone,
        // As of those who wait: where nobody else is kept out, there may be any number.
        most_bodies: if is_alone { u32::MAX } else { rooms.api.waits },
    });
    Ok(caller)
}

macro_rules! may {
    ($($(#[$doc:meta])* $name:ident($it:ty) = $scope:ident, $of:expr;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub(crate) struct $name(pub(crate) $it);

            impl FromRequestParts<Shared> for $name {
                type Rejection = Failure;

                async fn from_request_parts(parts: &mut Parts, rooms: &Shared) -> Reply<Self> {
                    let of: fn(Caller) -> $it = $of;
                    identify(parts, rooms, Scope::$scope).map(of).map(Self)
                }
            }
        )*
    };
}

may! {
    /// Whose things may be looked at.
    Reads(TenantId) = Read, |caller| caller.tenant;
    /// The same, for as long as he may.
    Listens(Caller) = Read, |caller| caller;
    /// Who may send tasks and stop them.
    Submits(TenantId) = Submit, |caller| caller.tenant;
    /// Who may push modules and change how tasks run.
    Deploys(TenantId) = Deploy, |caller| caller.tenant;
    /// Who may do what concerns the host, and everybody.
    Administers(TenantId) = Admin, |caller| caller.tenant;
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

/// Two names in the path: of something, and of something in it.
#[derive(Debug)]
pub(crate) struct NamedIn<A, B>(pub(crate) A, pub(crate) B);

impl<S, A, B> FromRequestParts<S> for NamedIn<A, B>
where
    S: Send + Sync,
    A: FromStr<Err = NameError>,
    B: FromStr<Err = NameError>,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Reply<Self> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((outer, inner)) = path.map_err(|rejection| INVALID_REQUEST.because(rejection.body_text()))?;
        let wrong = |error: NameError| INVALID_REQUEST.because(error.to_string());
        Ok(Self(outer.parse().map_err(wrong)?, inner.parse().map_err(wrong)?))
    }
}

/// How numbers are refused by those that read them, and what is meant.
const NUMBERS: [(&str, &str); 5] = [
    ("invalid digit found in string", "must be a whole number, and not below 0"),
    ("cannot parse integer from empty string", "must be a whole number, and not below 0"),
    ("number too large to fit in target type", "must be a smaller number"),
    ("invalid float literal", "must be a number, such as 1.5"),
    ("cannot parse float from empty string", "must be a number, such as 1.5"),
];

fn what_it_may_be(refusal: String) -> String {
    NUMBERS.iter().fold(refusal, |text, (said, meant)| text.replace(said, meant))
}

/// The query string.
#[derive(Debug)]
pub(crate) struct Asked<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Reply<Self> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(rejection) => Err(BAD_QUERY.because(what_it_may_be(rejection.body_text()))),
        }
    }
}

/// A header as text, if it is there and is text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
