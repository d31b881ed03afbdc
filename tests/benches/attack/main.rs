//! `make attack`: what a tenant notices of another one's attack.
//!
//! For each attack a new daemon with two tenants of equal weight and no limits of their own. The neighbour sends tasks of about four
//! milliseconds of work at an even pace, seven tenths of its share: half of what the machine does for it when it is alone. First alone, then
//! beside the attack, in one run. A latency counts from when a task was due to be sent, so that a slow answer hides none.
//!
//! Before them, as `share`: how long the tasks of one tenant take where an equal one has queued very many.
//!
//! Arguments choose the attacks by name; none: all. `--quick` makes everything short. Fails if a neighbour keeps less than it is promised.

mod attacks;
mod neighbour;
mod rig;
mod share;

use std::process::ExitCode;
use std::time::Duration;

use attacks::ATTACKS;
use neighbour::{Pace, Served};
use rig::Rig;

/// What of its throughput a neighbour keeps.
const KEPT: f64 = 0.95;
/// How much its 99th percentile may grow: by this part, or by that much.
const GROWN: (f64, Duration) = (1.25, Duration::from_millis(10));
/// The part of its share that it uses.
const LOAD: f64 = 0.7;

fn main() -> ExitCode {
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--bench")).collect();
    let seconds =
        |most, quick| Duration::from_secs(if asked.iter().any(|arg| arg == "--quick") { quick } else { most });
    let names: Vec<&str> = asked.iter().filter(|arg| !arg.starts_with('-')).map(String::as_str).collect();
    if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
        eprintln!("there is no attack {unknown:?}; there are: {} share", ATTACKS.map(|attack| attack.name).join(" "));
        return ExitCode::from(2);
    }
    let is_asked = |name: &str| names.is_empty() || names.contains(&name);
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(async {
        let mut kept_all = !is_asked("share") || share::fair_share(seconds(10, 4)).await;
        if !ATTACKS.iter().any(|attack| is_asked(attack.name)) {
            return if kept_all { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        let most = Rig::start().await.neighbour.capacity(seconds(5, 2)).await;
        let pace = Pace { per_second: most * 0.5 * LOAD, window: seconds(10, 4) };
        println!("alone, a tenant gets {most:.0} tasks/s; it sends {:.0}/s", pace.per_second);
        println!("{:<15} {:>6}  {:>15}  {:>15}", "attack", "kept", "p50 ms", "p99 ms");
        for attack in ATTACKS.iter().filter(|attack| is_asked(attack.name)) {
            let rig = Rig::start().await;
            let alone = rig.neighbour.served(pace).await;
            let under_way = (attack.begin)(&rig);
            tokio::time::sleep(seconds(3, 1)).await;
            let beside = rig.neighbour.served(pace).await;
            drop(under_way);
            kept_all &= row(attack.name, &alone, &beside);
        }
        if kept_all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    })
}

fn is_known(name: &str) -> bool {
    name == "share" || ATTACKS.iter().any(|attack| attack.name == name)
}

/// Prints what an attack did to it, and whether that is within what is promised.
fn row(name: &str, alone: &Served, beside: &Served) -> bool {
    let kept = beside.in_time as f64 / alone.in_time.max(1) as f64;
    let (before, after) = (alone.latency(0.99), beside.latency(0.99));
    let good = kept >= KEPT && (after <= before.mul_f64(GROWN.0) || after <= before + GROWN.1);
    let pair = |at| format!("{:.1} -> {:.1}", ms(alone.latency(at)), ms(beside.latency(at)));
    let verdict = if good { "" } else { "  too much" };
    println!("{name:<15} {:>5.0}%  {:>15}  {:>15}{verdict}", kept * 100.0, pair(0.5), pair(0.99));
    if beside.failed > 0 {
        println!("{:<15} {} of its tasks failed: {}", "", beside.failed, beside.why);
    }
    good
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
