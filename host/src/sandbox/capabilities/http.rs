//! `wasi:http/outgoing-handler` for guests: a request is collected, the host is asked to send it, and its answer is the
//! response. The process that the guest runs in opens no connection.
//!
//! What the host holds of it for a guest is bounded: bodies are whole, so there are few at once, from when a request is sent until its
//! response is let go.
//!
//! See <https://github.com/WebAssembly/wasi-http>.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Frame, SizeHint};
use hyper::{Request, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::bindings::http::types::{HostOutgoingRequest as _, Method, OutgoingRequest};
use wasmtime_wasi_http::{Error, RequestOptions, Result, WasiBody, WasiHttpCtx, WasiHttpHooks, WasiHttpView};

use super::super::guest::Guest;
use crate::attempt::{self, Answer, Ask, Grants, HTTP_AT_ONCE, HttpFault, HttpRequest, Progress};

/// What waits of a body that is written and not sent.
const CHUNK_BYTES: usize = 16 << 10;
/// The headers of one message, as they are in memory.
pub(in super::super) const FIELDS_BYTES: usize = 32 << 10;
/// The longest name of a method.
pub(in super::super) const METHOD_BYTES: usize = 64;
/// The longest name of a server, with its port.
const AUTHORITY_BYTES: usize = 255;
/// The interface, as the linker has it.
const TYPES: &str = "wasi:http/types@0.2.12";

/// What sends requests for one guest.
pub(in super::super) struct Outgoing {
    progress: Arc<dyn Progress>,
    /// Whether there is any server that it may reach.
    reaches: bool,
    most_bytes: usize,
    places: Arc<Semaphore>,
}

/// What a guest has of `wasi:http` besides.
pub(in super::super) fn context() -> WasiHttpCtx {
    let mut context = WasiHttpCtx::new();
    context.set_field_size_limit(FIELDS_BYTES);
    context
}

/// Puts bounds to what a request says of itself, where `wasi:http` has none: it stays in the host as long as the guest holds it, which
/// may hold many and needs no grant for that.
pub(in super::super) fn bound(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store: StoreContextMut<'_, Guest>, (request, method): (Resource<OutgoingRequest>, Method)| {
            let is_long = matches!(&method, Method::Other(name) if name.len() > METHOD_BYTES);
            Ok((if is_long { Err(()) } else { store.data_mut().http().set_method(request, method)? },))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store: StoreContextMut<'_, Guest>, (request, authority): (Resource<OutgoingRequest>, Option<String>)| {
            let is_long = authority.as_ref().is_some_and(|name| name.len() > AUTHORITY_BYTES);
            Ok((if is_long { Err(()) } else { store.data_mut().http().set_authority(request, authority)? },))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

type Sent = Box<dyn Future<Output = Result<(Response<WasiBody>, Finished)>> + Send>;
type Finished = Box<dyn Future<Output = Result<()>> + Send>;

impl Outgoing {
    pub(in super::super) fn new(progress: Arc<dyn Progress>, grants: &Grants) -> Self {
        let (reaches, most_bytes) = (!grants.capabilities.http.is_empty(), grants.payload_bytes);
        Self { progress, reaches, most_bytes, places: Arc::new(Semaphore::new(HTTP_AT_ONCE)) }
    }
}

impl WasiHttpHooks for Outgoing {
    fn send_request(&mut self, request: Request<WasiBody>, options: Option<RequestOptions>, _read: Finished) -> Sent {
        let (progress, reaches, most_bytes) = (Arc::clone(&self.progress), self.reaches, self.most_bytes);
        let place = Arc::clone(&self.places).try_acquire_owned();
        Box::new(async move {
            if !reaches {
                // Its body is not even taken.
                return Err(Error::HttpRequestDenied);
            }
            let place = place.map_err(|_| Error::ConnectionLimitReached)?;
            let asked = Ask::Http(collected(request, options.unwrap_or_default(), most_bytes).await?);
            let Answer::Http(answer) = progress.ask(asked).await else { return Err(Error::HttpRequestDenied) };
            let response = responded(answer.map_err(error)?, place)?;
            Ok((response, Box::new(std::future::ready(Ok(()))) as Finished))
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK_BYTES
    }
}

/// The whole request, as plain data.
async fn collected(request: Request<WasiBody>, options: RequestOptions, most_bytes: usize) -> Result<HttpRequest> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, most_bytes).collect().await.map_err(|error| match error.downcast::<Error>() {
        Ok(error) => *error,
        Err(error) if error.is::<LengthLimitError>() => Error::HttpRequestBodySize(Some(most_bytes as u64)),
        Err(error) => Error::InternalError(Some(error.to_string())),
    })?;
    let headers = head.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), attempt::Bytes(value.as_bytes().to_vec())));
    let RequestOptions { connect_timeout, first_byte_timeout, between_bytes_timeout } = options;
    let timeouts = [connect_timeout, first_byte_timeout, between_bytes_timeout];
    // The response comes whole, so one time is for all of it; none of them is meant to be longer than what none is given for.
    let timeout = timeouts.iter().any(Option::is_some).then(|| timeouts.into_iter().flatten().sum::<Duration>());
    Ok(HttpRequest {
        method: head.method.to_string(),
        url: head.uri.to_string(),
        headers: headers.collect(),
        body: attempt::Bytes(body.to_bytes().to_vec()),
        timeout_millis: timeout.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
    })
}

