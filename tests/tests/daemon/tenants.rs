//! Tenants that share a daemon, and the tokens that say which of them asks.

use std::process::Command;
use std::time::Duration;

use lovage_client::{Client, TaskFilter};
use lovage_model::api::{BatchItem, SubmitReply};
use lovage_model::{State, TaskId};
use lovage_tests::daemon::{Daemon, PATIENCE, run, runs, until};
use lovage_tests::guests;
use serde_json::json;

const REQUIRED: &str = "[http]\ntokens = \"required\"\n";

/// A daemon that needs tokens, and the one that it printed at its start.
fn guarded(settings: &str) -> (Daemon, String) {
    admin_of(Daemon::host("memory:", "lovage@guarded", &[guests::tour()], settings))
}

fn admin_of(mut daemon: Daemon) -> (Daemon, String) {
    let line = daemon.process().wait_for("export LOVAGE_TOKEN=");
    (daemon, line.split_once('=').expect("the token").1.to_owned())
}

fn with(daemon: &Daemon, token: &str, args: &[&str]) -> Command {
    let mut command = daemon.command(args);
    command.env("LOVAGE_TOKEN", token);
    command
}

/// A tenant with the tour, and a token for everything that it may do.
fn tenant(daemon: &Daemon, admin: &str, name: &str, limits: &[&str]) -> String {
    run(with(daemon, admin, &[&["tenant", "add", name], limits].concat())).ok();
    let scopes = ["token", "add", "--tenant", name, "--scope", "read,submit,deploy"];
    let token = run(with(daemon, admin, &scopes)).ok();
    run(with(daemon, &token, &["module", "push", "tour", &guests::tour().to_string_lossy()])).ok();
    token
}

fn client(daemon: &Daemon, token: &str) -> Client {
    daemon.client().with_token(token)
}

async fn submit(client: &Client, id: &str, task: &str, args: serde_json::Value) -> TaskId {
    let body = json!({ "task": task, "args": args, "options": { "task_id": id } });
    client.send_request(&serde_json::from_value(body).unwrap()).await.expect("it is acknowledged");
    id.parse().unwrap()
}

#[test]
fn nobody_gets_in_without_a_token_and_each_sees_its_own() {
    let (daemon, admin) = guarded(REQUIRED);
    let told = daemon.lovage(["task", "list"]).fails(4);
    assert!(told.contains("LOVAGE_TOKEN"), "{told}");
    let (own, other) = (tenant(&daemon, &admin, "own", &[]), tenant(&daemon, &admin, "other", &[]));
    assert_eq!(run(with(&daemon, &own, &["task", "run", "tour.add", "2", "3", "--id", "sum"])).ok(), "5");
    assert_eq!(run(with(&daemon, &own, &["task", "result", "sum"])).ok(), "5");
    run(with(&daemon, &other, &["task", "result", "sum"])).fails(3);
    assert_eq!(run(with(&daemon, &other, &["-o", "json", "task", "list"])).json(), json!([]));
    // The same id is another task there.
    assert_eq!(run(with(&daemon, &other, &["task", "run", "tour.add", "1", "1", "--id", "sum"])).ok(), "2");
    assert_eq!(run(with(&daemon, &own, &["task", "result", "sum"])).ok(), "5");
    let told = run(with(&daemon, &own, &["tenant", "list"])).fails(4);
    assert!(told.contains("needs admin"), "{told}");

    let reader = run(with(&daemon, &admin, &["token", "add", "--tenant", "own", "--scope", "read"])).ok();
    assert_eq!(run(with(&daemon, &reader, &["task", "result", "sum"])).ok(), "5");
    let told = run(with(&daemon, &reader, &["task", "submit", "tour.add", "1", "2"])).fails(4);
    assert!(told.contains("is good for read, and this needs submit"), "{told}");
    let [_, id, secret] = reader.splitn(3, '_').collect::<Vec<_>>()[..] else { panic!("{reader}") };
    run(with(&daemon, &admin, &["token", "revoke", id])).ok();
    run(with(&daemon, &reader, &["task", "result", "sum"])).fails(4);
    let listed = run(with(&daemon, &admin, &["token", "list"])).ok();
    assert!(listed.contains("revoked") && !listed.contains(secret), "{listed}");
}

