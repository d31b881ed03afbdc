//! Tasks that are sent, run, watched and read.

use lovage_model::{EventKind, State};
use lovage_tests::daemon::{Daemon, until};
use lovage_tests::guests;
use serde_json::{Value, json};

fn tour() -> Daemon {
    Daemon::start(&[guests::tour()], &[])
}

#[test]
fn a_task_is_run_and_its_result_is_data() {
    let daemon = tour();
    let ran = daemon.lovage(["task", "run", "tour.add", "2", "3"]);
    assert!(ran.stderr.starts_with("task "), "{ran:?}");
    assert_eq!(ran.ok(), "5");
    assert_eq!(daemon.lovage(["task", "run", "hello", "--kwargs", r#"{"name": "Ada"}"#]).json(), "Hello, Ada!");
    assert_eq!(daemon.lovage(["task", "run", "double", "21"]).ok(), "42");
}

#[test]
fn progress_is_shown_as_it_goes() {
    // The first steps may be over before anybody watches.
    let ran = tour().lovage(["task", "run", "tour.progress", "4", "0.2"]);
    assert!(ran.stderr.contains("PROGRESS 3/4"), "{ran:?}");
    assert_eq!(ran.ok(), "4");
}

#[test]
fn a_failure_is_told_with_its_fault_and_traceback() {
    let daemon = Daemon::start(&[guests::tour(), guests::walls()], &[]);
    let told = daemon.lovage(["task", "run", "tour.divide", "1", "0"]).fails(1);
    assert!(told.contains("failed: ZeroDivisionError: division by zero") && told.contains("plain.rs"), "{told}");
    assert!(!told.contains("fault:"), "{told}");
    let told = daemon.lovage(["task", "run", "walls.panic_with", "ouch"]).fails(1);
    assert!(told.contains("Panic: ouch (") && told.contains("fault: panic"), "{told}");
    assert!(told.contains("walls::panic_with"), "{told}");
    let told = daemon.lovage(["task", "run", "tour.add", "1"]).fails(2);
    assert!(told.contains("add() missing 1 required positional argument: 'y'"), "{told}");
    let unchecked = json!({"task": "tour.add", "args": [1], "options": {"typing": false}}).to_string();
    let told = daemon.lovage(["task", "run", "--canvas", &unchecked]).fails(1);
    assert!(told.contains("TypeError: add() missing 1 required positional argument: 'y'"), "{told}");
    let told = daemon.lovage(["task", "run", "walls.spin", "--time-limit", "0.1"]).fails(1);
    assert!(told.contains("TimeLimitExceeded: 0.1") && told.contains("fault: time-limit"), "{told}");
    let told = daemon.lovage(["task", "run", "walls.spin", "--fuel", "100000"]).fails(1);
    assert!(told.contains("FuelLimitExceeded: 100000") && told.contains("fault: fuel-limit"), "{told}");
    // Nothing of all this was the daemon's end.
    assert_eq!(daemon.lovage(["task", "run", "tour.add", "2", "3"]).ok(), "5");
}

#[test]
fn a_retry_comes_again_under_its_id_and_logs_each_attempt() {
    let daemon = tour();
    let ran = daemon.lovage(["task", "run", "tour.flaky", "1", "--id", "f-1"]);
    assert!(ran.stderr.contains("RETRY ConnectionError: no answer"), "{ran:?}");
    assert_eq!(ran.json(), "worked after 1 retries");
    let meta = daemon.lovage(["task", "get", "f-1", "-o", "json"]).json();
    assert_eq!((&meta["retries"], &meta["deliveries"]), (&json!(1), &json!(2)), "{meta}");
    assert!(daemon.lovage(["task", "logs", "f-1"]).ok().contains("attempt 1 fails"));
}

#[test]
fn subtasks_run_and_know_where_they_come_from() {
    let daemon = tour();
    let ids = daemon.lovage(["task", "run", "tour.fan_out", "3", "--id", "parent"]).json();
    let meta = daemon.lovage(["task", "get", "parent", "-o", "json"]).json();
    let children: Vec<Value> = meta["children"].as_array().unwrap().iter().map(|tuple| tuple[0][0].clone()).collect();
    assert_eq!(Value::from(children), ids);
    for (place, id) in ids.as_array().unwrap().iter().enumerate() {
        let id = id.as_str().unwrap();
        assert_eq!(daemon.lovage(["task", "wait", id]).ok(), (2 * place).to_string());
        let child = daemon.lovage(["task", "get", id, "-o", "json"]).json();
        assert_eq!((&child["parent_id"], &child["root_id"]), (&json!("parent"), &json!("parent")));
    }
}

fn signature_of(task: &str, args: Value) -> Value {
    json!({"task": task, "args": args, "kwargs": {}, "options": {}, "subtask_type": null, "immutable": false})
}

#[test]
fn a_signature_runs_as_celery_wrote_it() {
    let signature = json!({
        "task": "tour.add", "args": [2], "kwargs": {"y": 40}, "options": {"task_id": "s-1"},
        "subtask_type": null, "immutable": false
    });
    let daemon = tour();
    assert_eq!(daemon.lovage(["task", "run", "--canvas", &signature.to_string()]).ok(), "42");
    assert_eq!(daemon.lovage(["task", "result", "s-1"]).ok(), "42");
    let chain = |tasks: Value| {
        json!({"task": "celery.chain", "args": [], "kwargs": {"tasks": tasks}, "subtask_type": "chain"}).to_string()
    };
    let steps = json!([signature_of("tour.add", json!([2, 3])), signature_of("tour.add", json!([4]))]);
    assert_eq!(daemon.lovage(["task", "run", "--canvas", &chain(steps)]).ok(), "9");
    let told = daemon.lovage(["task", "submit", "--canvas", &chain(json!([]))]).fails(2);
    assert!(told.contains("kwargs.tasks is empty"), "{told}");
}

#[test]
fn the_same_call_under_one_id_runs_once() {
    let daemon = tour();
    assert_eq!(daemon.lovage(["task", "submit", "tour.add", "2", "3", "--id", "once"]).ok(), "once");
    assert_eq!(daemon.lovage(["task", "wait", "once"]).ok(), "5");
    assert_eq!(daemon.lovage(["task", "submit", "tour.add", "2", "3", "--id", "once"]).ok(), "once");
    assert_eq!(daemon.lovage(["task", "get", "once", "-o", "json"]).json()["deliveries"], 1);
    let told = daemon.lovage(["task", "submit", "tour.add", "2", "4", "--id", "once"]).fails(2);
    assert!(told.contains("id_taken"), "{told}");
}

#[tokio::test]
async fn a_batch_is_answered_one_by_one() {
    let daemon = tour();
    let client = daemon.client();
    let call = |task: &str| lovage_client::Signature::of(task).arg(1).arg(2).build().unwrap();
    let reply = client.submit_batch(vec![call("tour.add"), call("tour.nothing"), call("tour.add")]).await.unwrap();
    let items = serde_json::to_value(reply.results).unwrap();
    assert_eq!((&items[0]["state"], &items[1]["code"]), (&json!("PENDING"), &json!("unknown_task")), "{items}");
    for place in [0, 2] {
        let result: i64 = daemon.task(items[place]["id"].as_str().unwrap()).get(None).await.unwrap();
        assert_eq!(result, 3);
    }
}

#[test]
fn lists_are_filtered_and_newest_first() {
    let daemon = tour();
    for id in ["a", "b", "c"] {
        daemon.lovage(["task", "run", "tour.add", "1", "1", "--id", id]).ok();
    }
    daemon.lovage(["task", "run", "tour.divide", "1", "0", "--id", "d"]).fails(1);
    let ids = |args: &[&str]| -> Vec<String> {
        let listed = daemon.lovage(["task", "list", "-o", "json"].iter().chain(args)).json();
        listed.as_array().unwrap().iter().map(|task| task["task_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&[]), ["d", "c", "b", "a"]);
    assert_eq!(ids(&["--state", "failure"]), ["d"]);
    assert_eq!(ids(&["--name", "tour.add", "--limit", "2"]), ["c", "b"]);
    assert_eq!(ids(&["--queue", "other"]), Vec::<String>::new());
}

#[test]
fn what_makes_no_sense_is_refused_with_its_exit_code() {
    let mut daemon = tour();
    for (args, code, says) in [
        (&["task", "result", "never-seen"][..], 3, "unknown_id"),
        (&["task", "logs", "never-seen"], 3, "unknown_id"),
        (&["task", "revoke", "never-seen"], 3, "unknown_id"),
        (&["task", "submit", "tour.nothing"], 3, "unknown_task"),
        (&["task", "submit", "tour.ad"], 3, "did you mean tour.add?"),
        (&["task", "submit", "tour.add", "--kwargs", "{"], 2, "kwargs"),
        (&["task", "submit", "tour.add", "--kwargs", "[1]"], 2, "kwargs"),
        (&["task", "submit", "tour.add", "--countdown", "1e12"], 2, "countdown"),
        (&["task", "submit", "tour.add", "--priority", "10"], 2, "priority"),
        (&["module", "show", "nothing"], 3, "unknown_module"),
        (&["task", "wait", "late", "--timeout", "0.1"], 5, "still"),
        (&["task", "result", "late"], 5, "no result yet"),
    ] {
        if args.contains(&"late") {
            daemon.lovage(["task", "submit", "tour.add", "1", "1", "--countdown", "1000", "--id", "late"]).ok();
        }
        let told = daemon.lovage(args).fails(code);
        assert!(told.contains(says), "{args:?}: {told}");
    }
    daemon.terminate();
    assert!(daemon.lovage(["task", "list"]).fails(6).contains("lovage serve"));
}

#[tokio::test]
async fn ignored_and_rejected_tasks_end_as_celery_has_it() {
    let daemon = Daemon::start(&[guests::liar()], &[]);
    let call = async |task: &str| daemon.client().apply_async(lovage_client::Signature::of(task)).await.unwrap();
    let ignored = call("liar.ignore").await;
    assert!(matches!(until(&ignored, EventKind::is_terminal).await, EventKind::Ignored));
    assert_eq!(ignored.state().await.unwrap(), State::Ignored);
    let rejected = call("liar.reject").await.wait(None).await.unwrap();
    assert!(rejected.status == State::Failure && rejected.result.as_str().contains("Reject"), "{rejected:?}");
    let lying = call("liar.not_json").await.wait(None).await.unwrap();
    assert_eq!((lying.status, lying.fault.as_deref()), (State::Failure, Some("contract")));
}

#[tokio::test]
async fn a_task_that_is_rejected_for_ever_keeps_nobody_waiting_and_can_be_stopped() {
    let daemon = Daemon::start(&[guests::liar(), guests::tour()], &["--concurrency", "1"]);
    let client = daemon.client();
    let rejected = client.apply_async(lovage_client::Signature::of("liar.requeue")).await.unwrap();
    until(&rejected, |kind| matches!(kind, EventKind::Rejected { requeue: true })).await;
    let other = client.apply_async(lovage_client::Signature::of("tour.add").arg(1).arg(1)).await.unwrap();
    assert_eq!(other.get::<i64>(None).await.unwrap(), 2);
    assert!(rejected.meta().await.unwrap().deliveries > 1);
    // It is between two places most of the time; an order may have to be repeated.
    while !rejected.ready().await.unwrap() {
        let _ = rejected.revoke(true).await;
    }
    assert_eq!(rejected.state().await.unwrap(), State::Revoked);
}
