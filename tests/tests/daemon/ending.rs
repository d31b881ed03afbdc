//! How a daemon ends, and what is left for the next one.

use lovage_model::State;
use lovage_tests::daemon::{Daemon, runs, until};
use lovage_tests::guests;
use rustix::process::Signal;

#[tokio::test]
async fn running_tasks_end_and_long_ones_go_back() {
    let mut daemon = Daemon::configured(&[guests::tour(), guests::walls()], "[worker]\ndrain_seconds = 3\n");
    daemon.lovage(["task", "run", "tour.add", "2", "3", "--id", "before"]).ok();
    daemon.lovage(["task", "submit", "walls.wait_visibly", "--id", "long"]).ok();
    daemon.lovage(["task", "submit", "tour.progress", "1", "0.5", "--id", "short"]).ok();
    daemon.lovage(["task", "submit", "tour.add", "1", "1", "--countdown", "1000", "--id", "later"]).ok();
    until(&daemon.task("long"), runs).await;
    until(&daemon.task("short"), runs).await;
    assert_eq!(daemon.terminate().code(), Some(0));

    daemon.restart();
    assert_eq!(daemon.lovage(["task", "result", "before"]).ok(), "5");
    assert_eq!(daemon.lovage(["task", "result", "short"]).ok(), "1");
    assert_eq!(daemon.task("short").meta().await.unwrap().deliveries, 1);
    assert_eq!(daemon.task("later").state().await.unwrap(), State::Pending);
    until(&daemon.task("long"), runs).await;
    daemon.lovage(["task", "revoke", "long", "--terminate"]).ok();
    let long = daemon.task("long").wait(None).await.unwrap();
    assert_eq!((long.status, long.deliveries), (State::Revoked, 2));
}

#[tokio::test]
async fn a_draining_daemon_takes_nothing_new_and_a_second_signal_ends_it() {
    let mut daemon = Daemon::start(&[guests::tour(), guests::walls()], &[]);
    daemon.lovage(["task", "submit", "walls.wait_visibly", "--id", "long"]).ok();
    until(&daemon.task("long"), runs).await;
    daemon.process().signal(Signal::TERM);
    daemon.process().wait_for("draining");
    let told = daemon.lovage(["task", "submit", "tour.add", "1", "1"]).fails(1);
    assert!(told.contains("draining"), "{told}");
    // Left to itself it would wait for half a minute.
    let asked = std::time::Instant::now();
    daemon.process().signal(Signal::TERM);
    assert_eq!(daemon.process().wait().code(), Some(0));
    assert!(asked.elapsed().as_secs() < 15, "{:?}", asked.elapsed());
}

#[tokio::test]
async fn what_a_killed_daemon_ran_is_delivered_again() {
    let mut daemon = Daemon::start(&[guests::walls()], &[]);
    daemon.lovage(["task", "submit", "walls.wait_once", "--id", "it"]).ok();
    until(&daemon.task("it"), runs).await;
    daemon.kill9();
    daemon.restart();
    assert_eq!(daemon.lovage(["task", "wait", "it"]).json(), "redelivered");
    assert_eq!(daemon.task("it").meta().await.unwrap().deliveries, 2);
}

#[tokio::test]
async fn a_task_that_takes_its_daemon_with_it_each_time_is_not_run_for_ever() {
    let mut daemon = Daemon::configured(&[guests::tour()], "[limits]\ndeliveries = 2\n");
    daemon.lovage(["task", "submit", "tour.sleepy", "600", "--id", "it"]).ok();
    for _ in 0..2 {
        until(&daemon.task("it"), runs).await;
        daemon.kill9();
        daemon.restart();
    }
    let told = daemon.lovage(["task", "wait", "it"]);
    assert!(told.code == Some(1) && told.stderr.contains("fault: poison"), "{told:?}");
    // Its neighbours run.
    assert_eq!(daemon.lovage(["task", "run", "tour.add", "2", "3"]).ok(), "5");
}
