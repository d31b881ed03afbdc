//! Each kind of problem, met once, and the page that explains them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lovage_model::api::Problem;
use sha2::{Digest as _, Sha256};

use super::super::body::{Cap, read};
use super::super::problem::KINDS;
use super::*;
use crate::store::StoreError;

/// A request for each kind that one request can meet.
fn wrong_requests() -> Vec<(&'static str, Request<Body>)> {
    let long = "x".repeat(300);
    let submit = |body: Value| json_request("POST", "/v1/tasks", &body);
    let with = |mut request: Request<Body>, name: &'static str, value: &str| {
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    let push = |body: Body| Request::put("/v1/modules/m").body(body).unwrap();
    let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(b"other")));
    vec![
        ("bad_json", Request::post("/v1/tasks").body("{".into()).unwrap()),
        ("bad_query", empty("GET", "/v1/tasks/a/result?wait=-1")),
        ("bad_query", empty("PUT", "/v1/modules/m?dry_run=maybe")),
        ("bad_query", with(empty("GET", "/v1/events"), "last-event-id", "x")),
        ("bad_digest", with(push("bytes".into()), "content-digest", &digest)),
        ("body_incomplete", push(pieces(vec![Ok("a".into()), Err(std::io::ErrorKind::ConnectionReset.into())]))),
        ("foreign_host", with(empty("GET", "/v1/tasks"), "host", "evil.test")),
        (
            "foreign_origin",
            with(with(empty("DELETE", "/v1/tasks/a"), "origin", "http://evil.test"), "host", "localhost"),
        ),
        ("unknown_route", empty("GET", "/v2")),
        ("unknown_task", submit(json!({"task": "ad"}))),
        ("unknown_id", empty("GET", "/v1/tasks/nobody")),
        ("unknown_id", empty("GET", "/v1/tasks/nobody/result?wait=60")),
        ("unknown_id", empty("GET", "/v1/tasks/nobody/events")),
        ("unknown_id", empty("GET", "/v1/tasks/nobody/logs")),
        ("unknown_id", empty("POST", "/v1/tasks/nobody/revoke")),
        ("unknown_id", empty("POST", "/v1/tasks/nobody/retry")),
        ("unknown_id", empty("DELETE", "/v1/tasks/nobody")),
        ("unknown_group", empty("GET", "/v1/groups/nobody")),
        ("unknown_module", empty("GET", "/v1/modules/nobody")),
        ("unknown_module", empty("DELETE", "/v1/modules/nobody")),
        ("unknown_module", empty("POST", "/v1/modules/nobody/rollback")),
        ("unknown_entry", empty("GET", "/v1/beat/nobody")),
        ("unknown_entry", empty("DELETE", "/v1/beat/nobody")),
        ("unknown_entry", empty("POST", "/v1/beat/nobody/run")),
        ("entry_of_config", empty("DELETE", "/v1/beat/declared")),
        ("entry_of_config", json_request("PUT", "/v1/beat/declared", &json!({"task": "add", "every": 1}))),
        ("invalid_request", json_request("PUT", "/v1/beat/a", &json!({"task": "add", "every": 0.01}))),
        ("invalid_request", json_request("PUT", "/v1/beat/a", &json!({"task": "add"}))),
        ("unknown_task", json_request("PUT", "/v1/beat/a", &json!({"task": "nothing", "every": 1}))),
        ("invalid_request", empty("GET", "/v1/inspect/nonsense")),
        ("bad_query", empty("GET", "/v1/inspect/query_task")),
        ("unknown_task", json_request("POST", "/v1/control/rate_limit", &json!({"task": "nothing"}))),
        (
            "invalid_request",
            json_request("POST", "/v1/control/rate_limit", &json!({"task": "add", "rate_limit": "fast"})),
        ),
        (
            "invalid_request",
            json_request("POST", "/v1/control/time_limit", &json!({"task": "add", "soft": 2, "hard": 1})),
        ),
        ("method_not_allowed", empty("PATCH", "/v1/tasks")),
        ("id_taken", json_request("PUT", "/v1/tasks/there", &json!({"task": "add", "args": [9]}))),
        ("task_busy", empty("DELETE", "/v1/tasks/there")),
        ("task_name_taken", empty("POST", "/v1/modules/other/rollback")),
        ("no_older_version", empty("POST", "/v1/modules/young/rollback")),
        ("body_too_large", push(Body::from(vec![0; 1001]))),
        ("body_too_large", push(pieces(vec![Ok(vec![0; 600].into()), Ok(vec![0; 600].into())]))),
        ("message_too_large", submit(json!({"task": "add", "args": [long]}))),
        ("unsupported_media_type", with(push("bytes".into()), "content-type", "text/plain")),
        ("unsupported_media_type", with(push("bytes".into()), "content-encoding", "gzip")),
        ("unsupported_media_type", with(submit(json!({})), "content-type", "text/plain")),
        ("invalid_request", submit(json!({}))),
        ("invalid_request", empty("PUT", "/v1/modules/UPPER")),
        ("ambiguous_task", submit(json!({"task": "twice"}))),
        ("module_refused", with(push("other".into()), "content-digest", &digest)),
        ("module_refused", push("not a component".into())),
        // Before all of it has come: the rest never does.
        ("module_refused", push(pieces(vec![Ok(too_many_modules()), Err(std::io::ErrorKind::ConnectionReset.into())]))),
    ]
}

