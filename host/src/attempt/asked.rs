//! What a task asks of its host while it runs, and waits for. Plain data: the sandbox asks, the host does it, or says why not.
//!
//! A guest has no network behind it, nor has the process that it runs in: what it may have of HTTP, of the store and of
//! secrets comes by these words, and whoever answers them looks at the grants again.

use std::pin::Pin;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Ask {
    /// To send a request over HTTP.
    Http(HttpRequest),
    /// To look into a bucket, or to change it.
    KeyValue(KeyValueCall),
    /// For a secret, by its name.
    Secret(String),
}

impl Ask {
    /// How large it is, about.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Http(HttpRequest { method, url, headers, body, .. }) => {
                method.len() + url.len() + of_headers(headers) + body.0.len()
            }
            Self::KeyValue(KeyValueCall { bucket, key, call }) => {
                let said = match call {
                    KeyValueDo::Set(value) => value.0.len(),
                    KeyValueDo::ListKeys(Some(after)) => after.len(),
                    _ => 0,
                };
                bucket.len() + key.len() + said
            }
            Self::Secret(name) => name.len(),
        }
    }
}

impl Answer {
    /// How large it is, about.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Http(Ok(HttpResponse { headers, body, .. })) => of_headers(headers) + body.0.len(),
            Self::KeyValue(Ok(KeyValueFound::Value(Some(value)))) => value.0.len(),
            Self::KeyValue(Ok(KeyValueFound::Keys(keys))) => keys.iter().map(String::len).sum(),
            Self::Secret(Ok(Some(secret))) => secret.len(),
            _ => 0,
        }
    }
}

fn of_headers(headers: &[(String, Bytes)]) -> usize {
    headers.iter().map(|(name, value)| name.len() + value.0.len()).sum()
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// What came of a request.
    Http(Result<HttpResponse, HttpFault>),
    /// What a bucket has to say.
    KeyValue(Result<KeyValueFound, KeyValueFault>),
    /// A secret, if it was set for the module; else why it could not be looked up.
    Secret(Result<Option<String>, String>),
    /// Nobody is there to do it, or it is not done.
    Refused,
}

/// An answer that is waited for. Dropped, nobody wants it any more.
pub type Answered = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Bytes, as base64 in JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&base64::display::Base64Display::new(&self.0, &STANDARD))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(written: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(written)?;
        STANDARD.decode(&*text).map(Self).map_err(D::Error::custom)
    }
}

/// A request, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// Such as GET.
    pub method: String,
    /// With scheme and host.
    pub url: String,
    /// Names and values, in their order.
    pub headers: Vec<(String, Bytes)>,
    /// Empty: it has none.
    pub body: Bytes,
    /// How long it may take, in milliseconds; none: as long as any.
    pub timeout_millis: Option<u64>,
}

/// A response, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HttpResponse {
    /// Such as 200.
    pub status: u16,
    /// Names and values, in their order.
    pub headers: Vec<(String, Bytes)>,
    /// May be empty.
    pub body: Bytes,
}

/// Why there is no response: the error codes of `wasi:http` that a host comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpFault {
    /// No grant has its scheme, host and port.
    HttpRequestDenied,
    /// The host's name stands for an address that is not public.
    DestinationIpProhibited,
    /// It has no address.
    DnsError,
    /// No connection.
    ConnectionRefused,
    /// It took too long.
    ConnectionTimeout,
    /// The attempt has too many requests under way.
    ConnectionLimitReached,
    /// The peer is not who it should be, or speaks no TLS.
    TlsProtocolError,
    /// It is no URL, or has a user in it.
    HttpRequestUriInvalid,
    /// No such method, or none that a task may use.
    HttpRequestMethodInvalid,
    /// The request's body is larger than it may be.
    HttpRequestBodySize,
    /// The response's body is larger than it may be.
    HttpResponseBodySize,
    /// The response ended before its end.
    HttpResponseIncomplete,
    /// It is not HTTP.
    HttpProtocolError,
}

/// A call of `wasi:keyvalue`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyValueCall {
    /// In which bucket.
    pub bucket: String,
    /// Under which key; none for [`KeyValueDo::ListKeys`].
    pub key: String,
    /// What is to be done.
    pub call: KeyValueDo,
}

/// Requests of one attempt at once: from when one is sent until its response is let go.
pub const HTTP_AT_ONCE: usize = 8;

/// The longest key, and the longest name of a bucket, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;

/// The most keys in a page of them; one of fewer is the last.
pub const KEYS_IN_A_PAGE: usize = 1000;

/// What is to be done with a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum KeyValueDo {
    /// Its value.
    Get,
    /// Keeps a value.
    Set(Bytes),
    /// Drops it.
    Delete,
    /// Adds to it.
    Increment(u64),
    /// A page of all keys: the first ones, or those after one.
    ListKeys(Option<String>),
}

/// What a bucket has to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum KeyValueFound {
    /// A value.
    Value(Option<Bytes>),
    /// It is done.
    Done,
    /// The sum.
    Sum(u64),
    /// A page of keys.
    Keys(Vec<String>),
}

/// Why a bucket says nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum KeyValueFault {
    /// The module was not granted a key-value store.
    AccessDenied,
    /// Anything else.
    Other(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_of_a_bucket_is_as_large_as_all_that_it_says() {
        let bytes = |call| {
            let (bucket, key) = ("b".to_owned(), "k".to_owned());
            Ask::KeyValue(KeyValueCall { bucket, key, call }).bytes()
        };
        assert_eq!(bytes(KeyValueDo::Get), 2);
        assert_eq!(bytes(KeyValueDo::Set(Bytes(vec![0; 1000]))), 1002);
        assert_eq!(bytes(KeyValueDo::ListKeys(Some("k".repeat(1000)))), 1002);
    }
}
