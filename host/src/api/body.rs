//! How a body is read: counted while it arrives, never longer than its cap, never slower than its deadline.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::problem::{
    BAD_JSON, BODY_INCOMPLETE, BODY_TIMEOUT, BODY_TOO_LARGE, Failure, INVALID_REQUEST, Reply, UNSUPPORTED_MEDIA_TYPE,
};

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

impl Cap {
    /// Of one call with arguments of at most `message_bytes`.
    pub(crate) fn call(message_bytes: usize) -> Self {
        Self { bytes: message_bytes + ENVELOPE, limit: "limits.message_bytes", deadline: JSON_DEADLINE }
    }

    /// Of a batch of calls.
    pub(crate) fn batch(bytes: usize) -> Self {
        Self { bytes, limit: "limits.batch_bytes", deadline: JSON_DEADLINE }
    }
}

/// The whole body.
pub(crate) async fn read(request: Request, cap: Cap) -> Reply<Bytes> {
    read_watched(request, cap, |_| Ok(())).await
}

/// The whole body, unless `watch` refuses what has come of it so far.
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

/// A JSON body.
pub(crate) async fn json<T: DeserializeOwned>(request: Request, cap: Cap) -> Reply<T> {
    expect_type(request.headers(), &["application/json"])?;
    parse(&read(request, cap).await?)
}

/// A JSON body that may be left out.
pub(crate) async fn json_or_default<T: DeserializeOwned + Default>(request: Request, cap: Cap) -> Reply<T> {
    let headers = request.headers().clone();
    let body = read(request, cap).await?;
    if body.is_empty() {
        return Ok(T::default());
    }
    expect_type(&headers, &["application/json"])?;
    parse(&body)
}

/// Reads JSON as a type; the failure names the field, or line and column.
pub(crate) fn parse<T: DeserializeOwned>(text: &[u8]) -> Reply<T> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        refused((path != ".").then_some(path), error.inner())
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
        assert_eq!(detail("").0, "bad_json");
        assert_eq!(detail("{} x").0, "bad_json");
    }
}
