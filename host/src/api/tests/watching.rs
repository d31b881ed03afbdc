//! The ends of many tasks, as they are pushed.

use super::*;
use crate::store::StoreError;

async fn watch(site: &Site, body: Value) -> Body {
    let response = site.ask(json_request("POST", "/v1/tasks:watch", &body)).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    response.into_body()
}

/// The next event: its type, and a field of its data.
async fn next(body: &mut Body, field: &str) -> Option<(String, Value)> {
    let frame = body.frame().await?.unwrap().into_data().unwrap();
    let text = String::from_utf8(frame.to_vec()).unwrap();
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
    let data: Value = serde_json::from_str(&line("data: ")).unwrap();
    Some((line("event: "), data[field].clone()))
}

async fn task_of(body: &mut Body) -> (String, String) {
    let (kind, id) = next(body, "task_id").await.unwrap();
    (kind, id.as_str().unwrap().to_owned())
}

fn told(kind: &str, id: &str) -> (String, String) {
    (kind.to_owned(), id.to_owned())
}

#[tokio::test]
async fn each_end_is_pushed_once_in_the_order_in_which_they_come() {
    let site = site().await;
    for id in ["a", "b", "c"] {
        site.put(id).await;
    }
    site.end("b");
    let mut body = watch(&site, json!({"ids": ["a", "b", "c", "a"]})).await;
    assert_eq!(task_of(&mut body).await, told("result", "b"));
    site.end("c");
    site.end("b");
    assert_eq!(task_of(&mut body).await, told("result", "c"));
    site.tell("a", EventKind::Started);
    site.end("a");
    assert_eq!(task_of(&mut body).await, told("result", "a"));
    assert_eq!(next(&mut body, "left").await, Some(("end".to_owned(), json!(0))));
    assert_eq!(next(&mut body, "left").await, None);
}

#[tokio::test]
async fn unknown_and_large_ones_are_told_by_their_ids() {
    let site = site().await;
    site.put("a").await;
    site.store.set(&task("a"), State::Success, &format!("{:?}", "x".repeat(300_000)));
    let mut body = watch(&site, json!({"ids": ["a"]})).await;
    assert_eq!(task_of(&mut body).await, told("large", "a"));
    let mut body = watch(&site, json!({"ids": ["nobody"]})).await;
    assert_eq!(task_of(&mut body).await, told("unknown", "nobody"));
    assert_eq!(next(&mut body, "left").await, Some(("end".to_owned(), json!(0))));
}

#[tokio::test]
async fn a_watch_ends_with_its_time_and_with_the_daemon() {
    let site = site().await;
    for id in ["a", "b"] {
        site.put(id).await;
    }
    site.end("b");
    let mut body = watch(&site, json!({"ids": ["a", "b"], "wait": 0})).await;
    assert_eq!(task_of(&mut body).await, told("result", "b"));
    assert_eq!(next(&mut body, "left").await, Some(("end".to_owned(), json!(1))));
    let mut body = watch(&site, json!({"ids": ["a"]})).await;
    site.call("POST", "/v1/queues/celery/purge").await;
    assert_eq!(task_of(&mut body).await, told("result", "a"));
    site.put("c").await;
    let mut body = watch(&site, json!({"ids": ["c"]})).await;
    site.draining.send_replace(true);
    assert_eq!(next(&mut body, "left").await, None, "not an end: it is to be asked again");
}

#[tokio::test]
async fn a_daemon_that_goes_down_tells_what_has_ended_until_it_is_gone() {
    let site = site().await;
    for id in ["a", "b"] {
        site.put(id).await;
    }
    site.end("a");
    site.draining.send_replace(true);
    let mut body = watch(&site, json!({"ids": ["a", "b"]})).await;
    assert_eq!(task_of(&mut body).await, told("result", "a"));
    assert_eq!(next(&mut body, "left").await, None, "it is to be asked again");
    let mut body = watch(&site, json!({"ids": ["b", "a"], "wait": 0})).await;
    assert_eq!(task_of(&mut body).await, told("result", "a"));
    assert_eq!(next(&mut body, "left").await, Some(("end".to_owned(), json!(1))), "who does not wait is answered");
}

#[tokio::test]
async fn who_only_asks_what_has_ended_needs_no_stream() {
    let site = site().await;
    for id in ["a", "b"] {
        site.put(id).await;
    }
    site.end("a");
    let mut open = Vec::new();
    for _ in 0..16 {
        open.push(watch(&site, json!({"ids": ["b"]})).await);
    }
    let (status, refused) = site.send("POST", "/v1/tasks:watch", json!({"ids": ["b"], "wait": 1})).await;
    assert_eq!((status, &refused["code"]), (429, &json!("quota_exceeded")));
    let mut body = watch(&site, json!({"ids": ["a", "b"], "wait": 0})).await;
    assert_eq!(task_of(&mut body).await, told("result", "a"));
    assert_eq!(next(&mut body, "left").await, Some(("end".to_owned(), json!(1))));
}

#[tokio::test]
async fn of_those_who_do_not_wait_so_many_are_answered_at_once_and_the_rest_in_turn() {
    let site = site().await;
    let brief = || site.router.clone().oneshot(json_request("POST", "/v1/tasks:watch", &json!({"ids": [], "wait": 0})));
    let mut answered = Vec::new();
    for _ in 0..ANSWERED_AT_ONCE {
        answered.push(brief().await.unwrap());
    }
    let mut waits = watch(&site, json!({"ids": ["nobody"], "wait": 1})).await;
    assert_eq!(task_of(&mut waits).await, told("unknown", "nobody"), "who waits is not kept by those who do not");
    let next = tokio::spawn(brief());
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!next.is_finished(), "who has been answered has not read it yet");
    answered.pop();
    assert_eq!(next.await.unwrap().unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_store_that_fails_is_told_as_a_problem() {
    let site = site().await;
    site.put("a").await;
    let mut body = watch(&site, json!({"ids": ["a"]})).await;
    site.store.fail(Some(StoreError::Failed("broken".to_owned())));
    assert_eq!(next(&mut body, "code").await, Some(("problem".to_owned(), json!("store_failed"))));
    assert_eq!(next(&mut body, "code").await, None);
}

#[tokio::test]
async fn nonsense_is_refused() {
    let site = site().await;
    let many: Vec<String> = (0..10_001).map(|n| n.to_string()).collect();
    for (body, says) in [
        (json!({"ids": many}), "the limit is 10000"),
        (json!({"ids": [], "wait": -1}), "wait: is -1"),
        (json!({}), "ids"),
    ] {
        let (status, problem) = site.send("POST", "/v1/tasks:watch", body).await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(status == 422 && detail.contains(says), "{detail}");
    }
}
