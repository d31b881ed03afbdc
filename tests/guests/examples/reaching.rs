//! Tasks that reach for what is outside of the sandbox, and say what they got.
#![allow(missing_docs)]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lovage_guest::http;
use lovage_guest::prelude::*;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, IncomingResponse, OutgoingRequest, Scheme};

fn refused(error: std::io::Error) -> TaskError {
    TaskError::builtin("OSError", error.kind().to_string())
}

/// Says something to a peer, and returns what it answers.
#[task]
fn say(peer: SocketAddr, text: String) -> TaskResult<String> {
    let mut stream = TcpStream::connect(peer).map_err(refused)?;
    stream.write_all(text.as_bytes()).map_err(refused)?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).map_err(refused)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Sends a request, and returns status, header `x-told` and body of the response.
#[task]
fn fetch(ctx: &Context, method: String, url: String, #[default] body: Option<String>) -> TaskResult<Json> {
    let request = http::Request::new(&method, url).header("x-asked", "by a task").body(body.unwrap_or_default());
    let response = ctx.http(request)?;
    Ok(Json::from(json!([response.status, response.header("x-told"), String::from_utf8_lossy(&response.body)])))
}

fn send(server: &str, path: &str) -> Option<IncomingResponse> {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).ok()?;
    request.set_authority(Some(server)).ok()?;
    request.set_path_with_query(Some(path)).ok()?;
    let answer = outgoing_handler::handle(request, None).ok()?;
    answer.subscribe().block();
    answer.get()?.ok()?.ok()
}

/// Keeps responses without reading them: how many it gets of so many, and whether it gets another when it has let them go.
#[task]
fn hoard(server: String, many: usize) -> (usize, bool) {
    let kept: Vec<_> = (0..many).filter_map(|_| send(&server, "/large/1000")).collect();
    let count = kept.len();
    drop(kept);
    (count, send(&server, "/large/1000").is_some())
}

/// What a bucket has under a key, after having kept a text there, if one is given.
#[task]
fn keep(ctx: &Context, bucket: String, key: String, #[default] text: Option<String>) -> TaskResult<Option<String>> {
    let bucket = ctx.bucket(&bucket)?;
    if let Some(text) = text {
        bucket.set_bytes(&key, text.as_bytes())?;
    }
    Ok(bucket.get_bytes(&key)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

#[task]
fn count(ctx: &Context, bucket: String, key: String, by: u64) -> TaskResult<u64> {
    ctx.bucket(&bucket)?.increment(&key, by)
}

/// How many keys there are, after having dropped one.
#[task]
fn drop_key(ctx: &Context, bucket: String, key: String) -> TaskResult<usize> {
    let bucket = ctx.bucket(&bucket)?;
    bucket.delete(&key)?;
    Ok(bucket.keys()?.len())
}

/// Keeps that many values, and lists their keys.
#[task]
fn keep_many(ctx: &Context, bucket: String, many: usize) -> TaskResult<usize> {
    let bucket = ctx.bucket(&bucket)?;
    for number in 0..many {
        bucket.set(&format!("{number:05}"), &number)?;
    }
    let keys = bucket.keys()?;
    assert!(keys.is_sorted());
    Ok(keys.len())
}

/// Keeps values of so many bytes without end, or until the room for them is used.
#[task]
fn flood(ctx: &Context, bucket: String, bytes: usize) -> TaskResult<u64> {
    let (bucket, value) = (ctx.bucket(&bucket)?, vec![b'x'; bytes]);
    let mut kept = 0;
    loop {
        bucket.set_bytes(&(kept % 100).to_string(), &value)?;
        kept += 1;
    }
}

#[task]
fn secret(ctx: &Context, name: String) -> TaskResult<String> {
    ctx.secret(&name)
}

#[task]
fn listen(at: SocketAddr) -> TaskResult<String> {
    TcpListener::bind(at).map(|_| "listens".to_owned()).map_err(refused)
}

#[task]
fn datagram(peer: SocketAddr) -> TaskResult<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").map_err(refused)?;
    socket.send_to(b"x", peer).map(|_| "sent".to_owned()).map_err(refused)
}

#[task]
fn resolve(name: String) -> TaskResult<usize> {
    (name.as_str(), 80).to_socket_addrs().map(Iterator::count).map_err(refused)
}

#[task]
fn read(path: String) -> TaskResult<String> {
    fs::read_to_string(path).map_err(refused)
}

#[task]
fn write(path: String) -> TaskResult<String> {
    fs::write(path, "written").map(|()| "written".to_owned()).map_err(refused)
}

#[task]
fn append(path: String, text: String) -> TaskResult<()> {
    let mut file = fs::OpenOptions::new().append(true).create(true).open(path).map_err(refused)?;
    file.write_all(text.as_bytes()).map_err(refused)
}

/// Makes a link in a directory that leads out of it, and reads through it.
#[task]
fn escape(directory: String, to: String) -> TaskResult<String> {
    let link = format!("{directory}/way-out");
    #[allow(deprecated)]
    fs::soft_link(&to, &link).map_err(refused)?;
    fs::read_to_string(link).map_err(refused)
}

/// Whether it can tell parts of a millisecond.
#[task]
fn is_clock_fine() -> bool {
    let (begin, mut fine) = (Instant::now(), false);
    while begin.elapsed() < Duration::from_millis(20) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        fine |= [since, begin.elapsed()].iter().any(|time| !time.subsec_nanos().is_multiple_of(1_000_000));
    }
    fine
}

#[task]
fn variables() -> Vec<String> {
    std::env::vars().map(|(name, value)| format!("{name}={value}")).collect()
}

export_tasks!(
    is_clock_fine,
    append,
    keep,
    count,
    drop_key,
    keep_many,
    flood,
    secret,
    fetch,
    hoard,
    say,
    listen,
    datagram,
    resolve,
    read,
    write,
    escape,
    variables
);
