//! How a body is read: counted while it arrives, never longer than its cap, never slower than its deadline, and never too much of
//! one tenant's at once.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use lovage_model::TenantId;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::problem::{
    BAD_JSON, BODY_INCOMPLETE, BODY_TIMEOUT, BODY_TOO_LARGE, Failure, INVALID_REQUEST, RATE_EXCEEDED, Reply,
    UNSUPPORTED_MEDIA_TYPE,
};
use crate::held::{Held, Holdings};

/// What a body may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cap {
    /// In bytes.
    pub(crate) bytes: usize,
    /// The limit as the operator knows it.
    pub(crate) limit: &'static str,
    /// How long it may take to arrive.
    pub(crate) deadline: Duration,
}

/// How long a JSON body may take.
const JSON_DEADLINE: Duration = Duration::from_secs(30);
/// How long the rest of a body that is too large is listened to.
const DISCARD_DEADLINE: Duration = Duration::from_secs(5);
/// What a submit's JSON may hold besides its arguments.
const ENVELOPE: usize = 64 * 1024;
/// What 10,000 ids take, the longest there are, some of them with escapes.
const IDS: usize = 4 << 20;
/// How the limit is called of what may be as large whatever the configuration says.
const FIXED: &str = "the most of this request";

impl Cap {
    /// Of one call with arguments of at most `message_bytes`.
    pub(crate) fn call(message_bytes: usize) -> Self {
        Self { bytes: message_bytes + ENVELOPE, limit: "limits.message_bytes, and 64 KiB", deadline: JSON_DEADLINE }
    }

    /// Of a batch of calls.
    pub(crate) fn batch(bytes: usize) -> Self {
        Self { bytes, limit: "limits.batch_bytes", deadline: JSON_DEADLINE }
    }

    /// Of a request that has a few fields and no arguments.
    pub(crate) fn small() -> Self {
        Self { bytes: ENVELOPE, limit: FIXED, deadline: JSON_DEADLINE }
    }

    /// Of a request that names up to 10,000 tasks.
    pub(crate) fn ids() -> Self {
        Self { bytes: IDS, limit: FIXED, deadline: JSON_DEADLINE }
    }
}

/// How much of bodies may be under way of each tenant, and how much is.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals {
    /// Bodies that have not come whole.
    bodies: Holdings,
    /// What has come of those, and of others that are still held.
    bytes: Holdings,
    most_bytes: u64,
}

impl Arrivals {
    /// Of each tenant so many bytes at most.
    pub(crate) fn of(most_bytes: u64) -> Self {
        Self { bodies: Holdings::default(), bytes: Holdings::default(), most_bytes }
    }
}

/// Where only one tenant is, its bodies may take so many times as much.
const ALONE: u64 = 8;

/// Whose body a request has. Who finds out puts it into the request, before the body is read.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    /// The tenant.
    pub(crate) tenant: TenantId,
    /// Where its bodies count.
    pub(crate) arrivals: Arrivals,
    /// Whether no other tenant shares the host: then there is nobody to be kept out.
    pub(crate) is_alone: bool,
    /// How many of them may be on their way at once.
    pub(crate) most_bodies: u32,
}

impl Owner {
    /// Counts a body, while what is returned is there.
    fn begin(&self) -> Reply<Held> {
        let (mut body, most) = (self.arrivals.bodies.of(&self.tenant), self.most_bodies);
        if body.more(1, u64::from(most)) {
            return Ok(body);
        }
        Err(RATE_EXCEEDED.because(format!(
            "the bodies of {most} requests of the tenant are on their way, and no more may be: send this one when another has come whole"
        )))
    }

    /// Counts what has come of a body.
    fn take(&self, held: &mut Held, bytes: usize) -> Reply<()> {
        let most = if self.is_alone { ALONE * self.arrivals.most_bytes } else { self.arrivals.most_bytes };
        if held.more(bytes as u64, most) {
            return Ok(());
        }
        Err(RATE_EXCEEDED.because(format!(
            "the bodies of the tenant's requests may take {most} bytes together while they come, and with this one they would take \
             more: send fewer at once, or this one when others have been answered"
        )))
    }
}

/// A body that has come whole. It counts as its tenant's until it is dropped.
#[derive(Debug)]
pub(crate) struct Whole {
    /// What it is.
    pub(crate) bytes: Bytes,
    _held: Option<Held>,
}

