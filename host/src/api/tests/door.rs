//! Real connections: how many, how slow, how they end.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

struct Open {
    address: std::net::SocketAddr,
    shutdown: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

async fn open(site: &Site, door: Door) -> Open {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (shutdown, asked) = oneshot::channel();
    let shut = async { asked.await.unwrap() };
    let served = tokio::spawn(serve(listener, site.router.clone(), door, shut));
    Open { address, shutdown, served }
}

const DOOR: Door = Door {
    max_connections: 1,
    header_timeout: Duration::from_secs(30),
    write_timeout: Duration::from_secs(30),
    farewell: Duration::from_secs(30),
};

async fn ask(stream: &mut TcpStream, path: &str) {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
}

async fn first_line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(line).unwrap()
}

#[tokio::test]
async fn a_connection_beyond_the_cap_waits_its_turn() {
    let site = site().await;
    let open = open(&site, DOOR).await;
    let mut first = TcpStream::connect(open.address).await.unwrap();
    ask(&mut first, "/livez").await;
    assert_eq!(first_line(&mut first).await, "HTTP/1.1 200 OK\r\n");
    let mut second = TcpStream::connect(open.address).await.unwrap();
    ask(&mut second, "/livez").await;
    drop(first);
    assert_eq!(first_line(&mut second).await, "HTTP/1.1 200 OK\r\n");
}

#[tokio::test]
async fn an_idle_connection_makes_room_for_a_new_one() {
    let site = site().await;
    let open = open(&site, DOOR).await;
    for _ in 0..3 {
        let mut kept = TcpStream::connect(open.address).await.unwrap();
        ask(&mut kept, "/livez").await;
        assert_eq!(first_line(&mut kept).await, "HTTP/1.1 200 OK\r\n");
        let mut next = TcpStream::connect(open.address).await.unwrap();
        ask(&mut next, "/livez").await;
        assert_eq!(first_line(&mut next).await, "HTTP/1.1 200 OK\r\n");
        let mut rest = Vec::new();
        kept.read_to_end(&mut rest).await.unwrap();
        assert!(rest.windows(4).any(|end| end == b"\r\n\r\n"), "it was answered before it was closed");
    }
    // Nor does one wait for who has sent nothing, or only a part.
    for part in ["", "GET /livez HTTP/1.1\r\nHost: local"] {
        let mut silent = TcpStream::connect(open.address).await.unwrap();
        silent.write_all(part.as_bytes()).await.unwrap();
        let mut next = TcpStream::connect(open.address).await.unwrap();
        ask(&mut next, "/livez").await;
        let line = tokio::time::timeout(DOOR.header_timeout / 3, first_line(&mut next)).await;
        assert_eq!(line.expect("room was made"), "HTTP/1.1 200 OK\r\n");
    }
    // One on which something is asked is not closed before it is answered.
    site.put("a").await;
    let mut poll = TcpStream::connect(open.address).await.unwrap();
    ask(&mut poll, "/v1/tasks/a/result?wait=60").await;
    while !site.hub.watched(&TenantId::default(), &task("a")) {
        tokio::task::yield_now().await;
    }
    let mut next = TcpStream::connect(open.address).await.unwrap();
    ask(&mut next, "/livez").await;
    site.end("a");
    assert_eq!(first_line(&mut poll).await, "HTTP/1.1 200 OK\r\n");
    assert_eq!(first_line(&mut next).await, "HTTP/1.1 200 OK\r\n");
}

#[tokio::test]
async fn one_tenant_of_several_has_not_all_connections_wait() {
    let site = site().await;
    site.send("PUT", "/v1/tenants/acme", json!({})).await;
    site.put("a").await;
    let open = open(&site, Door { max_connections: 9, ..DOOR }).await;
    let wait = async || {
        let mut stream = TcpStream::connect(open.address).await.unwrap();
        ask(&mut stream, "/v1/tasks/a/result?wait=60").await;
        stream
    };
    let mut waiting = [wait().await, wait().await, wait().await];
    // Two may wait: of the three, whichever came last is told to ask again.
    let (told, index, _) =
        futures_util::future::select_all(waiting.iter_mut().map(|it| Box::pin(first_line(it)))).await;
    assert_eq!(told, "HTTP/1.1 202 Accepted\r\n");
    site.end("a");
    for (n, stream) in waiting.iter_mut().enumerate().filter(|(n, _)| *n != index) {
        assert_eq!(first_line(stream).await, "HTTP/1.1 200 OK\r\n", "{n}");
    }
}