/// A response's body, which has a place as long as it is there.
struct Held {
    body: Full<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl Body for Held {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, waker: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        Pin::new(&mut self.body).poll_frame(waker).map_err(|never| match never {})
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn responded(answer: attempt::HttpResponse, place: OwnedSemaphorePermit) -> Result<Response<WasiBody>> {
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value.0);
    }
    let body = Held { body: Full::new(Bytes::from(answer.body.0)), _place: place };
    response.body(body.boxed_unsync()).map_err(|_| Error::HttpProtocolError)
}

fn error(fault: HttpFault) -> Error {
    match fault {
        HttpFault::HttpRequestDenied => Error::HttpRequestDenied,
        HttpFault::DestinationIpProhibited => Error::DestinationIpProhibited,
        HttpFault::DnsError => Error::DnsError { rcode: None, info_code: None },
        HttpFault::ConnectionRefused => Error::ConnectionRefused,
        HttpFault::ConnectionTimeout => Error::ConnectionTimeout,
        HttpFault::ConnectionLimitReached => Error::ConnectionLimitReached,
        HttpFault::TlsProtocolError => Error::TlsProtocolError,
        HttpFault::HttpRequestUriInvalid => Error::HttpRequestUriInvalid,
        HttpFault::HttpRequestMethodInvalid => Error::HttpRequestMethodInvalid,
        HttpFault::HttpRequestBodySize => Error::HttpRequestBodySize(None),
        HttpFault::HttpResponseBodySize => Error::HttpResponseBodySize(None),
        HttpFault::HttpResponseIncomplete => Error::HttpResponseIncomplete,
        HttpFault::HttpProtocolError => Error::HttpProtocolError,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Unasked;
    use super::*;

    /// A body that nobody may take.
    struct Untaken;

    impl Body for Untaken {
        type Data = Bytes;
        type Error = Error;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
            panic!("it is taken")
        }
    }

    #[tokio::test]
    async fn who_may_reach_no_server_is_denied_before_anything_is_carried() {
        let mut outgoing = Outgoing::new(Arc::new(Unasked), &Grants::of_time(Duration::from_secs(60)));
        let request = Request::builder().uri("http://a/").body(Untaken.boxed_unsync()).unwrap();
        let sent = outgoing.send_request(request, None, Box::new(std::future::ready(Ok(()))));
        assert!(matches!(Box::into_pin(sent).await, Err(Error::HttpRequestDenied)));
    }
}
