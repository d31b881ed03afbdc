//! One request and its answer: addresses, the token, problems, and what broke when none came.

use std::time::Duration;

use bytes::Bytes;
use lovage_model::api::Problem;
use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Client, Error, Result};

/// For answers that need no waiting.
pub(crate) const PROMPT: Duration = Duration::from_secs(30);
/// A daemon sends a heartbeat into a stream more often than this; a longer silence is a connection that is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// The first pause before a broken wait is taken up again; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Client {
    /// The address of a route. Each part is escaped, so an id cannot leave its place.
    pub(crate) fn route(&self, parts: &[&str]) -> Result<Url> {
        let mut url = self.0.base.clone();
        if let Some(dots) = parts.iter().find(|part| matches!(**part, "." | "..")) {
            return Err(Error::invalid("id", format_args!("{dots:?} cannot be part of an address")));
        }
        url.path_segments_mut().expect("an http address has a path").pop_if_empty().extend(parts);
        Ok(url)
    }

    pub(crate) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.0.http.request(method, url);
        match &self.0.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends, and turns every refusal into its problem.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let response = self.send_any(request).await?;
        if response.status().is_success() { Ok(response) } else { Err(self.refusal(response).await) }
    }

    /// Sends; an answer of any status is an answer.
    pub(crate) async fn send_any(&self, request: RequestBuilder) -> Result<Response> {
        let response = request.send().await.map_err(|error| self.broken(&error))?;
        self.met();
        Ok(response)
    }

    /// Sends what is answered by a stream; its head must come soon.
    pub(crate) async fn head(&self, request: RequestBuilder) -> Result<Response> {
        let late = |_| self.lost("it took too long");
        tokio::time::timeout(PROMPT, self.send(request)).await.map_err(late)?
    }

    /// The next piece of a stream; none at its end.
    pub(crate) async fn chunk(&self, body: &mut Response) -> Result<Option<Bytes>> {
        match tokio::time::timeout(SILENCE, body.chunk()).await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(error)) => Err(self.broken(&error)),
            Err(_) => Err(self.lost(&format!("no sign of life for {} s", SILENCE.as_secs()))),
        }
    }

    /// That the connection is of no use any more.
    pub(crate) fn lost(&self, why: &str) -> Error {
        Error::Unreachable { url: self.shown_url(), why: why.to_owned() }
    }

    /// Reads the answer as JSON.
    pub(crate) async fn json<T: DeserializeOwned>(&self, response: Response) -> Result<T> {
        let url = response.url().to_string();
        let body = response.bytes().await.map_err(|error| self.broken(&error))?;
        serde_json::from_slice(&body).map_err(|error| Error::Protocol { url, why: error.to_string() })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, parts: &[&str]) -> Result<T> {
        let request = self.request(Method::GET, self.route(parts)?).timeout(PROMPT);
        self.json(self.send(request).await?).await
    }

    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        parts: &[&str],
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T> {
        let mut request = self.request(method, self.route(parts)?).timeout(PROMPT);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.json(self.send(request).await?).await
    }

    pub(crate) async fn refusal(&self, response: Response) -> Error {
        let (url, status) = (response.url().to_string(), response.status());
        let body = match response.bytes().await {
            Ok(body) => body,
            Err(error) => return self.broken(&error),
        };
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Error::Problem(Box::new(problem)),
            Err(_) => not_a_problem(url, status, &body),
        }
    }

    pub(crate) fn broken(&self, error: &reqwest::Error) -> Error {
        if self.0.token.as_ref().is_some_and(|token| HeaderValue::from_bytes(token.as_bytes()).is_err()) {
            return Error::invalid("token", "it has a line break, or another character that no token has");
        }
        let why = if error.is_timeout() { "it took too long".to_owned() } else { root_cause(error) };
        Error::Unreachable { url: self.shown_url(), why }
    }
}

/// A proxy's page, or another server altogether.
fn not_a_problem(url: String, status: StatusCode, body: &[u8]) -> Error {
    let start: String = String::from_utf8_lossy(body).chars().take(200).collect();
    Error::Protocol { url, why: format!("{status} {start:?}") }
}

/// The innermost reason: "Connection refused", not "error sending request".
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// When to try again after an answer failed to come, and when to give up: patience runs from the last good answer.
#[derive(Debug)]
pub(crate) struct Patience {
    lost_since: Option<tokio::time::Instant>,
    pause: Duration,
}

impl Patience {
    pub(crate) fn new() -> Self {
        Self { lost_since: None, pause: FIRST_PAUSE }
    }

    /// An answer came.
    pub(crate) fn renew(&mut self) {
        *self = Self::new();
    }

    /// Returns when to try again; or the error, if it is final or patience is over.
    pub(crate) async fn after(&mut self, error: Error, client: &Client) -> Result<()> {
        let now = tokio::time::Instant::now();
        let lost_since = *self.lost_since.get_or_insert(now);
        let worth_it = client.has_met() && error.is_retryable();
        if !worth_it || now.duration_since(lost_since) >= client.0.patience {
            return Err(error);
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// The same where a stream has broken. If it had come about, the daemon was there until now, however little it said. (The pauses
    /// stay as long as they are, or one that goes down, and ends each stream at once, would be asked without a rest.)
    pub(crate) async fn after_stream(&mut self, had_come: bool, error: Error, client: &Client) -> Result<()> {
        // What the daemon has refused does not count: a store that fails is not waited for without end.
        if had_come && error.code().is_none() {
            self.lost_since = None;
        }
        self.after(error, client).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_in_its_place() {
        let client = Client::new("http://h:1/base/").unwrap();
        let url = client.route(&["v1", "tasks", "a/../b?c#d%"]).unwrap();
        assert_eq!(url.as_str(), "http://h:1/base/v1/tasks/a%2F..%2Fb%3Fc%23d%25");
        assert!(client.route(&["v1", "tasks", ".."]).is_err());
    }

    #[tokio::test]
    async fn a_token_that_cannot_be_sent_is_the_callers_mistake() {
        let client = Client::new("http://h:1").unwrap().with_token("lovage_a\nb");
        let error = client.get::<()>(&["v1", "tasks"]).await.unwrap_err();
        assert!(matches!(&error, Error::Invalid { field, .. } if field == "token"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_and_is_only_for_a_daemon_that_was_met() {
        let client = Client::new("http://h:1").unwrap().with_patience(Duration::from_secs(3));
        let lost = || Error::Unreachable { url: String::new(), why: String::new() };
        let mut patience = Patience::new();
        assert!(patience.after(lost(), &client).await.is_err());
        client.met();
        let mut patience = Patience::new();
        let mut tries = 0;
        while patience.after(lost(), &client).await.is_ok() {
            tries += 1;
        }
        assert!((5..=10).contains(&tries), "{tries}");
    }
}
