//! A daemon that gives the answers it was told to, in order, and remembers what it was asked.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, stream};
use lovage_client::Client;

/// What to say to one request.
pub(crate) enum Answer {
    /// All of it.
    Whole { status: u16, content_type: &'static str, body: String },
    /// A refusal that says in how many seconds to ask again.
    Later(u32),
    /// A head, a part of the body, and then the connection breaks.
    Cut(String),
    /// Nothing, for ever.
    Silence,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &str) -> Self {
        Self::Whole { status, content_type: "application/json", body: body.to_owned() }
    }

    pub(crate) fn sse(body: &str) -> Self {
        Self::Whole { status: 200, content_type: "text/event-stream", body: body.to_owned() }
    }

    pub(crate) fn cut(body: &str) -> Self {
        Self::Cut(body.to_owned())
    }
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Bytes,
    headers: HeaderMap,
}

impl Seen {
    /// Empty if it was not sent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

#[derive(Clone)]
pub(crate) struct Daemon {
    port: u16,
    script: Arc<Mutex<VecDeque<Answer>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Daemon {
    pub(crate) fn start(script: impl IntoIterator<Item = Answer>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let daemon = Self { port, script: Arc::new(Mutex::new(script.into_iter().collect())), seen: Arc::default() };
        let app = Router::new().fallback(answer).with_state(daemon.clone());
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        daemon
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(format!("http://127.0.0.1:{}", self.port)).unwrap()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn answer(State(daemon): State<Daemon>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let path = head.uri.path_and_query().unwrap().to_string();
    daemon.seen.lock().unwrap().push(Seen { method: head.method, path, body, headers: head.headers });
    let next = daemon.script.lock().unwrap().pop_front();
    match next.expect("a request more than the script has answers") {
        Answer::Whole { status, content_type, body } => {
            (axum::http::StatusCode::from_u16(status).unwrap(), [("content-type", content_type)], body).into_response()
        }
        Answer::Later(seconds) => {
            let (kind, after) =
                ([("content-type", "application/problem+json")], [("retry-after", seconds.to_string())]);
            let problem = problem(429, "rate_exceeded", true);
            (axum::http::StatusCode::TOO_MANY_REQUESTS, kind, after, problem).into_response()
        }
        Answer::Cut(part) => {
            let parts = [Ok(part), Err(std::io::Error::other("cut"))];
            // A pause between them, or the server drops what it has not flushed.
            let paused = stream::iter(parts).then(|part| async {
                tokio::task::yield_now().await;
                part
            });
            Body::from_stream(paused).into_response()
        }
        Answer::Silence => match std::future::pending::<Infallible>().await {},
    }
}

/// A result meta of task `t-1`.
pub(crate) fn meta(state: &str, result: &str) -> String {
    meta_of("t-1", state, result, "[]")
}

/// A result meta.
pub(crate) fn meta_of(id: &str, state: &str, result: &str, children: &str) -> String {
    format!(
        r#"{{"task_id":"{id}","status":"{state}","result":{result},"traceback":"at tour::add","children":{children},"date_done":null,"name":"tour.add","args":[1],"kwargs":{{}},"worker":null,"retries":0,"queue":"celery","fault":"trap","root_id":"{id}","submitted_at":"2026-11-21T00:00:00Z","deliveries":1}}"#
    )
}

/// The event of a watch that says how a task ended.
pub(crate) fn ended(id: &str, state: &str, result: &str) -> String {
    format!("event: result\ndata: {}\n\n", meta_of(id, state, result, "[]"))
}

/// The event of a watch that says that a result is too large for it.
pub(crate) fn large(id: &str) -> String {
    format!("event: large\ndata: {{\"task_id\":\"{id}\"}}\n\n")
}

/// Which tasks a request watches.
pub(crate) fn watched(seen: &Seen) -> Vec<String> {
    assert_eq!(seen.path, "/v1/tasks:watch");
    let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
    serde_json::from_value(body["ids"].clone()).unwrap()
}

/// A refusal.
pub(crate) fn problem(status: u16, code: &str, retryable: bool) -> String {
    format!(
        r#"{{"type":"about:blank","title":"No","status":{status},"detail":"no, because","code":"{code}","retryable":{retryable}}}"#
    )
}
