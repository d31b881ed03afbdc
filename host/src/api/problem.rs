//! What is answered when something cannot be done: one table of kinds, one type, one place that makes the reply.
//!
//! `docs/errors.md` has a row for each kind; a test compares.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lovage_model::api::Problem;

use crate::access::{AccessError, Denied, Later, TooMany};
use crate::beat::BeatError;
use crate::modules::PushError;
use crate::queue::{Refusal, RefusalCode};
use crate::store::StoreError;

/// One kind of problem. The code is stable: programs branch on it.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its stable name.
    pub code: &'static str,
    /// HTTP status.
    pub status: StatusCode,
    /// The kind in words.
    pub title: &'static str,
    /// Seconds after which the same request may go through; none: it never will.
    pub retry_after: Option<u32>,
}

macro_rules! kinds {
    ($($name:ident = $status:ident, $code:literal, $title:literal $(, retry in $retry:literal)?;)*) => {
        $(
            pub(crate) static $name: Kind = Kind {
                code: $code,
                status: StatusCode::$status,
                title: $title,
                retry_after: [$(Some($retry),)? None][0],
            };
        )*
        /// Every kind of problem, by status.
        pub static KINDS: &[&Kind] = &[$(&$name),*];
    };
}

kinds! {
    BAD_JSON = BAD_REQUEST, "bad_json", "The body is not JSON";
    BAD_QUERY = BAD_REQUEST, "bad_query", "The query string is not understood";
    BAD_DIGEST = BAD_REQUEST, "bad_digest", "The body is not what its Content-Digest says";
    BODY_INCOMPLETE = BAD_REQUEST, "body_incomplete", "The body ended early", retry in 1;
    MISSING_TOKEN = UNAUTHORIZED, "missing_token", "A token is needed";
    INVALID_TOKEN = UNAUTHORIZED, "invalid_token", "The token is none, has expired or was revoked";
    INSUFFICIENT_SCOPE = FORBIDDEN, "insufficient_scope", "The token is good for other things";
    FOREIGN_HOST = FORBIDDEN, "foreign_host", "The request was meant for another host";
    FOREIGN_ORIGIN = FORBIDDEN, "foreign_origin", "The request comes from a web page of another origin";
    UNKNOWN_ROUTE = NOT_FOUND, "unknown_route", "There is no such route";
    UNKNOWN_TASK = NOT_FOUND, "unknown_task", "No module exports a task of this name";
    UNKNOWN_ID = NOT_FOUND, "unknown_id", "There is no task with this id";
    UNKNOWN_GROUP = NOT_FOUND, "unknown_group", "No group was saved under this id";
    UNKNOWN_MODULE = NOT_FOUND, "unknown_module", "There is no such module";
    UNKNOWN_SECRET = NOT_FOUND, "unknown_secret", "No such secret is set for the module";
    UNKNOWN_ENTRY = NOT_FOUND, "unknown_entry", "There is no such periodic task";
    UNKNOWN_TENANT = NOT_FOUND, "unknown_tenant", "There is no such tenant";
    UNKNOWN_TOKEN = NOT_FOUND, "unknown_token", "There is no token with this id";
    METHOD_NOT_ALLOWED = METHOD_NOT_ALLOWED, "method_not_allowed", "The route does not take this method";
    BODY_TIMEOUT = REQUEST_TIMEOUT, "body_timeout", "The body took too long to arrive", retry in 1;
    ID_TAKEN = CONFLICT, "id_taken", "Another task has this id";
    TASK_BUSY = CONFLICT, "task_busy", "The task is in a state in which this cannot be done", retry in 1;
    TASK_NAME_TAKEN = CONFLICT, "task_name_taken", "Another module exports a task of the same name";
    NO_OLDER_VERSION = CONFLICT, "no_older_version", "The module has no version before the active one";
    TENANT_BUSY = CONFLICT, "tenant_busy", "The tenant has modules, or tasks that have not ended";
    ENTRY_OF_CONFIG = CONFLICT, "entry_of_config", "The configuration declares the periodic task";
    FIRST_TOKEN = CONFLICT, "first_token", "The first token must be one that can make others";
    BODY_TOO_LARGE = PAYLOAD_TOO_LARGE, "body_too_large", "The body is larger than allowed";
    MESSAGE_TOO_LARGE = PAYLOAD_TOO_LARGE, "message_too_large", "The task's arguments are larger than allowed";
    UNSUPPORTED_MEDIA_TYPE = UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The body is of another type than this route takes";
    INVALID_REQUEST = UNPROCESSABLE_ENTITY, "invalid_request", "A field is missing, or is not what it must be";
    AMBIGUOUS_TASK = UNPROCESSABLE_ENTITY, "ambiguous_task", "Several tasks end in this name";
    MODULE_REFUSED = UNPROCESSABLE_ENTITY, "module_refused", "The component is not acceptable";
    QUEUE_FULL = TOO_MANY_REQUESTS, "queue_full", "As many tasks wait as may", retry in 1;
    QUOTA_EXCEEDED = TOO_MANY_REQUESTS, "quota_exceeded", "The tenant has as much as it may";
    RATE_EXCEEDED = TOO_MANY_REQUESTS, "rate_exceeded", "The tenant sends faster than it may", retry in 1;
    STORE_FAILED = INTERNAL_SERVER_ERROR, "store_failed", "The store failed", retry in 1;
    DRAINING = SERVICE_UNAVAILABLE, "draining", "The daemon is going down", retry in 2;
    STORE_FULL = INSUFFICIENT_STORAGE, "store_full", "The disk is full", retry in 10;
}

