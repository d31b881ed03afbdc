//! Those who wait: long polls and event streams.

use std::time::Duration;

use tokio::task::JoinHandle;

use super::*;

/// Sends a request that waits, and returns once it follows the task.
async fn waiting(site: &Site, id: &str, path: &str) -> JoinHandle<Response<Body>> {
    let handle = tokio::spawn(site.router.clone().oneshot(empty("GET", path)));
    while !site.hub.watched(&TenantId::default(), &task(id)) {
        tokio::task::yield_now().await;
    }
    tokio::spawn(async { handle.await.unwrap().unwrap() })
}

/// The answer of a request that was woken, and did not just come to the end of its wait.
async fn soon(poll: JoinHandle<Response<Body>>) -> Response<Body> {
    tokio::time::timeout(Duration::from_secs(20), poll).await.expect("woken").unwrap()
}

/// The stream of a task or tenant, resumed after an event if one is given.
async fn stream(site: &Site, path: &str, after: Option<u64>) -> Body {
    let mut request = empty("GET", path);
    if let Some(after) = after {
        request.headers_mut().insert("last-event-id", after.into());
    }
    let response = site.ask(request).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    response.into_body()
}

/// The next event: its type, id and data.
async fn next(body: &mut Body) -> Option<(String, Option<u64>, Value)> {
    let frame = body.frame().await?.unwrap().into_data().unwrap();
    let text = String::from_utf8(frame.to_vec()).unwrap();
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    let data = serde_json::from_str(field("data").unwrap()).unwrap();
    Some((field("event").unwrap().to_owned(), field("id").map(|id| id.parse().unwrap()), data))
}

/// The types of all events until the end.
async fn rest(mut body: Body) -> Vec<String> {
    let mut types = Vec::new();
    while let Some((kind, _, _)) = next(&mut body).await {
        types.push(kind);
    }
    types
}

#[tokio::test]
async fn a_long_poll_is_answered_at_the_end() {
    let site = site().await;
    site.put("a").await;
    let response = site.ask(empty("GET", "/v1/tasks/a/result")).await;
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    assert_eq!(answer(response).await.0, 202);
    let poll = waiting(&site, "a", "/v1/tasks/a/result?wait=60").await;
    site.tell("a", EventKind::Started);
    site.end("a");
    let (status, meta) = answer(soon(poll).await).await;
    assert_eq!((status, &meta["status"], &meta["result"]), (200, &json!("SUCCESS"), &json!(2)));
    assert_eq!(site.call("GET", "/v1/tasks/a/result?wait=60").await.0, 200);
    assert!(!site.hub.watched(&TenantId::default(), &task("a")), "nobody follows it any more");
}

#[tokio::test]
async fn a_long_poll_ends_for_a_purge_a_shutdown_and_its_time() {
    let site = site().await;
    site.put("a").await;
    assert_eq!(site.call("GET", "/v1/tasks/a/result?wait=0.001").await.0, 202);
    let poll = waiting(&site, "a", "/v1/tasks/a/result?wait=60").await;
    site.call("POST", "/v1/queues/celery/purge").await;
    assert_eq!(answer(soon(poll).await).await.1["status"], "REVOKED");
    site.put("b").await;
    let poll = waiting(&site, "b", "/v1/tasks/b/result?wait=60").await;
    site.draining.send_replace(true);
    assert_eq!(answer(soon(poll).await).await.0, 202);
}