/// The beginning of a component.
fn too_many_modules() -> bytes::Bytes {
    const MODULE: &[u8] = b"\x01\x08\0asm\x01\0\0\0";
    [b"\0asm\x0d\0\x01\0".as_slice(), &MODULE.repeat(65)].concat().into()
}

/// The same, about tenants, tokens and secrets.
fn wrong_requests_of_operators() -> Vec<(&'static str, Request<Body>)> {
    vec![
        ("unknown_secret", empty("DELETE", "/v1/modules/m/secrets/nobody")),
        ("invalid_request", empty("DELETE", "/v1/modules/m/secrets/a%20b")),
        ("invalid_request", Request::put("/v1/modules/m/secrets/s").body(Body::from(&b"\xff"[..])).unwrap()),
        ("body_too_large", Request::put("/v1/modules/m/secrets/s").body(Body::from("x".repeat(65537))).unwrap()),
        ("unknown_tenant", empty("DELETE", "/v1/tenants/nobody")),
        ("unknown_tenant", json_request("POST", "/v1/tokens", &json!({"tenant": "nobody", "scopes": ["read"]}))),
        ("invalid_request", json_request("POST", "/v1/tokens", &json!({"scopes": []}))),
        ("invalid_request", json_request("POST", "/v1/tokens", &json!({"scopes": ["root"]}))),
        ("invalid_request", json_request("PUT", "/v1/tenants/acme", &json!({"weight": 0}))),
        ("invalid_request", json_request("PUT", "/v1/tenants/acme", &json!({"colour": 1}))),
        ("invalid_request", empty("DELETE", "/v1/tenants/default")),
        ("unknown_token", empty("DELETE", "/v1/tokens/t9")),
    ]
}

/// Asks, checks that the answer is a whole problem, and returns its code.
async fn met(site: &Site, request: Request<Body>) -> String {
    let what = format!("{} {}", request.method(), request.uri());
    let response = site.ask(request).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json", "{what}");
    let retry_after = response.headers().contains_key(header::RETRY_AFTER);
    let (status, body) = answer(response).await;
    let problem: Problem = serde_json::from_value(body).unwrap();
    assert_eq!((problem.status, problem.retryable), (status, retry_after), "{what}: {problem:?}");
    assert!(!problem.detail.is_empty() && !problem.title.is_empty(), "{what}: {problem:?}");
    problem.code
}

#[tokio::test]
async fn every_kind_of_problem_is_answered_in_one_form() {
    let site = site().await;
    site.put("there").await;
    site.declare("declared").await;
    let mut seen = BTreeSet::new();
    for (expected, request) in wrong_requests().into_iter().chain(wrong_requests_of_operators()) {
        let what = format!("{} {}", request.method(), request.uri());
        let code = met(&site, request).await;
        assert_eq!(code, expected, "{what}");
        seen.insert(code);
    }
    for id in ["b", "c", "d", "e"] {
        site.put(id).await;
    }
    let submit = || json_request("POST", "/v1/tasks", &json!({"task": "add"}));
    seen.insert(met(&site, submit()).await);
    site.store.fail(Some(StoreError::Full("no space".to_owned())));
    seen.insert(met(&site, submit()).await);
    site.store.fail(Some(StoreError::Failed("broken".to_owned())));
    seen.insert(met(&site, empty("GET", "/readyz")).await);
    site.draining.send_replace(true);
    for request in [submit(), empty("PUT", "/v1/modules/m"), empty("POST", "/v1/tasks/there/retry")] {
        assert_eq!(met(&site, request).await, "draining");
    }
    seen.insert("draining".to_owned());
    seen.insert(slow_body().await);
    seen.extend(of_tenants().await);
    assert_eq!(seen, KINDS.iter().map(|kind| kind.code.to_owned()).collect());
}

