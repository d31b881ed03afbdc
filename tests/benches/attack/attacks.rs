//! What the other tenant does.

use std::time::Duration;

use lovage_client::{Client, s};
use lovage_model::api::{BatchItem, SubmitRequest};
use lovage_tests::guests;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::rig::Rig;

/// Calls of an attacker at once.
const CALLERS: usize = 8;
/// Between the calls of one that is refused at once: else it would take the processors itself.
const PAUSE: Duration = Duration::from_millis(4);

/// Something that a tenant may do to others, until what it gives is dropped.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) begin: fn(&Rig) -> JoinSet<()>,
}

pub(crate) const ATTACKS: [Attack; 15] = [
    Attack { name: "sleepers", begin: |rig| queued(rig, 100, "load.sleep", json!([1000])) },
    Attack { name: "spinners", begin: |rig| queued(rig, 5, "load.spin", json!([])) },
    Attack { name: "long-queue", begin: |rig| queued(rig, 100, "load.noop", json!([])) },
    Attack { name: "memory", begin: |rig| queued(rig, 10, "walls.hoard", json!([])) },
    Attack { name: "stack", begin: |rig| queued(rig, 20, "walls.recurse_plainly", json!([])) },
    Attack { name: "output", begin: |rig| queued(rig, 2, "walls.flood_stdout", json!([100_000])) },
    Attack { name: "log-records", begin: |rig| queued(rig, 2, "walls.flood_log", json!([100_000_000])) },
    Attack { name: "states", begin: |rig| queued(rig, 2, "walls.meet_soft_limit", json!(["state", false])) },
    Attack { name: "subtasks", begin: |rig| queued(rig, 2, "walls.many_subtasks", json!([1000])) },
    Attack { name: "large-results", begin: |rig| queued(rig, 5, "walls.large_result", json!([4_000_000])) },
    Attack { name: "buckets", begin: |rig| queued(rig, 2, "reaching.flood", json!(["b", 10_000])) },
    Attack { name: "retries", begin: |rig| queued(rig, 5, "load.retry_at_once", json!([])) },
    Attack { name: "pushes", begin: pushes },
    Attack { name: "streams", begin: streams },
    Attack { name: "strangers", begin: strangers },
];

/// Keeps batches of a hundred coming, so many in all, over and over.
fn queued(rig: &Rig, batches: usize, task: &'static str, args: Value) -> JoinSet<()> {
    let request =
        move || -> SubmitRequest { serde_json::from_value(json!({ "task": task, "args": args })).expect("a call") };
    let client = rig.attacker.clone();
    let mut calls = JoinSet::new();
    calls.spawn(async move {
        loop {
            for _ in 0..batches {
                // It is refused when it has too much: that is a wall. A task that nobody knows would be no attack.
                if let Ok(reply) = client.submit_batch((0..100).map(|_| request()).collect()).await {
                    assert!(!reply.results.iter().any(is_unknown), "{task} is no task of its module");
                }
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    });
    calls
}

fn is_unknown(item: &BatchItem) -> bool {
    matches!(item, BatchItem::Refused(problem) if problem.code == "unknown_task")
}

/// Pushes components that were not seen before, each to be scanned and compiled.
fn pushes(rig: &Rig) -> JoinSet<()> {
    callers(rig.attacker.clone(), |client, n| async move {
        let mut component = std::fs::read(guests::tour()).expect("it was built");
        // A custom section of its own: the code is the same, the digest is not.
        let section = format!("\u{1}n{n:016}");
        component.extend([0, u8::try_from(section.len()).expect("short")]);
        component.extend(section.into_bytes());
        let _ = client.push_module(&"tour".parse().expect("a name"), component.into(), false).await;
    })
}

/// Opens streams of events and keeps them.
fn streams(rig: &Rig) -> JoinSet<()> {
    let mut open = JoinSet::new();
    for _ in 0..1000 {
        let mut events = rig.attacker.all_events();
        open.spawn(async move { while let Ok(Some(_)) = events.next().await {} });
    }
    let busy = queued(rig, 10, "load.noop", json!([]));
    open.spawn(async move { _ = busy.join_all().await });
    open
}

/// Asks without a token that is known, some thousand times a second.
fn strangers(rig: &Rig) -> JoinSet<()> {
    let stranger = rig.daemon.client().with_token("lovage_0000000000000000_none");
    callers(stranger, |client, _| async move {
        let _ = client.apply_async(s("load.noop", ())).await;
        tokio::time::sleep(PAUSE).await;
    })
}

/// Several that call again and again, each call with a number of its own.
fn callers<F: Future<Output = ()> + Send + 'static>(
    client: Client,
    call: impl Fn(Client, usize) -> F + Clone + Send + Sync + 'static,
) -> JoinSet<()> {
    (0..CALLERS)
        .map(|caller| {
            let (client, call) = (client.clone(), call.clone());
            async move {
                for n in 0.. {
                    call(client.clone(), n * CALLERS + caller).await;
                }
            }
        })
        .collect()
}