#[tokio::test]
async fn a_stream_starts_with_what_is_known_and_ends_at_the_end() {
    let site = site().await;
    site.put("a").await;
    site.store.set(&task("a"), State::from_name("PROGRESS"), r#"{"current": 1}"#);
    let mut body = stream(&site, "/v1/tasks/a/events", None).await;
    let (kind, _, data) = next(&mut body).await.unwrap();
    assert_eq!((kind.as_str(), &data["meta"]["current"], &data["uuid"]), ("task-progress", &json!(1), &json!("a")));
    let log = EventKind::Log { stream: "stdout".to_owned(), text: "hi".to_owned() };
    site.tell("a", log);
    let (kind, id, _) = next(&mut body).await.unwrap();
    assert_eq!((kind.as_str(), id), ("task-log", None), "cannot be resumed from");
    site.tell("b", EventKind::Started);
    site.end("a");
    assert_eq!(rest(body).await, ["task-succeeded"]);
    assert_eq!(rest(stream(&site, "/v1/tasks/a/events", None).await).await, ["task-succeeded"]);
}

#[tokio::test]
async fn the_known_end_is_told_as_it_was() {
    let site = site().await;
    let raised = r#"{"exc_type": "ValueError", "exc_message": ["no"], "exc_module": "builtins"}"#;
    let revoked = r#"{"exc_type": "TaskRevokedError", "exc_message": ["expired"], "exc_module": "celery.exceptions"}"#;
    for (id, state, result, field, value) in [
        ("a", State::Failure, raised, "exception", json!("ValueError: no")),
        ("b", State::Revoked, revoked, "expired", json!(true)),
        ("c", State::Ignored, "null", "type", json!("task-ignored")),
    ] {
        site.put(id).await;
        site.store.set(&task(id), state, result);
        let mut body = stream(&site, &format!("/v1/tasks/{id}/events"), None).await;
        assert_eq!(next(&mut body).await.unwrap().2[field], value, "{id}");
        assert!(next(&mut body).await.is_none(), "{id}");
    }
}

#[tokio::test]
async fn a_stream_resumes_without_a_gap() {
    let site = site().await;
    site.put("a").await;
    let mut body = stream(&site, "/v1/tasks/a/events", None).await;
    next(&mut body).await.unwrap();
    site.tell("a", EventKind::Started);
    let seen = next(&mut body).await.unwrap().1;
    drop(body);
    site.tell("a", EventKind::Progress { state: "PROGRESS".to_owned(), meta: json!(1) });
    site.tell("b", EventKind::Started);
    site.end("a");
    assert_eq!(rest(stream(&site, "/v1/tasks/a/events", seen).await).await, ["task-progress", "task-succeeded"]);
    let ended = seen.map(|seen| seen + 3);
    assert_eq!(rest(stream(&site, "/v1/tasks/a/events", ended).await).await, ["task-succeeded"], "not left waiting");
    let lost = stream(&site, "/v1/tasks/a/events", Some(1)).await;
    assert_eq!(rest(lost).await, ["lagged", "task-succeeded"], "of an earlier run");
}

#[tokio::test]
async fn a_tenants_stream_goes_on_until_the_daemon_goes_down() {
    let site = site().await;
    let body = stream(&site, "/v1/events", None).await;
    site.put("a").await;
    site.end("a");
    site.put("b").await;
    let mut body = body;
    for expected in ["task-sent", "task-succeeded", "task-sent"] {
        assert_eq!(next(&mut body).await.unwrap().0, expected);
    }
    site.draining.send_replace(true);
    assert!(next(&mut body).await.is_none());
}

#[tokio::test]
async fn orders_are_told_to_those_who_listen() {
    let site = site().await;
    site.put("a").await;
    let mut all = stream(&site, "/v1/events", None).await;
    let poll = waiting(&site, "a", "/v1/tasks/a/result?wait=60").await;
    site.call("POST", "/v1/tasks/a/revoke").await;
    assert_eq!(answer(soon(poll).await).await.1["status"], "REVOKED");
    site.call("POST", "/v1/tasks/a/retry").await;
    let (kind, _, data) = next(&mut all).await.unwrap();
    assert_eq!((kind.as_str(), &data["terminated"], &data["expired"]), ("task-revoked", &json!(false), &json!(false)));
    assert_eq!(next(&mut all).await.unwrap().0, "task-sent");
}

#[tokio::test]
async fn a_tenant_holds_so_many_streams_and_no_more() {
    let site = site().await;
    site.put("a").await;
    let paths = ["/v1/events", "/v1/tasks/a/events"];
    let mut open = Vec::new();
    for n in 0..16 {
        open.push(stream(&site, paths[n % 2], None).await);
    }
    for path in paths {
        let (status, refused) = answer(site.ask(empty("GET", path)).await).await;
        assert_eq!((status, &refused["code"]), (429, &"quota_exceeded".into()));
        assert!(refused["detail"].as_str().unwrap().contains("may have, 16 ("), "{refused}");
    }
    open.pop();
    open.push(stream(&site, "/v1/events", None).await);
}
