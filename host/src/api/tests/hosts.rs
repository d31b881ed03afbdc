//! Orders about tasks, hosts and queues, what hosts say of themselves, and periodic tasks.

use super::*;

#[tokio::test]
async fn several_tasks_are_revoked_at_once() {
    let site = site().await;
    site.put("a").await;
    site.put("b").await;
    let (status, reply) = site.send("POST", "/v1/tasks:revoke", json!({"ids": ["b", "nobody", "a"]})).await;
    let results = &reply["results"];
    assert_eq!((status, &results[0]["id"], &results[0]["state"]), (200, &json!("b"), &json!("REVOKED")), "{reply}");
    assert_eq!((&results[1]["code"], &results[2]["id"]), (&json!("unknown_id"), &json!("a")));
    let stamps = json!({"stamped_headers": {"build": [12, 13], "user": "ada"}, "terminate": true});
    assert_eq!(site.send("POST", "/v1/tasks:revoke", stamps).await, (200, json!({"results": []})));
    assert_eq!(site.send("POST", "/v1/tasks:revoke", json!({})).await.1["code"], "invalid_request");
    // Each is looked for while nothing else is written.
    let (many, more) = ((0..500).collect::<Vec<_>>(), (0..501).collect::<Vec<_>>());
    let stamps = json!({"stamped_headers": {"build": many, "user": more}});
    let (status, problem) = site.send("POST", "/v1/tasks:revoke", stamps).await;
    assert!(status == 422 && problem["detail"].as_str().unwrap().contains("the limit is 1000"), "{problem}");
}

#[tokio::test]
async fn a_tenant_has_so_many_queues_paused_and_no_more() {
    let site = site().await;
    let order = async |queue: &str, order: &str| site.call("POST", &format!("/v1/queues/{queue}/{order}")).await;
    for n in 0..1000 {
        assert_eq!(order(&format!("q{n}"), "pause").await.0, 200, "{n}");
    }
    let (status, refused) = order("more", "pause").await;
    assert_eq!((status, &refused["code"]), (429, &json!("quota_exceeded")));
    assert!(refused["detail"].as_str().unwrap().contains("1000 queues"), "{refused}");
    assert_eq!(order("q7", "pause").await.0, 200, "it is paused already");
    assert_eq!((order("q7", "resume").await.0, order("more", "pause").await.0), (200, 200));
}

#[tokio::test]
async fn queues_are_paused_and_resumed() {
    let site = site().await;
    for (order, paused, changed) in [("pause", true, true), ("pause", true, false), ("resume", false, true)] {
        let reply = json!({"name": "slow", "paused": paused, "changed": changed});
        assert_eq!(site.call("POST", &format!("/v1/queues/slow/{order}")).await, (200, reply));
    }
}

#[tokio::test]
async fn a_task_that_waits_says_what_keeps_it() {
    let site = site().await;
    site.put("a").await;
    let why = async || {
        let (shown, waited) = (site.call("GET", "/v1/tasks/a").await, site.call("GET", "/v1/tasks/a/result").await);
        assert_eq!((shown.0, waited.0, &shown.1["waiting_for"]), (200, 202, &waited.1["waiting_for"]));
        shown.1["waiting_for"].as_str().unwrap().to_owned()
    };
    assert_eq!(why().await, "a free slot");
    assert_eq!(site.send("POST", "/v1/worker/drain", json!({})).await.0, 200);
    assert_eq!(why().await, "this host takes no tasks: it drains");
    site.standing.take(|share| share.queues = Some(["sandboxed".parse().unwrap()].into()));
    assert_eq!(why().await, "this host takes nothing from queue celery");
    assert_eq!(site.call("POST", "/v1/queues/celery/pause").await.0, 200);
    assert_eq!(why().await, "queue celery is paused");
}

#[tokio::test]
async fn a_worker_shows_the_queues_and_slots_that_it_was_told_last() {
    let site = site().await;
    let shown = async || {
        let worker = site.call("GET", "/v1/workers").await.1[0].clone();
        (worker["queues"].clone(), worker["concurrency"].clone())
    };
    assert_eq!(shown().await, (json!(null), json!(4)));
    site.standing.take(|share| {
        share.queues = Some(["sandboxed".parse().unwrap()].into());
        share.slots = 2;
    });
    assert_eq!(shown().await, (json!(["sandboxed"]), json!(2)));
}

