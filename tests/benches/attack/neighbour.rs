//! The tenant that means no harm.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lovage_client::{Client, s};
use lovage_model::State;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Work of about four milliseconds.
pub(crate) const WORK: (&str, [u64; 1]) = ("load.fib", [29]);
/// How long it waits for a result before it calls the task lost.
const PATIENCE: Duration = Duration::from_secs(30);
/// How late a task may be and still count: what is later has piled up.
const IN_TIME: Duration = Duration::from_secs(1);
/// Calls at once when it sends as fast as it is answered.
const AT_ONCE: usize = 16;

pub(crate) struct Neighbour(pub(crate) Client);

/// How it sends.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) per_second: f64,
    pub(crate) window: Duration,
}

/// What became of what it sent.
#[derive(Default)]
pub(crate) struct Served {
    /// Results that came in time.
    pub(crate) in_time: usize,
    pub(crate) failed: usize,
    /// Why the first failed.
    pub(crate) why: String,
    sorted: Vec<Duration>,
    waits: Vec<Duration>,
}

impl Served {
    /// From when a task was due to be sent to its result.
    pub(crate) fn latency(&self, at: f64) -> Duration {
        quantile(&self.sorted, at)
    }

    /// The same without the time for which it ran.
    pub(crate) fn wait(&self, at: f64) -> Duration {
        quantile(&self.waits, at)
    }
}

impl Neighbour {
    /// Tasks per second when it sends the next as soon as one is done.
    pub(crate) async fn capacity(&self, window: Duration) -> f64 {
        let (done, started) = (Arc::new(AtomicU64::new(0)), Instant::now());
        let mut callers = JoinSet::new();
        for _ in 0..AT_ONCE {
            let (client, done) = (self.0.clone(), Arc::clone(&done));
            callers.spawn(async move {
                while started.elapsed() < window {
                    call(&client).await.expect("nobody attacks");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        callers.join_all().await;
        done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
    }

    /// Sends at a pace, whatever is answered, and waits for all results.
    pub(crate) async fn served(&self, pace: Pace) -> Served {
        let (started, count) = (Instant::now(), (pace.window.as_secs_f64() * pace.per_second) as usize);
        let mut calls = JoinSet::new();
        for n in 0..count {
            let due = started + Duration::from_secs_f64(n as f64 / pace.per_second);
            tokio::time::sleep_until(due).await;
            let client = self.0.clone();
            calls.spawn(async move { call(&client).await.map(|ran| (due.elapsed(), ran)) });
        }
        let mut served = Served::default();
        for ended in calls.join_all().await {
            match ended {
                Ok((latency, ran)) => {
                    served.in_time += usize::from(latency <= IN_TIME);
                    served.sorted.push(latency);
                    served.waits.push(latency.saturating_sub(ran));
                }
                Err(error) => {
                    served.failed += 1;
                    served.sorted.push(PATIENCE);
                    served.why = error.to_string();
                }
            }
        }
        served.sorted.sort();
        served.waits.sort();
        served
    }
}

fn quantile(sorted: &[Duration], at: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * at).round() as usize).copied().unwrap_or(PATIENCE)
}

/// Sends a task and waits for its result; how long it ran.
async fn call(client: &Client) -> lovage_client::Result<Duration> {
    let sent = client.apply_async(s(WORK.0, WORK.1)).await?;
    let ended = sent.wait(Some(PATIENCE)).await?;
    if ended.status != State::Success {
        // Says how it failed.
        sent.get_json(Some(PATIENCE)).await?;
    }
    Ok(Duration::try_from_secs_f64(ended.usage.map_or(0.0, |usage| usage.wall_seconds)).unwrap_or_default())
}
