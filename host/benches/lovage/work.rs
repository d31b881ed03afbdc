//! (d) Work for a processor: native, on the bare engine, and in each flavour of the sandbox. And how late a loop without
//! end is stopped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lovage::attempt::{Attempt, Grants, Outcome, Report, Stop};
use lovage::sandbox::{Compiler, Sandbox, Settings};
use lovage_model::{Digest, Json, Request, TenantId};
use lovage_test_guests::work;
use sha2::Digest as _;
use tokio::sync::watch;

use crate::bare::Bare;
use crate::rig::{Rig, Table, message, ms, percentile, thread_cpu};

const PLENTY: u64 = u64::MAX / 2;

pub(crate) fn measure(rig: &Rig, table: &mut Table) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let cache = tempfile::tempdir()?;
        let settings = Settings {
            concurrency: 16,
            memory_bytes: 256 << 20,
            cache: cache.path().to_owned(),
            compiler: Compiler::InProcess,
            executors: None,
        };
        let sandbox = Sandbox::new(settings)?;
        let digest = Digest::from_bytes(&sha2::Sha256::digest(&rig.component).into());
        sandbox.admit(&digest, &rig.component).await?;
        sandbox.load_cached(&digest, true).await?;
        let bench = Bench { bare: Bare::new(&rig.component)?, sandbox, digest };
        let divide = if rig.quick { 4 } else { 1 };
        bench.compare(table, "fib", 36 - if rig.quick { 4 } else { 0 }, work::fib).await?;
        bench.compare(table, "sieve", 20_000_000 / divide, |n| work::sieve(n as usize)).await?;
        bench.compare(table, "words", 600_000 / divide, work::words).await?;
        bench.stop_loops(table, rig.count(50)).await
    })
}

struct Bench {
    bare: Bare,
    sandbox: Sandbox,
    digest: Digest,
}

impl Bench {
    async fn compare(&self, table: &mut Table, task: &str, n: u64, native: fn(u64) -> u64) -> anyhow::Result<()> {
        let name = format!("load.{task}");
        let args = format!("[{n}]");
        // Processor time, all of it on this thread: what else runs on the machine hardly counts.
        let before = thread_cpu();
        let expected = native(std::hint::black_box(n));
        let native = thread_cpu() - before;
        table.row("d", format!("{task}({n}), native"), ms(native), "1.00");
        let before = thread_cpu();
        anyhow::ensure!(self.bare.run(&name, &args).await? == expected.to_string(), "another result");
        against(table, &format!("{task}({n}), bare engine"), thread_cpu() - before, native);
        for (flavour, fuel) in [("epoch", None), ("fuel", Some(PLENTY))] {
            let before = thread_cpu();
            let (report, _) = self.run(&name, Some(n), fuel, Duration::from_secs(300)).await;
            let took = thread_cpu() - before;
            let returned = Outcome::Returned(Json::parse(expected.to_string())?);
            anyhow::ensure!(report.outcome == returned, "{:?}", report.outcome);
            against(table, &format!("{task}({n}), sandbox, {flavour}"), took, native);
        }
        Ok(())
    }

    async fn run(&self, task: &str, n: Option<u64>, fuel: Option<u64>, limit: Duration) -> (Report, Duration) {
        let request = Request::of(&message(task, n.into_iter().collect()), "bench", false);
        let (tenant, module) = (TenantId::default(), self.digest.clone());
        let attempt = Attempt { tenant, module, request, handlers: Vec::new() };
        let grants = Grants {
            fuel,
            memory_bytes: 256 << 20,
            output_bytes: 1 << 20,
            payload_bytes: 1 << 20,
            handler_limit: limit,
            handler_fuel: fuel,
            ..Grants::of_time(limit)
        };
        let (_keep, stop) = watch::channel(None::<Stop>);
        let started = Instant::now();
        let report = self.sandbox.run(attempt, grants, Arc::new(()), stop).await;
        (report, started.elapsed())
    }

    async fn stop_loops(&self, table: &mut Table, count: usize) -> anyhow::Result<()> {
        let limit = Duration::from_millis(50);
        for (flavour, fuel) in [("epoch", None), ("fuel", Some(PLENTY))] {
            let mut late = Vec::new();
            for _ in 0..count {
                late.push(self.run("load.spin", None, fuel, limit).await.1.saturating_sub(limit));
            }
            late.sort();
            let (p50, most) = (percentile(&late, 0.5), percentile(&late, 1.0));
            let value = format!("{} / {}", ms(p50), ms(most));
            table.row("d", format!("loop {{}} past its hard limit, {flavour}, p50 / worst"), value, "goal: 10 ms");
        }
        Ok(())
    }
}

fn against(table: &mut Table, what: &str, took: Duration, native: Duration) {
    table.row("d", what, ms(took), format!("{:.2} of native", took.as_secs_f64() / native.as_secs_f64()));
}
