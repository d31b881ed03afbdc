//! Requests of a component: by `wasi:http/outgoing-handler`. While it waits it hears of the soft time limit.

use lovage_model::{Exception, exc_module};
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme,
};
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::StreamError;

use super::{Request, Response};
use crate::bindings::lovage::task::host;
use crate::host::Raised;

/// As much as a stream takes at once.
const PIECE_BYTES: usize = 4096;
const READ_BYTES: u64 = 64 << 10;

/// Sends a request and reads the whole response.
pub(crate) fn send(request: &Request) -> Result<Response, Raised> {
    let of_url = |what: &str| value_error(format!("{}: {what}", request.url));
    let (scheme, rest) =
        request.url.split_once("://").ok_or_else(|| of_url("a URL begins with https:// or http://"))?;
    // What follows a # is not for servers.
    let rest = rest.split('#').next().unwrap_or_default();
    let (authority, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let headers: Vec<_> =
        request.headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect();
    let headers = Fields::from_list(&headers).map_err(|error| value_error(format!("headers: {error}")))?;
    let outgoing = OutgoingRequest::new(headers);
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    outgoing
        .set_method(&method(&request.method))
        .map_err(|()| value_error(format!("no method: {}", request.method)))?;
    outgoing.set_scheme(Some(&scheme)).map_err(|()| of_url("its scheme is none"))?;
    outgoing.set_authority(Some(authority)).map_err(|()| of_url("it has no host"))?;
    outgoing.set_path_with_query(Some(&path)).map_err(|()| of_url("its path is none"))?;
    let body = outgoing.body().expect("asked for once");
    let future = outgoing_handler::handle(outgoing, options(request)?).map_err(|code| failed(request, &code))?;
    let lost = |why: String| connection_error(format!("{}: {why}", request.url));
    let written = write(body, &request.body);
    // Whoever takes no more of a body says why in the answer.
    let answer = answered(request, &future)?;
    written.map_err(lost)?;
    read(answer).map_err(lost)
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

fn options(request: &Request) -> Result<Option<RequestOptions>, Raised> {
    let Some(seconds) = request.timeout_seconds else { return Ok(None) };
    let time = std::time::Duration::try_from_secs_f64(seconds);
    let time = time.map_err(|error| value_error(format!("timeout: {seconds}: {error}")))?;
    let options = RequestOptions::new();
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    options
        .set_first_byte_timeout(Some(nanos))
        .map_err(|()| value_error("timeout: not taken by this host".to_owned()))?;
    Ok(Some(options))
}

fn write(body: OutgoingBody, bytes: &[u8]) -> Result<(), String> {
    let stream = body.write().expect("asked for once");
    for piece in bytes.chunks(PIECE_BYTES) {
        stream.blocking_write_and_flush(piece).map_err(|error| format!("the body was not sent: {error}"))?;
    }
    drop(stream);
    OutgoingBody::finish(body, None).map_err(|error| format!("the body was not sent: {error}"))
}

fn answered(request: &Request, future: &FutureIncomingResponse) -> Result<IncomingResponse, Raised> {
    let (answer, limit) = (future.subscribe(), soft_limit());
    loop {
        if let Some(answer) = future.get() {
            return answer.expect("asked for once").map_err(|code| failed(request, &code));
        }
        if poll(&[&answer, &limit]).contains(&1) {
            host::sleep(0.0)?;
            // It was told of before: there is time for a fallback, and this is a part of it.
            answer.block();
        }
    }
}

fn soft_limit() -> Pollable {
    let handle = host::subscribe_soft_limit().take_handle();
    // SAFETY: the handle is one of this component to a pollable, and nobody else has it any more.
    unsafe { Pollable::from_handle(handle) }
}

fn read(response: IncomingResponse) -> Result<Response, String> {
    let headers = response.headers().entries();
    let headers = headers.into_iter().map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()));
    let (status, headers) = (response.status(), headers.collect());
    let incoming = response.consume().expect("asked for once");
    let (stream, mut body) = (incoming.stream().expect("asked for once"), Vec::new());
    loop {
        match stream.blocking_read(READ_BYTES) {
            Ok(piece) => body.extend(piece),
            Err(StreamError::Closed) => break,
            Err(error) => return Err(format!("the response was not read: {error}")),
        }
    }
    drop(stream);
    drop(IncomingBody::finish(incoming));
    Ok(Response { status, headers, body })
}

/// The exception that a Python client would have got.
fn failed(request: &Request, code: &ErrorCode) -> Raised {
    let Request { method, url, .. } = request;
    let text = |why: &str| format!("{method} {url}: {why}");
    match code {
        ErrorCode::HttpRequestDenied => error(
            "PermissionError",
            text("the operator has granted no such server to this module: [grants.NAME] http = [...]"),
        ),
        ErrorCode::DestinationIpProhibited => {
            error("PermissionError", text("its name stands for an address that is not public"))
        }
        ErrorCode::HttpRequestUriInvalid => value_error(text("it is no URL, or has a user in it")),
        ErrorCode::HttpRequestMethodInvalid => {
            value_error(text("there is no such method, or none that a task may use"))
        }
        ErrorCode::HttpRequestBodySize(_) => value_error(text("its body is larger than a request may be")),
        ErrorCode::HttpResponseBodySize(_) => value_error(text("the response is larger than one may be")),
        ErrorCode::ConnectionTimeout => error("TimeoutError", text("it took too long")),
        ErrorCode::DnsError(_) => connection_error(text("its host has no address")),
        ErrorCode::ConnectionRefused => connection_error(text("nobody answers there")),
        ErrorCode::ConnectionLimitReached => {
            connection_error(text("too many requests are under way, or too many responses are still held"))
        }
        ErrorCode::HttpResponseIncomplete => connection_error(text("the response ended before its end")),
        ErrorCode::HttpProtocolError => connection_error(text("what came back is not HTTP")),
        ErrorCode::TlsProtocolError => connection_error(text("the server is not trusted, or speaks no TLS")),
        code => connection_error(text(&code.to_string())),
    }
}

fn value_error(text: String) -> Raised {
    error("ValueError", text)
}

fn connection_error(text: String) -> Raised {
    error("ConnectionError", text)
}

fn error(exc_type: &str, text: String) -> Raised {
    Exception::new(exc_module::BUILTINS, exc_type, text).into()
}
