//! The one place that configures wasmtime: compiler, executor and tests all get their engine here.
//!
//! The choices and what they cost are in `docs/sandbox.md`. Two flavours of compiled code exist, each with an engine of its
//! own: code that checks the epoch (for runs without a fuel budget) and code that counts fuel; never both in one.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, WasmFeatures};

use crate::attempt::Grants;

/// How running code is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Flavour {
    /// By a clock: cheap, and the default.
    Epoch,
    /// By counting instructions: exact and repeatable, for runs with a fuel budget.
    Fuel,
}

impl Flavour {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::Epoch, Self::Fuel];

    /// What a run needs that was granted this.
    pub(super) fn of(grants: &Grants) -> Self {
        if grants.fuel.is_some() { Self::Fuel } else { Self::Epoch }
    }

    /// Its name, as in the names of artifacts.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Epoch => "epoch",
            Self::Fuel => "fuel",
        }
    }
}

/// How instances get their memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pool {
    /// Instances at once.
    pub(super) instances: u32,
    /// The largest linear memory of one, in bytes.
    pub(super) memory_bytes: usize,
}

/// Which allocator an engine came to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Allocator {
    /// Pooled, with memory reset by scanning which pages were touched (Linux 6.7 and later).
    PoolWithPagemapScan,
    /// Pooled, with memory reset by the kernel.
    Pool,
    /// Mapped anew for each run: slow, but always there.
    OnDemand,
}

impl Allocator {
    /// Says in the log what an operator can do about a slow one.
    pub(super) fn warn_if_slow(self) {
        if self == Self::OnDemand {
            tracing::warn!(
                "no address space for a pool of instances: each task maps its own memory, which is slow; lower \
                 worker.concurrency or raise the limit of address space (ulimit -v)"
            );
        }
    }
}

/// The instructions of a module that a guest may use: WebAssembly 2.0 and what common toolchains emit beyond it.
fn features() -> WasmFeatures {
    let wanted =
        WasmFeatures::WASM2 | WasmFeatures::TAIL_CALL | WasmFeatures::EXTENDED_CONST | WasmFeatures::COMPONENT_MODEL;
    // Listed with WebAssembly 2.0 for its reference types; this wasmtime is built without a garbage collector.
    wanted.difference(WasmFeatures::GC_TYPES)
}

const MIB: usize = 1 << 20;
const MAX_WASM_STACK_BYTES: usize = MIB / 2;
const ASYNC_STACK_BYTES: usize = 2 * MIB;
/// With a pagemap scan, resetting touched pages by hand beats giving them back to the kernel up to about this size.
const KEEP_RESIDENT_BYTES: usize = 2 * MIB;
/// Without it a large value is slower than none.
const KEEP_RESIDENT_WITHOUT_SCAN_BYTES: usize = 64 << 10;
/// Zeroed by hand after each run: giving these few pages back would interrupt every other core.
const STACK_KEEP_RESIDENT_BYTES: usize = 32 << 10;
const TABLE_ELEMENTS: usize = 50_000;
/// Components made by linkers for Python or JavaScript consist of dozens of core instances. The pool has as many for each place, as it
/// has memories and tables: one component that has the most of all leaves the other places theirs.
const MAX_CORE_INSTANCES: u32 = 64;
/// One for each program that was linked into a component: libraries share that of their program.
const MAX_MEMORIES: u32 = 4;
/// For each of those one for its functions, and one for what links it to its imports.
const MAX_TABLES: u32 = 8;
/// Memories of a whole pool. Each takes 4 GiB of addresses and a guard, of which a process has 128 TiB, and may have two pools.
const MAX_POOLED_MEMORIES: u32 = 8192;

fn base(flavour: Flavour) -> Config {
    let mut config = Config::new();
    config
        .wasm_features(WasmFeatures::all(), false)
        .wasm_features(features(), true)
        .concurrency_support(false)
        .epoch_interruption(flavour == Flavour::Epoch)
        .consume_fuel(flavour == Flavour::Fuel)
        .cranelift_opt_level(OptLevel::Speed)
        .memory_init_cow(true)
        .max_wasm_stack(MAX_WASM_STACK_BYTES)
        .async_stack_size(ASYNC_STACK_BYTES)
        .async_stack_zeroing(true);
    config
}

/// An engine that only compiles: it reserves nothing, so it fits into a process of limited size.
pub(super) fn compiler(flavour: Flavour) -> wasmtime::Result<Engine> {
    Engine::new(&base(flavour))
}

/// An engine that runs: pooled if the machine allows it.
pub(super) fn executor(flavour: Flavour, pool: Pool) -> wasmtime::Result<(Engine, Allocator)> {
    // Of very many places each has fewer memories; and where addresses are few, one each.
    let memories = (MAX_POOLED_MEMORIES / pool.instances.max(1)).clamp(1, MAX_MEMORIES);
    for memories in [memories, 1] {
        for allocator in [Allocator::PoolWithPagemapScan, Allocator::Pool] {
            let mut config = base(flavour);
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling(pool, memories, allocator)));
            if let Ok(engine) = Engine::new(&config) {
                return Ok((engine, allocator));
            }
        }
    }
    Ok((Engine::new(&base(flavour))?, Allocator::OnDemand))
}

fn pooling(pool: Pool, memories: u32, allocator: Allocator) -> PoolingAllocationConfig {
    let scan = allocator == Allocator::PoolWithPagemapScan;
    let n = pool.instances;
    let mut config = PoolingAllocationConfig::new();
    config
        .total_component_instances(n)
        .total_memories(n.saturating_mul(memories))
        .total_stacks(n)
        .total_tables(n.saturating_mul(MAX_TABLES))
        .total_core_instances(n.saturating_mul(MAX_CORE_INSTANCES))
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        .max_memories_per_component(memories)
        .max_tables_per_component(MAX_TABLES)
        .max_tables_per_module(4)
        .max_memory_size(pool.memory_bytes)
        .table_elements(TABLE_ELEMENTS)
        .max_unused_warm_slots(n)
        .table_keep_resident(KEEP_RESIDENT_WITHOUT_SCAN_BYTES)
        .async_stack_keep_resident(STACK_KEEP_RESIDENT_BYTES)
        .linear_memory_keep_resident(if scan { KEEP_RESIDENT_BYTES } else { KEEP_RESIDENT_WITHOUT_SCAN_BYTES })
        .pagemap_scan(if scan { Enabled::Yes } else { Enabled::No });
    config
}

/// What an artifact must agree with to be loaded by this engine, as hexadecimal.
pub(super) fn compatibility(engine: &Engine) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_compiler_makes_the_executor_takes() {
        for flavour in Flavour::ALL {
            let pool = Pool { instances: 2, memory_bytes: 16 * MIB };
            let (executor, allocator) = executor(flavour, pool).unwrap();
            assert_ne!(allocator, Allocator::OnDemand);
            assert_eq!(compatibility(&compiler(flavour).unwrap()), compatibility(&executor));
        }
    }

    #[test]
    fn a_pool_that_cannot_be_had_falls_back() {
        let absurd = Pool { instances: 2_000_000, memory_bytes: 4096 * MIB };
        assert_eq!(executor(Flavour::Epoch, absurd).unwrap().1, Allocator::OnDemand);
    }

    #[test]
    fn odd_proposals_are_off() {
        let engine = compiler(Flavour::Epoch).unwrap();
        for text in
            ["(module (memory i64 1))", "(module (memory 1 1 shared))", "(module (type (struct)))", "(module (tag))"]
        {
            assert!(engine.precompile_module(&wat::parse_str(text).unwrap()).is_err(), "{text}");
        }
    }
}
