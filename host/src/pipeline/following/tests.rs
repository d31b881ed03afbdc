//! The loop against a store that does what a test says.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use lovage_model::{Exception, Json, Settlement, Timestamp, Verdict};
use tokio::sync::Notify;

use super::*;
use crate::events::Notice;

/// Sends the body under its own id.
fn complete(_: &TenantId, _: &TaskId, end: ChordEnd) -> Inline {
    let body = end.body.options.task_id.expect("a frozen body");
    Inline { messages: vec![Message::new(body, end.body.task.as_str().parse().expect("a name"))], ..Inline::default() }
}

const NOW: Timestamp = Timestamp::from_micros(1_000_000);

#[derive(Default)]
struct State {
    ended: Vec<Ended>,
    waiting: HashMap<TaskId, Vec<Message>>,
    /// Answers to give before the true one, by key.
    answers: HashMap<i64, VecDeque<Result<Fenced>>>,
    /// What cannot be dealt with.
    bad: HashSet<i64>,
    /// How many ends it tells of at once, if that is less than it is asked for.
    tells: Option<usize>,
    applied: Vec<(i64, FollowUp)>,
}

#[derive(Default)]
struct Scripted {
    state: Mutex<State>,
    bell: Notify,
    idle: Notify,
}

impl Scripted {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task of that id has failed, and so many wait for it.
    fn end(&self, key: i64, followers: usize) {
        self.end_of(TenantId::default(), key, followers);
    }

    fn end_of(&self, tenant: TenantId, key: i64, followers: usize) {
        let id = id(&format!("task-{key}"));
        let mut state = self.state();
        let tasks = (0..followers).map(|n| message(&format!("task-{key}-{n}"))).collect();
        state.waiting.insert(id.clone(), tasks);
        let exception = Exception::new("m", "E", "no");
        let outcome = Completed::Task(Arrival::Failed { task: id.clone(), exception });
        state.ended.push(Ended { key, tenant, id, outcome });
    }

    fn answer(&self, key: i64, answer: Result<Fenced>) {
        self.state().answers.entry(key).or_default().push_back(answer);
    }

    /// The steps that were applied: which ended thing, how many followers, whether it was the last.
    fn steps(&self) -> Vec<(i64, usize, bool)> {
        self.state().applied.iter().map(|(key, step)| (*key, step.followed.len(), step.done)).collect()
    }
}

#[async_trait]
impl Joins for Scripted {
    async fn ended(&self, max: usize) -> Result<Vec<Ended>> {
        let state = self.state();
        let ended: Vec<_> = state.ended.iter().take(state.tells.unwrap_or(max).min(max)).cloned().collect();
        drop(state);
        if ended.is_empty() {
            self.idle.notify_one();
        }
        Ok(ended)
    }

    async fn any_ended(&self) {
        self.bell.notified().await;
    }

    async fn followers(&self, _: &TenantId, awaited: &TaskId, max: usize) -> Result<Vec<Message>> {
        Ok(self.state().waiting.get(awaited).into_iter().flatten().take(max).cloned().collect())
    }

    async fn follow(&self, key: i64, step: FollowUp, _: Timestamp) -> Result<Fenced> {
        let mut state = self.state();
        if state.bad.contains(&key) {
            return Err(StoreError::Failed("it cannot be dealt with".to_owned()));
        }
        if let Some(answer) = state.answers.get_mut(&key).and_then(VecDeque::pop_front) {
            if let Ok(Fenced::Refused) = answer {
                state.ended.retain(|one| one.key != key);
                drop(state);
                self.bell.notify_one();
            }
            return answer;
        }
        let followed: HashSet<_> = step.followed.iter().map(|(id, _)| id.clone()).collect();
        state.waiting.values_mut().for_each(|all| all.retain(|message| !followed.contains(&message.id)));
        if step.done {
            state.ended.retain(|one| one.key != key);
        }
        state.applied.push((key, step));
        drop(state);
        self.bell.notify_one();
        Ok(Fenced::Applied)
    }
}

fn id(text: &str) -> TaskId {
    TaskId::new(text).unwrap()
}

fn message(name: &str) -> Message {
    Message::new(id(name), "a.b".parse().unwrap())
}

/// Whoever follows a value runs; whoever follows a failure fails, and sends one errback.
fn decide(message: &Message, arrived: Arrived<'_>) -> Followed {
    match arrived.arrival {
        Arrival::Value(_) => Followed::Released(Box::new(message.clone())),
        Arrival::Failed { exception, .. } => {
            let kind = lovage_model::EventKind::failed(exception, None);
            let event = Event::of(message, NOW, kind);
            let errback = super::tests::message(&format!("{}-errback", message.id));
            let exception = Exception::new("m", if arrived.many { "Many" } else { "One" }, "no");
            let verdict = Verdict::Failure { exception, traceback: None, fault: None };
            Followed::Settled(Box::new(Settlement {
                publish: Plan::of(errback),
                events: vec![event],
                ..Settlement::of(verdict, NOW)
            }))
        }
    }
}

