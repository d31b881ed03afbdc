//! The binary as a script meets it: what is on standard output, what on standard error, and how it ends. Behind it
//! stands a daemon of a few lines.

use std::process::{Output, Stdio};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, RawQuery};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

/// Ids are what becomes of the task: `SUCCESS`, `FAILURE`, `STARTED`, or the status of a refusal.
async fn result(Path(id): Path<String>) -> Response {
    match id.parse().map(StatusCode::from_u16) {
        Ok(Ok(status)) => refusal(status),
        _ if id == "STARTED" => (StatusCode::ACCEPTED, meta(&id).to_string()).into_response(),
        _ => meta(&id).to_string().into_response(),
    }
}

fn refusal(status: StatusCode) -> Response {
    let problem = json!({"type": "about:blank", "title": "No", "status": status.as_u16(), "detail": "no, \u{1b}because",
        "code": "some_code", "retryable": false});
    (status, problem.to_string()).into_response()
}

fn meta(state: &str) -> Value {
    let result = match state {
        "FAILURE" => json!({"exc_type": "ValueError", "exc_message": ["no"], "exc_module": "builtins"}),
        _ => json!(5),
    };
    json!({"task_id": state, "status": state, "result": result, "traceback": "tour::add", "children": [],
        "date_done": null, "name": "tour.add", "args": [2, 3], "kwargs": {}, "worker": null, "retries": 0,
        "queue": "celery", "root_id": state, "submitted_at": "2026-11-21T00:00:00Z", "deliveries": 1})
}

async fn events(Path(id): Path<String>) -> String {
    let event = |kind: &str, more: Value| {
        let mut data = json!({"uuid": id, "name": "tour.add", "timestamp": "2026-11-21T00:00:00Z", "type": kind});
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        format!("event: {kind}\nid: 1\ndata: {data}\n\n")
    };
    let meta = json!({"state": "PROGRESS", "meta": {"current": 1, "total": 2}});
    event("task-progress", meta) + &event("task-succeeded", json!({"runtime": 1.0}))
}

/// The first argument becomes the id.
async fn submit(body: String) -> Response {
    let body: Value = serde_json::from_str(&body).unwrap();
    let id = body["args"][0].as_str().unwrap_or("SUCCESS").to_owned();
    (StatusCode::ACCEPTED, json!({"id": id, "state": "PENDING", "result_tuple": [[id, null], null]}).to_string())
        .into_response()
}

async fn list(RawQuery(query): RawQuery) -> String {
    let query = query.unwrap_or_default();
    let next = if query.contains("cursor=2") { Value::Null } else { json!("2") };
    json!({"tasks": [meta("SUCCESS"), meta("FAILURE")], "next": next}).to_string()
}

async fn logs() -> String {
    let attempt = json!({"retries": 0, "stdout": "hello\nworld", "stderr": "", "records": [], "dropped": 0});
    json!({"attempts": [attempt], "running": null}).to_string()
}

/// A daemon on a free port; it goes with the test's runtime.
fn daemon() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new()
        .route("/v1/tasks", get(list).post(submit))
        .route("/v1/tasks/{id}", get(result))
        .route("/v1/tasks/{id}/result", get(gated_result))
        .route("/v1/tasks/{id}/events", get(gated_events))
        .route("/v1/tasks/{id}/logs", get(logs))
        .route("/v1/queues/{name}/purge", post(async || json!({"purged": 3}).to_string()))
        .with_state(Arc::new(tokio::sync::Semaphore::new(0)));
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

/// Opened when the events were asked for: only then a long poll of `SUCCESS` is answered, so that both are seen.
type Gate = axum::extract::State<Arc<tokio::sync::Semaphore>>;

async fn gated_events(gate: Gate, id: Path<String>) -> String {
    let body = events(id).await;
    gate.add_permits(1);
    body
}

async fn gated_result(gate: Gate, Path(id): Path<String>, RawQuery(query): RawQuery) -> Response {
    if id == "SUCCESS" && query.is_some_and(|query| query == "wait=30") {
        gate.acquire().await.unwrap().forget();
    }
    result(Path(id)).await
}

async fn lovage(url: &str, args: &[&str], stdin: &str) -> Output {
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_lovage"))
        .args(args)
        .env("LOVAGE_URL", url)
        .env_remove("LOVAGE_TOKEN")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who reads no input may be gone by now.
    _ = child.stdin.take().unwrap().write_all(stdin.as_bytes()).await;
    child.wait_with_output().await.unwrap()
}

