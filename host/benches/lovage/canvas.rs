//! (f) Canvases on the file store, every commit durable, from the call to the last result: what a member costs, in time and
//! in bytes written, and whether that stays the same when there are ten times as many.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use lovage::canvas::{self, AnyTask, Rules, Scope};
use lovage::config::{self, Flags};
use lovage::daemon::{House, Plan};
use lovage::store::Store;
use lovage::store::file::FileStore;
use lovage_model::{Canvas, Json, ModuleName, Room, Signature, State, TaskId, TenantId};

use crate::rig::{Rig, Table, cpu, each_us};

/// The best of so many.
const RUNS: usize = 3;

pub(crate) fn measure(rig: &Rig, table: &mut Table) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let house = open(rig, place.path()).await?;
        let short = run(&house, || chain(100)).await?;
        row(table, "chain of 100", &short, String::new());
        let long = run(&house, || chain(1000)).await?;
        row(table, "chain of 1,000", &long, format!("{:.2} of the chain of 100; ", long.each() / short.each()));
        let group = run(&house, || Canvas::group((0..1000).map(|_| noop()))).await?;
        row(table, "group of 1,000", &group, String::new());
        let small = run(&house, || chord(1000)).await?;
        row(table, "chord of 1,000", &small, format!("{:.2} of the group; ", small.each() / group.each()));
        let large = run(&house, || chord(10_000)).await?;
        let (time, cpu) = (large.each() / small.each(), large.cpu_each() / small.cpu_each());
        let ratio = format!("{time:.2} (CPU {cpu:.2}) of the chord of 1,000, goal: 1.20 at most; ");
        row(table, "chord of 10,000", &large, ratio);
        house.close().await?;
        Ok(())
    })
}

fn noop() -> Canvas {
    Canvas::task("load.noop")
}

/// Each step gets what the one before it returns.
fn chain(steps: usize) -> Canvas {
    let first = Canvas::task("load.pass").arg(Json::from(serde_json::Value::from(7)));
    Canvas::chain(std::iter::once(first).chain((1..steps).map(|_| Canvas::task("load.pass"))))
}

/// The body counts what it gets.
fn chord(members: usize) -> Canvas {
    Canvas::chord(Canvas::group((0..members).map(|_| noop())), Canvas::task("load.count"))
}

struct Measured {
    members: usize,
    time: Duration,
    cpu: Duration,
    bytes: u64,
}

impl Measured {
    /// Microseconds for one member.
    fn each(&self) -> f64 {
        self.time.as_secs_f64() * 1e6 / self.members as f64
    }

    /// The same of processor time, which hardly depends on what else the machine does.
    fn cpu_each(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.members as f64
    }
}

fn row(table: &mut Table, what: &str, measured: &Measured, ratio: String) {
    let value = format!("{:.0} µs each", measured.each());
    let bytes = measured.bytes / measured.members as u64;
    let against = format!("{ratio}{bytes} bytes written each; {}", each_us(measured.cpu, measured.members));
    table.row("f", format!("{what}, file store, in-process"), value, against);
}

async fn open(rig: &Rig, place: &Path) -> anyhow::Result<House> {
    let mut config = config::load(&Flags::default(), [], |_| Ok(String::new()))?;
    // How much processor time it takes, this process can only tell of itself.
    config.worker.executors = None;
    let store: Arc<dyn Store> = Arc::new(FileStore::open(place, lovage::clock::now())?);
    let plan = Plan::of(&config, store, place.join("cache"), env!("CARGO_BIN_EXE_lovage").into());
    let house = House::open(plan).await?;
    let (tenant, name) = (TenantId::default(), ModuleName::new("load")?);
    house.modules.push(&tenant, &name, rig.component.clone().into(), false, lovage::clock::now()).await?;
    Ok(house)
}

/// The fastest of some runs: noise only ever adds.
async fn run(house: &House, canvas: impl Fn() -> Canvas) -> anyhow::Result<Measured> {
    let mut best = once(house, canvas()).await?;
    for _ in 1..RUNS {
        let again = once(house, canvas()).await?;
        best = if again.time < best.time { again } else { best };
    }
    Ok(best)
}

async fn once(house: &House, canvas: Canvas) -> anyhow::Result<Measured> {
    let (tenant, call): (_, Signature) = (TenantId::default(), Json::of(&canvas)?.read()?);
    let (cpu_before, bytes_before, started) = (cpu()?, written()?, Instant::now());
    let mut ids = || TaskId::from_uuid(uuid::Uuid::now_v7());
    let rules = Rules { canvas_tasks: 20_000, message_bytes: 4 << 20, lineage_depth: 1, replacements: 0 };
    let now = lovage::clock::now();
    let sent = canvas::expand(call, None, &mut Scope::new(&AnyTask, &mut ids, rules, now))?;
    let (members, last) = (sent.plan.tasks.len(), sent.plan.tasks.last().context("a task")?.message.id.clone());
    house.store.submit(&tenant, vec![sent.plan], now, Room::UNLIMITED).await?;
    let mut ticks = tokio::time::interval(Duration::from_millis(2));
    while !house.store.queues(&tenant, now).await?.is_empty() {
        ticks.tick().await;
    }
    let (time, cpu, bytes) = (started.elapsed(), cpu()? - cpu_before, written()? - bytes_before);
    let last = house.store.task(&tenant, &last).await?.context("the last task")?;
    ensure!(last.status == State::Success, "{:?} {}", last.status, last.result);
    Ok(Measured { members, time, cpu, bytes })
}

/// Bytes that this process has written so far.
fn written() -> anyhow::Result<u64> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: ")).context("wchar in /proc/self/io")?;
    Ok(line.trim().parse()?)
}
