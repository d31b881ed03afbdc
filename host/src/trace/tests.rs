//! What reports mean: each outcome, each race, and histories made at random.

mod inline;

use std::sync::{Arc, LazyLock};

use lovage_model::{Followed, Parameter, Seconds, TaskDefinition, TaskName};
use proptest::prelude::*;

use super::*;
use crate::attempt::{Fault, FaultKind, RetryRequest};
use crate::canvas::{Rules, Tasks, builtin};

const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

fn call(task: &str) -> Signature {
    Signature::new(TaskName::new(task).unwrap(), Json::empty_array())
}

/// A call as an attempt writes it.
fn text(call: &Signature) -> Json {
    Json::of(call).unwrap()
}

fn message() -> Message {
    let message = Message::new(TaskId::new("a").unwrap(), TaskName::new("tour.add").unwrap());
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
    static OPTIONS: LazyLock<TaskOptions> = LazyLock::new(TaskOptions::default);
    Attempted { message, deliveries: 2, worker: "w", options: &OPTIONS, eager: false }
}

/// Tasks of one argument, and `tour.explain`, which takes three.
struct Tour;

impl Tasks for Tour {
    fn find(&self, name: &TaskName) -> Result<Option<Arc<TaskDefinition>>, Invalid> {
        let count = if name.as_str() == "tour.explain" { 3 } else { 1 };
        let parameter = |n: usize| Parameter::one(&format!("p{n}"), false);
        Ok(Some(Arc::new(TaskDefinition {
            name: name.clone(),
            doc: String::new(),
            parameters: (0..count).map(parameter).collect(),
            options: TaskOptions::default(),
            handlers: vec![],
        })))
    }
}

