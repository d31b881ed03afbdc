//! What a web page could make a browser send, and what no route takes.
//!
//! A daemon without tokens trusts whoever reaches its loopback address. A browser on the same machine does: so a request
//! must name a loopback host (a page that rebinds its own name to 127.0.0.1 does not), and one that changes something
//! must not come from another origin. No page can make a browser send a token, so with tokens nothing of it is needed.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Uri, header, uri::Authority};
use axum::middleware::Next;
use axum::response::Response;

use super::Shared;
use super::problem::{FOREIGN_HOST, FOREIGN_ORIGIN, Failure, METHOD_NOT_ALLOWED, Reply, UNKNOWN_ROUTE};

pub(crate) async fn guard(State(rooms): State<Shared>, request: Request, next: Next) -> Reply<Response> {
    if !rooms.api.access.is_required() {
        check_host(request.uri(), request.headers())?;
        check_origin(request.method(), request.headers())?;
    }
    Ok(next.run(request).await)
}

/// A request without a host is let through: no browser sends one.
fn check_host(uri: &Uri, headers: &HeaderMap) -> Reply<()> {
    let named = headers.get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or("?"));
    for host in named.chain(uri.authority().map(Authority::as_str)) {
        if !is_loopback(host) {
            return Err(FOREIGN_HOST.because(format!(
                "Host is {host:?}, and a daemon without tokens answers to localhost and loopback addresses only"
            )));
        }
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    let named = name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    named && !host.contains('@')
}

fn check_origin(method: &Method, headers: &HeaderMap) -> Reply<()> {
    let Some(origin) = headers.get(header::ORIGIN).filter(|_| !method.is_safe()) else { return Ok(()) };
    let own = headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(|host| format!("http://{host}"));
    if own.is_some_and(|own| origin.as_bytes().eq_ignore_ascii_case(own.as_bytes())) {
        return Ok(());
    }
    let origin = String::from_utf8_lossy(origin.as_bytes()).into_owned();
    Err(FOREIGN_ORIGIN.because(format!("Origin is {origin:?}: pages of other origins may not change anything here")))
}

pub(crate) async fn unknown_route(uri: Uri) -> Failure {
    UNKNOWN_ROUTE.because(format!("{} is not served here; GET /openapi.json lists what is", uri.path()))
}

pub(crate) async fn method_not_allowed(method: Method, uri: Uri) -> Failure {
    METHOD_NOT_ALLOWED.because(format!("{} does not take {method}; the Allow header lists what it takes", uri.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_goes_by_many_names() {
        for own in ["localhost", "LOCALHOST:7380", "127.0.0.1:1", "127.8.8.8", "[::1]:7380", "[::1]"] {
            assert!(is_loopback(own), "{own}");
        }
        for foreign in
            ["evil.test", "127.0.0.1.evil.test", "localhost.evil", "10.0.0.1", "a@localhost", "", "0.0.0.0", "?"]
        {
            assert!(!is_loopback(foreign), "{foreign}");
        }
    }

    #[test]
    fn only_changes_need_our_own_origin() {
        let check = |method: Method, origin: &'static str| {
            let own = (header::HOST, "localhost:1".parse().unwrap());
            check_origin(&method, &HeaderMap::from_iter([own, (header::ORIGIN, origin.parse().unwrap())])).is_ok()
        };
        assert!(check(Method::POST, "http://localhost:1") && check(Method::GET, "http://evil.test"));
        for foreign in ["http://evil.test", "null", "http://localhost:2", "https://localhost:1"] {
            assert!(!check(Method::POST, foreign), "{foreign}");
        }
    }
}