fn texts(output: &Output) -> (Option<i32>, &str, &str) {
    let text = |bytes| std::str::from_utf8(bytes).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn run_prints_the_result_and_nothing_else_on_standard_output() {
    let output = lovage(&daemon(), &["task", "run", "tour.add", "SUCCESS"], "").await;
    let (code, stdout, stderr) = texts(&output);
    assert_eq!((code, stdout), (Some(0), "5\n"), "{stderr}");
    assert!(stderr.starts_with("task SUCCESS\n"), "{stderr}");
}

#[tokio::test]
async fn a_failed_task_is_exit_1_with_its_exception_and_traceback() {
    let output = lovage(&daemon(), &["task", "run", "tour.add", "-"], "FAILURE").await;
    let (code, stdout, stderr) = texts(&output);
    assert_eq!((code, stdout), (Some(1), ""));
    assert!(stderr.ends_with("task FAILURE (tour.add) failed: ValueError: no\ntour::add\n"), "{stderr}");
}

#[tokio::test]
async fn each_ending_has_its_exit_code() {
    let url = daemon();
    let table: [(&[&str], i32, &str); 10] = [
        (&["task", "get", "404"], 3, "no, \u{1b}because (some_code)"),
        (&["task", "get", "401"], 4, "some_code"),
        (&["task", "get", "403"], 4, "some_code"),
        (&["task", "get", "422"], 2, "some_code"),
        (&["task", "get", "500"], 1, "some_code"),
        (&["task", "result", "STARTED"], 5, "lovage task wait STARTED"),
        (&["task", "wait", "STARTED", "--timeout", "0"], 5, "still STARTED after 0 s"),
        (&["task", "submit", "a", "@/nowhere"], 2, "/nowhere"),
        (&["task", "get", "x", "--url", "https://h"], 2, "TLS"),
        (&["module", "push", "m", "/nowhere.wasm"], 2, "/nowhere.wasm"),
    ];
    for (args, code, says) in table {
        let output = lovage(&url, args, "").await;
        let (was, stdout, stderr) = texts(&output);
        assert_eq!((was, stdout), (Some(code), ""), "{args:?}: {stderr}");
        assert!(stderr.contains(says), "{args:?}: {stderr}");
    }
}

#[tokio::test]
async fn no_daemon_is_exit_6_and_says_how_to_start_one() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let output = lovage(&format!("http://127.0.0.1:{port}"), &["task", "wait", "x"], "").await;
    let (code, _, stderr) = texts(&output);
    assert_eq!(code, Some(6));
    assert!(stderr.contains("lovage serve"), "{stderr}");
}

#[tokio::test]
async fn submit_prints_the_id_alone_or_the_reply_as_json() {
    let url = daemon();
    assert_eq!(texts(&lovage(&url, &["task", "submit", "a", "x-1"], "").await), (Some(0), "x-1\n", ""));
    let output = lovage(&url, &["task", "submit", "a", "x-1", "-o", "json"], "").await;
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["id"], "x-1");
}

#[tokio::test]
async fn a_list_goes_over_pages_and_is_a_table_an_array_or_lines() {
    let url = daemon();
    let output = lovage(&url, &["task", "list", "-o", "json"], "").await;
    assert_eq!(serde_json::from_slice::<Vec<Value>>(&output.stdout).unwrap().len(), 4);
    let output = lovage(&url, &["task", "list", "-o", "jsonl", "--limit", "2"], "").await;
    let (_, stdout, stderr) = texts(&output);
    assert_eq!(stdout.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count(), 2);
    assert!(stderr.contains("there are more"), "{stderr}");
    let output = lovage(&url, &["task", "list"], "").await;
    assert!(texts(&output).1.starts_with("ID       NAME      STATE    QUEUE"), "{output:?}");
}

#[tokio::test]
async fn logs_are_data_and_following_shows_each_line_once() {
    let url = daemon();
    let expected = (Some(0), "[stdout] hello\n[stdout] world\n", "");
    assert_eq!(texts(&lovage(&url, &["task", "logs", "SUCCESS"], "").await), expected);
    assert_eq!(texts(&lovage(&url, &["task", "logs", "SUCCESS", "-f"], "").await), expected);
    let output = lovage(&url, &["task", "run", "a", "SUCCESS", "--logs"], "").await;
    let (_, stdout, stderr) = texts(&output);
    assert_eq!(stdout, "5\n");
    assert_eq!(stderr.matches("hello").count(), 1, "{stderr}");
}

#[tokio::test]
async fn a_script_is_not_asked() {
    assert_eq!(texts(&lovage(&daemon(), &["queue", "purge", "celery"], "").await), (Some(0), "3 revoked\n", ""));
}