/// Runs the loop until nothing is left to be done.
async fn follow(store: &Arc<Scripted>) {
    let hub = Arc::new(Hub::new(NOW));
    let following = Following { store: Arc::clone(store), hub, decide, complete, message_bytes: 100 };
    tokio::select! {
        () = following.run() => unreachable!("it runs for ever"),
        () = store.idle.notified() => {}
    }
}

#[tokio::test]
async fn what_has_many_followers_is_dealt_with_in_pages_and_keeps_nobody_waiting() {
    let store = Arc::new(Scripted::default());
    store.end(1, 2 * PAGE + 1);
    store.end(2, 1);
    follow(&store).await;
    // The last page has two more than a page, rather than that one follower is left alone.
    assert_eq!(store.steps(), [(1, PAGE, false), (2, 1, true), (1, PAGE + 1, true)]);
    let state = store.state();
    let named = |key: i64| {
        let all = state.applied.iter().filter(move |(of, _)| *of == key).flat_map(|(_, step)| &step.followed);
        all.map(|(_, followed)| format!("{followed:?}").contains("Many")).collect::<HashSet<_>>()
    };
    assert_eq!((named(1), named(2)), ([true].into(), [false].into()));
}

#[tokio::test]
async fn a_page_ends_when_much_is_written_for_its_followers() {
    let store = Arc::new(Scripted::default());
    store.end(1, 5);
    let decide = |message: &Message, arrived: Arrived<'_>| {
        let Followed::Settled(mut settlement) = super::tests::decide(message, arrived) else { panic!("it failed") };
        settlement.publish.tasks[0].message.args = Json::of(&["x".repeat(PAGE_BYTES / 2)]).unwrap();
        Followed::Settled(settlement)
    };
    let hub = Arc::new(Hub::new(NOW));
    let following = Following { store: Arc::clone(&store), hub, decide, complete, message_bytes: 100 };
    let mut stuck = Stuck::default();
    while following.pass(&mut stuck).await.unwrap() {}
    assert_eq!(store.steps(), [(1, 2, false), (1, 3, true)], "never is one left alone");
    let state = store.state();
    let mut all = state.applied.iter().flat_map(|(_, step)| &step.followed);
    assert!(all.all(|(_, one)| format!("{one:?}").contains("Many")));
}

#[tokio::test]
async fn what_ended_and_was_not_told_at_once_is_asked_for_at_once() {
    let store = Arc::new(Scripted::default());
    store.end(1, 1);
    store.end(2, 1);
    store.state().tells = Some(1);
    let hub = Arc::new(Hub::new(NOW));
    let following = Following { store: Arc::clone(&store), hub, decide, complete, message_bytes: 100 };
    let mut stuck = Stuck::default();
    // Nobody need be told that there is more.
    while following.pass(&mut stuck).await.unwrap() {}
    assert_eq!(store.steps(), [(1, 1, true), (2, 1, true)]);
}

#[tokio::test]
async fn many_ends_of_one_tenant_are_no_line_for_another_to_stand_in() {
    let store = Arc::new(Scripted::default());
    for key in 1..=60 {
        store.end(key, 2 * PAGE);
    }
    store.end_of(TenantId::new("other").unwrap(), 61, 1);
    let hub = Arc::new(Hub::new(NOW));
    let following = Following { store: Arc::clone(&store), hub, decide, complete, message_bytes: 100 };
    assert!(following.pass(&mut Stuck::default()).await.unwrap());
    let steps = store.steps();
    assert!(steps.len() == AT_ONCE && steps.contains(&(61, 1, true)), "{steps:?}");
}

#[tokio::test]
async fn however_many_fail_again_and_again_others_go_on() {
    let store = Arc::new(Scripted::default());
    let hub = Arc::new(Hub::new(NOW));
    let mut events = hub.follow(&TenantId::default(), &id("task-301-0"), None);
    for key in 1..=301 {
        store.end(key, 1);
    }
    store.state().bad = (1..=300).collect();
    let following = Following { store: Arc::clone(&store), hub, decide, complete, message_bytes: 100 };
    tokio::select! {
        () = following.run() => unreachable!("it runs for ever"),
        _ = events.next() => {}
    }
    assert_eq!(store.steps(), [(301, 1, true)]);
}

#[tokio::test]
async fn what_fails_is_tried_again_while_others_go_on() {
    let store = Arc::new(Scripted::default());
    store.end(1, 1);
    store.end(2, 1);
    store.answer(1, Err(StoreError::Full("no room".to_owned())));
    store.answer(1, Err(StoreError::Failed("still not".to_owned())));
    follow(&store).await;
    assert_eq!(store.steps(), [(2, 1, true), (1, 1, true)]);
}