#[test]
fn what_a_tenants_tasks_used_is_shown_to_it_and_to_the_operator() {
    let (daemon, admin) = guarded(REQUIRED);
    let (own, other) = (tenant(&daemon, &admin, "own", &[]), tenant(&daemon, &admin, "other", &[]));
    let usage =
        |token: &str, of: &[&str]| run(with(&daemon, token, &[&["-o", "json", "tenant", "usage"], of].concat()));
    assert_eq!(usage(&own, &[]).json(), json!([]));
    for fuel in [&[][..], &["--fuel", "1000000000"]] {
        run(with(&daemon, &own, &[&["task", "run", "tour.add", "2", "3"], fuel].concat())).ok();
    }
    let used = usage(&own, &[]).json();
    assert_eq!(used[0]["attempts"], 2, "{used}");
    for what in ["fuel", "cpu_seconds", "memory_gib_seconds"] {
        assert!(used[0][what].as_f64().is_some_and(|much| much > 0.0), "{what}: {used}");
    }
    assert_eq!(usage(&admin, &["own", "--days", "400"]).json(), used);
    assert_eq!(usage(&other, &[]).json(), json!([]));
    usage(&other, &["own"]).fails(4);
    let shown = run(with(&daemon, &own, &["tenant", "usage"])).ok();
    assert!(shown.contains("ATTEMPTS") && shown.contains(used[0]["day"].as_str().unwrap()), "{shown}");
}

#[test]
fn the_first_token_closes_a_daemon_that_was_open() {
    let daemon = Daemon::start(&[guests::tour()], &[]);
    assert!(daemon.lovage(["token", "add"]).fails(2).contains("lovage token add --scope admin"));
    assert_eq!(daemon.lovage(["task", "run", "tour.add", "1", "2"]).ok(), "3", "nobody is locked out");
    let token = daemon.lovage(["token", "add", "--scope", "admin"]).ok();
    daemon.lovage(["task", "run", "tour.add", "1", "2"]).fails(4);
    assert_eq!(run(with(&daemon, &token, &["task", "run", "tour.add", "1", "2"])).ok(), "3");
}

#[test]
fn who_lost_every_token_gets_one_from_the_next_start() {
    let mut daemon = Daemon::start(&[], &[]);
    let lost = daemon.lovage(["token", "add", "--scope", "admin"]).ok();
    let id = lost.split('_').nth(1).unwrap().to_owned();
    run(with(&daemon, &lost, &["token", "revoke", &id])).ok();
    daemon.terminate();
    daemon.restart();
    let line = daemon.process().wait_for("export LOVAGE_TOKEN=");
    run(with(&daemon, &lost, &["tenant", "list"])).fails(4);
    run(with(&daemon, line.split_once('=').unwrap().1, &["tenant", "list"])).ok();
}

#[test]
fn a_tenants_limits_hold_for_its_tasks() {
    let (daemon, admin) = guarded(REQUIRED);
    let token = tenant(&daemon, &admin, "small", &["--time-limit", "1", "--memory-bytes", "8388608"]);
    let told = run(with(&daemon, &token, &["task", "run", "tour.sleepy", "600", "--time-limit", "500"]));
    assert!(told.code == Some(1) && told.stderr.contains("TimeLimitExceeded: 1.0"), "{told:?}");
    let told = run(with(&daemon, &token, &["task", "run", "tour.greedy", "64"]));
    assert!(told.code == Some(1) && told.stderr.contains("8388608"), "{told:?}");
}