/// What is met when tenants have limits, and then tokens.
async fn of_tenants() -> [String; 7] {
    let site = site().await;
    let allow = async |policy: Value| assert_eq!(site.send("PUT", "/v1/tenants/default", policy).await.0 / 100, 2);
    let submit = || json_request("POST", "/v1/tasks", &json!({"task": "add"}));
    assert_eq!(site.send("PUT", "/v1/tenants/acme", json!({})).await.0, 201);
    let busy = met(&site, empty("DELETE", "/v1/tenants/acme")).await;
    allow(json!({"modules": 1})).await;
    let quota = met(&site, Request::put("/v1/modules/m").body("bytes".into()).unwrap()).await;
    allow(json!({"submits_per_second": 1})).await;
    assert_eq!(site.ask(submit()).await.status(), StatusCode::ACCEPTED);
    let rate = met(&site, submit()).await;
    allow(json!({"queued_tasks": 1})).await;
    assert_eq!(met(&site, submit()).await, "queue_full");
    let reader = || json_request("POST", "/v1/tokens", &json!({"scopes": ["read"]}));
    let first = met(&site, reader()).await;
    let (_, admin) = site.send("POST", "/v1/tokens", json!({"scopes": ["admin"]})).await;
    let with = |mut request: Request<Body>, token: &str| {
        request.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        request
    };
    let (_, issued) = answer(site.ask(with(reader(), admin["token"].as_str().unwrap())).await).await;
    let missing = met(&site, submit()).await;
    let invalid = met(&site, with(submit(), "lovage_t1_x")).await;
    let scope = met(&site, with(submit(), issued["token"].as_str().unwrap())).await;
    assert_eq!(site.ask(submit()).await.headers()[header::WWW_AUTHENTICATE], "Bearer");
    [busy, quota, rate, first, missing, invalid, scope]
}

async fn slow_body() -> String {
    let never = Body::from_stream(futures_util::stream::pending::<std::io::Result<Bytes>>());
    let cap = Cap { bytes: 10, limit: "test", deadline: Duration::ZERO };
    read(Request::new(never), cap).await.unwrap_err().kind.code.to_owned()
}

#[test]
fn the_page_has_a_row_for_each_kind() {
    let page = include_str!("../../../../docs/errors.md");
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| `")).collect();
    for (row, kind) in rows.iter().zip(KINDS) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let again = kind.retry_after.map_or("no".to_owned(), |seconds| format!("after {seconds} s"));
        let expected = [&format!("`{}`", kind.code), kind.status.as_str(), kind.title, &again];
        assert_eq!(cells[1..5], expected, "{row}");
        assert!(cells[5].len() > 20, "{row}: what to do");
    }
    assert_eq!(rows.len(), KINDS.len());
}

#[tokio::test]
async fn what_should_be_sent_instead_is_told() {
    let site = site().await;
    for (query, says) in [
        ("/v1/tasks?limit=abc", "limit: must be a whole number"),
        ("/v1/tasks?limit=99999999999999999999999", "limit: must be a smaller number"),
        ("/v1/tasks/a/result?wait=soon", "wait: must be a number"),
    ] {
        let (status, problem) = site.call("GET", query).await;
        assert!(status == 400 && problem["detail"].as_str().unwrap().contains(says), "{problem}");
    }
    let (status, problem) = site.send("POST", "/v1/tasks:batch", json!([{"task": "add"}])).await;
    assert_eq!((status, &problem["code"]), (422, &json!("invalid_request")));
    assert!(problem["detail"].as_str().unwrap().contains(r#"{"tasks": [...]}"#), "{problem}");
}
