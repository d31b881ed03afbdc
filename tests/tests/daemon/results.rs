//! Results of many tasks: pushed, joined, saved, walked through.

use std::time::Duration;

use lovage_client::{AnyResult, Client, ResultSet, Seen, Signature, chord, group, s};
use lovage_model::TaskId;
use lovage_model::api::{BatchItem, SubmitRequest};
use lovage_tests::daemon::{Daemon, runs as runs_now, until};
use lovage_tests::guests;

const PATIENCE: Duration = Duration::from_secs(60);

fn tour() -> Daemon {
    Daemon::start(&[guests::tour()], &[])
}

async fn send(client: &Client, calls: impl Iterator<Item = Signature>) -> ResultSet {
    let calls: Vec<SubmitRequest> = calls.map(|call| call.build().unwrap()).collect();
    let sent = client.submit_batch(calls).await.unwrap().results.into_iter().map(|item| match item {
        BatchItem::Accepted(reply) => client.async_result(reply.id),
        BatchItem::Refused(problem) => panic!("{problem:?}"),
    });
    client.result_set(sent)
}

#[tokio::test]
async fn many_are_joined_in_order_while_they_run() {
    let daemon = tour();
    let set = send(&daemon.client(), (0..300).map(|n| s("tour.add", (n, n)))).await;
    let expected: Vec<i64> = (0..300).map(|n| 2 * n).collect();
    assert_eq!(set.get::<i64>(PATIENCE).await.unwrap(), expected);
    assert!(set.successful().await.unwrap());
    assert_eq!(set.completed_count().await.unwrap(), 300);
}

#[tokio::test]
async fn a_join_goes_on_over_a_restart() {
    let mut daemon = Daemon::start(&[guests::tour()], &["--concurrency", "1"]);
    let client = daemon.client();
    let set = send(&client, (0..3).map(|_| s("tour.sleepy", (0.3,)))).await;
    let ids: Vec<TaskId> = set.leaves().into_iter().map(|task| task.id().clone()).collect();
    let mut watch = client.watch(ids.clone(), None);
    assert!(matches!(watch.next().await.unwrap(), Some(Seen::Ended(_))));
    daemon.kill9();
    daemon.restart();
    // It has another address now: what was told by the old one and what is told by the new one is everything.
    let mut rest = daemon.client().watch(ids, Some(PATIENCE));
    let mut ended = 0;
    while let Some(Seen::Ended(_)) = rest.next().await.unwrap() {
        ended += 1;
    }
    assert_eq!(ended, 3);
}

#[tokio::test]
async fn the_first_failure_ends_a_join_while_others_run() {
    let daemon = Daemon::start(&[guests::tour()], &["--concurrency", "2"]);
    let set = send(&daemon.client(), [s("tour.sleepy", (100,)), s("tour.divide", (1, 0))].into_iter()).await;
    let error = set.join_native(PATIENCE).await.unwrap_err();
    assert!(error.is("ZeroDivisionError"), "{error}");
    assert!(set.failed().await.unwrap() && set.waiting().await.unwrap());
    set.revoke(lovage_client::RevokeOptions::new().terminate(true).wait(true).timeout(PATIENCE)).await.unwrap();
    assert!(set.ready().await.unwrap());
}

#[tokio::test]
async fn a_group_that_was_saved_is_found_by_its_id_alone() {
    let mut daemon = tour();
    let set = send(&daemon.client(), (0..3).map(|n| s("tour.add", (n, 1)))).await;
    let members = set.results().iter().map(AnyResult::as_tuple).collect();
    let tuple =
        lovage_model::ResultTuple { children: Some(members), ..lovage_model::ResultTuple::of("g".parse().unwrap()) };
    let group = daemon.client().result_from_tuple(tuple.clone()).into_group().unwrap();
    group.save().await.unwrap();
    assert_eq!(daemon.lovage(["task", "wait", &serde_json::to_string(&tuple).unwrap()]).ok(), "[1,2,3]");
    daemon.kill9();
    daemon.restart();
    assert_eq!(daemon.lovage(["task", "wait", "g"]).ok(), "[1,2,3]");
    assert_eq!(daemon.lovage(["task", "result", "g"]).ok(), "[1,2,3]");
    let found = daemon.client().restore_group(&"g".parse().unwrap()).await.unwrap().unwrap();
    assert!(found.delete().await.unwrap());
    assert!(daemon.lovage(["task", "wait", "g"]).fails(3).contains("unknown_id"));
}

#[tokio::test]
async fn tasks_are_revoked_by_their_stamps_waiting_or_running() {
    let daemon = Daemon::start(&[guests::tour()], &["--concurrency", "1"]);
    let client = daemon.client();
    let sleepy = |build: u32| s("tour.sleepy", (100,)).stamp("build", build);
    let runs = client.apply_async(sleepy(12)).await.unwrap();
    until(&runs, runs_now).await;
    let waits = client.apply_async(sleepy(12)).await.unwrap();
    let other = client.apply_async(s("tour.add", (1, 1)).stamp("build", 13)).await.unwrap();
    let headers = [("build".to_owned(), lovage_model::Json::of(&12).unwrap())].into();
    assert_eq!(client.revoke_by_stamped_headers(headers, true).await.unwrap().results.len(), 2);
    for revoked in [&runs, &waits] {
        assert!(revoked.get::<()>(PATIENCE).await.unwrap_err().is("TaskRevokedError"));
    }
    assert_eq!(other.get::<i64>(PATIENCE).await.unwrap(), 2);
}

#[tokio::test]
async fn a_canvas_comes_to_a_result_of_its_shape() {
    let daemon = tour();
    let client = daemon.client();
    let add = |x: i64| s("tour.add", (x,));
    let last = client.apply_async(s("tour.add", (1, 1)) | add(2) | add(3)).await.unwrap();
    assert_eq!((last.get::<i64>(PATIENCE).await.unwrap(), last.as_list().len()), (7, 3));
    let first = last.parent().unwrap().parent().unwrap().clone();
    assert_eq!(first.get::<i64>(PATIENCE).await.unwrap(), 2);
    let sent = client.submit(s("tour.add", (1, 1)) | group([add(10), add(20)])).await.unwrap();
    assert_eq!(sent.get::<Vec<i64>>(PATIENCE).await.unwrap(), [12, 22]);
    let total = chord((0..10).map(|n| s("tour.add", (n, n))), s("tour.total", ()));
    assert_eq!(client.apply_async(total).await.unwrap().get::<i64>(PATIENCE).await.unwrap(), 90);
    let failing = s("tour.divide", (1, 0)) | add(1) | add(2);
    let error = client.apply_async(failing).await.unwrap().get::<i64>(PATIENCE).await.unwrap_err();
    assert!(error.is("ZeroDivisionError"), "{error}");
}

#[tokio::test]
async fn what_a_task_sent_is_shown_and_collected() {
    let daemon = tour();
    let sent = daemon.client().apply_async(s("tour.fan_out", (2,))).await.unwrap();
    let mut all = sent.collect(false, PATIENCE);
    let mut values = Vec::new();
    while let Some((_, value)) = all.next().await.unwrap() {
        values.push(value.to_string());
    }
    assert_eq!(values[1..], ["0", "2"]);
    let tree = daemon.lovage(["task", "graph", sent.id().as_str()]).ok();
    assert!(tree.starts_with("tour.fan_out SUCCESS") && tree.contains("└─ tour.add SUCCESS"), "{tree}");
}
