//! One row for each way into a wall: which fault, which exception, which traceback.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use lovage::attempt::{Fault, FaultKind, Grants, Outcome, Report};
use lovage_model::Exception;
use lovage_tests::guests;
use serde_json::{Value, json};

use crate::lab::{MEMORY, OUTPUT, PAYLOAD, Run, admit};

const LOVAGE: &str = "lovage.exceptions";
const BILLIARD: &str = "billiard.exceptions";

/// What a run must come to. Texts need to be contained.
enum Expected {
    /// Kind, module and class of the exception, its text, its traceback.
    Fault(FaultKind, &'static str, &'static str, &'static str, &'static str),
    /// Module, class, text.
    Raised(&'static str, &'static str, &'static str),
    Returned(Value),
    Ends(Outcome),
}

struct Row {
    task: &'static str,
    args: Value,
    grants: fn(&mut Grants),
    expected: Expected,
}

fn plenty(_: &mut Grants) {}

fn brief(grants: &mut Grants) {
    grants.hard_limit = Duration::from_millis(100);
}

/// Metered, but with more fuel than there is time for.
fn brief_with_fuel(grants: &mut Grants) {
    brief(grants);
    enough_fuel(grants);
}

fn enough_fuel(grants: &mut Grants) {
    grants.fuel = Some(u64::MAX >> 1);
}

fn little_fuel(grants: &mut Grants) {
    grants.fuel = Some(1_000_000);
}

fn soft(grants: &mut Grants) {
    grants.soft_limit = Some(Duration::from_millis(50));
}

fn row(task: &'static str, args: Value, grants: fn(&mut Grants), expected: Expected) -> Row {
    Row { task, args, grants, expected }
}

fn faults() -> Vec<Row> {
    use Expected::Fault as F;
    use FaultKind::*;
    let late = |trace| F(TimeLimit, BILLIARD, "TimeLimitExceeded", "0.1", trace);
    let deep = |trace| F(StackOverflow, LOVAGE, "StackOverflow", "too deep", trace);
    let flood = || F(HostCallLimit, LOVAGE, "HostCallLimitExceeded", "limits.", "");
    let large = |bytes: usize| json!([bytes]);
    vec![
        row("walls.panic_with", json!(["ouch"]), plenty, F(Panic, LOVAGE, "Panic", "ouch (", "walls::panic_with")),
        row("walls.panic_with", json!(["ouch"]), plenty, F(Panic, LOVAGE, "Panic", "walls.rs:", "")),
        row("walls.panic_after_noise", json!([]), plenty, F(Panic, LOVAGE, "Panic", "at last (", "noise")),
        row("walls.abort", json!([]), plenty, F(Trap, LOVAGE, "Trap", "unreachable", "walls::abort")),
        row("walls.exit", json!([]), plenty, F(Exit, LOVAGE, "Exit", "it called exit(", "walls::exit")),
        row("walls.wild_pointer", json!([]), plenty, F(Trap, LOVAGE, "Trap", "out of bounds", "wild_pointer")),
        row("walls.recurse", json!([]), plenty, deep("deeper")),
        row("walls.recurse", json!([]), enough_fuel, deep("deeper")),
        row("walls.recurse_plainly", json!([]), plenty, deep("deeper")),
        row("walls.spin", json!([]), brief, late("walls::spin")),
        row("walls.spin", json!([]), brief_with_fuel, late("")),
        row("walls.spin", json!([]), little_fuel, F(FuelLimit, LOVAGE, "FuelLimitExceeded", "1000000", "walls::spin")),
        row("walls.spin_in_memory_fill", json!([]), brief, late("walls::spin_in_memory_fill")),
        row("walls.spin_in_memory_fill", json!([]), brief_with_fuel, late("")),
        row("walls.sleep_past_everything", json!([]), brief, late("")),
        row("walls.sleep_past_everything", json!([]), brief_with_fuel, late("")),
        row("walls.sleep_in_std", json!([]), brief, late("")),
        row(
            "walls.hoard",
            json!([]),
            plenty,
            F(MemoryLimit, LOVAGE, "MemoryLimitExceeded", "67108864", "walls::hoard"),
        ),
        row(
            "walls.leave_marks",
            json!([7]),
            |grants| grants.memory_bytes = 1 << 20,
            F(MemoryLimit, LOVAGE, "MemoryLimitExceeded", "1048576", ""),
        ),
        row("walls.wait_visibly", json!([]), brief, late("")),
        row("walls.spin_visibly", json!([]), brief, late("walls::spin_visibly")),
        row("walls.wait_once", json!([]), brief, late("")),
        row("walls.many_pollables", json!([]), plenty, F(HandleLimit, LOVAGE, "HandleLimitExceeded", "handles", "")),
        row(
            "walls.large_result",
            large(PAYLOAD),
            plenty,
            F(ResultLimit, LOVAGE, "ResultLimitExceeded", "1048578 bytes, at most 1048576", ""),
        ),
        row("walls.large_result", large(8 * PAYLOAD), plenty, flood()),
        row("walls.large_state", large(8 * PAYLOAD), plenty, flood()),
        row("walls.large_record", large(8 * PAYLOAD), plenty, flood()),
        row("liar.not_json", json!([]), plenty, F(Contract, LOVAGE, "ContractViolation", "not JSON", "")),
        row("liar.bad_exception", json!([]), plenty, F(Contract, LOVAGE, "ContractViolation", "not JSON", "")),
        row("liar.retry_unasked", json!([]), plenty, F(Contract, LOVAGE, "ContractViolation", "retry", "")),
        row("liar.replace_unnamed", json!([]), plenty, F(Contract, LOVAGE, "ContractViolation", "replacement", "")),
    ]
}

fn raised() -> Vec<Row> {
    let value_error = |text| Expected::Raised("builtins", "ValueError", text);
    let mut rows = vec![
        row("walls.large_state", json!([PAYLOAD]), plenty, value_error("1048578 bytes, at most 1048576")),
        row("walls.reserved_state", json!([]), plenty, value_error("SUCCESS")),
        row("walls.many_subtasks", json!([1001]), plenty, value_error("at most 1000 subtasks")),
        row("walls.sleep_for_ever_in_retry", json!([]), plenty, value_error("countdown")),
    ];
    for how in WAYS {
        let told = Expected::Raised(BILLIARD, "SoftTimeLimitExceeded", "");
        rows.push(row("walls.meet_soft_limit", json!([how, false]), soft, told));
    }
    rows
}

const WAYS: [&str; 5] = ["poll", "check", "sleep", "pollable", "state"];

fn endings() -> Vec<Row> {
    use Expected::{Ends, Returned};
    let empty =
        json!({"env": "0", "args": "0", "root": "false", "passwd": "false", "tcp": "false", "stdin": "Some(0)"});
    let mut rows = vec![
        row("walls.hoard_politely", json!([]), plenty, Returned(json!("there was none"))),
        row("walls.flood_stdout", json!([4]), plenty, Returned(json!(4 << 20))),
        row("walls.write_rudely", json!([]), plenty, Returned(json!(null))),
        row("walls.flood_log", json!([100_000]), plenty, Returned(json!(null))),
        row("walls.large_record", json!([PAYLOAD]), plenty, Returned(json!(null))),
        row("walls.large_result", json!([PAYLOAD - 2]), plenty, Returned(json!("x".repeat(PAYLOAD - 2)))),
        row("walls.large_state", json!([PAYLOAD - 2]), plenty, Returned(json!(null))),
        row("walls.many_subtasks", json!([1000]), plenty, Returned(json!(null))),
        row("walls.look_around", json!([]), plenty, Returned(empty)),
        row("walls.find_marks", json!([7]), plenty, Returned(json!(0))),
        row("walls.wait_in_retry", json!([]), plenty, Ends(Outcome::Retried)),
        row("liar.ignore", json!([]), plenty, Ends(Outcome::Ignored)),
        row("liar.reject", json!([]), plenty, Ends(Outcome::Rejected(false))),
        row("liar.requeue", json!([]), plenty, Ends(Outcome::Rejected(true))),
    ];
    for how in WAYS {
        let fell_back = Returned(json!(format!("fell back after {how}")));
        rows.push(row("walls.meet_soft_limit", json!([how, true]), soft, fell_back));
    }
    rows
}

fn guest(task: &str) -> &'static Path {
    if task.starts_with("liar.") { guests::liar() } else { guests::walls() }
}