/// The whole body.
pub(crate) async fn read(mut request: Request, cap: Cap) -> Reply<Whole> {
    let Some(owner) = request.extensions_mut().remove::<Owner>() else {
        return Ok(Whole { bytes: read_watched(request, cap, |_| Ok(())).await?, _held: None });
    };
    // Who is refused here is not listened to any longer: that is what would keep others out.
    let _coming = owner.begin()?;
    let (mut held, mut counted) = (owner.arrivals.bytes.of(&owner.tenant), 0);
    let bytes = read_watched(request, cap, |so_far| {
        let more = so_far.len() - counted;
        counted = so_far.len();
        owner.take(&mut held, more)
    })
    .await?;
    Ok(Whole { bytes, _held: Some(held) })
}

/// The whole body, unless `watch` refuses what has come of it so far. It does not count as a tenant's.
pub(crate) async fn read_watched(
    request: Request,
    cap: Cap,
    mut watch: impl FnMut(&[u8]) -> Reply<()>,
) -> Reply<Bytes> {
    let (head, mut body) = request.into_parts();
    refuse_encoding(&head.headers)?;
    let announced = head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let whole = if announced.is_some_and(|length: usize| length > cap.bytes) {
        Err(too_large(cap))
    } else {
        match tokio::time::timeout(cap.deadline, collect(&mut body, cap, &mut watch)).await {
            Ok(whole) => whole,
            Err(_) => Err(BODY_TIMEOUT.because(format!("it was not complete after {} s", cap.deadline.as_secs()))),
        }
    };
    // It does not send any more, or not fast enough, unless it was refused.
    let is_refused = |failure: &Failure| ![&BODY_TIMEOUT, &BODY_INCOMPLETE].contains(&failure.kind);
    if whole.as_ref().is_err_and(is_refused) && !head.headers.contains_key(header::EXPECT) {
        discard(body).await;
    }
    whole
}

async fn collect(body: &mut Body, cap: Cap, watch: &mut impl FnMut(&[u8]) -> Reply<()>) -> Reply<Bytes> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| BODY_INCOMPLETE.because(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > cap.bytes {
            return Err(too_large(cap));
        }
        whole.extend_from_slice(&data);
        watch(&whole)?;
    }
    Ok(whole.freeze())
}

/// Lets a client that sends without waiting finish: closing under it would reset the connection, and the answer with it.
async fn discard(mut body: Body) {
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    // One that is not done by then does without the answer.
    let _ = tokio::time::timeout(DISCARD_DEADLINE, rest).await;
}

fn too_large(cap: Cap) -> Failure {
    BODY_TOO_LARGE.because(format!("the body is longer than {} bytes ({}): send less", cap.bytes, cap.limit))
}

fn refuse_encoding(headers: &HeaderMap) -> Reply<()> {
    match headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => {
            Err(UNSUPPORTED_MEDIA_TYPE.because(format!("Content-Encoding is {encoding:?}: send the body as it is")))
        }
        _ => Ok(()),
    }
}

/// Refuses a body that says it is of a type which the route does not take.
pub(crate) fn expect_type(headers: &HeaderMap, wanted: &[&str]) -> Reply<()> {
    let Some(given) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let text = given.to_str().unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim();
    if wanted.iter().any(|wanted| essence.eq_ignore_ascii_case(wanted)) {
        return Ok(());
    }
    Err(UNSUPPORTED_MEDIA_TYPE.because(format!("Content-Type is {given:?}: send {}", wanted.join(" or "))))
}

/// A JSON body, as it came.
pub(crate) async fn json_text(request: Request, cap: Cap) -> Reply<Whole> {
    expect_type(request.headers(), &["application/json"])?;
    read(request, cap).await
}

/// A JSON body.
pub(crate) async fn json<T: DeserializeOwned>(request: Request, cap: Cap) -> Reply<T> {
    parse(&json_text(request, cap).await?.bytes)
}

/// A JSON body that may be left out.
pub(crate) async fn json_or_default<T: DeserializeOwned + Default>(request: Request, cap: Cap) -> Reply<T> {
    let headers = request.headers().clone();
    let body = read(request, cap).await?;
    if body.bytes.is_empty() {
        return Ok(T::default());
    }
    expect_type(&headers, &["application/json"])?;
    parse(&body.bytes)
}

/// Reads JSON as a type; the failure names the field, or line and column.
pub(crate) fn parse<T: DeserializeOwned>(text: &[u8]) -> Reply<T> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        // What is no key has no name, but a `?`.
        let field = path.strip_suffix(".?").unwrap_or(&path);
        refused((!matches!(field, "." | "?")).then(|| field.to_owned()), error.inner())
    })?;
    deserializer.end().map_err(|error| refused(None, &error))?;
    Ok(value)
}

