//! What one tenant may take of a daemon that others need as well, and what anybody may.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;

use super::super::health::Sound;
use super::*;
use crate::clock;
use crate::store::StoreError;

/// Lets what was spawned come as far as it can.
async fn meanwhile() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_tenant_reads_so_much_at_once_and_the_rest_in_turn() {
    let site = site().await;
    site.put("a").await;
    let closed = site.store.gate.write().await;
    let read = || tokio::spawn(site.router.clone().oneshot(empty("GET", "/v1/tasks/a")));
    let reads: Vec<_> = (0..6).map(|_| read()).collect();
    meanwhile().await;
    assert_eq!(site.store.asked.load(Ordering::Relaxed), 4);
    for path in ["/v1/tasks/a/logs", "/v1/inspect/revoked", "/v1/groups/g"] {
        assert!(site.call("GET", path).now_or_never().is_none(), "{path} comes after them");
    }
    assert_eq!(site.call("GET", "/v1/queues").await.0, 200, "lists have places of their own");
    drop(closed);
    for read in reads {
        assert_eq!(read.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    assert_eq!(site.call("GET", "/v1/queues").await.0, 200);
}

#[tokio::test]
async fn of_several_tenants_none_has_all_connections_wait_for_its_bodies() {
    let site = site().await;
    let slow = || {
        let never = Body::from_stream(futures_util::stream::pending::<std::io::Result<Bytes>>());
        tokio::spawn(site.router.clone().oneshot(Request::post("/v1/tasks").body(never).unwrap()))
    };
    let ask = async || site.send("POST", "/v1/tasks", json!({"task": "nobody"})).await;
    let coming = [slow(), slow(), slow()];
    meanwhile().await;
    assert_eq!(ask().await.0, 404, "there is nobody else to be kept out");
    site.send("PUT", "/v1/tenants/acme", json!({})).await;
    let (status, problem) = ask().await;
    assert_eq!((status, &problem["code"]), (429, &json!("rate_exceeded")));
    assert!(problem["detail"].as_str().unwrap().contains("the bodies of 2 requests of the tenant"), "{problem}");
    for one in coming {
        one.abort();
        assert!(one.await.is_err());
    }
    assert_eq!(ask().await.0, 404);
}

#[tokio::test]
async fn a_large_submit_is_answered_as_a_small_one() {
    let site = site().await;
    let send = async |task: &str| {
        let body = format!("{{\"task\": {task:?},{}\"args\": [1]}}", " ".repeat(20_000));
        answer(site.ask(Request::post("/v1/tasks").body(body.into()).unwrap()).await).await
    };
    let (status, reply) = send("add").await;
    assert_eq!((status, &reply["state"]), (202, &json!("PENDING")), "{reply}");
    assert_eq!(send("nobody").await.1["code"], "unknown_task");
}

#[tokio::test]
async fn an_answer_about_tasks_ends_after_so_many_bytes() {
    let (site, mut listed) = (site().await, Vec::new());
    for id in ["a", "b", "c", "d", "e"] {
        site.put(id).await;
        site.store.enlarge(&task(id), 4 << 20);
        listed.push(site.running.list(&lease(id)));
    }
    let says = async |what: &str| site.call("GET", &format!("/v1/inspect/{what}")).await.1["lovage@test"].clone();
    assert_eq!(says("reserved").await.as_array().unwrap().len(), 4);
    assert_eq!(says("query_task?ids=a,b,c,d,e").await.as_object().unwrap().len(), 4);
    for it in &listed {
        it.begin(&"tour.add".parse().unwrap(), Timestamp::from_micros(0));
    }
    assert_eq!(says("active").await.as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn whatever_a_tenant_sends_counts_as_sent() {
    let group = json!([["g", null], [[["a", null], null]]]);
    for (method, path, body) in [("POST", "/v1/beat/declared/run", json!({})), ("PUT", "/v1/groups/g", group)] {
        let site = site().await;
        site.declare("declared").await;
        site.send("PUT", "/v1/tenants/default", json!({"submits_per_second": 1})).await;
        assert!(site.send(method, path, body.clone()).await.0 < 300, "{path}");
        let (status, problem) = site.send(method, path, body).await;
        assert_eq!((status, &problem["code"]), (429, &json!("rate_exceeded")), "{path}");
    }
}

#[tokio::test]
async fn stamps_without_values_are_counted_too() {
    let site = site().await;
    let none: BTreeMap<String, Vec<u8>> = (0..1001).map(|stamp| (stamp.to_string(), vec![])).collect();
    let (status, problem) = site.send("POST", "/v1/tasks:revoke", json!({"stamped_headers": none})).await;
    assert!(status == 422 && problem["detail"].as_str().unwrap().contains("the limit is 1000"), "{problem}");
}

#[tokio::test]
async fn whether_the_store_is_sound_is_found_out_once_a_second() {
    let (store, sound, now) = (Fake::default(), Sound::default(), clock::instant());
    sound.check(&store, now).await.unwrap();
    store.fail(Some(StoreError::Failed("broken".to_owned())));
    sound.check(&store, now + Duration::from_millis(999)).await.expect("what was found a moment ago");
    let later = now + Duration::from_secs(1);
    for _ in 0..2 {
        assert!(sound.check(&store, later).await.is_err(), "that it failed is not kept");
    }
    store.fail(None);
    sound.check(&store, later).await.unwrap();
}