#[tokio::test]
async fn a_fault_of_ours_in_one_decision_keeps_no_other_from_being_made() {
    let store = Arc::new(Scripted::default());
    store.end(1, 1);
    store.end(2, 1);
    let panicked = std::sync::atomic::AtomicBool::new(false);
    let decide = move |message: &Message, arrived: Arrived<'_>| {
        let goes_wrong = message.id.as_str() == "task-1-0";
        assert!(!goes_wrong || panicked.swap(true, std::sync::atomic::Ordering::Relaxed), "a fault, once");
        super::tests::decide(message, arrived)
    };
    let hub = Arc::new(Hub::new(NOW));
    let following = Following { store: Arc::clone(&store), hub, decide, complete, message_bytes: 100 };
    tokio::select! {
        () = following.run() => unreachable!("it runs for ever"),
        () = store.idle.notified() => {}
    }
    assert_eq!(store.steps(), [(2, 1, true), (1, 1, true)]);
}

#[tokio::test]
async fn what_somebody_else_dealt_with_is_left_alone() {
    let store = Arc::new(Scripted::default());
    store.end(1, 1);
    store.answer(1, Ok(Fenced::Refused));
    store.end(2, 1);
    follow(&store).await;
    assert_eq!(store.steps(), [(2, 1, true)]);
}

#[tokio::test]
async fn an_errback_whose_id_is_taken_is_not_sent_and_the_failure_is() {
    let store = Arc::new(Scripted::default());
    store.end(1, 2);
    store.answer(1, Ok(Fenced::Taken(id("task-1-0-errback"))));
    follow(&store).await;
    let state = store.state();
    let [(_, step)] = state.applied.as_slice() else { panic!("{:?}", state.applied) };
    let sent: Vec<_> = step
        .followed
        .iter()
        .map(|(_, followed)| match followed {
            Followed::Settled(settlement) => settlement.publish.tasks.len(),
            Followed::Released(_) => panic!("it failed"),
        })
        .collect();
    assert_eq!(sent, [0, 1]);
}

#[tokio::test]
async fn those_who_watch_are_told() {
    let store = Arc::new(Scripted::default());
    let hub = Arc::new(Hub::new(NOW));
    let mut events = hub.follow(&TenantId::default(), &id("task-1-0"), None);
    store.end(1, 1);
    let following = Following { store: Arc::clone(&store), hub, decide, complete, message_bytes: 100 };
    let told = tokio::select! {
        () = following.run() => unreachable!("it runs for ever"),
        told = events.next() => told,
    };
    assert!(matches!(told, Notice::Event(numbered) if numbered.event.kind.name() == "task-failed"));
    assert_eq!(store.steps(), [(1, 1, true)]);
}

#[tokio::test]
async fn a_join_in_a_join_is_a_part_of_it() {
    let store = Arc::new(Scripted::default());
    let outcome = |text: &str| {
        let parts = vec![Arrival::Value(Json::parse(text.to_owned()).unwrap())];
        Completed::Join { parts, then: Then::Part { group: id("outer"), index: 3 } }
    };
    let ended = |key, text| Ended { key, tenant: TenantId::default(), id: id("inner"), outcome: outcome(text) };
    store.state().ended = vec![ended(1, "7"), ended(2, &"9".repeat(101))];
    follow(&store).await;
    let state = store.state();
    let [(_, small), (_, large)] = state.applied.as_slice() else { panic!("{:?}", state.applied) };
    assert_eq!(small.part, Some(Arrival::Value(Json::parse("[7]".to_owned()).unwrap())));
    assert!(matches!(&large.part, Some(Arrival::Failed { exception, .. }) if exception.exc_type == "ValueError"));
    assert!(small.done && small.followed.is_empty());
}

#[test]
fn a_page_is_small_when_what_arrives_is_large() {
    let value = |bytes: usize| Arrival::Value(Json::parse("9".repeat(bytes)).unwrap());
    assert_eq!(page_size(&value(1)), PAGE);
    assert_eq!(page_size(&value(PAGE_BYTES / 10)), 10);
    assert_eq!(page_size(&value(PAGE_BYTES * 2)), 1);
}

#[tokio::test]
async fn a_chord_in_celerys_form_sends_its_body() {
    let store = Arc::new(Scripted::default());
    let body = r#"{"task": "t.body", "args": [], "kwargs": {}, "options": {"task_id": "body"}}"#;
    let sender = lovage_model::Sender::of(&message("last"));
    let end = ChordEnd { body: serde_json::from_str(body).unwrap(), parts: vec![], nested: None, sender };
    let outcome = Completed::Chord(Box::new(end));
    store.state().ended.push(Ended { key: 7, tenant: TenantId::default(), id: id("group"), outcome });
    follow(&store).await;
    let state = store.state();
    let [(7, step)] = state.applied.as_slice() else { panic!("{:?}", state.applied) };
    let sent: Vec<_> = step.inline.messages.iter().map(|one| one.id.clone()).collect();
    assert_eq!((sent, step.done), (vec![id("body")], true));
}