#[tokio::test]
async fn a_head_that_does_not_end_is_cut_off() {
    let site = site().await;
    let open = open(&site, Door { header_timeout: Duration::from_millis(20), ..DOOR }).await;
    let mut slow = TcpStream::connect(open.address).await.unwrap();
    slow.write_all(b"GET /livez HTTP/1.1\r\nHost: local").await.unwrap();
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).await.unwrap();
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn open_requests_are_answered_before_the_door_closes() {
    let site = site().await;
    site.put("a").await;
    let open = open(&site, DOOR).await;
    let mut poll = TcpStream::connect(open.address).await.unwrap();
    ask(&mut poll, "/v1/tasks/a/result?wait=60").await;
    while !site.hub.watched(&TenantId::default(), &task("a")) {
        tokio::task::yield_now().await;
    }
    open.shutdown.send(()).unwrap();
    site.end("a");
    assert_eq!(first_line(&mut poll).await, "HTTP/1.1 200 OK\r\n");
    // The client keeps its connection; that must not hold up the daemon until the farewell is over.
    tokio::time::timeout(DOOR.farewell / 3, open.served).await.expect("closed when idle").unwrap();
    assert!(TcpStream::connect(open.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn who_does_not_leave_is_shown_out() {
    let site = site().await;
    site.put("a").await;
    let open = open(&site, Door { farewell: Duration::from_millis(20), ..DOOR }).await;
    let mut poll = TcpStream::connect(open.address).await.unwrap();
    ask(&mut poll, "/v1/tasks/a/result?wait=60").await;
    while !site.hub.watched(&TenantId::default(), &task("a")) {
        tokio::task::yield_now().await;
    }
    open.shutdown.send(()).unwrap();
    open.served.await.unwrap();
    assert_eq!(poll.read(&mut [0; 1]).await.unwrap_or(0), 0, "closed without an answer");
}

#[tokio::test]
async fn who_sends_too_much_still_gets_the_answer() {
    let site = site().await;
    let open = open(&site, DOOR).await;
    let mut stream = TcpStream::connect(open.address).await.unwrap();
    let body = vec![b' '; 8 << 20];
    let head = format!("PUT /v1/modules/m HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    assert_eq!(first_line(&mut stream).await, "HTTP/1.1 413 Payload Too Large\r\n");
}

#[tokio::test]
async fn who_asks_first_is_told_before_sending() {
    let site = site().await;
    let open = open(&site, DOOR).await;
    let mut stream = TcpStream::connect(open.address).await.unwrap();
    let head = "PUT /v1/modules/m HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(first_line(&mut stream).await, "HTTP/1.1 413 Payload Too Large\r\n");
}

#[tokio::test]
async fn who_asks_and_does_not_read_keeps_nobody_out() {
    let site = site().await;
    let open = open(&site, Door { write_timeout: Duration::from_millis(100), ..DOOR }).await;
    let (mut unread, mut asks) = TcpStream::connect(open.address).await.unwrap().into_split();
    let asking = tokio::spawn(async move {
        while asks.write_all(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n").await.is_ok() {}
    });
    let mut next = TcpStream::connect(open.address).await.unwrap();
    ask(&mut next, "/livez").await;
    assert_eq!(first_line(&mut next).await, "HTTP/1.1 200 OK\r\n");
    // It was closed, with what had been on its way.
    let _ = tokio::io::copy(&mut unread, &mut tokio::io::sink()).await;
    asking.await.unwrap();
}
