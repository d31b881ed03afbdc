//! Kill -9 under load, again and again: what was acknowledged is done, once, and right.
//!
//! `LOVAGE_CRASH_ROUNDS` sets how often (5), `LOVAGE_CRASH_SEED` repeats a run's choices; each run prints its seed.

mod dice;
mod load;
mod promise;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use lovage_client::{Client, TaskFilter};
use lovage_model::{EventKind, ResultMeta, TaskId};
use lovage_tests::daemon::{Daemon, PATIENCE, command, run};
use lovage_tests::guests;

use dice::Dice;
use load::Load;
use promise::Promises;

/// Fewer than the tasks of a round, so that each kill finds some running and some waiting.
const CONCURRENCY: &str = "16";
/// From the start of the process to the first task that it ends; the machine may be busy.
const READY: Duration = Duration::from_secs(5);

type Tasks = HashMap<TaskId, ResultMeta>;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_and_nothing_ends_twice() {
    let seed = number("LOVAGE_CRASH_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let rounds = number("LOVAGE_CRASH_ROUNDS").unwrap_or(5);
    println!("LOVAGE_CRASH_SEED={seed}");
    let mut dice = Dice::new(seed);
    let mut daemon = Daemon::start(&[guests::tour()], &["--concurrency", CONCURRENCY]);
    let mut promises = Promises::default();
    let mut ended = Tasks::new();
    for round in 0..rounds {
        let load = Load { round, client: daemon.client() };
        promises = load.until_killed(promises, &mut dice, || daemon.kill9()).await;

        let started = Instant::now();
        daemon.restart();
        first_end(&daemon.client()).await;
        let ready = started.elapsed();
        println!("round {round}: {} promised, ready after {ready:?}", promises.len());
        assert!(ready < READY, "{ready:?}");

        promises.repeat(&daemon.client()).await;
        ended = still_so(ended, all(&daemon.client()).await);
    }
    let tasks = all_ended(&daemon.client()).await;
    still_so(ended, tasks.clone());
    promises.check(&tasks);
    let twice = tasks.values().filter(|task| task.deliveries > task.retries + 1).count();
    assert!(twice > 0, "no kill met a running task");
    daemon.terminate();
    run(command(["store", "check", "--store", &daemon.store_url()])).ok();
}

/// Waits until any task ends.
async fn first_end(client: &Client) {
    let mut events = client.all_events();
    let end = async {
        loop {
            match events.next().await.expect("events").map(|event| event.kind) {
                Some(kind) if kind.is_terminal() => return,
                Some(EventKind::Custom { .. }) | None => panic!("the stream of all events has no end"),
                Some(_) => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, end).await.expect("a task ends");
}

/// Every task there is.
async fn all(client: &Client) -> Tasks {
    let mut filter = TaskFilter { limit: Some(200), ..TaskFilter::default() };
    let mut tasks = Tasks::new();
    loop {
        let page = client.tasks(&filter).await.expect("a page");
        tasks.extend(page.tasks.into_iter().map(|task| (task.task_id.clone(), task)));
        filter.cursor = page.next;
        if filter.cursor.is_none() {
            return tasks;
        }
    }
}

/// Every task, once all have ended.
async fn all_ended(client: &Client) -> Tasks {
    loop {
        let tasks = all(client).await;
        let Some(unfinished) = tasks.values().find(|task| !task.status.is_terminal()) else { return tasks };
        let result = client.async_result(unfinished.task_id.clone());
        result.wait(Some(PATIENCE)).await.expect("every task ends");
    }
}

/// What had ended before has ended so still; returns what has ended now.
fn still_so(before: Tasks, now: Tasks) -> Tasks {
    for (id, was) in before {
        let is = now.get(&id).unwrap_or_else(|| panic!("{id} is gone"));
        assert_eq!((&was.status, &was.result, was.date_done), (&is.status, &is.result, is.date_done), "{id}");
    }
    now.into_iter().filter(|(_, task)| task.status.is_terminal()).collect()
}