#[tokio::test]
async fn a_host_says_what_it_has_and_what_was_ordered_of_it() {
    let site = site().await;
    site.put("a").await;
    let inspect = async |what: &str| {
        let (status, says) = site.call("GET", &format!("/v1/inspect/{what}")).await;
        assert_eq!(status, 200, "{what}: {says}");
        says["lovage@test"].clone()
    };
    let listed = site.running.list(&lease("a"));
    let reserved = inspect("reserved").await;
    assert_eq!(
        (&reserved[0]["id"], &reserved[0]["name"], &reserved[0]["args"]),
        (&json!("a"), &json!("tour.add"), &json!([1]))
    );
    assert_eq!((&reserved[0]["time_start"], &reserved[0]["acknowledged"]), (&Value::Null, &json!(false)));
    assert_eq!(reserved[0]["delivery_info"]["routing_key"], "celery");
    assert_eq!((inspect("active").await, inspect("scheduled").await), (json!([]), json!([])));
    assert_eq!(inspect("query_task?ids=a,nobody").await["a"][0], "reserved");
    assert_eq!(site.call("GET", "/v1/workers").await.1[0]["reserved"], 1);
    drop(listed);
    assert_eq!(inspect("ping").await, json!({"ok": "pong"}));
    assert_eq!(inspect("conf").await[0]["name"], "log.level");
    assert_eq!(site.call("GET", "/v1/inspect/%ff").await.1["code"], "invalid_request");
    assert_eq!(inspect("registered").await, json!(["other.twice", "tour.add", "tour.twice"]));

    let (status, reply) =
        site.send("POST", "/v1/control/rate_limit", json!({"task": "add", "rate_limit": "10/m"})).await;
    assert_eq!((status, &reply["ok"]), (200, &json!("new rate limit set successfully")));
    let limit = json!({"task": "add", "soft": 1.5, "hard": 2});
    assert_eq!(site.send("POST", "/v1/control/time_limit", limit).await.0, 200);
    assert_eq!(inspect("registered").await[1], "tour.add [rate_limit=10/m]");
    let stats = inspect("stats").await;
    assert_eq!((&stats["pool"]["max-concurrency"], &stats["pool"]["timeouts"]), (&json!(4), &json!([1, 2])), "{stats}");
    assert_eq!(stats["orders"]["tour.add"], json!({"rate_limit": "10/m", "time_limit": {"soft": 1.5, "hard": 2.0}}));
    assert_eq!(site.send("POST", "/v1/control/rate_limit", json!({"task": "add"})).await.0, 200);
    assert_eq!(site.send("POST", "/v1/control/time_limit", json!({"task": "add"})).await.0, 200);
    assert_eq!(inspect("stats").await["orders"], json!({}));
    assert_eq!(site.call("POST", "/v1/control/cleanup").await, (200, json!({"expired": 0})));
    site.call("POST", "/v1/tasks/a/revoke").await;
    assert_eq!(inspect("revoked").await, json!(["a"]));
    assert_eq!(inspect("query_task?ids=a").await["a"][0], "ready");
}

#[tokio::test]
async fn a_worker_that_drains_says_so_and_calls_are_accepted() {
    let site = site().await;
    let (status, worker) = site.call("POST", "/v1/worker/drain").await;
    assert_eq!((status, &worker["status"]), (200, &json!("draining")));
    let (status, problem) = site.call("GET", "/readyz").await;
    assert!(status == 503 && problem["detail"].as_str().unwrap().contains("--resume"), "{problem}");
    site.put("a").await;
    let (_, worker) = site.send("POST", "/v1/worker/drain", json!({"resume": true})).await;
    assert_eq!((&worker["status"], site.call("GET", "/readyz").await.0), (&json!("ok"), 200));
}

#[tokio::test]
async fn periodic_tasks_are_set_shown_run_and_removed() {
    let site = site().await;
    site.declare("declared").await;
    let body = json!({"task": "add", "args": [1], "crontab": "0 7 * * mon-fri", "timezone": "Europe/Berlin"});
    let (status, new) = site.send("PUT", "/v1/beat/mine", body.clone()).await;
    assert_eq!((status, &new["of_config"], &new["entry"]["crontab"]["hour"]), (201, &json!(false), &json!("7")));
    assert!(new["next_run_at"].is_string() && new["last_run_at"].is_null(), "{new}");
    assert_eq!(site.send("PUT", "/v1/beat/mine", body).await, (200, new.clone()));
    assert_eq!(site.call("GET", "/v1/beat/mine").await, (200, new.clone()));
    let (_, all) = site.call("GET", "/v1/beat").await;
    assert_eq!((&all[0]["name"], &all[0]["of_config"], &all[1]), (&json!("declared"), &json!(true), &new));
    let (status, sent) = site.call("POST", "/v1/beat/mine/run").await;
    assert_eq!(status, 202, "{sent}");
    assert_eq!(site.call("GET", &format!("/v1/tasks/{}", sent["id"].as_str().unwrap())).await.1["args"], json!([1]));
    assert_eq!(site.call("DELETE", "/v1/beat/mine").await.0, 204);
    assert_eq!(site.call("GET", "/v1/beat/mine").await.1["code"], "unknown_entry");
}

#[tokio::test]
async fn queues_are_listed_and_purged() {
    let site = site().await;
    site.put("a").await;
    assert_eq!(site.call("GET", "/v1/queues").await.1[0]["ready"], 1);
    assert_eq!(site.call("POST", "/v1/queues/celery/purge").await, (200, json!({"purged": 1})));
    assert_eq!(site.call("GET", "/v1/tasks/a").await.1["status"], "REVOKED");
}

#[tokio::test]
async fn health_says_what_is_wrong() {
    let site = site().await;
    let (status, health) = site.call("GET", "/readyz").await;
    assert_eq!((status, &health["hostname"], &health["concurrency"]), (200, &json!("lovage@test"), &json!(4)));
    site.draining.send_replace(true);
    assert_eq!(site.call("GET", "/livez").await.0, 200);
    assert_eq!(site.call("GET", "/readyz").await.1["code"], "draining");
}

#[tokio::test]
async fn only_what_has_ended_is_retried_or_forgotten() {
    let site = site().await;
    site.put("a").await;
    for (method, path) in [("POST", "/v1/tasks/a/retry"), ("DELETE", "/v1/tasks/a")] {
        assert_eq!(site.call(method, path).await.1["code"], "task_busy", "{method} {path}");
    }
    site.end("a");
    let (status, reply) = site.call("POST", "/v1/tasks/a/retry").await;
    assert_eq!((status, &reply["state"]), (202, &json!("PENDING")));
    site.end("a");
    let (status, reply) = site.call("DELETE", "/v1/tasks/a").await;
    assert_eq!((status, &reply["state"]), (200, &json!("SUCCESS")));
    assert_eq!(site.call("GET", "/v1/tasks/a").await.0, 404);
}