/// Once the fuel of its day is used, a tenant's tasks wait, also after a restart, and nobody else's do.
#[tokio::test]
async fn a_tenant_that_has_used_its_fuel_of_the_day_waits() {
    let (mut daemon, admin) = admin_of(Daemon::configured(&[], REQUIRED));
    let token = tenant(&daemon, &admin, "small", &["--fuel-per-day", "1"]);
    let told = run(with(&daemon, &token, &["task", "run", "tour.add", "2", "3"]));
    assert!(told.code == Some(1) && told.stderr.contains("FuelLimitExceeded"), "{told:?}");
    let limits = |most: &str| {
        run(with(&daemon, &admin, &["tenant", "add", "small", "--fuel-per-day", most])).ok();
    };
    limits("1000000000");
    assert_eq!(run(with(&daemon, &token, &["task", "run", "tour.add", "2", "3"])).ok(), "5");
    limits("1000");
    let other = tenant(&daemon, &admin, "other", &[]);
    for _ in 0..2 {
        let small = client(&daemon, &token);
        let waits = submit(&small, "waits", "tour.add", json!([2, 3])).await;
        // What comes after it has ended by then.
        assert_eq!(run(with(&daemon, &other, &["task", "run", "tour.add", "2", "3"])).ok(), "5");
        assert_eq!(small.task(&waits).await.unwrap().status, State::Pending);
        daemon.kill9();
        daemon.restart();
    }
    run(with(&daemon, &admin, &["tenant", "add", "small"])).ok();
    // It is looked for again when the next message comes, at the latest.
    assert_eq!(run(with(&daemon, &other, &["task", "run", "tour.add", "2", "3"])).ok(), "5");
    let small = client(&daemon, &token);
    assert_eq!(small.async_result("waits".parse().unwrap()).wait(None).await.unwrap().status, State::Success);
}

