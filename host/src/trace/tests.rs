//! What reports mean: each outcome, each race, and histories made at random.

use lovage_model::{Seconds, Signature, TaskId, TaskName};
use proptest::prelude::*;

use super::*;
use crate::attempt::{Fault, FaultKind, RetryRequest};

const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

fn call(task: &str) -> Signature {
    Signature::new(TaskName::new(task).unwrap(), Json::empty_array())
}

fn message() -> Message {
    let message = canvas::message(call("tour.add"), TaskId::new("a").unwrap(), NOW).unwrap();
    Message { retries: 1, earlier_deliveries: 1, ..message }
}

fn value_error() -> Exception {
    Exception::new(exc_module::BUILTINS, "ValueError", "no")
}

fn retry(after: f64) -> RetryRequest {
    let countdown = Seconds::new(after).unwrap();
    let eta = NOW.after(countdown.duration());
    RetryRequest { exception: value_error(), eta, countdown, args: None, kwargs: None, throw: true }
}

fn report(outcome: Outcome, effects: Effects) -> Report {
    Report { outcome, effects, usage: Usage::default(), log: AttemptLog::default() }
}

fn attempted(message: &Message) -> Attempted<'_> {
    Attempted { message, deliveries: 2, worker: "w", ignore_result: false, resultrepr_maxsize: 5, eager: false }
}

fn settled(outcome: Outcome, effects: Effects) -> Settlement {
    settle(attempted(&message()), report(outcome, effects), NOW).unwrap()
}

#[test]
fn a_value_is_success_and_an_ignored_one_is_dropped() {
    let value = Outcome::Returned(Json::from(serde_json::json!(5)));
    assert_eq!(
        settled(value.clone(), Effects::default()).verdict,
        Verdict::Success { result: Json::from(serde_json::json!(5)) }
    );
    let message = message();
    let ignoring = Attempted { ignore_result: true, ..attempted(&message) };
    let ignored = settle(ignoring, report(value, Effects::default()), NOW).unwrap();
    assert_eq!((ignored.verdict, ignored.ignore_result), (Verdict::Success { result: Json::null() }, true));
}

#[test]
fn what_it_raised_is_its_failure_and_what_stopped_it_has_a_name() {
    let raised = settled(Outcome::Raised(value_error(), Some("here".into())), Effects::default()).verdict;
    let expected = Verdict::Failure { exception: value_error(), traceback: Some("here".into()), fault: None };
    assert_eq!(raised, expected);
    let fault = Fault { kind: FaultKind::MemoryLimit, exception: value_error(), traceback: None };
    let faulted = settled(Outcome::Faulted(fault), Effects::default()).verdict;
    assert!(matches!(faulted, Verdict::Failure { fault: Some(name), .. } if name == "memory-limit"));
}

#[test]
fn a_retry_is_the_same_task_later() {
    let verdict = settled(Outcome::Retried, Effects { retry: Some(retry(5.0)), ..Effects::default() }).verdict;
    let Verdict::Retry { exception, traceback, again } = verdict else { panic!("{verdict:?}") };
    assert_eq!((exception, traceback.unwrap().as_str()), (value_error(), "Retry in 5s: ValueError: no\n"));
    assert_eq!((again.id.as_str(), again.retries, again.earlier_deliveries), ("a", 2, 2));
    assert_eq!(again.eta, Some(NOW.after(std::time::Duration::from_secs(5))));
}

#[test]
fn an_eager_retry_does_not_wait() {
    let message = message();
    let eager = Attempted { eager: true, ..attempted(&message) };
    let effects = Effects { retry: Some(retry(5.0)), ..Effects::default() };
    let settlement = settle(eager, report(Outcome::Retried, effects), NOW).unwrap();
    assert!(matches!(settlement.verdict, Verdict::Retry { again, .. } if again.eta.is_none()));
}

#[test]
fn a_replacement_has_the_same_id() {
    let effects = Effects { replace: Some(call("tour.mul")), ..Effects::default() };
    let verdict = settled(Outcome::Replaced, effects).verdict;
    let Verdict::Replaced { by } = verdict else { panic!("{verdict:?}") };
    let by = &by.message;
    assert_eq!((by.id.as_str(), by.task.as_str(), by.retries, by.earlier_deliveries), ("a", "tour.mul", 0, 2));
}

