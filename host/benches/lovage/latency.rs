//! (c) From submit to result through HTTP, by a client that sends one and waits for it: alone, and beside others that keep
//! the daemon at half of what it can do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lovage_client::{Client, Signature};
use lovage_model::{ModuleName, TaskName, api::SubmitRequest};

use crate::rig::{Daemon, PROCESSES, Rig, Table, ms, percentile};

const BATCH: usize = 200;

pub(crate) fn measure(rig: &Rig, table: &mut Table) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let daemon = Daemon::start(PROCESSES, &[])?;
        let client = daemon.client()?;
        client.push_module(&ModuleName::new("load")?, rig.component.clone().into(), false).await?;
        let idle = round_trips(&client, rig.count(2000)).await?;
        row(table, "idle", &idle);
        let most = capacity(&client, rig.count(50) * BATCH).await?;
        let what = format!("HTTP batches, submit to last result, {PROCESSES}");
        table.row("c", what, format!("{most:.0} /s"), "");
        let (stop, pace) = (Arc::new(AtomicBool::new(false)), Duration::from_secs_f64(BATCH as f64 / (most / 2.0)));
        let load = tokio::spawn(keep_busy(daemon.client()?, pace, Arc::clone(&stop)));
        let loaded = round_trips(&client, rig.count(2000)).await?;
        stop.store(true, Ordering::Relaxed);
        load.await??;
        row(table, "at half load", &loaded);
        Ok(())
    })
}

fn row(table: &mut Table, when: &str, sorted: &[Duration]) {
    let (p50, p99) = (percentile(sorted, 0.5), percentile(sorted, 0.99));
    let what = format!("HTTP submit to result, {when}, {PROCESSES}, p50 / p99");
    table.row("c", what, format!("{} / {}", ms(p50), ms(p99)), "");
}

async fn round_trips(client: &Client, count: usize) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        let sent = client.apply_async(Signature::of("load.noop")).await?;
        let (): () = sent.get(Some(Duration::from_secs(30))).await?;
        times.push(started.elapsed());
    }
    times.sort();
    Ok(times)
}

fn batch() -> anyhow::Result<Vec<SubmitRequest>> {
    let task = TaskName::new("load.noop")?;
    Ok((0..BATCH).map(|_| SubmitRequest { task: Some(task.clone()), ..SubmitRequest::default() }).collect())
}

/// Tasks a second when batches are sent as fast as they are taken, to the end of the last task.
async fn capacity(client: &Client, count: usize) -> anyhow::Result<f64> {
    let started = Instant::now();
    for _ in 0..count / BATCH {
        client.submit_batch(batch()?).await?;
    }
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    while !client.queues().await?.is_empty() {
        ticks.tick().await;
    }
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

async fn keep_busy(client: Client, pace: Duration, stop: Arc<AtomicBool>) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(pace);
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        client.submit_batch(batch()?).await?;
    }
    Ok(())
}
