//! How does a task talk to a server?
//!
//! Over `wasi:http`, to the servers that the operator has granted to its module. [`Context::http`](crate::Context::http)
//! sends one request and returns the whole response. A crate that speaks `wasi:http` by itself does as well.

#[cfg(target_arch = "wasm32")]
pub(crate) mod component;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Json, TaskError, TaskResult};

/// A request, built up and then given to [`Context::http`](crate::Context::http).
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Such as `GET`.
    pub method: String,
    /// With scheme and host: `https://api.example.com/things?page=2`.
    pub url: String,
    /// Names and values, in their order.
    pub headers: Vec<(String, String)>,
    /// Empty: it has none.
    pub body: Vec<u8>,
    /// Seconds that the response may take; none: as long as the host lets it.
    pub timeout_seconds: Option<f64>,
}

impl Request {
    /// A request of any method.
    pub fn new(method: &str, url: impl Into<String>) -> Self {
        Self {
            method: method.to_owned(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout_seconds: None,
        }
    }

    /// A GET.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// A POST; see [`Request::body`] and [`Request::json`].
    pub fn post(url: impl Into<String>) -> Self {
        Self::new("POST", url)
    }

    /// With a header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// With a value as JSON for its body, and the header that says so. EncodeError if it cannot be JSON.
    pub fn json(self, value: &impl Serialize) -> TaskResult<Self> {
        let body = Json::of(value).map_err(|error| TaskError::encode("the body of a request", &error))?;
        Ok(self.header("content-type", "application/json").body(body.as_str()))
    }

    /// With a time of its own for the response.
    #[must_use]
    pub fn timeout(mut self, seconds: f64) -> Self {
        self.timeout_seconds = Some(seconds);
        self
    }
}

/// A response. Any status is one: see [`Response::ok`].
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// Such as 200. A redirect is not followed: its target is another request.
    pub status: u16,
    /// Names in small letters, and values; what is not UTF-8 in them is replaced.
    pub headers: Vec<(String, String)>,
    /// May be empty.
    pub body: Vec<u8>,
}

impl Response {
    /// Itself, if its status is one of success (200 to 299). If not, an exception that says the status and the beginning of the
    /// body: ConnectionError for what may pass if it is tried again (408, 429, 500 to 599), so that `autoretry_for` may name it;
    /// and for all else, which another try would not change, `HTTPError` of `requests.exceptions`, with the status as its
    /// second argument.
    #[track_caller]
    pub fn ok(self) -> TaskResult<Self> {
        const SHOWN: usize = 200;
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let shown = String::from_utf8_lossy(&self.body[..self.body.len().min(SHOWN)]);
        let text = format!("the server answers {}: {shown}", self.status);
        Err(match self.status {
            408 | 429 | 500..=599 => TaskError::builtin("ConnectionError", text),
            status => TaskError::raise("HTTPError", "requests.exceptions", (text, status)),
        })
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as text. ValueError if it is not UTF-8.
    #[track_caller]
    pub fn text(self) -> TaskResult<String> {
        String::from_utf8(self.body).map_err(|error| TaskError::builtin("ValueError", error.to_string()))
    }

    /// The body, read as JSON. ValueError if it is not that.
    #[track_caller]
    pub fn json<T: DeserializeOwned>(&self) -> TaskResult<T> {
        serde_json::from_slice(&self.body).map_err(|error| TaskError::builtin("ValueError", error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_a_connection_error() {
        let answered = |status: u16| Response { status, headers: Vec::new(), body: b"because".to_vec() }.ok();
        assert!(answered(204).is_ok());
        for status in [408, 429, 500, 503, 599] {
            let told = answered(status).unwrap_err().exception().to_string();
            assert_eq!(told, format!("ConnectionError: the server answers {status}: because"));
        }
        for status in [301, 400, 401, 404, 422] {
            let raised = answered(status).unwrap_err().exception();
            assert_eq!((raised.exc_type.as_str(), raised.exc_module.as_str()), ("HTTPError", "requests.exceptions"));
            let args = format!(r#"["the server answers {status}: because",{status}]"#);
            assert_eq!(raised.exc_message.as_str(), args);
        }
    }
}
