//! A daemon, as a caller sees it: where it is, and who asks. The routes are in the files beside this one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lovage_model::without_password;
use reqwest::Url;

use crate::{Error, Result};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);

/// A daemon to talk to. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client(pub(crate) Arc<Inner>);

#[derive(Clone)]
pub(crate) struct Inner {
    pub(crate) http: reqwest::Client,
    pub(crate) base: Url,
    pub(crate) token: Option<String>,
    pub(crate) patience: Duration,
    /// Whether it has ever answered: only then is silence taken for a restart, worth waiting for.
    met: Arc<AtomicBool>,
}

/// Programs write what they hold into logs, and every handle holds a client: neither token nor password is written.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.0.token.as_ref().map(|_| "***");
        let mut shown = f.debug_struct("Client");
        shown.field("url", &self.shown_url()).field("token", &token).field("patience", &self.0.patience);
        shown.finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the daemon at `url`, such as `http://127.0.0.1:7380`. Nothing is sent yet.
    pub fn new(url: impl AsRef<str>) -> Result<Self> {
        let base = address(url.as_ref())?;
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .no_proxy()
            .tls_backend_preconfigured(no_tls())
            .user_agent(concat!("lovage-client/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::Address { url: without_password(base.as_str()), why: error.to_string() })?;
        let met = Arc::new(AtomicBool::new(false));
        Ok(Self(Arc::new(Inner { http, base, token: None, patience: Duration::from_secs(30), met })))
    }

    /// With the token that says who asks (`Authorization: Bearer`).
    #[must_use]
    pub fn with_token(self, token: impl Into<String>) -> Self {
        let token = Some(token.into());
        Self(Arc::new(Inner { token, ..Arc::unwrap_or_clone(self.0) }))
    }

    /// How long submits, waits and event streams try to reach a daemon again that has answered before; 30 seconds otherwise.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self(Arc::new(Inner { patience, ..Arc::unwrap_or_clone(self.0) }))
    }

    /// The daemon's address as an error may show it.
    pub(crate) fn shown_url(&self) -> String {
        without_password(self.url())
    }

    /// The daemon's address.
    pub fn url(&self) -> &str {
        self.0.base.as_str().trim_end_matches('/')
    }

    pub(crate) fn has_met(&self) -> bool {
        self.0.met.load(Ordering::Relaxed)
    }

    pub(crate) fn met(&self) {
        self.0.met.store(true, Ordering::Relaxed);
    }
}

/// Trusts nobody, since an address never begins with https: the HTTP library has TLS for others, and would look for what this
/// system trusts.
fn no_tls() -> rustls::ClientConfig {
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider knows TLS 1.2 and 1.3")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

fn address(text: &str) -> Result<Url> {
    let wrong = |why: &str| Error::Address { url: without_password(text), why: why.to_owned() };
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    match url.scheme() {
        "http" if url.query().is_none() && url.fragment().is_none() => Ok(url),
        "http" => Err(wrong("it has a query or a fragment")),
        "https" => Err(wrong("this client speaks no TLS (https); use http://, through a tunnel if need be")),
        _ => Err(wrong("it does not start with http://")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_addresses_are_taken() {
        assert_eq!(Client::new("http://127.0.0.1:7380/").unwrap().url(), "http://127.0.0.1:7380");
        for (bad, says) in [
            ("https://host:1", "TLS"),
            ("127.0.0.1:7380", "http://"),
            ("localhost:7380", "http://"),
            ("", "http://"),
            ("http://host/?a=b", "query"),
        ] {
            let error = Client::new(bad).unwrap_err().to_string();
            assert!(error.contains(says), "{bad}: {error}");
        }
    }

    #[tokio::test]
    async fn no_error_has_a_password() {
        let silent = Client::new("http://user:hunter2@127.0.0.1:1/").unwrap();
        let told = silent.readyz().await.unwrap_err().to_string();
        assert!(told.contains("http://***@127.0.0.1:1") && !told.contains("hunter2"), "{told}");
        for bad in
            ["https://u:hunter2@h", "u:hunter2@h:1", "http:/u:hunter2@h/?a=b", "http://u:hunter2@[", "hun://ter2@h"]
        {
            let told = Client::new(bad).unwrap_err().to_string();
            assert!(!told.contains("ter2"), "{told}");
        }
    }

    #[test]
    fn neither_token_nor_password_is_written_of_what_holds_a_client() {
        let client = Client::new("http://user:hunter2@h:1/").unwrap().with_token("lovage_t1_c0ffee");
        let task = client.async_result("t-1".parse().unwrap());
        let all = [
            format!("{client:?}"),
            format!("{task:?}"),
            format!("{:?}", client.all_events()),
            format!("{:?}", client.result_set([task.clone()])),
            format!("{:#?}", task.iterdeps(true)),
        ];
        for text in all {
            assert!(text.contains("***") && text.contains("h:1"), "{text}");
            assert!(!text.contains("hunter2") && !text.contains("c0ffee"), "{text}");
        }
    }

    #[test]
    fn a_token_is_not_lost_by_more_settings() {
        let client = Client::new("http://h").unwrap().with_token("t").with_patience(Duration::ZERO);
        assert_eq!(client.0.token.as_deref(), Some("t"));
    }
}
