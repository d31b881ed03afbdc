//! What requests take of their host: threads, sockets and memory, of which each tenant has so many.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};

use futures_util::FutureExt;
use futures_util::future::join_all;
use lovage_model::ModuleName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::*;
use crate::attempt::HTTP_AT_ONCE;

fn may(origin: &str) -> May {
    let http = vec![origin.parse().unwrap()];
    May {
        tenant: TenantId::default(),
        module: ModuleName::new("m").unwrap(),
        capabilities: Arc::new(Capabilities { http, ..Capabilities::default() }),
        payload_bytes: 1 << 20,
        key_value_bytes: None,
        under_way: Semaphore::new(HTTP_AT_ONCE),
    }
}

fn get(url: &str, timeout_millis: Option<u64>) -> HttpRequest {
    let (method, url) = ("GET".to_owned(), url.to_owned());
    HttpRequest { method, url, headers: Vec::new(), body: Bytes::default(), timeout_millis }
}

/// Answers one request, with so many bytes in a header.
async fn answer(server: &TcpListener, bytes: usize) {
    let (mut stream, _) = server.accept().await.unwrap();
    // All of it is read before it is closed.
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        stream.read_buf(&mut asked).await.unwrap();
    }
    let head = format!("HTTP/1.1 204 No Content\r\nconnection: close\r\nx: {}\r\n\r\n", "y".repeat(bytes));
    stream.write_all(head.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn the_requests_of_one_tenant_have_so_many_connections_at_once() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", server.local_addr().unwrap());
    let (http, may) = (Http::default(), may(&origin));
    let requests = join_all((0..2 * OF_EACH).map(|_| http.send(&may, get(&origin, None))));
    let served = async {
        for _ in 0..2 {
            let mut silent = Vec::new();
            for _ in 0..OF_EACH {
                silent.push(server.accept().await.unwrap());
            }
            assert!(tokio::task::unconstrained(server.accept()).now_or_never().is_none(), "others wait");
        }
    };
    let (sent, ()) = tokio::join!(requests, served);
    assert!(sent.iter().all(Result::is_err), "it closes without a word");
}

#[tokio::test]
async fn tenants_that_take_all_they_may_leave_a_connection_to_the_next() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", server.local_addr().unwrap());
    let (http, other) = (Http::default(), may(&origin));
    let tenant = |n: usize| TenantId::new(format!("t{n}")).unwrap();
    let mut held = Vec::new();
    for tenant in (0..MOST_CONNECTIONS / OF_EACH).map(tenant) {
        held.extend(std::iter::from_fn(|| http.connections.try_enter(&tenant)));
    }
    let first = May { tenant: tenant(0), ..may(&origin) };
    let sent = http.send(&first, get(&origin, Some(1))).await;
    assert_eq!(sent, Err(HttpFault::ConnectionLimitReached), "no server is to blame");
    let (sent, ()) = tokio::join!(http.send(&other, get(&origin, None)), answer(&server, 1));
    assert!(sent.is_ok());
    drop(held);
}

#[tokio::test]
async fn headers_of_a_response_take_room_as_its_body_does() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", server.local_addr().unwrap());
    let (http, may) = (Http::default(), may(&origin));
    let mut others = http.under_way.of(&may.tenant);
    assert!(others.more(MOST_UNDER_WAY_BYTES - 1000, MOST_UNDER_WAY_BYTES));
    let (few, ()) = tokio::join!(http.send(&may, get(&origin, None)), answer(&server, 100));
    assert_eq!(few.unwrap().headers, [("x".to_owned(), Bytes(b"y".repeat(100)))]);
    let (many, ()) = tokio::join!(http.send(&may, get(&origin, None)), answer(&server, 1000));
    assert_eq!(many, Err(HttpFault::ConnectionLimitReached));
}

#[test]
fn names_that_are_slow_to_look_up_leave_threads_to_others() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(8).build().unwrap();
    let (begun, (let_go, held_up)) = (Arc::new(AtomicUsize::new(0)), mpsc::channel::<()>());
    let (count, held_up) = (Arc::clone(&begun), Mutex::new(held_up));
    let names = Names::found_by(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        // It ends when the other side is dropped.
        let _ = held_up.lock().unwrap().recv();
        Ok(Vec::new())
    });
    let (http, may) = (Http { names: Arc::new(names), ..Http::default() }, may("http://slow.example"));
    runtime.block_on(async {
        for _ in 0..32 {
            let sent = http.send(&may, get("http://slow.example/", Some(1))).await;
            assert_eq!(sent, Err(HttpFault::ConnectionTimeout), "nobody waits for the lookup any more");
        }
        assert_eq!(tokio::task::spawn_blocking(|| 7).await.unwrap(), 7, "there is a thread for something else");
        assert!(begun.load(Ordering::Relaxed) <= 4);
        drop(let_go);
        assert!(http.send(&may, get("http://slow.example/", None)).await.is_err(), "it has no address");
        assert!((2..=5).contains(&begun.load(Ordering::Relaxed)), "what has ended makes room");
    });
}
