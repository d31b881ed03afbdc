//! HTTP for tasks: to the servers that were granted, and to no others.
//!
//! A grant is looked at for each request, and no redirect is followed: the task sees it, and asks again. What a server's
//! name stands for is looked at where it is looked up, so that no name leads to an address that is not public unless the
//! operator says so; the connection is made to what was looked at. A grant of an address is of that address.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lovage_model::TenantId;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Response, redirect};
use url::Url;

use super::addresses::is_public;
use super::names::Names;
use super::{MOST_CONNECTIONS, May};
use crate::attempt::{Bytes, Capabilities, HttpFault, HttpRequest, HttpResponse};
use crate::held::{Commons, Held, Holdings};

/// How long any request may take, its response included.
const MOST_TIME: Duration = Duration::from_secs(300);
/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);
/// What the bodies of one tenant may take that are under way, and the headers of what is answered.
const MOST_UNDER_WAY_BYTES: u64 = 64 << 20;
/// What a header takes besides its name and value.
const HEADER_BYTES: usize = 64;
/// Connections of one tenant's requests at once, if it leaves enough to the others; more of it wait.
const OF_EACH: usize = 64;
/// Connections to one server that are kept for later, and for how long. They are beside those that are counted: two for each server
/// that was granted by its name and was asked just now.
const IDLE: usize = 2;
const KEPT: Duration = Duration::from_secs(10);
/// What says how a message is sent over one connection: whoever has the connection says it.
const OF_CONNECTION: [HeaderName; 10] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

tokio::task_local! {
    /// Whose request it is that is being sent: no client says so to who looks up its name.
    static WHOSE: TenantId;
}

/// Who sends requests. Its clients are made when the first task needs one.
pub(super) struct Http {
    /// By whether names may stand for addresses that are not public, and whether connections are kept.
    clients: [[OnceLock<Client>; 2]; 2],
    names: Arc<Names>,
    /// What is under way of each tenant's, in bytes.
    under_way: Holdings,
    connections: Commons,
}

impl Default for Http {
    fn default() -> Self {
        let (clients, names, under_way) = Default::default();
        Self { clients, names, under_way, connections: Commons::of(MOST_CONNECTIONS, OF_EACH) }
    }
}

impl Http {
    /// Sends a request, if it may be sent, and reads the response.
    pub(super) async fn send(&self, may: &May, request: HttpRequest) -> Result<HttpResponse, HttpFault> {
        let (Capabilities { http, http_private, .. }, most_bytes) = (&*may.capabilities, may.payload_bytes);
        let mut held = self.under_way.of(&may.tenant);
        if !held.more(request.body.0.len() as u64, MOST_UNDER_WAY_BYTES) {
            return Err(HttpFault::ConnectionLimitReached);
        }
        let url = Url::parse(&request.url).map_err(|_| HttpFault::HttpRequestUriInvalid)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(HttpFault::HttpRequestUriInvalid);
        }
        let origins = http.iter().find(|origins| origins.admit(&url)).ok_or(HttpFault::HttpRequestDenied)?;
        let method = Method::from_bytes(request.method.as_bytes());
        let method = method.ok().filter(|method| ![Method::CONNECT, Method::TRACE].contains(method));
        let method = method.ok_or(HttpFault::HttpRequestMethodInvalid)?;
        if request.body.0.len() > most_bytes {
            return Err(HttpFault::HttpRequestBodySize);
        }
        // Of servers that a task may have as many of as it likes no connections are kept.
        let (private, keeps) = (*http_private, origins.is_of_one());
        let client = &self.clients[usize::from(private)][usize::from(keeps)];
        let client = client.get_or_init(|| client_for(private, keeps, Arc::clone(&self.names)));
        let mut sent = client.request(method, url).headers(headers(&request.headers)?);
        if !request.body.0.is_empty() {
            sent = sent.body(request.body.0);
        }
        let time = request.timeout_millis.map_or(MOST_TIME, Duration::from_millis).min(MOST_TIME);
        let mut has_place = false;
        let exchange = async {
            let _place = self.connections.enter(&may.tenant).await;
            has_place = true;
            read(sent.send().await.map_err(|error| fault(&error))?, most_bytes, &mut held).await
        };
        let exchange = WHOSE.scope(may.tenant.clone(), exchange);
        let ended = tokio::time::timeout(time, exchange).await;
        match ended {
            Ok(answered) => answered,
            Err(_late) if has_place => Err(HttpFault::ConnectionTimeout),
            Err(_late) => Err(HttpFault::ConnectionLimitReached),
        }
    }
}

