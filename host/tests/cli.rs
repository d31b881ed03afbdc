//! The binary as a script meets it: what is on standard output, what on standard error, and how it ends. Behind it
//! stands a daemon of a few lines.

use std::io::{Read as _, Write as _};
use std::process::{Output, Stdio};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, RawQuery};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};

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
        "code": if status == StatusCode::NOT_FOUND { "unknown_id" } else { "some_code" }, "retryable": false});
    (status, problem.to_string()).into_response()
}

fn meta(id: &str) -> Value {
    let result = match id {
        "FAILURE" => json!({"exc_type": "ValueError", "exc_message": ["no"], "exc_module": "builtins"}),
        _ => json!(5),
    };
    let (state, children) = match id {
        "PARENT" => ("SUCCESS", json!([[["SUCCESS", null], null], [["G", null], [[["STARTED", null], null]]]])),
        state => (state, json!([])),
    };
    json!({"task_id": id, "status": state, "result": result, "traceback": "tour::add", "children": children,
        "date_done": null, "name": "tour.add", "args": [2, 3], "kwargs": {}, "worker": null, "retries": 0,
        "queue": "celery", "root_id": id, "submitted_at": "2026-11-21T00:00:00Z", "deliveries": 1})
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

/// The first argument becomes the id. A signature of a group is one of two tasks; its id makes the second.
async fn submit(body: String) -> Response {
    let body: Value = serde_json::from_str(&body).unwrap();
    if let Some(second) = body["signature"]["options"]["group_id"].as_str() {
        let id = if second == "UNSAVED" { second } else { "G" };
        let group = json!([[id, null], [[["SUCCESS", null], null], [[second, null], null]]]);
        let reply = json!({"id": id, "state": "PENDING", "result_tuple": group});
        return (StatusCode::ACCEPTED, reply.to_string()).into_response();
    }
    let id = body["args"][0].as_str().unwrap_or("SUCCESS").to_owned();
    (StatusCode::ACCEPTED, json!({"id": id, "state": "PENDING", "result_tuple": [[id, null], null]}).to_string())
        .into_response()
}

/// It was sent before.
async fn submit_again(Path(id): Path<String>) -> String {
    json!({"id": id, "state": "SUCCESS", "result_tuple": [[id, null], null]}).to_string()
}

/// All but `STARTED` have ended.
async fn watch(body: String) -> String {
    let body: Value = serde_json::from_str(&body).unwrap();
    let ids: Vec<String> = serde_json::from_value(body["ids"].clone()).unwrap();
    let ended = ids.iter().filter(|id| *id != "STARTED").map(|id| format!("event: result\ndata: {}\n\n", meta(id)));
    let left = usize::from(ids.contains(&"STARTED".to_owned()));
    ended.collect::<String>() + &format!("event: end\ndata: {{\"left\": {left}}}\n\n")
}

/// A group was saved under the id of a task that there is not.
async fn saved(Path(id): Path<String>) -> Response {
    match id.as_str() {
        "404" => {
            json!([["404", null], [[["SUCCESS", null], null], [["PARENT", null], null]]]).to_string().into_response()
        }
        _ => refusal(StatusCode::NOT_FOUND),
    }
}

async fn save(Path(id): Path<String>) -> Response {
    if id == "UNSAVED" { refusal(StatusCode::INSUFFICIENT_STORAGE) } else { StatusCode::NO_CONTENT.into_response() }
}

/// Ids are statuses here, too.
async fn revoke(body: String) -> String {
    let body: Value = serde_json::from_str(&body).unwrap();
    let answer = |id: &Value| match id.as_str().unwrap().parse::<u16>() {
        Ok(status) => {
            json!({"type": "about:blank", "title": "No", "status": status, "detail": "no", "code": "some_code",
            "retryable": false})
        }
        Err(_) => json!({"id": id, "state": "REVOKED", "outcome": "done"}),
    };
    json!({"results": body["ids"].as_array().unwrap().iter().map(answer).collect::<Vec<_>>()}).to_string()
}

/// Takes one that was said right.
async fn set_secret(body: String) -> Response {
    if body == "hush" { StatusCode::NO_CONTENT.into_response() } else { refusal(StatusCode::UNPROCESSABLE_ENTITY) }
}

async fn list(RawQuery(query): RawQuery) -> String {
    let query = query.unwrap_or_default();
    if query.contains("state=TYPO") || query.contains("name=add") {
        return json!({"tasks": [], "next": null}).to_string();
    }
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
        .route("/v1/tasks:watch", post(watch))
        .route("/v1/tasks/{id}", get(result).put(submit_again))
        .route("/v1/tasks:revoke", post(revoke))
        .route("/v1/groups/{id}", get(saved).put(save))
        .route("/v1/tasks/{id}/result", get(gated_result))
        .route("/v1/tasks/{id}/events", get(gated_events))
        .route("/v1/tasks/{id}/logs", get(logs))
        .route("/v1/modules/{name}/secrets/{secret}", put(set_secret))
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
    let table: [(&[&str], i32, &str); 16] = [
        (&["task", "get", "404"], 3, "no, \u{1b}because (unknown_id)"),
        (&["task", "get", "404", "-o", "json"], 3, "404 is the id of a group: lovage task wait 404"),
        (&["task", "get", "401"], 4, "some_code"),
        (&["task", "get", "403"], 4, "some_code"),
        (&["task", "get", "422"], 2, "some_code"),
        (&["task", "get", "500"], 1, "some_code"),
        (&["task", "result", "STARTED"], 5, "lovage task wait STARTED"),
        (&["task", "wait", "STARTED", "--timeout", "0"], 5, "still STARTED after 0 s"),
        (
            &["task", "wait", r#"[["g", null], ["SUCCESS", "STARTED"]]"#, "--timeout", "0"],
            5,
            "STARTED is still STARTED",
        ),
        (&["task", "result", r#"[["g", null], ["SUCCESS", "STARTED"]]"#], 5, "1 of 2 succeeded"),
        (&["task", "submit", "a", "@/nowhere"], 2, "/nowhere"),
        (&["task", "get", "x", "--url", "https://h"], 2, "TLS"),
        (&["module", "push", "m", "/nowhere.wasm"], 2, "/nowhere.wasm"),
        (&["task", "get", "x", "--token", "a\nb"], 2, "token: it has a line break"),
        (&["secret", "set", "m", "S", "@/nowhere"], 2, "/nowhere"),
        (&["dev", "a/x.wasm", "b/x.wasm"], 2, "a/x.wasm and b/x.wasm"),
    ];
    for (args, code, says) in table {
        let output = lovage(&url, args, "").await;
        let (was, stdout, stderr) = texts(&output);
        assert_eq!((was, stdout), (Some(code), ""), "{args:?}: {stderr}");
        assert!(stderr.contains(says), "{args:?}: {stderr}");
    }
}

/// A terminal: the side of whoever sits there, and that of the program.
fn terminal() -> (std::fs::File, std::fs::File) {
    let sitting = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&sitting).unwrap();
    unlockpt(&sitting).unwrap();
    // It is nobody's own: who has one is ended with it.
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let program = rustix::fs::open(ptsname(&sitting, Vec::<u8>::new()).unwrap(), flags, Mode::empty()).unwrap();
    (sitting.into(), program.into())
}

/// The command that sets a secret, once it has asked for it at a terminal; and what else it says.
async fn asking(
    program: &std::fs::File,
) -> (tokio::process::Child, tokio::io::Lines<tokio::io::BufReader<tokio::process::ChildStderr>>) {
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_lovage"))
        .args(["secret", "set", "m", "S"])
        .env("LOVAGE_URL", daemon())
        .env_remove("LOVAGE_TOKEN")
        .stdin(program.try_clone().unwrap())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = tokio::io::BufReader::new(child.stderr.take().unwrap()).lines();
    let prompt = said.next_line().await.unwrap().unwrap();
    assert!(prompt.contains("not shown"), "{prompt}");
    (child, said)
}

#[tokio::test]
async fn whatever_ends_who_asks_for_a_secret_the_terminal_shows_again_what_is_typed() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let (_sitting, program) = terminal();
        let before = rustix::termios::tcgetattr(&program).unwrap().local_modes;
        let (mut child, _said) = asking(&program).await;
        let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        assert_eq!(child.wait().await.unwrap().code(), Some(code));
        assert_eq!(rustix::termios::tcgetattr(&program).unwrap().local_modes, before);
    }
}

#[tokio::test]
async fn a_secret_that_is_typed_is_not_shown() {
    let (mut sitting, program) = terminal();
    let before = rustix::termios::tcgetattr(&program).unwrap().local_modes;
    let (mut child, mut said) = asking(&program).await;
    sitting.write_all(b"hush\n\x04").unwrap();
    let status = child.wait().await.unwrap();
    assert_eq!((status.code(), said.next_line().await.unwrap().as_deref()), (Some(0), Some("set S for m")));
    assert_eq!(rustix::termios::tcgetattr(&program).unwrap().local_modes, before, "and then all is as it was");
    drop(program);
    // The end of it is an error on Linux: nobody has the other side any more.
    let mut shown = Vec::new();
    _ = sitting.read_to_end(&mut shown);
    assert_eq!(String::from_utf8(shown).unwrap().trim(), "", "the terminal shows the end of the line, and no more");
}

#[tokio::test]
async fn of_several_the_first_that_is_refused_decides() {
    let url = daemon();
    for (ids, exit) in [(["a", "b"], 0), (["a", "404"], 3), (["409", "a"], 2), (["409", "404"], 2), (["503", "a"], 1)] {
        let output = lovage(&url, &["task", "revoke", ids[0], ids[1]], "").await;
        assert_eq!(output.status.code(), Some(exit), "{ids:?}: {output:?}");
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

const GROUP_OF: &str = r#"{"task":"celery.group","subtask_type":"group","options":{"group_id":"STATE"}}"#;

#[tokio::test]
async fn a_group_is_run_to_the_list_of_its_results() {
    let url = daemon();
    let run = async |second: &str| {
        let canvas = GROUP_OF.replace("STATE", second);
        lovage(&url, &["task", "run", "--canvas", "-", "--timeout", "0"], &canvas).await
    };
    let output = run("PARENT").await;
    let (code, stdout, stderr) = texts(&output);
    assert_eq!((code, stdout), (Some(0), "[5,5]\n"), "{stderr}");
    assert!(stderr.starts_with("group G\n") && stderr.contains("ENDED 2/2"), "{stderr}");
    let output = run("FAILURE").await;
    let (code, stdout, stderr) = texts(&output);
    assert_eq!((code, stdout), (Some(1), ""), "{stderr}");
    assert!(stderr.contains("failed: ValueError: no"), "{stderr}");
    let output = run("STARTED").await;
    assert!(matches!(texts(&output), (Some(5), "", stderr) if stderr.contains("still STARTED")), "{output:?}");
}

#[tokio::test]
async fn a_group_that_is_not_saved_says_where_its_tasks_are() {
    let canvas = GROUP_OF.replace("STATE", "UNSAVED");
    let output = lovage(&daemon(), &["task", "submit", "--canvas", "-"], &canvas).await;
    let (code, stdout, stderr) = texts(&output);
    assert_eq!((code, stdout), (Some(1), ""), "{stderr}");
    let tuple = r#"[["UNSAVED",null],[[["SUCCESS",null],null],[["UNSAVED",null],null]]]"#;
    assert!(stderr.contains(tuple) && stderr.contains("some_code"), "{stderr}");
}

#[tokio::test]
async fn a_group_is_found_by_its_id_or_by_its_tuple() {
    let url = daemon();
    let ignored = r#"[["g", null], ["SUCCESS", "IGNORED"]]"#;
    for (verb, which) in [
        ("wait", "404"),
        ("result", "404"),
        ("wait", r#"[["g", null], ["SUCCESS", "PARENT"]]"#),
        ("wait", ignored),
        ("result", ignored),
    ] {
        let output = lovage(&url, &["task", verb, which], "").await;
        assert!(matches!(texts(&output), (Some(0), "[5,5]\n", _)), "{verb} {which}: {output:?}");
    }
}

#[tokio::test]
async fn a_graph_is_a_tree_dot_or_json() {
    let url = daemon();
    let tree = "tour.add SUCCESS PARENT\n├─ tour.add SUCCESS SUCCESS\n└─ G\n";
    assert_eq!(texts(&lovage(&url, &["task", "graph", "PARENT"], "").await), (Some(0), tree, ""));
    let output = lovage(&url, &["task", "graph", "PARENT", "--dot"], "").await;
    assert!(texts(&output).1.contains("\"PARENT\" -> \"G\";"), "{output:?}");
    let output = lovage(&url, &["task", "graph", "404", "-o", "json"], "").await;
    let graph: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&graph["nodes"][2]["state"], &graph["edges"][0]), (&json!("SUCCESS"), &json!([0, 1])), "{graph}");
}

#[tokio::test]
async fn what_may_not_be_what_was_meant_is_said() {
    let url = daemon();
    let (_, address) = url.split_once("//").unwrap();
    for (args, says) in [
        (&["task", "list", "--state", "TYPO"][..], "no task is in state TYPO; the states are PENDING"),
        (&["task", "list", "--name", "add"], "--name takes the whole name, such as tour.add"),
        (&["task", "submit", "a", "x", "[1,"], "argument 2 begins like JSON, but is none"),
        (&["task", "run", "a", "--id", "FAILURE"], "FAILURE was sent before, and is SUCCESS by now"),
        (&["task", "get", "SUCCESS", "--url", address], ""),
    ] {
        let output = lovage(&url, args, "").await;
        let (code, _, stderr) = texts(&output);
        assert!(code != Some(2) && stderr.contains(says), "{args:?}: {stderr}");
    }
}