#[tokio::test]
async fn a_tenants_limits_of_size_and_number_hold() {
    let (daemon, admin) = guarded(REQUIRED);
    let limits = ["--message-bytes", "1000", "--result-bytes", "2000", "--output-bytes", "3000", "--subtasks", "4"];
    let token = tenant(&daemon, &admin, "small", &[&limits[..], &["--streams", "2"]].concat());
    run(with(&daemon, &token, &["module", "push", "walls", &guests::walls().to_string_lossy()])).ok();
    let fails = |task: &str, arg: &str| {
        let told = run(with(&daemon, &token, &["task", "run", task, arg]));
        assert_eq!(told.code, Some(1), "{told:?}");
        told.stderr
    };
    let small = client(&daemon, &token);
    let large = json!({ "task": "walls.large_result", "args": ["x".repeat(1000)] });
    let refused = small.send_request(&serde_json::from_value(large).unwrap()).await.unwrap_err();
    assert_eq!(refused.code(), Some("message_too_large"), "{refused}");
    assert_eq!(run(with(&daemon, &token, &["task", "run", "walls.large_result", "1900"])).json(), "x".repeat(1900));
    assert!(fails("walls.large_result", "2001").contains("result-limit"));
    assert!(fails("walls.many_subtasks", "5").contains("at most 4 subtasks"));
    run(with(&daemon, &token, &["task", "run", "walls.flood_stdout", "1", "--id", "loud"])).ok();
    let logs = small.logs(&"loud".parse().unwrap()).await.unwrap();
    assert_eq!(logs.attempts[0].stdout.len(), 3000);
    let held = submit(&small, "held", "tour.sleepy", json!([600])).await;
    let mut open = [small.events(&held), small.events(&held)];
    for stream in &mut open {
        stream.next().await.unwrap();
    }
    let refused = small.all_events().next().await.unwrap_err();
    assert_eq!(refused.code(), Some("quota_exceeded"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_may_run_one_task_runs_one_and_the_next_when_that_has_ended() {
    let (daemon, admin) = guarded(REQUIRED);
    let token = tenant(&daemon, &admin, "one", &["--running-tasks", "1"]);
    let one = client(&daemon, &token);
    let first = submit(&one, "first", "tour.sleepy", json!([600])).await;
    until(&one.async_result(first.clone()), runs).await;
    let second = submit(&one, "second", "tour.add", json!([1, 2])).await;
    // Another tenant is not kept waiting; by the time its task has ended, the second could have run as well.
    let other = tenant(&daemon, &admin, "other", &[]);
    assert_eq!(run(with(&daemon, &other, &["task", "run", "tour.add", "2", "3"])).ok(), "5");
    let waits = one.task(&second).await.unwrap();
    assert_eq!(waits.status, State::Pending, "{waits:?}");
    one.revoke(&first, true).await.unwrap();
    let ended = one.async_result(second).wait(None).await.unwrap();
    assert_eq!(ended.status, State::Success);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_slot_of_its_tenant_begins_when_one_is_free() {
    // Leases and retries of others make the host look again; nothing of that comes to its help here.
    let settings = format!("{REQUIRED}[worker]\nconcurrency = 8\nlease_seconds = 3600\n");
    let (daemon, admin) = admin_of(Daemon::configured(&[], &settings));
    let token = tenant(&daemon, &admin, "many", &[]);
    let many = client(&daemon, &token);
    let calls = (0..20).map(|_| json!({ "task": "tour.sleepy", "args": [0.1] })).collect::<Vec<_>>();
    let sent = many.submit_batch(serde_json::from_value(json!(calls)).unwrap()).await.unwrap();
    // Not all eight slots are one tenant's: some of the twenty wait until others have ended.
    for call in sent.results {
        let BatchItem::Accepted(SubmitReply { id, .. }) = call else { panic!("{call:?}") };
        let ended = many.async_result(id).wait(Some(Duration::from_secs(20))).await.unwrap();
        assert_eq!(ended.status, State::Success);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_queue_of_one_tenant_does_not_keep_another_waiting() {
    let (daemon, admin) = guarded(&format!("{REQUIRED}[worker]\nconcurrency = 2\n"));
    let (many, few) = (tenant(&daemon, &admin, "many", &[]), tenant(&daemon, &admin, "few", &[]));
    let (many, few) = (client(&daemon, &many), client(&daemon, &few));
    let calls = (0..1000).map(|_| json!({ "task": "tour.sleepy", "args": [0.02] })).collect::<Vec<_>>();
    let batch: Vec<_> = serde_json::from_value(json!(calls)).unwrap();
    many.submit_batch(batch).await.unwrap();
    for number in 0..5 {
        let id = submit(&few, &format!("few-{number}"), "tour.add", json!([1, 2])).await;
        assert_eq!(few.async_result(id).wait(None).await.unwrap().status, State::Success);
    }
    let waiting: u64 = many.queues().await.unwrap().iter().map(|queue| queue.ready).sum();
    assert!(waiting > 500, "only {waiting} of 1000 wait: the few came after the many");
}

/// All that a tenant has, as it sees it.
async fn all(client: &Client) -> serde_json::Value {
    json!(client.tasks(&TaskFilter::default()).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_of_a_guest_reaches_what_another_tenant_has() {
    const IMPORTS: [&str; 4] = ["apply_async", "add_to_chord", "replace", "send_event"];
    const PLACES: [&str; 9] =
        ["task_id", "group_id", "root_id", "parent_id", "link", "link_error", "chain", "group", "chord"];
    const THEIRS: [&str; 3] = ["ended", "running", "waiting"];
    let (daemon, admin) = guarded(REQUIRED);
    let (own, other) = (tenant(&daemon, &admin, "own", &[]), tenant(&daemon, &admin, "other", &[]));
    run(with(&daemon, &own, &["module", "push", "meddling", &guests::meddling().to_string_lossy()])).ok();
    let (own, other) = (client(&daemon, &own), client(&daemon, &other));
    let ended = submit(&other, "ended", "tour.add", json!([2, 3])).await;
    other.async_result(ended).wait(None).await.unwrap();
    let running = submit(&other, "running", "tour.sleepy", json!([600])).await;
    until(&other.async_result(running), runs).await;
    let waiting = json!({ "task": "tour.add", "args": [2, 3], "options": { "task_id": "waiting", "countdown": 3600 } });
    other.send_request(&serde_json::from_value(waiting).unwrap()).await.unwrap();
    let before = all(&other).await;
    let mut reached = 0;
    for import in IMPORTS {
        for place in PLACES {
            for id in THEIRS {
                let call =
                    submit(&own, &format!("{import}.{place}.{id}"), "meddling.meddle", json!([import, place, id]))
                        .await;
                let ended = own.async_result(call).wait(None).await.unwrap();
                reached += usize::from(ended.status == State::Success);
            }
        }
    }
    assert!(reached > 0, "every call was refused: none of them meddled");
    let deadline = std::time::Instant::now() + PATIENCE;
    while !own.queues().await.unwrap().is_empty() {
        assert!(std::time::Instant::now() < deadline, "what it sent does not end");
        tokio::task::yield_now().await;
    }
    assert_eq!(all(&other).await, before);
}
