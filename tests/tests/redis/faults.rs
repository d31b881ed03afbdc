//! What becomes of tasks when the server, or the way to it, fails.

use lovage_tests::daemon::Daemon;
use lovage_tests::guests;
use lovage_tests::redis::{Proxy, RedisServer, until};
use rustix::process::Signal;
use std::time::Duration;

use crate::work::{BRIEF, ended, host, send, succeeded};

/// Sends until it is acknowledged: what happened to a call that failed nobody knows, but under one id it is one task.
async fn send_until_acknowledged(daemon: &Daemon, id: &str) {
    let body = serde_json::json!({ "task": "tour.add", "args": [1, 1], "options": { "task_id": id } });
    let body = serde_json::from_value(body).unwrap();
    for _ in 0..600 {
        if daemon.client().with_patience(Duration::from_secs(6)).send_request(&body).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nothing is acknowledged any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_started_again_has_lost_nothing() {
    let mut server = RedisServer::start();
    let a = host(&server.url(), "a@test");
    a.push(guests::tour()).ok();
    for (round, signal) in [(0, Signal::TERM), (1, Signal::KILL)] {
        let ids = send(&a.client(), &format!("before-{round}"), 30, 0.1).await;
        server.end(signal);
        server.restart();
        send_until_acknowledged(&a, &format!("after-{round}")).await;
        let metas = ended(&a.client(), &ids).await;
        succeeded(&metas);
        succeeded(&ended(&a.client(), &[format!("after-{round}").parse().unwrap()]).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stood_still_is_worked_with_again() {
    let server = RedisServer::start();
    let a = host(&server.url(), "a@test");
    a.push(guests::tour()).ok();
    let ids = send(&a.client(), "before", 20, 0.1).await;
    server.signal(Signal::STOP);
    let health = until("the host says that its store is gone", || {
        let status = a.lovage(["status"]);
        (status.code != Some(0)).then_some(status)
    });
    assert!(health.stderr.contains("redis at 127.0.0.1"), "{health:?}");
    server.signal(Signal::CONT);
    send_until_acknowledged(&a, "after").await;
    succeeded(&ended(&a.client(), &ids).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_reset_held_up_or_refused_are_made_again() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let a = Daemon::host(&proxy.url(), "a@test", &[guests::tour()], BRIEF);
    a.push(guests::tour()).ok();
    for (round, fault) in [Proxy::reset, Proxy::cut, Proxy::hold, Proxy::reset].into_iter().enumerate() {
        let ids = send(&a.client(), &format!("before-{round}"), 12, 0.1).await;
        fault(&proxy);
        // Some end meanwhile, and cannot be recorded.
        std::thread::sleep(Duration::from_millis(300));
        proxy.pass();
        send_until_acknowledged(&a, &format!("after-{round}")).await;
        succeeded(&ended(&a.client(), &ids).await);
        succeeded(&ended(&a.client(), &[format!("after-{round}").parse().unwrap()]).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_while_the_server_takes_no_writes_is_recorded_once_it_does() {
    let server = RedisServer::start();
    let a = host(&server.url(), "a@test");
    a.push(guests::tour()).ok();
    let ids = send(&a.client(), "during", 4, 0.5).await;
    let leases = |from: i64| -> usize {
        redis::cmd("ZCOUNT").arg("lovage:leases").arg(from).arg("+inf").query(&mut server.connect()).unwrap()
    };
    until("all of them run", || (leases(0) == 4).then_some(()));
    let role = |host: &str, port: &str| {
        redis::cmd("REPLICAOF").arg(host).arg(port).exec(&mut server.connect()).unwrap();
    };
    // Of nobody: it keeps what it has, and takes no writes.
    role("127.0.0.1", "1");
    let now = || i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap();
    until("their leases have lapsed", || (leases(now()) == 0).then_some(()));
    role("NO", "ONE");
    let metas = ended(&a.client(), &ids).await;
    succeeded(&metas);
    assert!(metas.iter().all(|meta| meta.deliveries == 1), "they ran once: {metas:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_to_run_later_waits_on_the_server_and_survives_its_host() {
    let server = RedisServer::start();
    let mut a = host(&server.url(), "a@test");
    a.push(guests::tour()).ok();
    a.lovage(["task", "submit", "tour.add", "1", "2", "--id", "later", "--countdown", "2"]).ok();
    a.kill9();
    let waiting: Vec<String> =
        redis::cmd("ZRANGE").arg("lovage:scheduled").arg(0).arg(-1).query(&mut server.connect()).unwrap();
    assert!(waiting.len() == 1 && waiting[0].ends_with("later"), "{waiting:?}");
    let b = host(&server.url(), "b@test");
    let meta = ended(&b.client(), &["later".parse().unwrap()]).await.pop().unwrap();
    assert_eq!((meta.result.as_str(), meta.deliveries), ("3", 1));
    assert!(meta.date_done >= meta.eta, "{meta:?}");
}