fn headers(written: &[(String, Bytes)]) -> Result<HeaderMap, HttpFault> {
    let mut headers = HeaderMap::new();
    for (name, value) in written {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| HttpFault::HttpProtocolError)?;
        let value = HeaderValue::from_bytes(&value.0).map_err(|_| HttpFault::HttpProtocolError)?;
        if !OF_CONNECTION.contains(&name) {
            headers.append(name, value);
        }
    }
    Ok(headers)
}

async fn read(mut response: Response, most_bytes: usize, held: &mut Held) -> Result<HttpResponse, HttpFault> {
    let size = response.headers().iter().map(|(name, value)| HEADER_BYTES + name.as_str().len() + value.len());
    let size = size.sum::<usize>();
    if !held.more(size as u64, MOST_UNDER_WAY_BYTES) {
        return Err(HttpFault::ConnectionLimitReached);
    }
    let headers = response.headers().iter().filter(|(name, _)| !OF_CONNECTION.contains(name));
    let headers = headers.map(|(name, value)| (name.as_str().to_owned(), Bytes(value.as_bytes().to_vec()))).collect();
    let (status, mut body) = (response.status().as_u16(), Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(|_| HttpFault::HttpResponseIncomplete)? {
        if body.len() + chunk.len() > most_bytes {
            return Err(HttpFault::HttpResponseBodySize);
        }
        if !held.more(chunk.len() as u64, MOST_UNDER_WAY_BYTES) {
            return Err(HttpFault::ConnectionLimitReached);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(HttpResponse { status, headers, body: Bytes(body) })
}

fn client_for(private: bool, keeps: bool, names: Arc<Names>) -> Client {
    let client = Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT)
        .pool_max_idle_per_host(if keeps { IDLE } else { 0 })
        .pool_idle_timeout(KEPT)
        .tls_backend_preconfigured(tls())
        .dns_resolver(Lookup { private, names });
    // It fails for TLS that is not rustls'.
    client.build().expect("a client is made of settings that go together")
}

/// Trusts whom this system trusts.
fn tls() -> rustls::ClientConfig {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = rustls::RootCertStore::empty();
    let (trusted, _) = roots.add_parsable_certificates(found.certs);
    if trusted == 0 {
        let errors = found.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        tracing::warn!(
            errors,
            "this system trusts no certificates: no task can reach a server by https (ca-certificates)"
        );
    }
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider knows TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Has names looked up.
struct Lookup {
    private: bool,
    names: Arc<Names>,
}

impl Resolve for Lookup {
    fn resolve(&self, name: Name) -> Resolving {
        let (private, names) = (self.private, Arc::clone(&self.names));
        // Looked at now: a connection that is begun may come about after its request has ended.
        let whose = WHOSE.try_with(TenantId::clone);
        Box::pin(async move {
            let whose = whose.map_err(|_| NotFound::Nowhere)?;
            let found = names.find(&whose, name.as_str().to_owned()).await.map_err(|_| NotFound::Nowhere)?;
            if !private && found.iter().any(|address| !is_public(address.ip())) {
                return Err(NotFound::NotPublic.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Why a name leads nowhere.
#[derive(Debug, Clone, Copy)]
enum NotFound {
    Nowhere,
    NotPublic,
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Error for NotFound {}

/// rustls' errors are inside of errors of IO, which are inside of others of their kind, and are no sources of them.
fn is_of_tls(io: &std::io::Error) -> bool {
    io.get_ref().is_some_and(|inner| {
        inner.is::<rustls::Error>() || inner.downcast_ref::<std::io::Error>().is_some_and(is_of_tls)
    })
}

/// What is at the bottom of it.
fn fault(error: &reqwest::Error) -> HttpFault {
    let first: &(dyn Error + 'static) = error;
    let mut causes = std::iter::successors(Some(first), |cause: &&(dyn Error + 'static)| (*cause).source());
    let known = causes.find_map(|cause| {
        let of_name = cause.downcast_ref::<NotFound>().map(|not_found| match not_found {
            NotFound::Nowhere => HttpFault::DnsError,
            NotFound::NotPublic => HttpFault::DestinationIpProhibited,
        });
        let of_tls = || cause.downcast_ref().filter(|io| is_of_tls(io)).map(|_| HttpFault::TlsProtocolError);
        of_name.or_else(of_tls)
    });
    known.unwrap_or(match () {
        () if error.is_timeout() => HttpFault::ConnectionTimeout,
        () if error.is_connect() => HttpFault::ConnectionRefused,
        () => HttpFault::HttpProtocolError,
    })
}

#[cfg(test)]
mod tests;
