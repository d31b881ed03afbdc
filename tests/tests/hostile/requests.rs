//! Requests that are built to do harm, sent as bytes to a real daemon: each is refused, and whoever comes next is served.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use lovage_client::TaskFilter;
use lovage_tests::daemon::{Daemon, PATIENCE};
use lovage_tests::guests;

/// A request, and the statuses one of which it is answered with; none of them: the connection may end without an answer, too.
struct Script {
    name: &'static str,
    bytes: Vec<u8>,
    answers: &'static [u16],
}

/// Some error, or no answer.
const SOME: &[u16] = &[];

fn script(name: &'static str, bytes: impl Into<Vec<u8>>, answers: &'static [u16]) -> Script {
    Script { name, bytes: bytes.into(), answers }
}

/// A request without a body.
fn get(name: &'static str, target: &str, answers: &'static [u16]) -> Script {
    script(name, format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"), answers)
}

/// A request with headers more, and a body of whatever length they say.
fn with(name: &'static str, first: &str, headers: &str, body: &[u8], answers: &'static [u16]) -> Script {
    let head = format!("{first} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n\r\n");
    script(name, [head.as_bytes(), body].concat(), answers)
}

/// A call.
fn call(name: &'static str, body: impl AsRef<[u8]>, answers: &'static [u16]) -> Script {
    let body = body.as_ref();
    let headers = format!("Content-Type: application/json\r\nContent-Length: {}", body.len());
    with(name, "POST /v1/tasks", &headers, body, answers)
}

fn of_heads() -> Vec<Script> {
    let post = "POST /v1/tasks";
    vec![
        script("a hello of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(40), SOME),
        script("a greeting of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", SOME),
        script("a request of HTTP/0.9", "GET /livez\r\n\r\n", SOME),
        script("a version from the future", "GET /livez HTTP/9.9\r\nHost: localhost\r\n\r\n", SOME),
        script("a method of control characters", "\x01\x02 /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", SOME),
        script("nothing but line ends", "\r\n".repeat(5000), SOME),
        script("zeros", vec![0; 100_000], SOME),
        // No browser sends one.
        script("no host", "GET /v1/tasks HTTP/1.1\r\nConnection: close\r\n\r\n", &[200]),
        script("another host", "GET /v1/tasks HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n", &[403]),
        script(
            "the host of another in the target",
            "GET http://evil.test/v1/tasks HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n",
            &[403],
        ),
        with("a page of another origin", post, "Origin: http://evil.test\r\nContent-Length: 0", b"", &[403]),
        with("a method that tunnels", "CONNECT evil.test:80", "X: y", b"", &[400, 403, 404, 405]),
        with("a method that echoes", "TRACE /v1/tasks", "X: y", b"", &[405]),
        with(
            "an upgrade",
            "GET /v1/events?x=y",
            "Upgrade: websocket\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13",
            b"",
            &[200, 400],
        ),
        with("a header with a space in its name", "GET /livez", "X Y: z", b"", SOME),
        with("a header over two lines", "GET /livez", "X: y\r\n z", b"", SOME),
        with("a header with a zero", "GET /livez", "X: y\0z", b"", SOME),
        with("a header without an end", "GET /livez", &format!("X: {}", "y".repeat(1 << 20)), b"", SOME),
        with("a thousand headers", "GET /livez", &"X: y\r\n".repeat(1000), b"", SOME),
        get("a target without an end", &format!("/v1/tasks/{}", "a".repeat(1 << 17)), SOME),
    ]
}

fn of_lengths() -> Vec<Script> {
    let plain = "Content-Type: application/json";
    let post = "POST /v1/tasks";
    let push = "PUT /v1/modules/m";
    vec![
        with("two lengths", post, &format!("{plain}\r\nContent-Length: 2\r\nContent-Length: 50"), b"{}", SOME),
        with(
            "a length and chunks",
            post,
            &format!("{plain}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked"),
            b"0\r\n\r\nDELETE /v1/modules/tour HTTP/1.1\r\nHost: localhost\r\n\r\n",
            SOME,
        ),
        with(
            "chunks that are none",
            post,
            &format!("{plain}\r\nTransfer-Encoding: chunked, identity"),
            b"0\r\n\r\n",
            SOME,
        ),
        with("a length below zero", post, &format!("{plain}\r\nContent-Length: -1"), b"{}", SOME),
        with("a length in hexadecimal", post, &format!("{plain}\r\nContent-Length: 0x2"), b"{}", SOME),
        with("a length of thirty digits", post, &format!("{plain}\r\nContent-Length: {}", "9".repeat(30)), b"{}", SOME),
        with("a length of a terabyte", post, &format!("{plain}\r\nContent-Length: 1099511627776"), b"{}", &[413]),
        with(
            "a chunk of no size",
            post,
            &format!("{plain}\r\nTransfer-Encoding: chunked"),
            b"zz\r\n{}\r\n0\r\n\r\n",
            SOME,
        ),
        with(
            "a chunk of every size",
            post,
            &format!("{plain}\r\nTransfer-Encoding: chunked"),
            b"fffffffffffffffff\r\n{}\r\n",
            SOME,
        ),
        with(
            "a chunk with a megabyte of extensions",
            post,
            &format!("{plain}\r\nTransfer-Encoding: chunked"),
            &[b"2;".as_slice(), &b"x".repeat(1 << 20), b"\r\n{}\r\n0\r\n\r\n"].concat(),
            SOME,
        ),
        with("less than was promised", post, &format!("{plain}\r\nContent-Length: 100"), b"{}", SOME),
        with("a body that is packed", push, "Content-Encoding: gzip\r\nContent-Length: 2", b"\x1f\x8b", &[415]),
        with("a digest that is none", push, "Content-Digest: sha-256=:x:\r\nContent-Length: 1", b"x", &[400]),
        with("an event that was never sent", "GET /v1/events", "Last-Event-ID: \u{7f}", b"", SOME),
    ]
}

fn of_the_routes() -> Vec<Script> {
    vec![
        get("a way up", "/v1/modules/../../../../etc/passwd", &[404]),
        get("a way up in disguise", "/v1/modules/%2e%2e%2f%2e%2e%2fetc%2fpasswd", &[404, 422]),
        get("a zero in a name", "/v1/tasks/%00", &[404, 422]),
        get("a line end in a name", "/v1/tasks/a%0d%0aX:%20y", &[404, 422]),
        get("bytes that are no text", "/v1/tasks/%ff%fe", &[400, 404, 422]),
        get("half an escape", "/v1/tasks/%z", &[400, 404, 422]),
        get("a name of ten thousand letters", &format!("/v1/tasks/{}", "a".repeat(10_000)), &[404, 422]),
        get("a limit of thirty digits", &format!("/v1/tasks?limit={}", "9".repeat(30)), &[400]),
        get("a limit below zero", "/v1/tasks?limit=-1", &[400]),
        get("a cursor from elsewhere", "/v1/tasks?cursor=t%27%20OR%201=1--", &[400]),
        get("a filter twice", "/v1/tasks?state=FAILURE&state=SUCCESS", &[400]),
        get("a filter that is none", "/v1/tasks?where=1", &[400]),
        // It would be a minute, if there were such a task.
        get("a wait without an end", "/v1/tasks/a/result?wait=inf", &[404]),
        get("a wait that is no number", "/v1/tasks/a/result?wait=NaN", &[400]),
        with("a module that is none", "PUT /v1/modules/m", "Content-Length: 4", b"\0asm", &[422]),
        with("a module's name with a way up", "PUT /v1/modules/..%2fm", "Content-Length: 1", b"x", &[404, 422]),
        with(
            "a secret's name with a way up",
            "PUT /v1/modules/m/secrets/..%2f..%2fs",
            "Content-Length: 1",
            b"x",
            &[404, 422],
        ),
    ]
}

fn of_calls() -> Vec<Script> {
    let nested = |levels: usize| {
        let one = r#"{"task": "tour.add", "args": [1, 2]}"#.to_owned();
        let deep = (0..levels).fold(one, |inner, _| {
            format!(r#"{{"task": "celery.group", "kwargs": {{"tasks": [{inner}]}}, "subtask_type": "group"}}"#)
        });
        format!(r#"{{"signature": {deep}}}"#)
    };
    let group = |count: usize| {
        let tasks = vec![r#"{"task": "tour.add", "args": [1, 2]}"#; count].join(",");
        format!(
            r#"{{"signature": {{"task": "celery.group", "kwargs": {{"tasks": [{tasks}]}}, "subtask_type": "group"}}}}"#
        )
    };
    let option = |option: &str| format!(r#"{{"task": "tour.add", "args": [1, 2], "options": {{{option}}}}}"#);
    vec![
        call("brackets without an end", "[".repeat(100_000), &[400, 422]),
        call("braces without an end", r#"{"a":"#.repeat(50_000), &[400, 422]),
        call(
            "arguments as deep as a well",
            format!(r#"{{"task": "tour.add", "args": [{}1{}]}}"#, "[".repeat(5000), "]".repeat(5000)),
            &[400, 422],
        ),
        call("bytes that are no text", b"{\"task\": \"\xff\"}", &[400]),
        call("half a character", r#"{"task": "\ud800"}"#, &[400, 422]),
        call("a mark before it", "\u{feff}{}", &[400]),
        call("fields of another language", r#"{"__proto__": {"task": "tour.add"}, "constructor": 1}"#, &[422]),
        call("the same field twice", r#"{"task": "tour.add", "task": "tour.divide"}"#, &[400, 422]),
        call("a list for a call", "[]", &[400, 422]),
        call("a name of escape sequences", r#"{"task": "\u001b[2Jtour.add"}"#, &[404, 422]),
        call("a task of another's making", r#"{"task": "os.system", "args": ["id"]}"#, &[404]),
        call("an id with a line end", option(r#""task_id": "a\nb""#), &[422]),
        call("an id of a thousand letters", option(&format!(r#""task_id": "{}""#, "a".repeat(1000))), &[422]),
        call("a queue with a way up", option(r#""queue": "../lovage:registered""#), &[422]),
        call("a priority above all", option(r#""priority": 1000000000"#), &[422]),
        call("a priority below all", option(r#""priority": -1"#), &[422]),
        call("a time that never comes", option(r#""countdown": 1e308"#), &[422]),
        call("a time of no number", option(r#""countdown": "NaN""#), &[422]),
        call("a time before time", option(r#""eta": "-99999-01-01T00:00:00Z""#), &[422]),
        call("more fuel than there is", option(r#""fuel": 99999999999999999999"#), &[422]),
        call("another tenant's place", option(r#""tenant": "acme""#), &[422]),
        call("groups in groups in groups", nested(2000), &[400, 422]),
        call("a group of fifty thousand", group(50_000), &[413, 422]),
        call(
            "a group that is no list",
            r#"{"signature": {"task": "celery.group", "kwargs": {"tasks": 7}, "subtask_type": "group"}}"#,
            &[422],
        ),
        with(
            "a batch of ten thousand",
            "POST /v1/tasks:batch",
            "Content-Type: application/json\r\nContent-Length: 260012",
            format!("{{\"tasks\": [{}]}}", vec![r#"{"task": "tour.add"     }"#; 10_000].join(",")).as_bytes(),
            &[413, 422],
        ),
    ]
}

/// What came back: a status, or none. What may be no whole request is said to be all there is.
fn answer(daemon: &Daemon, bytes: &[u8], is_cut: bool) -> Option<u16> {
    let mut stream = TcpStream::connect(daemon.url().trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // Who is refused early may find the connection closed.
    let _ = stream.write_all(bytes);
    if is_cut {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut head = [0; 12];
    stream.read_exact(&mut head).ok()?;
    std::str::from_utf8(&head).ok()?.strip_prefix("HTTP/1.1 ")?.parse().ok()
}

#[tokio::test]
async fn hostile_requests_are_refused_and_the_next_is_served() {
    let daemon = Daemon::start(&[guests::tour()], &[]);
    let scripts: Vec<_> = [of_heads(), of_lengths(), of_the_routes(), of_calls()].into_iter().flatten().collect();
    assert!(scripts.len() >= 70, "{}", scripts.len());
    let mut wrong = Vec::new();
    for Script { name, bytes, answers } in scripts {
        let came = answer(&daemon, &bytes, answers.is_empty());
        let good = match came {
            Some(status) if answers.is_empty() => status >= 400,
            Some(status) => answers.contains(&status),
            None => answers.is_empty(),
        };
        if !good {
            wrong.push(format!("{name}: {came:?}"));
        }
        let next = answer(&daemon, b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", false);
        assert_eq!(next, Some(200), "after {name}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(daemon.client().tasks(&TaskFilter::default()).await.unwrap().tasks.len(), 0, "one of them was taken");
    assert_eq!(daemon.lovage(["task", "run", "tour.add", "2", "3"]).ok(), "5");
}
