//! (b) The same task end to end through the file store, every commit durable: a queue of 10,000 and one of 200,000.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lovage::config::{self, Flags};
use lovage::daemon::{House, Plan};
use lovage::store::Store;
use lovage::store::file::FileStore;
use lovage_model::{ModuleName, QueueName, TenantId};

use crate::rig::{Rig, Table, message, rate};

pub(crate) fn measure(rig: &Rig, bare: f64, table: &mut Table) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (few, many) = (rig.count(10_000), rig.count(200_000));
    // Small queues are over quickly: the best of several.
    let mut small = 0.0_f64;
    for _ in 0..5 {
        small = small.max(runtime.block_on(drain(rig, few))?);
    }
    row(table, few, small, format!("{:.2} of the bare engine", small / bare));
    let large = runtime.block_on(drain(rig, many))?;
    row(table, many, large, format!("{:.2} of the bare engine; {:.2} of the small queue", large / bare, large / small));
    Ok(())
}

fn row(table: &mut Table, count: usize, rate: f64, ratio: String) {
    table.row("b", format!("drain of {count} no-op tasks, file store"), format!("{rate:.0} /s"), ratio);
}

async fn drain(rig: &Rig, count: usize) -> anyhow::Result<f64> {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    fill(rig, place.path(), count).await?;
    let house = open(place.path(), None).await?;
    let started = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    let tenant = TenantId::default();
    while !house.store.queues(&tenant, lovage::clock::now()).await?.is_empty() {
        ticks.tick().await;
    }
    let drained = rate(count, started);
    house.close().await?;
    Ok(drained)
}

/// Pushes the module and queues the tasks, with nobody to run them.
async fn fill(rig: &Rig, place: &Path, count: usize) -> anyhow::Result<()> {
    let house = open(place, Some("nobody")).await?;
    let (tenant, name) = (TenantId::default(), ModuleName::new("load")?);
    house.modules.push(&tenant, &name, rig.component.clone().into(), false, lovage::clock::now()).await?;
    for start in (0..count).step_by(1000) {
        let batch = (start..count.min(start + 1000)).map(|_| message("load.noop", serde_json::json!([]))).collect();
        house.store.submit(&tenant, batch, lovage::clock::now(), u64::MAX).await?;
    }
    house.close().await?;
    Ok(())
}

async fn open(place: &Path, queue: Option<&str>) -> anyhow::Result<House> {
    let mut config = config::load(&Flags::default(), [], |_| Ok(String::new()))?;
    config.worker.queues = queue.map(QueueName::new).transpose()?.map(|queue| [queue].into());
    let store: Arc<dyn Store> = Arc::new(FileStore::open(place, lovage::clock::now())?);
    let plan = Plan::of(&config, store, place.join("cache"), env!("CARGO_BIN_EXE_lovage").into());
    Ok(House::open(plan).await?)
}
