//! Two equal tenants: one has queued a hundred thousand tasks, the other sends a hundred a second.

use std::time::Duration;

use lovage_client::Client;
use lovage_model::api::SubmitRequest;
use serde_json::json;

use crate::ms;
use crate::neighbour::{Pace, WORK};
use crate::rig::Rig;

/// What is queued.
const QUEUED: usize = 100_000;
const BATCH: usize = 1000;
const PER_SECOND: f64 = 100.0;
/// The most that one task in a hundred may wait.
const MOST: Duration = Duration::from_millis(50);

/// Prints how long the other's tasks took, from when each was due to be sent to its result, and how much of that they did not run;
/// whether this is within what is promised.
pub(crate) async fn fair_share(window: Duration) -> bool {
    let rig = Rig::start().await;
    queue(&rig.attacker).await;
    // What taking in so many cost is over by then.
    tokio::time::sleep(window / 3).await;
    let pace = Pace { per_second: PER_SECOND, window };
    let served = rig.neighbour.served(pace).await;
    let left: u64 = rig.attacker.queues().await.expect("it answers").iter().map(|queue| queue.ready).sum();
    let good = served.failed == 0 && served.wait(0.99) <= MOST && left > 0;
    println!(
        "fair share: {PER_SECOND:.0}/s beside {QUEUED} queued by another, of which {left} still wait: p50 {:.1} ms, p99 {:.1} ms, \
         p99 of the wait {:.1} ms{}",
        ms(served.latency(0.5)),
        ms(served.latency(0.99)),
        ms(served.wait(0.99)),
        if good { "" } else { "  too much" }
    );
    good
}

async fn queue(client: &Client) {
    let call: SubmitRequest = serde_json::from_value(json!({ "task": WORK.0, "args": WORK.1 })).expect("a call");
    for _ in 0..QUEUED / BATCH {
        client.submit_batch(vec![call.clone(); BATCH]).await.expect("there is room");
    }
}