#[test]
fn subtasks_are_published_whatever_the_ending_and_belong_to_the_family() {
    let child = |id: &str| (TaskId::new(id).unwrap(), call("tour.mul"));
    let effects = Effects { subtasks: vec![child("b"), child("c")], ..Effects::default() };
    for outcome in [Outcome::Returned(Json::null()), Outcome::Raised(value_error(), None), Outcome::Ignored] {
        let settlement = settled(outcome, effects.clone());
        let family: Vec<_> =
            settlement.publish.tasks.iter().map(|p| &p.message).map(|m| (m.id.as_str(), m.root_id.as_str())).collect();
        assert_eq!(family, [("b", "a"), ("c", "a")]);
        assert_eq!(settlement.events.len(), 1);
    }
}

#[test]
fn a_subtask_that_cannot_be_sent_is_a_value_error_and_sends_nothing() {
    let mut wrong = call("tour.mul");
    wrong.options.priority = Some(10);
    let good = (TaskId::new("b").unwrap(), call("tour.mul"));
    let effects = Effects { subtasks: vec![good, (TaskId::new("c").unwrap(), wrong)], ..Effects::default() };
    let settlement = settled(Outcome::Returned(Json::null()), effects);
    assert!(settlement.publish.is_empty());
    let Verdict::Failure { exception, .. } = settlement.verdict else { panic!("{:?}", settlement.verdict) };
    assert!(exception.exc_type == "ValueError" && exception.message().contains("options.priority"), "{exception}");
}

#[test]
fn a_revoked_task_is_revoked_whatever_it_sent() {
    let mut wrong = call("tour.mul");
    wrong.options.priority = Some(10);
    let effects = Effects { subtasks: vec![(TaskId::new("c").unwrap(), wrong)], ..Effects::default() };
    let settlement = settled(Outcome::Stopped(Stop::Revoked), effects);
    assert_eq!(settlement.verdict, Verdict::Revoked { reason: "terminated" });
    assert!(settlement.publish.is_empty());
}

#[test]
fn an_interrupted_attempt_means_nothing() {
    let interrupted = report(Outcome::Stopped(Stop::Interrupted), Effects::default());
    assert_eq!(settle(attempted(&message()), interrupted, NOW), None);
    let revoked = settled(Outcome::Stopped(Stop::Revoked), Effects::default());
    assert_eq!(revoked.verdict, Verdict::Revoked { reason: "terminated" });
}

#[test]
fn a_rejected_message_is_queued_again_or_fails() {
    assert_eq!(settled(Outcome::Rejected(true), Effects::default()).verdict, Verdict::Requeued);
    let refused = settled(Outcome::Rejected(false), Effects::default()).verdict;
    assert!(matches!(refused, Verdict::Failure { exception, .. } if exception.exc_type == "Reject"));
}

#[test]
fn what_is_not_run_has_celerys_endings() {
    let (message, unrun) = (message(), |why| settle_unrun(attempted(&message()), why, NOW).verdict);
    assert_eq!(unrun(Unrun::Expired), Verdict::Revoked { reason: "expired" });
    let Verdict::Failure { exception, .. } = unrun(Unrun::NotRegistered) else { panic!("no failure") };
    assert_eq!((exception.exc_type.as_str(), exception.message()), ("NotRegistered", message.task.to_string()));
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Returned(Json::null())),
        Just(Outcome::Raised(value_error(), None)),
        Just(Outcome::Retried),
        Just(Outcome::Replaced),
        Just(Outcome::Ignored),
        any::<bool>().prop_map(Outcome::Rejected),
        Just(Outcome::Stopped(Stop::Revoked)),
    ]
}

proptest! {
    /// Whatever a guest does, its attempt has one verdict, one event that says so, and a message only where the verdict
    /// promises one.
    #[test]
    fn every_report_settles(outcome in outcomes(), retries in any::<bool>(), replaces in any::<bool>(), nesting in 0..200_u32) {
        let effects = Effects {
            retry: retries.then(|| retry(1.0)),
            replace: replaces.then(|| call("tour.mul")),
            subtasks: Vec::new(),
        };
        let message = Message { replaced_task_nesting: nesting, ..message() };
        let settlement = settle(attempted(&message), report(outcome.clone(), effects), NOW).unwrap();
        prop_assert_eq!(settlement.events.len(), 1);
        let goes_on = matches!(settlement.verdict, Verdict::Retry { .. } | Verdict::Replaced { .. } | Verdict::Requeued);
        prop_assert_eq!(settlement.events[0].kind.is_terminal(), !goes_on);
        match settlement.verdict {
            Verdict::Retry { again, .. } => prop_assert!(outcome == Outcome::Retried && again.id == message.id),
            Verdict::Replaced { by } => prop_assert!(by.message.replaced_task_nesting <= 100 && by.message.id == message.id),
            _ => {}
        }
    }
}
