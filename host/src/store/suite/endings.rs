//! Endings: every verdict, and what follows from it.

use lovage_model::{LogLevel, LogRecord, State};

use super::*;
use crate::store::{Redone, Revoked};

for_each_backend!(
    success_keeps_the_value,
    an_ignored_result_is_dropped,
    failure_keeps_the_exception,
    an_order_or_silence_ends_a_task,
    a_retry_waits_under_its_id,
    a_retry_may_move,
    a_replacement_takes_the_place,
    a_requeue_goes_to_the_end,
    subtasks_come_with_the_commit,
    logs_are_kept_for_each_attempt,
    resubmit_starts_afresh,
);

async fn success_keeps_the_value(mut bench: Bench) {
    bench.run_to("a", success(r#"{"z": 1.10, "a": 123456789012345678901}"#), at(5)).await;
    bench.restart().await;
    let task = bench.task("a").await;
    assert_eq!((task.status, task.date_done), (State::Success, Some(at(5))));
    assert_eq!(task.result.as_str(), r#"{"z": 1.10, "a": 123456789012345678901}"#);
    assert_eq!((task.args, task.kwargs), (message("a").args, message("a").kwargs));
    assert_eq!((task.worker.as_deref(), task.deliveries, task.retries), (Some("host-1"), 1, 0));
    assert_eq!(task.usage.unwrap().fuel, Some(7));
    assert_eq!((task.name.as_str(), task.queue.as_str(), task.root_id), ("tour.add", "celery", id("a")));
    assert!(bench.lease(9, at(99)).await.is_empty());
    assert_eq!(bench.store.revoke(&tenant(), &id("a"), at(99)).await.unwrap(), Revoked::Ended(State::Success));
}

async fn an_ignored_result_is_dropped(bench: Bench) {
    for (name, verdict, result) in [("a", success("[1]"), "null"), ("b", failure(), "ValueError")] {
        bench.submit(vec![message(name)], at(0)).await;
        let key = bench.lease_one(at(0)).await.key;
        let settlement = Settlement { ignore_result: true, ..settlement(verdict, at(1)) };
        assert_eq!(bench.store.commit(key, settlement).await.unwrap(), Fenced::Applied);
        let task = bench.task(name).await;
        assert!(task.status.is_ready() && task.result.as_str().contains(result), "{task:?}");
    }
}

async fn failure_keeps_the_exception(bench: Bench) {
    bench.run_to("a", failure(), at(5)).await;
    let task = bench.task("a").await;
    assert_eq!((task.status, task.date_done), (State::Failure, Some(at(5))));
    assert_eq!(task.result.read::<Exception>().unwrap(), value_error());
    assert_eq!((task.traceback.as_deref(), task.fault.as_deref()), (Some("at tour::add"), Some("panic")));
}

async fn an_order_or_silence_ends_a_task(bench: Bench) {
    bench.run_to("expired", Verdict::Revoked { reason: "expired" }, at(5)).await;
    let task = bench.task("expired").await;
    assert_eq!((task.status, task.date_done), (State::Revoked, Some(at(5))));
    assert_eq!(task.result.read::<Exception>().unwrap(), Exception::revoked("expired"));
    bench.run_to("silent", Verdict::Ignored, at(6)).await;
    let task = bench.task("silent").await;
    assert_eq!((task.status, task.date_done, task.result.as_str()), (State::Ignored, None, "null"));
    assert!(bench.lease(9, at(99)).await.is_empty());
    assert_eq!(bench.store.expire(at(7), 9).await.unwrap(), 2, "an end without a result expires too");
}

async fn a_retry_waits_under_its_id(mut bench: Bench) {
    let again = Message { retries: 1, eta: Some(at(60)), args: json("[9]"), ..message("a") };
    bench.run_to("a", retry(again.clone()), at(5)).await;
    bench.restart().await;
    let task = bench.task("a").await;
    assert_eq!((task.status, task.date_done, task.retries), (State::Retry, None, 1));
    assert_eq!((task.waiting_for.as_deref(), task.eta), (Some("eta"), Some(at(60))));
    assert_eq!(task.result.read::<Exception>().unwrap(), value_error());
    assert!(task.traceback.is_some() && task.args.as_str() == "[9]");
    assert!(bench.lease(9, at(59)).await.is_empty());
    let lease = bench.lease_one(at(60)).await;
    assert_eq!((&lease.message, lease.deliveries), (&again, 2));
    let running = bench.task("a").await;
    assert_eq!((running.status, running.result.as_str(), running.traceback), (State::Started, "null", None));
    // It comes back as a retry if its host is lost.
    bench.restart().await;
    assert_eq!(bench.task("a").await.status, State::Retry);
    let lease = bench.lease_one(at(61)).await;
    bench.commit(lease.key, success("1"), at(61)).await;
    assert_eq!(bench.task("a").await.deliveries, 3);
}

async fn a_retry_may_move(bench: Bench) {
    let again = Message { retries: 1, priority: 0, ..in_queue("a", "other") };
    bench.submit(vec![message("a"), message("b")], at(0)).await;
    let key = bench.lease_one(at(0)).await.key;
    bench.commit(key, retry(again), at(1)).await;
    let views = bench.store.queues(&tenant(), at(2)).await.unwrap();
    assert_eq!(views.iter().map(|it| (it.name.as_str(), it.ready)).collect::<Vec<_>>(), [("celery", 1), ("other", 1)]);
    assert_eq!(ids(&bench.lease(9, at(2)).await), ["a", "b"], "priority 0 comes first");
}

async fn a_replacement_takes_the_place(mut bench: Bench) {
    let by = Message {
        task: TaskName::new("tour.other").unwrap(),
        args: json("[3]"),
        replaced_task_nesting: 1,
        ..message("a")
    };
    bench.run_to("a", Verdict::Replaced { by: Box::new(Planned { message: by.clone(), awaits: None }) }, at(5)).await;
    bench.restart().await;
    let task = bench.task("a").await;
    assert_eq!((task.status, task.name.as_str(), task.args.as_str()), (State::Pending, "tour.other", "[3]"));
    assert_eq!((task.result.as_str(), task.date_done, task.submitted_at), ("null", None, at(5)));
    let filter = crate::store::Filter { name: Some(by.task.clone()), limit: 9, ..Default::default() };
    assert_eq!(bench.store.list(&tenant(), filter).await.unwrap().tasks.len(), 1);
    let lease = bench.lease_one(at(6)).await;
    assert_eq!((lease.message, lease.deliveries), (by, 2));
}

async fn a_requeue_goes_to_the_end(bench: Bench) {
    let was_due = Message { eta: Some(at(1)), ..message("a") };
    bench.submit(vec![was_due, message("b")], at(0)).await;
    let key = bench.store.lease(ask(1, at(1))).await.unwrap().leases[0].key;
    bench.commit(key, Verdict::Requeued, at(2)).await;
    let task = bench.task("a").await;
    assert_eq!((task.status, task.deliveries, task.retries), (State::Pending, 1, 0));
    assert_eq!(task.waiting_for.as_deref(), Some("a free slot"));
    let leases = bench.lease(9, at(2)).await;
    assert_eq!((ids(&leases), leases[1].deliveries), (vec!["b", "a"], 2));
    assert_eq!(bench.store.revoke(&tenant(), &id("a"), at(3)).await.unwrap(), Revoked::Running(leases[1].key));
}

async fn subtasks_come_with_the_commit(mut bench: Bench) {
    let child = |name: &str| Message { parent_id: Some(id("a")), root_id: id("a"), ..message(name) };
    bench.submit(vec![message("a"), message("known")], at(0)).await;
    let key = bench.lease_one(at(0)).await.key;
    let mut publish = Plan::of(child("c1"));
    publish.append(Plan::of(Message { eta: Some(at(50)), ..child("c2") }));
    let (first, children) = (retry(Message { retries: 1, ..message("a") }), tuples(&["c1", "c2"]));
    bench.store.commit(key, Settlement { publish, children, ..settlement(first, at(1)) }).await.unwrap();
    bench.restart().await;
    let leases = bench.lease(9, at(2)).await;
    assert_eq!(ids(&leases), ["known", "a", "c1"], "the retry comes before what was published with it");
    let second =
        Settlement { publish: Plan::of(child("c3")), children: tuples(&["c3"]), ..settlement(success("1"), at(3)) };
    bench.store.commit(leases[1].key, second).await.unwrap();
    assert_eq!(bench.task("a").await.children, tuples(&["c1", "c2", "c3"]));
    let c2 = bench.task("c2").await;
    assert_eq!((c2.parent_id, c2.root_id, c2.waiting_for.as_deref()), (Some(id("a")), id("a"), Some("eta")));
}

fn tuples(names: &[&str]) -> Vec<ResultTuple> {
    names.iter().map(|name| ResultTuple::of(id(name))).collect()
}

async fn logs_are_kept_for_each_attempt(mut bench: Bench) {
    let record = LogRecord { at: at(0), level: LogLevel::Warning, message: "hm".to_owned() };
    let log = |retries, stdout: &str| AttemptLog {
        retries,
        stdout: stdout.to_owned(),
        records: vec![record.clone()],
        ..AttemptLog::default()
    };
    bench.submit(vec![message("a")], at(0)).await;
    let logs = async |bench: &Bench| bench.store.logs(&tenant(), &id("a")).await.unwrap();
    assert_eq!(logs(&bench).await, Some(vec![]));
    for (retries, log) in
        [log(0, "one"), AttemptLog { retries: 1, ..AttemptLog::default() }, log(2, "three")].into_iter().enumerate()
    {
        let key = bench.lease_one(at(0)).await.key;
        let again = Message { retries: u32::try_from(retries).unwrap() + 1, ..message("a") };
        bench.store.commit(key, Settlement { log, ..settlement(retry(again), at(0)) }).await.unwrap();
    }
    bench.restart().await;
    assert_eq!(logs(&bench).await, Some(vec![log(0, "one"), log(2, "three")]), "silence leaves no log");
    assert_eq!(bench.store.logs(&tenant(), &id("b")).await.unwrap(), None);
}

async fn resubmit_starts_afresh(mut bench: Bench) {
    let first = Message { eta: Some(at(0)), expires: Some(at(4)), ..message("a") };
    bench.submit(vec![first], at(0)).await;
    let resubmit =
        async |bench: &Bench, now| bench.store.resubmit(&tenant(), &id("a"), now, Room::UNLIMITED).await.unwrap();
    assert_eq!(resubmit(&bench, at(0)).await, Redone::Busy(State::Pending));
    let key = bench.lease_one(at(0)).await.key;
    assert_eq!(resubmit(&bench, at(0)).await, Redone::Busy(State::Started));
    bench.store.report(key, "PROGRESS".to_owned(), json("1")).await.unwrap();
    assert_eq!(resubmit(&bench, at(0)).await, Redone::Busy(State::Custom("PROGRESS".to_owned())));
    let again = Message { retries: 1, expires: Some(at(4)), ..message("a") };
    let log = AttemptLog { stdout: "old".to_owned(), ..AttemptLog::default() };
    let with_log = Settlement { log, publish: Plan::of(message("c")), ..settlement(retry(again), at(1)) };
    bench.store.commit(key, with_log).await.unwrap();
    assert_eq!(resubmit(&bench, at(1)).await, Redone::Busy(State::Retry));
    let key = bench.lease_one(at(2)).await.key;
    bench.commit(key, success("1"), at(2)).await;
    assert_eq!(resubmit(&bench, at(5)).await, Redone::Done);
    bench.restart().await;
    let task = bench.task("a").await;
    assert_eq!((task.status, task.retries, task.deliveries, task.date_done), (State::Pending, 0, 0, None));
    assert_eq!((task.result.as_str(), task.worker, task.usage), ("null", None, None));
    assert!(task.children.is_empty());
    assert_eq!(bench.store.logs(&tenant(), &id("a")).await.unwrap(), Some(vec![]));
    let leases = bench.lease(9, at(6)).await;
    assert_eq!(ids(&leases), ["c", "a"], "it waits behind what came before");
    assert_eq!((leases[1].message.expires, leases[1].message.eta), (None, None), "an expiry that passed is dropped");
    assert_eq!(bench.store.resubmit(&tenant(), &id("b"), at(6), Room::UNLIMITED).await.unwrap(), Redone::Unknown);
}
