//! Several hosts on one server are one system.

use lovage_model::State;
use lovage_tests::daemon::{Daemon, runs, until};
use lovage_tests::guests;
use lovage_tests::redis::RedisServer;
use rustix::process::Signal;
use serde_json::json;

use crate::work::{BRIEF, ended, host, send, submit, succeeded};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_share_the_work_and_a_module_runs_on_all_of_them() {
    let server = RedisServer::start();
    let (a, b) = (host(&server.url(), "a@test"), host(&server.url(), "b@test"));
    a.push(guests::tour()).ok();
    let ids = send(&a.client(), "shared", 40, 0.05).await;
    let hosts = succeeded(&ended(&b.client(), &ids).await);
    assert_eq!(hosts.keys().collect::<Vec<_>>(), ["a@test", "b@test"], "{hosts:?}");
    let workers = b.lovage(["task", "run", "tour.add", "2", "3"]).ok();
    assert_eq!(workers, "5");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_sent_right_after_its_push_runs_wherever_it_comes() {
    let server = RedisServer::start();
    let modules = [guests::tour(), guests::digest(), guests::wordcount()];
    let [a, b] = ["a@test", "b@test"].map(|name| Daemon::host(&server.url(), name, &modules, BRIEF));
    // Only the other takes messages, and may not have heard of the module.
    a.lovage(["worker", "drain"]).ok();
    let calls = [("tour.add", json!([1, 2])), ("digest.sha256", json!([""])), ("wordcount.count", json!(["a b a"]))];
    for (module, (task, args)) in modules.into_iter().zip(calls) {
        a.push(module).ok();
        let id = task.parse().unwrap();
        submit(&a.client(), &id, task, args).await;
        let meta = ended(&a.client(), &[id]).await.pop().unwrap();
        assert_eq!((meta.status, meta.worker.as_deref()), (State::Success, Some("b@test")), "{:?}", meta.result);
    }
    drop(b);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoke_reaches_the_host_that_runs_the_task() {
    let server = RedisServer::start();
    let (a, b) = (host(&server.url(), "a@test"), host(&server.url(), "b@test"));
    a.push(guests::tour()).ok();
    for asked in [&a, &b] {
        let ids = send(&a.client(), asked.url(), 4, 600.0).await;
        for id in &ids {
            until(&a.client().async_result(id.clone()), runs).await;
            let told = asked.client().revoke(id, true).await.unwrap();
            assert!(told.outcome.contains("stop"), "{told:?}");
        }
        for meta in ended(&b.client(), &ids).await {
            assert_eq!(meta.status, State::Revoked, "{meta:?}");
            assert!(meta.result.as_str().contains("terminated"), "{meta:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_host_loses_nothing_and_doubles_no_outcome() {
    let server = RedisServer::start();
    let (a, b) = (host(&server.url(), "a@test"), host(&server.url(), "b@test"));
    let mut c = host(&server.url(), "c@test");
    a.push(guests::tour()).ok();
    // Held by the host that will be gone, so that what is left of it must come back.
    let held = send(&c.client(), "held", 8, 2.0).await;
    let ids = send(&a.client(), "load", 150, 0.02).await;
    let on_c = async {
        loop {
            let active = c.lovage(["inspect", "active", "-o", "json"]).json();
            if active["c@test"].as_array().is_some_and(|active| !active.is_empty()) {
                return;
            }
        }
    };
    on_c.await;
    c.kill9();
    let metas = [ended(&b.client(), &held).await, ended(&b.client(), &ids).await].concat();
    let hosts = succeeded(&metas);
    assert!(hosts.len() >= 2, "{hosts:?}");
    let again = metas.iter().filter(|meta| meta.deliveries > 1).count();
    assert!(again > 0, "the kill met no running task");
    assert!(metas.iter().all(|meta| meta.deliveries <= 2), "{metas:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_are_replaced_one_by_one_without_a_failure() {
    let server = RedisServer::start();
    let mut hosts = [host(&server.url(), "a@test"), host(&server.url(), "b@test")];
    hosts[0].push(guests::tour()).ok();
    let mut ids = Vec::new();
    for turn in [0, 1, 0] {
        ids.extend(send(&hosts[1 - turn].client(), &format!("turn-{turn}-{}", ids.len()), 30, 0.05).await);
        assert!(hosts[turn].terminate().success());
        hosts[turn].restart();
    }
    let metas = ended(&hosts[0].client(), &ids).await;
    succeeded(&metas);
    assert!(metas.iter().all(|meta| meta.deliveries == 1), "a host that drains finishes what it runs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_stood_still_for_longer_than_its_lease_changes_nothing() {
    let server = RedisServer::start();
    let mut a = host(&server.url(), "a@test");
    a.push(guests::tour()).ok();
    let ids = send(&a.client(), "stood", 2, 1.0).await;
    for id in &ids {
        until(&a.client().async_result(id.clone()), runs).await;
    }
    a.process().signal(Signal::STOP);
    let b = host(&server.url(), "b@test");
    let metas = ended(&b.client(), &ids).await;
    assert_eq!(succeeded(&metas).into_iter().collect::<Vec<_>>(), [("b@test".to_owned(), 2)]);
    a.process().signal(Signal::CONT);
    // It comes back, finds that these are no longer its own, and works on.
    let more = send(&a.client(), "more", 8, 0.05).await;
    succeeded(&ended(&a.client(), &more).await);
    let after = ended(&b.client(), &ids).await;
    assert_eq!(
        after.iter().map(|meta| (&meta.worker, meta.date_done)).collect::<Vec<_>>(),
        metas.iter().map(|meta| (&meta.worker, meta.date_done)).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_was_revoked_before_it_came_runs_on_no_host() {
    let server = RedisServer::start();
    let a = host(&server.url(), "a@test");
    a.push(guests::tour()).ok();
    let id = "unseen".parse().unwrap();
    let told = a.client().revoke(&id, false).await.unwrap();
    assert_eq!((told.state, told.outcome.contains("will not run")), (State::Revoked, true), "{}", told.outcome);
    // This one comes later, and asks the others.
    let b = host(&server.url(), "b@test");
    let known = || b.lovage(["inspect", "revoked", "-o", "json"]).json()["b@test"].to_string().contains("unseen");
    lovage_tests::redis::until("it has learnt what was revoked", || known().then_some(()));
    a.lovage(["worker", "drain"]).ok();
    crate::poison::put(&server, &id);
    let meta = ended(&b.client(), &[id]).await.pop().unwrap();
    assert_eq!((meta.status, meta.deliveries), (State::Revoked, 1), "{:?}", meta.result);
    assert!(meta.result.as_str().contains("\"revoked\""), "{:?}", meta.result);
}
