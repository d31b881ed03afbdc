//! (b) The same task end to end through the file store, every commit durable: a queue of 10,000 and one of 200,000.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lovage::config::{self, Flags};
use lovage::daemon::{House, Plan};
use lovage::store::Store;
use lovage::store::file::FileStore;
use lovage_model::{ModuleName, QueueName, TenantId};

use crate::rig::{Rig, Table, cpu, each_us, message, rate};

pub(crate) fn measure(rig: &Rig, bare: f64, table: &mut Table) -> anyhow::Result<()> {
    // One thread beside those of the guests, as in a daemon on two cores.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (few, many) = (rig.count(10_000), rig.count(200_000));
    // Small queues are over quickly: the best of several.
    let mut small = Drained { rate: 0.0, cpu: Duration::ZERO };
    for _ in 0..5 {
        let again = runtime.block_on(drain(rig, few))?;
        small = if again.rate > small.rate { again } else { small };
    }
    row(table, few, &small, format!("{:.2} of the bare engine", small.rate / bare));
    let large = runtime.block_on(drain(rig, many))?;
    let ratios =
        format!("{:.2} of the bare engine; {:.2} of the small queue", large.rate / bare, large.rate / small.rate);
    row(table, many, &large, ratios);
    Ok(())
}

struct Drained {
    rate: f64,
    cpu: Duration,
}

fn row(table: &mut Table, count: usize, drained: &Drained, ratio: String) {
    let value = format!("{:.0} /s", drained.rate);
    let ratio = format!("{ratio}; {}", each_us(drained.cpu, count));
    table.row("b", format!("drain of {count} no-op tasks, file store"), value, ratio);
}

async fn drain(rig: &Rig, count: usize) -> anyhow::Result<Drained> {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    fill(rig, place.path(), count).await?;
    let house = open(place.path(), None).await?;
    let (started, cpu_before) = (Instant::now(), cpu()?);
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let tenant = TenantId::default();
    while !house.store.queues(&tenant, lovage::clock::now()).await?.is_empty() {
        ticks.tick().await;
    }
    let drained = Drained { rate: rate(count, started), cpu: cpu()? - cpu_before };
    house.close().await?;
    Ok(drained)
}

/// Pushes the module and queues the tasks, with nobody to run them.
async fn fill(rig: &Rig, place: &Path, count: usize) -> anyhow::Result<()> {
    let house = open(place, Some("nobody")).await?;
    let (tenant, name) = (TenantId::default(), ModuleName::new("load")?);
    house.modules.push(&tenant, &name, rig.component.clone().into(), false, lovage::clock::now()).await?;
    for start in (0..count).step_by(1000) {
        let plans = (start..count.min(start + 1000))
            .map(|_| lovage_model::Plan::of(message("load.noop", serde_json::json!([]))));
        house.store.submit(&tenant, plans.collect(), lovage::clock::now(), lovage_model::Room::UNLIMITED).await?;
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