/// A problem that is to be answered: its kind, and what is wrong here.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: &'static Kind,
    pub(crate) detail: String,
    /// Seconds after which to try again, if that is not as for others of its kind.
    retry_after: Option<u32>,
}

/// What handlers return.
pub(crate) type Reply<T> = Result<T, Failure>;

impl Kind {
    pub(crate) fn because(&'static self, detail: impl Into<String>) -> Failure {
        Failure { kind: self, detail: detail.into(), retry_after: self.retry_after }
    }
}

impl Failure {
    pub(crate) fn unknown_id(id: &lovage_model::TaskId) -> Self {
        UNKNOWN_ID.because(format!("no task has the id {id}; it was never submitted here, forgotten, or has expired"))
    }

    pub(crate) fn unknown_group(id: &lovage_model::TaskId) -> Self {
        UNKNOWN_GROUP.because(format!("no group was saved under the id {id}, or it was deleted, or has expired"))
    }

    pub(crate) fn unknown_module(name: &lovage_model::ModuleName) -> Self {
        UNKNOWN_MODULE.because(format!("no module is called {name}; `lovage module list` shows what there is"))
    }

    pub(crate) fn problem(self) -> Problem {
        Problem {
            kind: "about:blank".to_owned(),
            title: self.kind.title.to_owned(),
            status: self.kind.status.as_u16(),
            detail: self.detail,
            code: self.kind.code.to_owned(),
            retryable: self.retry_after.is_some(),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (kind, retry_after) = (self.kind, self.retry_after);
        let mut response = (kind.status, axum::Json(self.problem())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if kind.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let kind = if matches!(error, StoreError::Full(_)) { &STORE_FULL } else { &STORE_FAILED };
        tracing::error!(%error, "store");
        kind.because(error.to_string())
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        let kind = match denied {
            Denied::Missing => &MISSING_TOKEN,
            Denied::Unknown => &INVALID_TOKEN,
            Denied::Scope { .. } => &INSUFFICIENT_SCOPE,
        };
        kind.because(denied.to_string())
    }
}

impl From<AccessError> for Failure {
    fn from(error: AccessError) -> Self {
        let text = error.to_string();
        match error {
            AccessError::Invalid(_) => INVALID_REQUEST.because(text),
            AccessError::UnknownTenant(_) => UNKNOWN_TENANT.because(text),
            AccessError::UnknownToken(_) => UNKNOWN_TOKEN.because(text),
            AccessError::TenantBusy { .. } => TENANT_BUSY.because(text),
            AccessError::FirstToken => FIRST_TOKEN.because(text),
            AccessError::Store(error) => error.into(),
        }
    }
}

impl From<Later> for Failure {
    fn from(Later { rate, wait }: Later) -> Self {
        let seconds = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
        let text = format!("the tenant may send {rate} tasks in a second (submits_per_second): again in {seconds} s");
        Self { retry_after: Some(seconds), ..RATE_EXCEEDED.because(text) }
    }
}

impl From<TooMany> for Failure {
    fn from(TooMany { most }: TooMany) -> Self {
        QUOTA_EXCEEDED.because(format!(
            "as many event streams are open as the tenant may have, {most} (its streams, or limits.streams): close one first"
        ))
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let text = match refusal.field.as_str() {
            "task" => refusal.message.clone(),
            field => format!("{field}: {}", refusal.message),
        };
        match refusal.kind {
            RefusalCode::Wrong | RefusalCode::Empty => INVALID_REQUEST.because(refusal.to_string()),
            RefusalCode::TooLarge => MESSAGE_TOO_LARGE.because(refusal.to_string()),
            RefusalCode::UnknownTask => {
                UNKNOWN_TASK.because(format!("{text}; `lovage module list` shows what there is"))
            }
            RefusalCode::AmbiguousTask => AMBIGUOUS_TASK.because(text),
        }
    }
}

impl From<BeatError> for Failure {
    fn from(error: BeatError) -> Self {
        let text = error.to_string();
        match error {
            BeatError::Unknown(_) => UNKNOWN_ENTRY.because(text),
            BeatError::OfConfig(_) => ENTRY_OF_CONFIG.because(text),
            BeatError::Invalid(_) => INVALID_REQUEST.because(text),
            BeatError::Refused(refusal) => refusal.into(),
            BeatError::Full(_) => QUEUE_FULL.because(text),
            BeatError::TooMany { .. } => QUOTA_EXCEEDED.because(text),
            BeatError::Store(error) => error.into(),
        }
    }
}

impl From<PushError> for Failure {
    fn from(error: PushError) -> Self {
        match error {
            PushError::Refused(refusal) if refusal.code == "disk_full" => STORE_FULL.because(refusal.message),
            PushError::Refused(refusal) if refusal.is_of_host() => STORE_FAILED.because(refusal.message),
            PushError::Refused(refusal) => MODULE_REFUSED.because(format!("{} ({})", refusal.message, refusal.code)),
            PushError::Full { .. } => QUOTA_EXCEEDED.because(error.to_string()),
            PushError::TaskTaken { .. } => TASK_NAME_TAKEN.because(error.to_string()),
            PushError::Store(error) => error.into(),
        }
    }
}
