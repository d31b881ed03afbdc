//! The tenant that means no harm.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lovage_client::{Client, s};
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
}

impl Served {
    pub(crate) fn latency(&self, at: f64) -> Duration {
        let last = self.sorted.len().saturating_sub(1);
        self.sorted.get((last as f64 * at).round() as usize).copied().unwrap_or(PATIENCE)
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
            calls.spawn(async move { call(&client).await.map(|()| due.elapsed()) });
        }
        let mut served = Served::default();
        for ended in calls.join_all().await {
            match ended {
                Ok(latency) => {
                    served.in_time += usize::from(latency <= IN_TIME);
                    served.sorted.push(latency);
                }
                Err(error) => {
                    served.failed += 1;
                    served.sorted.push(PATIENCE);
                    served.why = error.to_string();
                }
            }
        }
        served.sorted.sort();
        served
    }
}

async fn call(client: &Client) -> lovage_client::Result<()> {
    let sent = client.apply_async(s(WORK.0, WORK.1)).await?;
    let _: u64 = sent.get(Some(PATIENCE)).await?;
    Ok(())
}
