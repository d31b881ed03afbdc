//! Which task comes first, and which not at all.

use lovage_model::State;
use lovage_tests::daemon::{Daemon, runs, until};
use lovage_tests::guests;

/// The ids in the order in which they ended.
async fn by_end(daemon: &Daemon, ids: &[&str]) -> Vec<String> {
    let mut ended = Vec::new();
    for id in ids {
        let meta = daemon.task(id).wait(None).await.unwrap();
        ended.push((meta.date_done.unwrap(), meta.task_id.to_string()));
    }
    ended.sort();
    ended.into_iter().map(|(_, id)| id).collect()
}

#[tokio::test]
async fn priorities_go_before_age() {
    let daemon = Daemon::start(&[guests::tour(), guests::walls()], &["--concurrency", "1"]);
    daemon.lovage(["task", "submit", "walls.wait_visibly", "--id", "blocker"]).ok();
    until(&daemon.task("blocker"), runs).await;
    for (id, priority) in [("last", "9"), ("middle", "5"), ("old", "0"), ("young", "0")] {
        daemon.lovage(["task", "submit", "tour.noop", "--id", id, "--priority", priority]).ok();
    }
    daemon.lovage(["task", "revoke", "blocker", "--terminate"]).ok();
    assert_eq!(by_end(&daemon, &["last", "middle", "old", "young"]).await, ["old", "young", "middle", "last"]);
}

#[tokio::test]
async fn what_has_a_time_waits_for_it_and_no_longer_than_it_may() {
    let daemon = Daemon::start(&[guests::tour()], &[]);
    for (id, countdown, expires) in [("second", "0.6", "1000"), ("first", "0.3", "1000"), ("expired", "0.3", "0.1")] {
        let options = ["--id", id, "--countdown", countdown, "--expires", expires];
        daemon.lovage(["task", "submit", "tour.noop"].iter().chain(&options)).ok();
    }
    assert_eq!(by_end(&daemon, &["second", "first"]).await, ["first", "second"]);
    let first = daemon.task("first").meta().await.unwrap();
    assert!(first.date_done >= first.eta, "{first:?}");
    let expired = daemon.task("expired").wait(None).await.unwrap();
    assert_eq!(expired.status, State::Revoked);
    assert!(expired.result.as_str().contains("expired"), "{expired:?}");
}

#[tokio::test]
async fn a_host_serves_its_own_queues_only() {
    let mut daemon = Daemon::start(&[guests::tour()], &["--queues", "a,b"]);
    for queue in ["c", "a", "b"] {
        daemon.lovage(["task", "submit", "tour.noop", "--id", queue, "--queue", queue]).ok();
    }
    by_end(&daemon, &["a", "b"]).await;
    let other = daemon.task("c").meta().await.unwrap();
    assert_eq!((other.status, other.deliveries), (State::Pending, 0));
    daemon.terminate();
    daemon.restart_with(&["--queues", "c"]);
    assert_eq!(by_end(&daemon, &["c"]).await, ["c"]);
}
