//! (a) The bare engine: instantiate, call and drop of a task that does nothing, with nothing around it.

use std::time::Instant;

use wasmtime::component::{Component, Instance, InstancePre, Linker, ResourceTable, TypedFunc};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::rig::{Rig, Table, best_rate, cpu, each_us, rate};

pub(crate) struct Guest {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// An engine as fast as wasmtime goes, without a way to stop what runs on it.
pub(crate) struct Bare {
    engine: Engine,
    ready: InstancePre<Guest>,
}

type Run = TypedFunc<(String, String, String), (Result<String, Failed>,)>;

/// The contract's `ending`; only its shape matters here.
#[derive(wasmtime::component::ComponentType, wasmtime::component::Lift)]
#[component(variant)]
enum Failed {
    #[component(name = "failure")]
    Failure(Exception),
    #[component(name = "retry")]
    Retry,
    #[component(name = "replaced")]
    Replaced,
    #[component(name = "ignore")]
    Ignore,
    #[component(name = "reject")]
    Reject(bool),
}

#[derive(wasmtime::component::ComponentType, wasmtime::component::Lift)]
#[component(record)]
struct Exception {
    #[component(name = "exc-type")]
    exc_type: String,
    #[component(name = "exc-message")]
    exc_message: String,
    #[component(name = "exc-module")]
    exc_module: String,
    traceback: String,
}

impl Bare {
    pub(crate) fn new(component: &[u8]) -> wasmtime::Result<Self> {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(100)
            .total_memories(100)
            .total_tables(200)
            .total_stacks(100)
            .total_core_instances(400)
            .max_memory_size(256 << 20)
            .table_elements(50_000)
            .linear_memory_keep_resident(2 << 20)
            .table_keep_resident(64 << 10)
            .pagemap_scan(Enabled::Auto);
        let mut config = Config::new();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool)).concurrency_support(false);
        let engine = Engine::new(&config)?;
        let component = Component::from_binary(&engine, component)?;
        let mut linker = Linker::new(&engine);
        linker.allow_shadowing(true);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        linker.define_unknown_imports_as_traps(&component)?;
        let ready = linker.instantiate_pre(&component)?;
        Ok(Self { engine, ready })
    }

    /// One task in an instance of its own; returns its result.
    pub(crate) async fn run(&self, task: &str, args: &str) -> wasmtime::Result<String> {
        let guest = Guest { wasi: WasiCtx::builder().build(), table: ResourceTable::new() };
        let mut store = Store::new(&self.engine, guest);
        let instance = self.ready.instantiate_async(&mut store).await?;
        let run = self.function(&instance, &mut store)?;
        let call = (task.to_owned(), args.to_owned(), "{}".to_owned());
        match run.call_async(&mut store, call).await?.0 {
            Ok(result) => Ok(result),
            Err(Failed::Failure(Exception { exc_type, exc_message, exc_module, traceback })) => {
                Err(wasmtime::Error::msg(format!("{exc_module}.{exc_type} {exc_message} {traceback}")))
            }
            Err(Failed::Reject(requeue)) => Err(wasmtime::Error::msg(format!("rejected, requeue={requeue}"))),
            Err(Failed::Retry | Failed::Replaced | Failed::Ignore) => Err(wasmtime::Error::msg("no result")),
        }
    }

    fn function(&self, instance: &Instance, store: &mut Store<Guest>) -> wasmtime::Result<Run> {
        let missing = || wasmtime::Error::msg("no such export");
        let interface = instance.get_export_index(&mut *store, None, "lovage:task/tasks@0.1.0").ok_or_else(missing)?;
        let index = instance.get_export_index(&mut *store, Some(&interface), "run").ok_or_else(missing)?;
        instance.get_typed_func(store, index)
    }
}

/// Tasks a second on one thread: what (b) is measured against.
pub(crate) fn measure(rig: &Rig, table: &mut Table) -> anyhow::Result<f64> {
    let bare = Bare::new(&rig.component)?;
    let count = rig.count(20_000);
    let one_thread = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let started = Instant::now();
        runtime.block_on(async {
            for _ in 0..count {
                bare.run("load.noop", "[]").await?;
            }
            anyhow::Ok(())
        })?;
        anyhow::Ok(rate(count, started))
    };
    let before = cpu()?;
    let one = best_rate(3, one_thread)?;
    let cpu_each = each_us(cpu()? - before, 3 * count);
    table.row("a", "bare engine, no-op task, 1 thread", format!("{one:.0} /s"), format!("1.00; {cpu_each}"));
    let two = best_rate(3, || {
        let started = Instant::now();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..2).map(|_| scope.spawn(one_thread)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("no panic").map(drop))
        })?;
        Ok(rate(2 * count, started))
    })?;
    table.row(
        "a",
        "bare engine, no-op task, 2 threads",
        format!("{two:.0} /s"),
        format!("{:.2} of 1 thread", two / one),
    );
    Ok(one)
}