fn scoped<T>(decide: impl FnOnce(&mut Scope<'_>) -> T) -> T {
    let mut count = 0;
    let mut ids = || {
        count += 1;
        TaskId::new(format!("i{count}")).unwrap()
    };
    let rules = Rules { message_bytes: 1000, canvas_tasks: 100, lineage_depth: 100, replacements: 100 };
    decide(&mut Scope::new(&Tour, &mut ids, rules, NOW))
}

fn settle(attempted: Attempted<'_>, report: Report) -> Option<Settlement> {
    scoped(|scope| super::settle(attempted, report, scope))
}

fn settled(outcome: Outcome, effects: Effects) -> Settlement {
    settle(attempted(&message()), report(outcome, effects)).unwrap()
}

#[test]
fn a_value_is_success_and_an_ignored_one_is_dropped() {
    let value = Outcome::Returned(Json::from(serde_json::json!(5)));
    assert_eq!(
        settled(value.clone(), Effects::default()).verdict,
        Verdict::Success { result: Json::from(serde_json::json!(5)) }
    );
    let message = message();
    let options = TaskOptions { ignore_result: true, ..TaskOptions::default() };
    let ignoring = Attempted { options: &options, ..attempted(&message) };
    let ignored = settle(ignoring, report(value, Effects::default())).unwrap();
    assert_eq!((ignored.verdict, ignored.ignore_result), (Verdict::Success { result: Json::null() }, true));
    assert!(matches!(&ignored.events[0].kind, EventKind::Succeeded { repr, .. } if repr == "5"), "as Celery tells it");
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
fn a_failure_that_is_not_acknowledged_is_told_as_rejected() {
    let message = message();
    let told = |acks_on_failure| {
        let options = TaskOptions { acks_on_failure, ..TaskOptions::default() };
        let failed = report(Outcome::Raised(value_error(), None), Effects::default());
        let settlement = settle(Attempted { options: &options, ..attempted(&message) }, failed).unwrap();
        settlement.events.iter().map(|event| event.kind.name()).collect::<Vec<_>>()
    };
    assert_eq!(told(true), ["task-failed"]);
    assert_eq!(told(false), ["task-failed", "task-rejected"]);
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
    let settlement = settle(eager, report(Outcome::Retried, effects)).unwrap();
    assert!(matches!(settlement.verdict, Verdict::Retry { again, .. } if again.eta.is_none()));
}

#[test]
fn a_replacement_has_the_same_id() {
    let effects = Effects { replace: Some(text(&call("tour.mul"))), ..Effects::default() };
    let verdict = settled(Outcome::Replaced, effects).verdict;
    let Verdict::Replaced { by } = verdict else { panic!("{verdict:?}") };
    let by = &by.message;
    assert_eq!((by.id.as_str(), by.task.as_str(), by.retries, by.earlier_deliveries), ("a", "tour.mul", 0, 2));
}

#[test]
fn subtasks_are_published_whatever_the_ending_and_belong_to_the_family() {
    let child = |id: &str| (TaskId::new(id).unwrap(), text(&call("tour.mul")));
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
    let good = (TaskId::new("b").unwrap(), text(&call("tour.mul")));
    let effects = Effects { subtasks: vec![good, (TaskId::new("c").unwrap(), text(&wrong))], ..Effects::default() };
    let settlement = settled(Outcome::Returned(Json::null()), effects);
    assert!(settlement.publish.is_empty());
    let Verdict::Failure { exception, .. } = settlement.verdict else { panic!("{:?}", settlement.verdict) };
    assert!(exception.exc_type == "ValueError" && exception.message().contains("options.priority"), "{exception}");
}

#[test]
fn a_subtask_that_cannot_be_read_sends_nothing() {
    let subtasks = ["b", "c"].map(|id| (TaskId::new(id).unwrap(), text(&call("tour.mul"))));
    let mut effects = Effects { subtasks: subtasks.to_vec(), ..Effects::default() };
    effects.subtasks[1].1 = Json::empty_object();
    effects.replace = Some(Json::empty_array());
    for outcome in [Outcome::Returned(Json::null()), Outcome::Replaced] {
        let settlement = settled(outcome, std::mem::take(&mut effects));
        assert!(settlement.publish.is_empty());
        let Verdict::Failure { exception, .. } = settlement.verdict else { panic!("{:?}", settlement.verdict) };
        assert!(exception.exc_type == "ValueError" && exception.message().contains("cannot be read"), "{exception}");
        effects.replace = Some(Json::empty_array());
    }
}

#[test]
fn a_revoked_task_is_revoked_whatever_it_sent() {
    let mut wrong = call("tour.mul");
    wrong.options.priority = Some(10);
    let effects = Effects { subtasks: vec![(TaskId::new("c").unwrap(), text(&wrong))], ..Effects::default() };
    let settlement = settled(Outcome::Stopped(Stop::Revoked), effects);
    assert_eq!(settlement.verdict, Verdict::Revoked { reason: "terminated" });
    assert!(settlement.publish.is_empty());
}

#[test]
fn an_interrupted_attempt_means_nothing() {
    let interrupted = report(Outcome::Stopped(Stop::Interrupted), Effects::default());
    assert_eq!(settle(attempted(&message()), interrupted), None);
    let revoked = settled(Outcome::Stopped(Stop::Revoked), Effects::default());
    assert_eq!(revoked.verdict, Verdict::Revoked { reason: "terminated" });
}

#[test]
fn a_rejected_message_is_queued_again_or_fails() {
    assert_eq!(settled(Outcome::Rejected(true), Effects::default()).verdict, Verdict::Requeued);
    let refused = settled(Outcome::Rejected(false), Effects::default());
    let Verdict::Failure { exception, .. } = &refused.verdict else { panic!("{:?}", refused.verdict) };
    assert_eq!((exception.exc_type.as_str(), exception.exc_message.as_str()), ("Reject", "[null,false]"));
    let told: Vec<_> = refused.events.iter().map(|event| event.kind.name()).collect();
    assert_eq!(told, ["task-failed", "task-rejected"]);
    let (message, options) = (message(), TaskOptions { acks_late: false, ..TaskOptions::default() });
    let early = Attempted { options: &options, ..attempted(&message) };
    let refused = settle(early, report(Outcome::Rejected(false), Effects::default())).unwrap();
    assert_eq!(refused.events.len(), 1, "it was acknowledged before it began");
}

#[test]
fn a_message_that_is_rejected_again_and_again_is_not_one_that_was_lost() {
    let message = message();
    let again = Attempted { deliveries: 3, ..attempted(&message) };
    let settlement = settle(again, report(Outcome::Rejected(true), Effects::default())).unwrap();
    let Verdict::Replaced { by } = settlement.verdict else { panic!("{:?}", settlement.verdict) };
    assert_eq!((by.message.requeued, by.message.earlier_deliveries), (true, 3));
}

#[test]
fn what_was_raised_is_told_as_it_is() {
    let message = Message { errbacks: vec![call("tour.explain")], ..message() };
    for said in ["[1e400]", r#"["\udce9"]"#, "[18446744073709551617]"] {
        let exception = Exception { exc_message: Json::parse(said.to_owned()).unwrap(), ..value_error() };
        let failed = report(Outcome::Raised(exception, None), Effects::default());
        let settlement = settle(attempted(&message), failed).unwrap();
        let args = settlement.publish.tasks[0].message.args.as_str();
        assert!(args.contains(said), "{said} is not in {args}");
    }
}

#[test]
fn what_is_linked_is_bounded_as_a_whole() {
    let links = |count| vec![call("tour.hear"); count];
    let returned = |count, bytes| {
        let value = Json::of(&"x".repeat(bytes)).unwrap();
        let message = Message { callbacks: links(count), ..message() };
        settle(attempted(&message), report(Outcome::Returned(value), Effects::default())).unwrap()
    };
    assert_eq!(returned(40, 9).publish.tasks.len(), 40);
    let settlement = returned(90, 900);
    assert!((30..40).contains(&settlement.publish.tasks.len()), "32 times 1,000 bytes may be sent");
    assert!(settlement.log.records.iter().any(|record| record.message.contains("limits.message_bytes")));
    let settlement = returned(5000, 9);
    assert_eq!(settlement.publish.tasks.len(), 100, "as many as a canvas may have");
    assert!(settlement.log.records.iter().any(|record| record.message.contains("limits.canvas_tasks")));
}

#[test]
fn a_message_that_may_run_once_is_queued_again_as_one_that_did_not_run() {
    let (message, options) = (message(), TaskOptions { acks_late: false, ..TaskOptions::default() });
    let once = Attempted { options: &options, ..attempted(&message) };
    let rejected = report(Outcome::Rejected(true), Effects::default());
    let settlement = settle(once, rejected).unwrap();
    let Verdict::Replaced { by } = settlement.verdict else { panic!("{:?}", settlement.verdict) };
    assert_eq!(by.message, Message { requeued: true, earlier_deliveries: 2, ..message });
    assert_eq!(settlement.events[0].kind, EventKind::Rejected { requeue: true });
}

#[test]
fn what_is_not_run_has_celerys_endings() {
    let (message, unrun) = (message(), |why| scoped(|scope| settle_unrun(attempted(&message()), why, scope)).verdict);
    assert_eq!(unrun(Unrun::Expired), Verdict::Revoked { reason: "expired" });
    let Verdict::Failure { exception, .. } = unrun(Unrun::NotRegistered) else { panic!("no failure") };
    assert_eq!((exception.exc_type.as_str(), exception.message()), ("NotRegistered", message.task.to_string()));
}

#[test]
fn a_lost_task_that_must_not_run_twice_is_a_failure() {
    let lost = scoped(|scope| settle_unrun(attempted(&message()), Unrun::Lost, scope)).verdict;
    assert!(matches!(lost, Verdict::Failure { exception, .. } if exception.exc_type == "WorkerLostError"));
}

#[test]
fn a_task_that_takes_its_hosts_with_it_is_a_failure_of_its_own_kind() {
    let poison = scoped(|scope| settle_unrun(attempted(&message()), Unrun::Poison { lost: 3 }, scope)).verdict;
    let Verdict::Failure { exception, fault, .. } = poison else { panic!("no failure") };
    assert_eq!((exception.exc_type.as_str(), fault.as_deref()), ("WorkerLostError", Some("poison")));
    assert!(exception.message().contains("began 3 times"), "{exception}");
}

#[test]
fn callbacks_get_the_value_even_of_an_ignored_result() {
    let mut immutable = call("tour.mul");
    (immutable.immutable, immutable.args) = (true, Json::from(serde_json::json!([7])));
    let message = Message { callbacks: vec![call("tour.mul"), immutable], ..message() };
    let options = TaskOptions { ignore_result: true, ..TaskOptions::default() };
    let attempted = Attempted { options: &options, ..attempted(&message) };
    let settlement = settle(attempted, report(Outcome::Returned(Json::from(serde_json::json!(5))), Effects::default()));
    let settlement = settlement.unwrap();
    let args: Vec<_> = settlement.publish.tasks.iter().map(|one| one.message.args.as_str()).collect();
    assert_eq!((args, settlement.children.len()), (vec!["[5]", "[7]"], 2));
    assert!(settlement.publish.tasks.iter().all(|one| one.message.parent_id.as_ref() == Some(&message.id)));
}

#[test]
fn a_callback_that_cannot_be_sent_leaves_the_value_and_says_so() {
    let message = Message { callbacks: vec![call("tour.mul")], ..message() };
    let value = Json::from(serde_json::json!("x".repeat(2000)));
    let settlement = settle(attempted(&message), report(Outcome::Returned(value), Effects::default())).unwrap();
    assert!(matches!(settlement.verdict, Verdict::Success { .. }) && settlement.publish.is_empty());
    assert!(settlement.log.records[0].message.contains("tour.mul"), "{:?}", settlement.log);
}

#[test]
fn errbacks_get_the_id_or_the_whole_story() {
    let message = Message { errbacks: vec![call("tour.mul"), call("tour.explain")], ..message() };
    let settlement =
        settle(attempted(&message), report(Outcome::Raised(value_error(), None), Effects::default())).unwrap();
    let args: Vec<serde_json::Value> =
        settlement.publish.tasks.iter().map(|one| one.message.args.read().unwrap()).collect();
    assert_eq!(args[0], serde_json::json!(["a"]));
    assert_eq!(
        (&args[1][0]["id"], &args[1][1]["exc_type"], &args[1][2]),
        (&"a".into(), &"ValueError".into(), &serde_json::Value::Null)
    );
}

#[test]
fn a_retry_that_was_not_thrown_happens_when_the_run_has_ended() {
    for outcome in [Outcome::Returned(Json::null()), Outcome::Raised(value_error(), None)] {
        let effects = Effects { retry: Some(RetryRequest { throw: false, ..retry(1.0) }), ..Effects::default() };
        assert!(matches!(settled(outcome, effects).verdict, Verdict::Retry { .. }));
    }
    let thrown = Effects { retry: Some(retry(1.0)), ..Effects::default() };
    assert!(matches!(settled(Outcome::Returned(Json::null()), thrown).verdict, Verdict::Success { .. }));
}

#[test]
fn an_end_is_for_those_who_wait_and_a_retry_is_none() {
    let message = Message { then: Some(Then::Next), ..message() };
    let arrival = |outcome, effects| settle(attempted(&message), report(outcome, effects)).unwrap().arrival;
    let value = Json::from(serde_json::json!(5));
    assert_eq!(arrival(Outcome::Returned(value.clone()), Effects::default()), Some(Arrival::Value(value)));
    for outcome in [Outcome::Raised(value_error(), None), Outcome::Ignored, Outcome::Stopped(Stop::Revoked)] {
        assert!(matches!(arrival(outcome, Effects::default()), Some(Arrival::Failed { .. })));
    }
    let effects = Effects { retry: Some(retry(1.0)), ..Effects::default() };
    assert_eq!(arrival(Outcome::Retried, effects), None);
}

#[test]
fn what_is_added_to_a_chord_makes_it_larger() {
    let part = Then::Part { group: TaskId::new("g").unwrap(), index: 2 };
    let member = Message { then: Some(part.clone()), ..message() };
    let id = TaskId::new("b").unwrap();
    let subtasks = vec![(id.clone(), text(&call("tour.mul")))];
    let effects = Effects { subtasks, add_to_chord: vec![id], ..Effects::default() };
    let settlement = settle(attempted(&member), report(Outcome::Returned(Json::null()), effects.clone())).unwrap();
    assert_eq!(settlement.grown, [(TaskId::new("g").unwrap(), 1)]);
    assert_eq!(settlement.publish.tasks[0].message.then, Some(part));
    let refused = settled(Outcome::Returned(Json::null()), effects).verdict;
    assert!(matches!(refused, Verdict::Failure { exception, .. } if exception.message().contains("chord")));
}

fn followed(task: &str, awaited: Awaited, arrival: &Arrival) -> Followed {
    let errback = call("tour.mul");
    let waiting = Message { task: task.parse().unwrap(), errbacks: vec![errback], ..message() };
    scoped(|scope| follow(attempted(&waiting), awaited, arrival, scope))
}

#[test]
fn who_waited_gets_the_value_first() {
    let value = Arrival::Value(Json::from(serde_json::json!([1, 2])));
    let Followed::Released(message) = followed("tour.mul", Awaited::Task, &value) else { panic!("not released") };
    assert_eq!(message.args.as_str(), "[[1,2]]");
    let Followed::Settled(list) = followed(builtin::ACCUMULATE, Awaited::Group(false), &value) else {
        panic!("it runs")
    };
    assert_eq!(list.verdict, Verdict::Success { result: Json::from(serde_json::json!([1, 2])) });
    let large = Arrival::Value(Json::from(serde_json::json!("x".repeat(2000))));
    let Followed::Settled(refused) = followed("tour.mul", Awaited::Task, &large) else { panic!("it runs") };
    assert!(
        matches!(refused.verdict, Verdict::Failure { exception, .. } if exception.message().contains("limits.message_bytes"))
    );
}

#[test]
fn who_waited_for_a_failure_fails_as_celery_says() {
    let failed = Arrival::Failed { task: TaskId::new("x").unwrap(), exception: value_error() };
    let of = |awaited| match followed("tour.mul", awaited, &failed) {
        Followed::Settled(settlement) => match settlement.verdict {
            Verdict::Failure { exception, .. } => (exception.to_string(), settlement.publish.tasks.len()),
            verdict => panic!("{verdict:?}"),
        },
        Followed::Released(_) => panic!("it runs"),
    };
    assert_eq!(of(Awaited::Task), ("ValueError: no".to_owned(), 0), "the errbacks of a step are its own");
    assert_eq!(of(Awaited::Group(false)), ("ChordError: Dependency x raised ValueError('no')".to_owned(), 1));
    assert_eq!(of(Awaited::Group(true)), ("ValueError: no".to_owned(), 1));
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
    /// Whatever a guest does, its attempt has one verdict, one event that says so (and one that its message was rejected), and a
    /// message only where the verdict promises one.
    #[test]
    fn every_report_settles(outcome in outcomes(), retries in any::<bool>(), replaces in any::<bool>(), nesting in 0..200_u32) {
        let effects = Effects {
            retry: retries.then(|| retry(1.0)),
            replace: replaces.then(|| text(&call("tour.mul"))),
            ..Effects::default()
        };
        let message = Message { replaced_task_nesting: nesting, ..message() };
        let settlement = settle(attempted(&message), report(outcome.clone(), effects)).unwrap();
        let refused = matches!(&settlement.verdict, Verdict::Failure { exception, .. } if exception.exc_type == "Reject");
        prop_assert_eq!(settlement.events.len(), 1 + usize::from(refused));
        let goes_on = matches!(settlement.verdict, Verdict::Retry { .. } | Verdict::Replaced { .. } | Verdict::Requeued);
        prop_assert_eq!(settlement.events[0].kind.is_terminal(), !goes_on);
        match settlement.verdict {
            Verdict::Retry { again, .. } => prop_assert!(outcome == Outcome::Retried && again.id == message.id),
            Verdict::Replaced { by } => prop_assert!(by.message.replaced_task_nesting <= 100 && by.message.id == message.id),
            _ => {}
        }
    }
}