async fn report(task: &str, args: Value, grants: fn(&mut Grants)) -> Report {
    Run::of(guest(task), task, &args).with(grants).report().await
}

fn is_as(exception: &Exception, module: &str, class: &str, text: &str) -> bool {
    exception.exc_module == module && exception.exc_type == class && exception.message().contains(text)
}

impl Expected {
    fn is(&self, outcome: &Outcome) -> bool {
        match (self, outcome) {
            (
                Self::Fault(kind, module, class, text, trace),
                Outcome::Faulted(Fault { kind: was, exception, traceback }),
            ) => {
                let traced = trace.is_empty() || traceback.as_ref().is_some_and(|frames| frames.contains(trace));
                kind == was && is_as(exception, module, class, text) && traced
            }
            (Self::Raised(module, class, text), Outcome::Raised(exception, _)) => is_as(exception, module, class, text),
            (Self::Returned(value), Outcome::Returned(json)) => json.read::<Value>().is_ok_and(|was| was == *value),
            (Self::Ends(outcome), was) => outcome == was,
            _ => false,
        }
    }
}

#[tokio::test]
async fn every_wall_holds_and_says_which_it_is() {
    let mut wrong = Vec::new();
    for Row { task, args, grants, expected } in faults().into_iter().chain(raised()).chain(endings()) {
        let Report { outcome, usage, .. } = report(task, args.clone(), grants).await;
        if !expected.is(&outcome) {
            wrong.push(format!("{task}{args}: {outcome:?}"));
        }
        if usage.peak_memory_bytes > MEMORY || usage.wall_seconds <= 0.0 || usage.instantiate_seconds <= 0.0 {
            wrong.push(format!("{task}{args}: {usage:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn every_task_that_misbehaves_has_a_row() {
    let rows = faults().into_iter().chain(raised()).chain(endings());
    let tried: BTreeSet<String> = rows.map(|row| row.task.to_owned()).collect();
    let mut there = BTreeSet::new();
    for guest in [guests::walls(), guests::liar()] {
        there.extend(admit(guest).await.into_iter().map(|task| task.name.to_string()));
    }
    assert_eq!(tried, there);
}

/// The host tells this fault by a text of wasmtime's: this is the test that notices when it changes.
#[tokio::test]
async fn a_flood_of_data_is_a_host_call_limit() {
    for task in ["walls.large_record", "walls.large_state", "walls.large_result"] {
        let report = report(task, json!([8 << 20]), plenty).await;
        let Outcome::Faulted(fault) = report.outcome else { panic!("{task}: {:?}", report.outcome) };
        assert_eq!(fault.kind, FaultKind::HostCallLimit, "{task}");
        assert!(fault.exception.message().contains("limits.result_bytes"), "{task}: {}", fault.exception);
    }
}

#[tokio::test]
async fn output_is_cut_and_what_was_cut_is_counted() {
    let log = report("walls.flood_stdout", json!([4]), plenty).await.log;
    assert_eq!((log.stdout.len(), log.dropped), (OUTPUT, (4 << 20) - OUTPUT as u64));

    let log = report("walls.panic_after_noise", json!([]), plenty).await.log;
    assert_eq!(log.stderr.len(), OUTPUT);
    assert!(log.stderr.starts_with("nothing to see here\n") && log.dropped > 0, "{}", log.dropped);

    let log = report("walls.flood_log", json!([100_000]), plenty).await.log;
    let kept = log.records.len();
    assert!((100..OUTPUT).contains(&kept) && log.records[kept - 1].message == format!("record {}", kept - 1), "{kept}");
    assert!(log.dropped >= 100_000 - kept as u64);

    let log = report("walls.write_rudely", json!([]), plenty).await.log;
    assert_eq!(log.stdout, "\x1b[2J\x1b]52;c;aGk=\x07\u{fffd}\u{fffd}\n");
}

#[tokio::test]
async fn what_was_used_is_told() {
    let spun = report("walls.spin", json!([]), |grants| grants.fuel = Some(3_000_000)).await.usage;
    assert_eq!(spun.fuel, Some(3_000_000));
    let idle = report("walls.hoard_politely", json!([]), plenty).await.usage;
    assert_eq!(idle.fuel, None);
    assert!((1 << 20..MEMORY).contains(&idle.peak_memory_bytes), "{idle:?}");

    let slept = report("walls.sleep_past_everything", json!([]), brief).await.usage;
    assert!(slept.wall_seconds >= 0.1 && slept.cpu_seconds < slept.wall_seconds / 2.0, "{slept:?}");
    let hoarded = report("walls.hoard", json!([]), plenty).await.usage;
    assert!(hoarded.peak_memory_bytes > MEMORY / 2, "{hoarded:?}");
}

#[tokio::test]
async fn the_same_run_burns_the_same_fuel() {
    let burn = async || {
        let report = report("walls.many_subtasks", json!([10]), |grants| grants.fuel = Some(1 << 40)).await;
        assert_eq!(report.effects.subtasks.len(), 10);
        report.usage.fuel.unwrap()
    };
    let first = burn().await;
    assert!(first > 1000);
    assert_eq!(burn().await, first);
}