fn refused(field: Option<String>, error: &serde_json::Error) -> Failure {
    let kind = if error.classify() == Category::Data { &INVALID_REQUEST } else { &BAD_JSON };
    kind.because(match field {
        // Options are read one by one, and their errors name them.
        Some(field) if field == "options" || field.ends_with(".options") => format!("{field}.{error}"),
        Some(field) => format!("{field}: {error}"),
        None => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use lovage_model::api::SubmitRequest;

    use super::*;

    #[test]
    fn a_refusal_names_field_line_and_column() {
        let detail = |text: &str| {
            let failure = parse::<SubmitRequest>(text.as_bytes()).unwrap_err();
            (failure.kind.code, failure.detail)
        };
        let (code, text) = detail("{\"task\": \"a\",\n  \"args\": [}");
        assert!(code == "bad_json" && text.contains("line 2 column"), "{code} {text}");
        let (code, text) = detail("{\"task\": \"a\", \"options\": {\"priority\": \"high\"}}");
        assert!(code == "invalid_request" && text.starts_with("options.priority: "), "{code} {text}");
        let (code, text) = detail("{\"task\": \"a\", \"options\": {\"expires\": \"soon\"}}");
        assert!(code == "invalid_request" && text.starts_with("options.expires: expected seconds"), "{code} {text}");
        let (code, text) = detail("{\"taks\": \"a\"}");
        assert!(code == "invalid_request" && text.contains("taks") && text.contains("`task`"), "{code} {text}");
        let (code, text) = detail("{task: 1}");
        assert!(code == "bad_json" && text.starts_with("key must be a string"), "{code} {text}");
        assert_eq!(detail("").0, "bad_json");
        assert_eq!(detail("{} x").0, "bad_json");
    }

    /// A request of a tenant's, with a body.
    fn of(tenant: &str, arrivals: &Arrivals, body: Body) -> Request {
        let owner =
            Owner { tenant: tenant.parse().unwrap(), arrivals: arrivals.clone(), is_alone: false, most_bodies: 1 };
        let mut request = Request::new(body);
        request.extensions_mut().insert(owner);
        request
    }

    #[tokio::test]
    async fn the_bodies_of_one_tenant_take_so_many_bytes_and_no_more() {
        let arrivals = Arrivals::of(10);
        let take =
            async |tenant: &str, text: &'static str| read(of(tenant, &arrivals, text.into()), Cap::small()).await;
        let first = take("own", "12345678").await.unwrap();
        let refused = take("own", "123").await.unwrap_err();
        assert_eq!(refused.kind.code, "rate_exceeded");
        assert!(refused.detail.contains("may take 10 bytes together"), "{}", refused.detail);
        assert!(take("own", "12").await.is_ok(), "what was refused does not count");
        assert_eq!(take("other", "1234567890").await.unwrap().bytes, "1234567890");
        drop(first);
        assert!(take("own", "1234567890").await.is_ok(), "nor does what has been read");
    }

    #[tokio::test]
    async fn who_is_alone_may_have_eight_times_as_much_on_the_way() {
        let arrivals = Arrivals::of(10);
        let take = async |bytes: usize| {
            let mut request = of("own", &arrivals, "x".repeat(bytes).into());
            let owner = request.extensions().get::<Owner>().unwrap().clone();
            request.extensions_mut().insert(Owner { is_alone: true, ..owner });
            read(request, Cap::small()).await
        };
        let whole = take(80).await.unwrap();
        let refused = take(1).await.unwrap_err();
        assert!(refused.detail.contains("may take 80 bytes together"), "{}", refused.detail);
        drop(whole);
    }

    #[tokio::test]
    async fn a_body_counts_until_it_has_come_whole() {
        let arrivals = Arrivals::of(10);
        let take = async |tenant: &str, body: Body| read(of(tenant, &arrivals, body), Cap::small()).await;
        let whole = take("own", "1".into()).await.unwrap();
        let never = Body::from_stream(futures_util::stream::pending::<std::io::Result<Bytes>>());
        let mut slow = Box::pin(take("own", never));
        assert!((&mut slow).now_or_never().is_none());
        let refused = take("own", "1".into()).await.unwrap_err();
        assert_eq!(refused.kind.code, "rate_exceeded");
        assert!(refused.detail.contains("1 requests of the tenant are on their way"), "{}", refused.detail);
        assert!(take("other", "1".into()).await.is_ok());
        drop(slow);
        assert!(take("own", "1".into()).await.is_ok());
        drop(whole);
    }

    #[test]
    fn a_limit_that_nobody_can_raise_is_not_called_by_the_name_of_another() {
        for cap in [Cap::small(), Cap::ids()] {
            let detail = too_large(cap).detail;
            assert!(detail.contains("the most of this request") && !detail.contains("limits."), "{detail}");
        }
        assert!(too_large(Cap::call(1)).detail.contains("65537 bytes (limits.message_bytes, and 64 KiB)"));
    }
}
