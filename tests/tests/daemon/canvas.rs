//! Canvases in the real daemon: what follows what, and what becomes of it when something goes wrong.

use std::time::Duration;

use lovage_client::{Client, Signature, chord, s};
use lovage_model::EventKind;
use lovage_tests::daemon::{Daemon, command, run, runs, until};
use lovage_tests::guests;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

fn tour() -> Daemon {
    Daemon::start(&[guests::tour()], &[])
}

async fn value(client: &Client, call: Signature) -> Value {
    client.apply_async(call).await.unwrap().get::<Value>(PATIENCE).await.unwrap()
}

async fn error(client: &Client, call: Signature) -> String {
    client.apply_async(call).await.unwrap().get::<Value>(PATIENCE).await.unwrap_err().to_string()
}

/// A map of a task over some items, as Celery writes it.
fn map(name: &str, task: &str, it: Value) -> Signature {
    s(name, ()).kwarg("task", json!({ "task": task, "args": [], "kwargs": {} })).kwarg("it", it)
}

#[tokio::test]
async fn a_task_is_replaced_by_any_canvas() {
    let daemon = tour();
    let client = daemon.client();
    assert_eq!(value(&client, s("tour.sums", (5,))).await, json!(20));
    assert_eq!(value(&client, s("tour.steps", (4,))).await, json!(4));
    assert_eq!(value(&client, s("tour.pairs", (3,))).await, json!([0, 2, 4]));
    assert_eq!(value(&client, s("tour.chunked", (5, 2))).await, json!(20));
    // What comes after it gets the value of what replaced it.
    assert_eq!(value(&client, s("tour.sums", (5,)) | s("tour.add", (1,))).await, json!(21));
    let added = chord([s("tour.grow", (1,)), s("tour.grow", (10,))], s("tour.total", ()));
    assert_eq!(value(&client, added).await, json!(24));
}

#[tokio::test]
async fn a_map_is_one_task_for_many_items() {
    let daemon = tour();
    let client = daemon.client();
    assert_eq!(value(&client, map("celery.map", "tour.hear", json!([1, [2], {}]))).await, json!([1, [2], {}]));
    assert_eq!(value(&client, map("celery.starmap", "tour.add", json!([[1, 2], [3, 4]]))).await, json!([3, 7]));
    let failed =
        client.apply_async(map("celery.starmap", "tour.divide", json!([[4, 2], [1, 0], [2, 2]]))).await.unwrap();
    let told = failed.get::<Value>(PATIENCE).await.unwrap_err();
    assert!(told.is("ZeroDivisionError"), "{told}");
    assert!(failed.traceback().await.unwrap().unwrap().starts_with("In item 2 of 3:"));
    let replaced = error(&client, map("celery.map", "tour.double", json!([1]))).await;
    assert!(replaced.contains("ImproperlyConfigured"), "{replaced}");
}

#[tokio::test]
async fn all_items_of_a_map_together_send_no_more_than_one_attempt_may() {
    let daemon = Daemon::configured(&[guests::walls()], "[limits]\nresult_bytes = 1024\n");
    // About three kilobytes for each, of the eight that there are.
    let told = error(&daemon.client(), map("celery.map", "walls.many_subtasks", json!(vec![30; 10]))).await;
    assert!(told.contains("limits.result_bytes") && told.contains("items of a map"), "{told}");
}

#[tokio::test]
async fn celerys_own_tasks_are_there() {
    let daemon = tour();
    let client = daemon.client();
    assert_eq!(value(&client, s("celery.ping", ())).await, json!("pong"));
    assert_eq!(value(&client, s("celery.backend_cleanup", ())).await, Value::Null);
    assert_eq!(value(&client, s("celery.accumulate", (1, 2))).await, json!([1, 2]));
}

#[tokio::test]
async fn what_may_run_once_does_not_run_again_when_its_host_dies() {
    let mut daemon = tour();
    let client = daemon.client();
    let once = client.apply_async(s("tour.sleepy", (100,)).set("acks_late", false) | s("tour.hear", ())).await.unwrap();
    let first = once.parent().unwrap().clone();
    until(&daemon.task(first.id().as_str()), runs).await;
    daemon.kill9();
    daemon.restart();
    for id in [first.id(), once.id()] {
        let told = daemon.task(id.as_str()).get::<Value>(PATIENCE).await.unwrap_err();
        assert!(told.is("WorkerLostError"), "{told}");
    }
}

#[tokio::test]
async fn a_waiting_step_survives_a_kill_and_runs_once_what_is_before_it_has() {
    let mut daemon = tour();
    let sent = daemon.client().apply_async(s("tour.sleepy", (0.5,)) | s("tour.hear", ())).await.unwrap();
    until(&daemon.task(sent.parent().unwrap().id().as_str()), runs).await;
    daemon.kill9();
    daemon.restart();
    let after = daemon.task(sent.id().as_str());
    assert!(after.get::<Value>(PATIENCE).await.is_ok());
}

#[tokio::test]
async fn more_than_may_come_of_one_call_is_an_error_and_nothing_of_it_is_sent() {
    let daemon = Daemon::configured(&[guests::tour()], "[limits]\nlineage_tasks = 3\n");
    let client = daemon.client();
    assert_eq!(value(&client, s("tour.sums", (2,))).await, json!(2));
    let told = error(&client, s("tour.sums", (5,))).await;
    assert!(told.contains("ValueError") && told.contains("limits.lineage_tasks"), "{told}");
    assert!(client.queues().await.unwrap().is_empty());
}

#[tokio::test]
async fn those_that_watch_a_step_are_told_that_it_fails_with_the_one_before_it() {
    let daemon = tour();
    let sent = daemon.client().apply_async(s("tour.divide", (1, 0)) | s("tour.add", (1,))).await.unwrap();
    let told = until(&sent, |kind| kind.is_terminal()).await;
    assert!(
        matches!(&told, EventKind::Failed { exception, .. } if exception.contains("ZeroDivisionError")),
        "{told:?}"
    );
}

#[test]
fn canvases_run_without_a_daemon() {
    let exec = |args: &[&str]| run(command(["exec", guests::tour().to_str().unwrap()].iter().chain(args)));
    assert_eq!(exec(&["sums", "5"]).ok(), "20");
    assert_eq!(exec(&["steps", "4"]).ok(), "4");
    assert_eq!(exec(&["chunked", "5", "2"]).ok(), "20");
}
