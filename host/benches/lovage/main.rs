//! `make bench`: what a task costs, as ratios within one run. Absolute figures depend on the machine, so every row that can
//! be is measured against the bare engine, or against native code, in the same process.
//!
//! Arguments choose the parts: `engine drain latency work memory canvas`; none: all. `--quick` makes everything small.

mod bare;
mod canvas;
mod drain;
mod latency;
mod memory;
mod rig;
mod work;

use rig::{Rig, Table};

fn main() -> anyhow::Result<()> {
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--bench")).collect();
    let quick = asked.iter().any(|arg| arg == "--quick");
    let parts: Vec<&str> = asked.iter().filter(|arg| !arg.starts_with('-')).map(String::as_str).collect();
    let wanted = |part: &str| parts.is_empty() || parts.contains(&part);
    let rig = Rig::new(quick)?;
    let mut table = Table::default();
    if wanted("engine") || wanted("drain") {
        let bare = bare::measure(&rig, &mut table)?;
        if wanted("drain") {
            drain::measure(&rig, bare, &mut table)?;
        }
    }
    if wanted("latency") {
        latency::measure(&rig, &mut table)?;
    }
    if wanted("work") {
        work::measure(&rig, &mut table)?;
    }
    if wanted("memory") {
        memory::measure(&rig, &mut table)?;
    }
    if wanted("canvas") {
        canvas::measure(&rig, &mut table)?;
    }
    table.print();
    Ok(())
}
