//! What is called before and after a run, and what it cannot do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lovage::attempt::{FaultKind, Outcome, Progress, Report, Stop};
use lovage_model::{Handler, Json, LogRecord};
use lovage_tests::guests;
use serde_json::json;
use tokio::sync::watch;

use crate::lab::{self, Run};

const ALL: [Handler; 5] =
    [Handler::BeforeStart, Handler::OnSuccess, Handler::OnRetry, Handler::OnFailure, Handler::AfterReturn];

/// A run that behaves as three words say: before its run, in it, and after it.
fn told(before: &str, run: &str, after: &str) -> Run {
    let mut told = Run::of(guests::handlers(), "handlers.told", &json!([before, run, after]));
    told.attempt.handlers = ALL.to_vec();
    told.with(|grants| grants.handler_fuel = grants.fuel)
}

fn lines(report: &Report) -> Vec<&str> {
    report.log.records.iter().map(|record| record.message.lines().next().unwrap_or_default()).collect()
}

async fn lines_of(run: &str) -> Vec<String> {
    lines(&told("", run, "").report().await).into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn they_are_called_in_celerys_order_in_the_runs_instance() {
    assert_eq!(lines_of("").await, ["0 before_start", "1 run 0", "2 on_success 7", "3 after_return SUCCESS 7"]);
    let raised = ["2 on_failure KeyError: raised", "3 after_return FAILURE KeyError: raised"];
    assert_eq!(lines_of("raise").await[2..], raised);
    assert_eq!(lines_of("retry").await[2..], ["2 on_retry OSError: down"]);
    for ends_otherwise in ["ignore", "reject", "replace"] {
        assert_eq!(lines_of(ends_otherwise).await, ["0 before_start", "1 run 0"], "{ends_otherwise}");
    }
}

#[tokio::test]
async fn only_what_a_task_declares_is_called() {
    let mut run = told("", "", "");
    run.attempt.handlers = vec![Handler::AfterReturn];
    assert_eq!(lines(&run.clone().report().await), ["0 run 0", "1 after_return SUCCESS 7"]);
    run.attempt.handlers.clear();
    assert_eq!(lines(&run.report().await), ["0 run 0"]);
    let tasks = lab::admit(guests::handlers()).await;
    let declared: Vec<_> = tasks.iter().map(|task| task.handlers.clone()).collect();
    assert_eq!(declared, [ALL.to_vec(), vec![Handler::AfterReturn], vec![], ALL.to_vec()]);
}

#[tokio::test]
async fn a_task_that_is_stopped_before_its_run_fails_without_it() {
    let report = told("raise", "", "").report().await;
    assert!(matches!(&report.outcome, Outcome::Raised(exception, _) if exception.exc_type == "KeyError"), "{report:?}");
    let wanted = ["0 before_start", "1 on_failure KeyError: raised", "2 after_return FAILURE KeyError: raised"];
    assert_eq!(lines(&report), wanted);
    assert_eq!(told("retry", "", "").report().await.outcome, Outcome::Retried);
    let report = told("panic", "", "").report().await;
    assert!(matches!(&report.outcome, Outcome::Faulted(fault) if fault.kind == FaultKind::Panic), "{report:?}");
}

#[tokio::test]
async fn after_a_kill_they_run_in_a_fresh_instance() {
    for (run, kind, text) in [
        ("panic", FaultKind::Panic, "Panic: on purpose"),
        ("spin", FaultKind::TimeLimit, "TimeLimitExceeded: 0.2"),
        ("sleep", FaultKind::TimeLimit, "TimeLimitExceeded: 0.2"),
        ("hoard", FaultKind::MemoryLimit, "MemoryLimitExceeded: it asked"),
    ] {
        let report = told("", run, "send").with(|grants| grants.hard_limit = Duration::from_millis(200)).report().await;
        assert!(matches!(&report.outcome, Outcome::Faulted(fault) if fault.kind == kind), "{report:?}");
        let lines = lines(&report);
        assert_eq!(lines[..2], ["0 before_start", "1 run 0"]);
        assert!(lines[2].starts_with(&format!("0 on_failure {text}")), "{lines:?}");
        assert!(lines[3].starts_with(&format!("1 after_return FAILURE {text}")), "{lines:?}");
        assert_eq!(report.effects.subtasks.len(), 1, "what a handler sends is sent with the outcome");
    }
}

#[tokio::test]
async fn fuel_is_theirs_too() {
    const FUEL: u64 = 50_000_000;
    let metered = |run, after| {
        told("", run, after).with(|grants| (grants.fuel, grants.handler_fuel) = (Some(FUEL), Some(FUEL))).report()
    };
    let report = metered("spin", "").await;
    assert!(matches!(&report.outcome, Outcome::Faulted(fault) if fault.kind == FaultKind::FuelLimit), "{report:?}");
    assert!(lines(&report)[3].starts_with("1 after_return FAILURE FuelLimitExceeded"), "{report:?}");
    assert!((FUEL + 1..FUEL * 2).contains(&report.usage.fuel.unwrap()), "{:?}", report.usage);
    let report = metered("", "spin").await;
    assert_eq!(report.outcome, Outcome::Returned(Json::of(&7).unwrap()));
    assert!(lines(&report)[3].starts_with("on_success did not end: FuelLimitExceeded"), "{report:?}");
    assert_eq!(lines(&report)[4], "0 after_return SUCCESS 7");
    assert!((FUEL + 1..FUEL * 2).contains(&report.usage.fuel.unwrap()), "{:?}", report.usage);
}

#[tokio::test]
async fn whatever_they_do_the_outcome_stays() {
    for (after, line, then) in [
        ("raise", "on_success raised KeyError: raised", "3 after_return SUCCESS 7"),
        ("panic", "on_success did not end: Panic: on purpose", "0 after_return SUCCESS 7"),
        ("hoard", "on_success did not end: MemoryLimitExceeded", "0 after_return SUCCESS 7"),
        ("spin", "on_success did not end: TimeLimitExceeded: 0.1", "0 after_return SUCCESS 7"),
        ("sleep", "on_success did not end: TimeLimitExceeded: 0.1", "0 after_return SUCCESS 7"),
        ("later", "on_success raised RuntimeError: retry: the run has ended", "3 after_return SUCCESS 7"),
        ("grow", "on_success raised ValueError: add_to_chord: the task is not a part", "3 after_return SUCCESS 7"),
    ] {
        let brief = |after| told("", "", after).with(|grants| grants.handler_limit = Duration::from_millis(100));
        // What panics or hoards is stopped by something else than its time.
        let run = if ["spin", "sleep"].contains(&after) { brief(after) } else { told("", "", after) };
        let report = run.report().await;
        assert_eq!(report.outcome, Outcome::Returned(Json::of(&7).unwrap()), "{after}");
        assert_eq!(report.effects.retry, None, "{after}");
        let lines = lines(&report);
        assert!(lines[3].starts_with(line), "{lines:?}");
        assert!(lines[4].starts_with(then), "{lines:?}");
    }
}

#[tokio::test]
async fn they_share_the_limits_of_the_run() {
    let report = told("", "send", "flood").with(|grants| grants.subtasks = 10).report().await;
    assert_eq!((report.outcome.clone(), report.effects.subtasks.len()), (Outcome::Returned(Json::of(&1).unwrap()), 10));
    assert!(lines(&report)[3].starts_with("on_success raised ValueError: a run may send at most 10"), "{report:?}");
    let report = told("", "panic", "flood").with(|grants| grants.output_bytes = 300).report().await;
    assert!(report.log.dropped > 0 && report.log.records.len() < 4, "{report:?}");
}

#[tokio::test]
async fn what_a_liar_raises_in_them_is_told_as_it_is() {
    let mut run = Run::of(guests::liar(), "liar.bad_exception", &json!([]));
    run.attempt.handlers = vec![Handler::OnFailure];
    let report = run.report().await;
    assert!(lines(&report)[0].starts_with("on_failure raised ValueError: exc_message of "), "{report:?}");
}

#[tokio::test]
async fn a_later_retry_holds_however_the_run_ends_but_for_a_kill() {
    for (run, outcome) in [("later", "Returned(1)"), ("later, then raise", "Raised(")] {
        let report = told("", run, "").report().await;
        assert!(format!("{:?}", report.outcome).starts_with(outcome), "{report:?}");
        assert!(report.effects.retry_after(&report.outcome).is_some_and(|retry| !retry.throw));
        assert!(lines(&report)[2].starts_with("2 on_retry ") && lines(&report).len() == 3, "{report:?}");
    }
    let report = told("", "later, then panic", "").report().await;
    assert_eq!(report.effects.retry_after(&report.outcome), None);
    assert!(lines(&report)[2].starts_with("0 on_failure Panic: on purpose"), "{report:?}");
}

#[tokio::test]
async fn a_part_of_a_chord_can_add_to_it() {
    let mut run = told("", "grow", "grow");
    run.attempt.request.chord = "g".parse().ok();
    let effects = run.report().await.effects;
    let sent: Vec<_> = effects.subtasks.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!((sent.len(), &effects.add_to_chord), (2, &sent));
}

/// Lets a test know that the guest waits.
struct Waiting(Mutex<Option<tokio::sync::oneshot::Sender<()>>>);

impl Progress for Waiting {
    fn state(&self, _: &str, _: Json) {
        let _ = self.0.lock().unwrap().take().map(|waits| waits.send(()));
    }
    fn wrote(&self, _: &'static str, _: &[u8]) {}
    fn logged(&self, _: &LogRecord) {}
    fn event(&self, _: &str, _: Json) {}
}

async fn stopped(run: Run, order: Stop) -> Report {
    let (tell, waits) = tokio::sync::oneshot::channel();
    let (stop, stopped) = watch::channel(None);
    let running = run.start(lab::sandbox(), Arc::new(Waiting(Mutex::new(Some(tell)))), stopped);
    let ordering = async {
        waits.await.unwrap();
        stop.send(Some(order)).unwrap();
    };
    tokio::join!(running, ordering).0
}

#[tokio::test]
async fn after_an_order_to_stop_nothing_is_called() {
    for order in [Stop::Revoked, Stop::Interrupted] {
        let report = stopped(told("", "wait", ""), order).await;
        assert_eq!(report.outcome, Outcome::Stopped(order));
        assert_eq!(lines(&report), ["0 before_start", "1 run 0"]);
        let report = stopped(told("", "", "wait"), order).await;
        assert_eq!(report.outcome, Outcome::Returned(Json::of(&7).unwrap()));
        assert_eq!(lines(&report)[3..], ["on_success did not end: its host stopped it"]);
    }
}
