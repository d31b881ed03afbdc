//! Hosts and queues: what they say, what they are told, what happens there.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use lovage_model::{EventKind, State};
use lovage_tests::daemon::{Daemon, PATIENCE, runs, until};
use lovage_tests::guests;
use serde_json::{Value, json};

fn one_at_a_time() -> Daemon {
    Daemon::start(&[guests::tour(), guests::walls()], &["--concurrency", "1"])
}

/// Takes the only slot.
async fn block(daemon: &Daemon) {
    daemon.lovage(["task", "submit", "walls.wait_visibly", "--id", "blocker"]).ok();
    until(&daemon.task("blocker"), runs).await;
}

fn inspect(daemon: &Daemon, args: &[&str]) -> Value {
    let says = daemon.lovage(["inspect"].iter().chain(args).chain(&["-o", "json"])).json();
    says.as_object().unwrap().values().next().unwrap().clone()
}

fn ids(of: &Value) -> Vec<&str> {
    of.as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_paused_queue_waits_also_across_a_restart() {
    let mut daemon = one_at_a_time();
    assert_eq!(daemon.lovage(["queue", "pause", "slow"]).ok(), "slow: paused");
    assert_eq!(daemon.lovage(["queue", "pause", "slow"]).ok(), "slow: was paused already");
    daemon.lovage(["task", "submit", "tour.add", "1", "1", "--id", "waits", "--queue", "slow"]).ok();
    daemon.terminate();
    daemon.restart();
    assert_eq!(daemon.lovage(["task", "run", "tour.add", "2", "3"]).ok(), "5", "another queue goes on");
    let waits = daemon.task("waits").meta().await.unwrap();
    assert_eq!((waits.status, waits.deliveries), (State::Pending, 0));
    let told = daemon.lovage(["task", "wait", "waits", "--timeout", "0"]).fails(5);
    assert!(told.contains("task waits waits for: queue slow is paused"), "{told}");
    let queues = daemon.lovage(["queue", "list", "-o", "json"]).json();
    let slow = queues.as_array().unwrap().iter().find(|queue| queue["name"] == "slow").unwrap();
    assert_eq!((&slow["paused"], &slow["ready"]), (&json!(true), &json!(1)), "{queues}");
    assert_eq!(daemon.lovage(["queue", "resume", "slow"]).ok(), "slow: goes on");
    assert_eq!(daemon.lovage(["task", "wait", "waits"]).ok(), "2");
}

#[tokio::test]
async fn a_host_says_what_it_does() {
    let daemon = one_at_a_time();
    block(&daemon).await;
    daemon.lovage(["task", "submit", "tour.add", "1", "1", "--id", "later", "--countdown", "1000"]).ok();
    let active = inspect(&daemon, &["active"]);
    assert_eq!(ids(&active), ["blocker"]);
    assert_eq!(
        (&active[0]["name"], &active[0]["delivery_info"]["routing_key"]),
        (&json!("walls.wait_visibly"), &json!("celery"))
    );
    assert!(active[0]["time_start"].is_string() && active[0]["worker_pid"].is_u64(), "{active}");
    let scheduled = inspect(&daemon, &["scheduled"]);
    assert_eq!((&scheduled[0]["request"]["id"], &scheduled[0]["request"]["args"]), (&json!("later"), &json!([1, 1])));
    assert_eq!(inspect(&daemon, &["ping"]), json!({"ok": "pong"}));
    let places = inspect(&daemon, &["query_task", "blocker", "later", "nobody"]);
    assert_eq!(
        (&places["blocker"][0], &places["later"][0], &places["nobody"]),
        (&json!("active"), &json!("scheduled"), &Value::Null)
    );
    daemon.lovage(["task", "revoke", "blocker", "later", "--terminate"]).ok();
    daemon.lovage(["task", "wait", "blocker"]).fails(1);
    assert_eq!(inspect(&daemon, &["revoked"]), json!(["later", "blocker"]));
    let stats = inspect(&daemon, &["stats"]);
    assert_eq!((&stats["total"], &stats["pool"]["max-concurrency"]), (&json!({"walls.wait_visibly": 1}), &json!(1)));
    let text = daemon.lovage(["inspect", "registered"]).ok();
    assert!(text.contains("\n  tour.add\n"), "{text}");
    let settings = inspect(&daemon, &["conf"]);
    assert!(settings.as_array().unwrap().iter().any(|it| it["name"] == "worker.concurrency" && it["value"] == 1));
    assert!(daemon.lovage(["inspect", "query_task"]).fails(2).contains("query_task"));
}

#[tokio::test]
async fn a_rate_limit_is_changed_while_tasks_wait_for_their_turn() {
    let daemon = Daemon::start(&[guests::tour()], &[]);
    daemon.lovage(["control", "rate_limit", "noop", "1/h"]).ok();
    assert!(daemon.lovage(["inspect", "registered"]).ok().contains("tour.noop [rate_limit=1/h]"));
    let names = ["a", "b", "c"];
    for id in names {
        daemon.lovage(["task", "submit", "tour.noop", "--id", id]).ok();
    }
    daemon.lovage(["task", "wait", "a"]).ok();
    for id in ["b", "c"] {
        let task = daemon.task(id);
        while task.meta().await.unwrap().waiting_for.as_deref() != Some("rate limit") {}
        assert_eq!(task.meta().await.unwrap().deliveries, 0);
    }
    // What waits for its turn can be revoked.
    daemon.lovage(["task", "revoke", "c"]).ok();
    daemon.lovage(["control", "rate_limit", "tour.noop", "0"]).ok();
    daemon.lovage(["task", "wait", "b"]).ok();
    assert_eq!(daemon.task("c").state().await.unwrap(), State::Revoked);
    assert!(daemon.lovage(["control", "rate_limit", "tour.noop", "often"]).fails(2).contains("10/s"));
}

#[tokio::test]
async fn time_limits_are_changed_while_the_host_runs() {
    let daemon = one_at_a_time();
    daemon.lovage(["control", "time_limit", "walls.spin", "0.1", "0.2"]).ok();
    let told = daemon.lovage(["task", "run", "walls.spin"]).fails(1);
    assert!(told.contains("TimeLimitExceeded: 0.2"), "{told}");
    let told = daemon.lovage(["task", "run", "walls.spin", "--time-limit", "0.3"]).fails(1);
    assert!(told.contains("TimeLimitExceeded: 0.3"), "what a call asks for goes before it: {told}");
    assert!(daemon.lovage(["control", "time_limit", "walls.spin", "2", "1"]).fails(2).contains("soft is above hard"));
}

#[tokio::test]
async fn a_worker_that_drains_finishes_what_runs_and_begins_nothing() {
    let daemon = one_at_a_time();
    block(&daemon).await;
    let worker = daemon.lovage(["worker", "drain", "-o", "json"]).json();
    assert_eq!((&worker["status"], &worker["active"]), (&json!("draining"), &json!(1)));
    assert!(daemon.lovage(["status"]).fails(1).contains("lovage worker drain --resume"));
    daemon.lovage(["task", "submit", "tour.add", "2", "3", "--id", "waits"]).ok();
    daemon.lovage(["task", "revoke", "blocker", "--terminate"]).ok();
    daemon.lovage(["task", "wait", "blocker"]).fails(1);
    assert_eq!(daemon.task("waits").meta().await.unwrap().deliveries, 0);
    assert!(daemon.lovage(["worker", "drain", "--resume"]).ok().contains(" ok "));
    assert_eq!(daemon.lovage(["task", "wait", "waits"]).ok(), "5");
    daemon.lovage(["status"]).ok();
}

#[tokio::test]
async fn results_whose_time_is_over_are_dropped_on_demand() {
    let daemon = Daemon::configured(&[guests::tour()], "results.expires_seconds = 1");
    daemon.lovage(["task", "run", "tour.add", "1", "1", "--id", "old"]).ok();
    // The sweeper comes every half minute only.
    while daemon.lovage(["control", "cleanup", "-o", "json"]).json()["expired"] == 0 {}
    daemon.lovage(["task", "get", "old"]).fails(3);
}

#[tokio::test]
async fn events_tell_what_happens_with_celerys_fields() {
    let daemon = Daemon::start(&[guests::tour()], &[]);
    let mut child = daemon.command(["events", "-o", "jsonl"]).stdout(Stdio::piped()).spawn().unwrap();
    let (sender, lines) = channel();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || stdout.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
    // It says nothing when it begins to listen: so something happens until it hears one task from its beginning to its end.
    let mut events: Vec<Value> = Vec::new();
    let of_last = |events: &[Value]| {
        let last = events.last().map(|event| event["uuid"].clone());
        events.iter().filter(|event| Some(&event["uuid"]) == last.as_ref()).count()
    };
    while of_last(&events) < 4 {
        daemon.lovage(["task", "run", "tour.add", "2", "3"]).ok();
        loop {
            match lines.recv_timeout(Duration::from_millis(200)) {
                Ok(line) => events.push(serde_json::from_str(&line).unwrap()),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => panic!("it has ended after {events:?}"),
            }
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let mut last = events.split_off(events.len() - 4);
    // Who sends tells of it once it is stored; a host may have taken it by then.
    last.sort_by_key(|event| event["type"] != "task-sent");
    let kinds: Vec<_> = last.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["task-sent", "task-received", "task-started", "task-succeeded"]);
    for event in &last[..2] {
        assert_eq!(
            (&event["args"], &event["queue"], &event["retries"]),
            (&json!("[2,3]"), &json!("celery"), &json!(0))
        );
    }
    assert!(last[0].get("hostname").is_none() && last[1]["hostname"].as_str().unwrap().starts_with("lovage@"));
    assert_eq!(last[3]["result"], "5");
    assert!(last[3]["runtime"].is_f64(), "{}", last[3]);
}

#[tokio::test]
async fn failures_are_logged_unless_they_are_expected() {
    let mut daemon = Daemon::start(&[guests::tour()], &[]);
    daemon.lovage(["task", "run", "tour.divide", "1", "0"]).fails(1);
    let line = daemon.process().wait_for("ZeroDivisionError");
    assert!(line.contains("ERROR") && line.contains("tour.divide") && line.contains("plain.rs"), "{line}");
}

#[tokio::test]
async fn many_are_revoked_by_their_stamp() {
    let daemon = one_at_a_time();
    block(&daemon).await;
    for (id, build) in [("a", 12), ("b", 13), ("c", 14)] {
        let options = json!({"task_id": id, "stamped_headers": ["build"], "build": build});
        let signature = json!({"task": "tour.noop", "args": [], "options": options});
        daemon.lovage(["task", "submit", "--canvas", &signature.to_string()]).ok();
    }
    let told = daemon.lovage(["task", "revoke", "--stamp", "build=12", "--stamp", "build=13"]).ok();
    assert_eq!(told.lines().count(), 2, "{told}");
    assert_eq!(daemon.lovage(["task", "revoke", "--stamp", "build=99"]).ok(), "none found");
    daemon.lovage(["task", "revoke", "blocker", "--terminate"]).ok();
    daemon.lovage(["task", "wait", "c"]).ok();
    for id in ["a", "b"] {
        assert_eq!(daemon.task(id).state().await.unwrap(), State::Revoked);
    }
}

#[tokio::test]
async fn a_periodic_task_goes_on_after_a_crash() {
    let mut daemon = Daemon::start(&[guests::tour()], &[]);
    let set = ["beat", "set", "tick", "tour.add", "2", "3", "--every", "0.3"];
    daemon.lovage(set).ok();
    let sent = async |daemon: &Daemon, count: u32| {
        let mut events = daemon.client().all_events();
        let mut seen = 0;
        while seen < count {
            let event = tokio::time::timeout(PATIENCE, events.next()).await.expect("it is sent").unwrap().unwrap();
            seen += u32::from(matches!(event.kind, EventKind::Sent { .. }));
        }
    };
    sent(&daemon, 2).await;
    daemon.kill9();
    daemon.restart();
    sent(&daemon, 2).await;
    let shown = daemon.lovage(set.iter().chain(&["--disabled", "-o", "json"])).json();
    assert_eq!(shown["next_run_at"], Value::Null, "{shown}");
    let tasks = daemon.lovage(["task", "list", "-o", "json"]).json();
    let (tasks, runs) = (tasks.as_array().unwrap(), shown["total_run_count"].as_u64().unwrap());
    // One may have been sent and not noted when the daemon was killed, and one since it was asked.
    assert!(runs >= 3 && (runs..=runs + 2).contains(&(tasks.len() as u64)), "{} for {runs} times", tasks.len());
    let id = tasks.last().unwrap()["task_id"].as_str().unwrap();
    assert_eq!(daemon.lovage(["task", "wait", id]).ok(), "5");
    daemon.lovage(["beat", "rm", "tick"]).ok();
    daemon.lovage(["beat", "show", "tick"]).fails(3);
}

#[test]
fn periodic_tasks_are_declared_in_the_configuration() {
    let settings = "[beat.nightly]\ntask = \"tour.add\"\nargs = [2, 3]\ncrontab = \"30 7 * * mon-fri\"\ntimezone = \"Europe/Berlin\"";
    let daemon = Daemon::configured(&[guests::tour()], settings);
    let listed = daemon.lovage(["beat", "list"]).ok();
    assert!(listed.contains("30 7 * * mon-fri Europe/Berlin") && listed.contains("of the configuration"), "{listed}");
    let id = daemon.lovage(["beat", "run", "nightly"]).ok();
    assert_eq!(daemon.lovage(["task", "wait", &id]).ok(), "5");
    assert!(daemon.lovage(["beat", "rm", "nightly"]).fails(2).contains("entry_of_config"));
    let shown = daemon.lovage(["beat", "show", "nightly", "-o", "json"]).json();
    assert_eq!((&shown["total_run_count"], &shown["last_run_at"]), (&json!(0), &Value::Null), "a run beside its times");
}
