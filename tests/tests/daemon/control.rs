//! Orders: revoke, retry, forget, purge.

use lovage_model::{EventKind, State};
use lovage_tests::daemon::{Daemon, runs, until};
use lovage_tests::guests;

fn one_at_a_time() -> Daemon {
    Daemon::start(&[guests::tour(), guests::walls()], &["--concurrency", "1"])
}

/// Takes the only slot.
async fn block(daemon: &Daemon) {
    daemon.lovage(["task", "submit", "walls.wait_visibly", "--id", "blocker"]).ok();
    until(&daemon.task("blocker"), runs).await;
}

#[tokio::test]
async fn what_waits_is_revoked_at_once() {
    let daemon = one_at_a_time();
    daemon.lovage(["task", "submit", "tour.add", "1", "1", "--countdown", "1000", "--id", "later"]).ok();
    let said = daemon.lovage(["task", "revoke", "later"]).ok();
    assert!(said.contains("it was waiting, and will not run (REVOKED)"), "{said}");
    let told = daemon.lovage(["task", "wait", "later"]).fails(1);
    assert!(told.contains("was revoked: TaskRevokedError: revoked"), "{told}");
    let again = daemon.lovage(["task", "revoke", "later"]).ok();
    assert!(again.contains("it had ended already"), "{again}");
}

#[tokio::test]
async fn what_runs_is_stopped_only_on_demand() {
    let daemon = one_at_a_time();
    block(&daemon).await;
    let said = daemon.lovage(["task", "revoke", "blocker"]).ok();
    assert!(said.contains("it is running; revoke it with terminate"), "{said}");
    daemon.lovage(["task", "revoke", "blocker", "--terminate"]).ok();
    let told = daemon.lovage(["task", "wait", "blocker"]).fails(1);
    assert!(told.contains("TaskRevokedError: terminated"), "{told}");

    daemon.lovage(["task", "submit", "walls.spin", "--id", "spinning"]).ok();
    let spinning = daemon.task("spinning");
    until(&spinning, runs).await;
    daemon.lovage(["task", "revoke", "spinning", "--terminate"]).ok();
    assert_eq!(spinning.wait(None).await.unwrap().status, State::Revoked);
    assert_eq!(daemon.lovage(["task", "run", "tour.add", "2", "3"]).ok(), "5");
}

#[tokio::test]
async fn what_has_ended_can_be_run_again_and_forgotten() {
    let daemon = one_at_a_time();
    daemon.lovage(["task", "run", "tour.add", "2", "3", "--id", "it"]).ok();
    let first = daemon.task("it").meta().await.unwrap();
    assert!(daemon.lovage(["task", "retry", "it"]).ok().contains("it is queued again"));
    assert_eq!(daemon.lovage(["task", "wait", "it"]).ok(), "5");
    let second = daemon.task("it").meta().await.unwrap();
    assert!(second.date_done > first.date_done, "{second:?}");

    assert!(daemon.lovage(["task", "forget", "it"]).ok().contains("gone"));
    daemon.lovage(["task", "get", "it"]).fails(3);
    assert_eq!(daemon.lovage(["task", "run", "tour.add", "4", "4", "--id", "it"]).ok(), "8");

    block(&daemon).await;
    for order in ["retry", "forget"] {
        let told = daemon.lovage(["task", order, "blocker"]).fails(2);
        assert!(told.contains("task_busy"), "{told}");
    }
}

#[tokio::test]
async fn a_purge_revokes_what_waits_in_one_queue() {
    let daemon = one_at_a_time();
    block(&daemon).await;
    for (id, queue) in [("a", "slow"), ("b", "slow"), ("c", "quick")] {
        daemon.lovage(["task", "submit", "tour.add", "1", "1", "--id", id, "--queue", queue]).ok();
    }
    let queues = daemon.lovage(["queue", "list", "-o", "json"]).json();
    let slow = queues.as_array().unwrap().iter().find(|queue| queue["name"] == "slow").unwrap();
    assert_eq!(slow["ready"], 2, "{queues}");
    assert_eq!(daemon.lovage(["queue", "purge", "slow"]).ok(), "2 revoked");
    daemon.lovage(["task", "revoke", "blocker", "--terminate"]).ok();
    assert_eq!(daemon.lovage(["task", "wait", "c"]).ok(), "2");
    for id in ["a", "b"] {
        assert_eq!(daemon.task(id).state().await.unwrap(), State::Revoked);
    }
}

#[tokio::test]
async fn the_log_of_a_running_task_can_be_read() {
    let daemon = Daemon::start(&[guests::tour(), guests::walls()], &[]);
    daemon.lovage(["task", "run", "walls.write_rudely", "--id", "rude"]).ok();
    let logs = daemon.lovage(["task", "logs", "rude"]).ok();
    assert!(logs.starts_with("[stdout] "), "{logs:?}");
    let json = daemon.lovage(["task", "logs", "rude", "-o", "json"]).json();
    assert_eq!(json["attempts"][0]["stdout"], "\u{1b}[2J\u{1b}]52;c;aGk=\u{7}\u{fffd}\u{fffd}\n");
}

#[tokio::test]
async fn a_running_retry_is_logged_under_its_own_number() {
    let daemon = Daemon::start(&[guests::walls()], &[]);
    daemon.lovage(["task", "submit", "walls.wait_in_retry", "--id", "again"]).ok();
    until(&daemon.task("again"), |kind| matches!(kind, EventKind::Progress { .. })).await;
    assert_eq!(daemon.lovage(["task", "logs", "again"]).ok(), "[#1 INFO] tried again");
    daemon.lovage(["task", "revoke", "again", "--terminate"]).ok();
    daemon.lovage(["task", "wait", "again"]).fails(1);
    assert_eq!(daemon.lovage(["task", "logs", "again"]).ok(), "[#1 INFO] tried again");
}
