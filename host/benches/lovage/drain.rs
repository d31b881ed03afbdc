//! (b) The same task end to end through the file store, every commit durable: a queue of 10,000 and one of 200,000, in the
//! daemon's own process; and what it costs that a daemon has others for guests, for tasks of no work and of a little.

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
        let again = runtime.block_on(drain(rig, few, NOOP, false))?;
        small = if again.rate > small.rate { again } else { small };
    }
    row(table, few, &small, format!("{:.2} of the bare engine", small.rate / bare));
    let large = runtime.block_on(drain(rig, many, NOOP, false))?;
    let ratios =
        format!("{:.2} of the bare engine; {:.2} of the small queue", large.rate / bare, large.rate / small.rate);
    row(table, many, &large, ratios);
    for call in [NOOP, ("load.fib", "[20]")] {
        // In turn, so that what else the machine does meets both.
        let mut best = [0.0_f64; 2];
        for _ in 0..5 {
            for (best, apart) in best.iter_mut().zip([false, true]) {
                *best = best.max(runtime.block_on(drain(rig, few, call, apart))?.rate);
            }
        }
        let (what, [here, apart]) = (format!("drain of {few} {}, in executor processes", call.0), best);
        table.row("b", what, format!("{apart:.0} /s"), format!("{:.2} of in-process", apart / here));
    }
    Ok(())
}

/// A task, and its arguments.
type Call = (&'static str, &'static str);

const NOOP: Call = ("load.noop", "[]");

struct Drained {
    rate: f64,
    cpu: Duration,
}

fn row(table: &mut Table, count: usize, drained: &Drained, ratio: String) {
    let value = format!("{:.0} /s", drained.rate);
    let ratio = format!("{ratio}; {}", each_us(drained.cpu, count));
    table.row("b", format!("drain of {count} no-op tasks, file store, in-process"), value, ratio);
}

async fn drain(rig: &Rig, count: usize, call: Call, apart: bool) -> anyhow::Result<Drained> {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    fill(rig, place.path(), count, call).await?;
    let house = open(place.path(), None, apart).await?;
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
async fn fill(rig: &Rig, place: &Path, count: usize, (task, args): Call) -> anyhow::Result<()> {
    let args: serde_json::Value = serde_json::from_str(args)?;
    let house = open(place, Some("nobody"), false).await?;
    let (tenant, name) = (TenantId::default(), ModuleName::new("load")?);
    house.modules.push(&tenant, &name, rig.component.clone().into(), false, lovage::clock::now()).await?;
    for start in (0..count).step_by(1000) {
        let plans = (start..count.min(start + 1000)).map(|_| lovage_model::Plan::of(message(task, args.clone())));
        house.store.submit(&tenant, plans.collect(), lovage::clock::now(), lovage_model::Room::UNLIMITED).await?;
    }
    house.close().await?;
    Ok(())
}

async fn open(place: &Path, queue: Option<&str>, apart: bool) -> anyhow::Result<House> {
    let mut config = config::load(&Flags::default(), [], |_| Ok(String::new()))?;
    // How much processor time it takes, this process can only tell of itself.
    config.worker.executors = config.worker.executors.filter(|_| apart);
    config.worker.queues = queue.map(QueueName::new).transpose()?.map(|queue| [queue].into());
    let store: Arc<dyn Store> = Arc::new(FileStore::open(place, lovage::clock::now())?);
    let plan = Plan::of(&config, store, place.join("cache"), env!("CARGO_BIN_EXE_lovage").into());
    Ok(House::open(plan).await?)
}
