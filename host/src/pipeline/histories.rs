//! Do canvases end as they must, whatever happens to them? Random canvases are run over each store by an executor that
//! returns, fails, retries, rejects, replaces, adds to chords, is revoked and dies at random; then what came of every task is
//! compared with what [`expected`] says must have.

mod expected;
mod shapes;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use lovage_model::{
    AttemptLog, Exception, Json, Message, ResultMeta, Room, Seconds, TaskId, TaskOptions, TenantId, Then, Timestamp,
    Usage,
};
use proptest::prelude::*;

use super::following::Stuck;
use super::{Arrived, Following};
use crate::attempt::{Effects, Outcome, Report, RetryRequest};
use crate::canvas::{self, AnyTask, Rules, Scope, builtin};
use crate::clock;
use crate::events::Hub;
use crate::store::file::FileStore;
use crate::store::memory::MemoryStore;
use crate::store::{Ask, Fenced, Filter, Lease, Revoked, Store};
use crate::trace::{self, Attempted, Awaited};
use shapes::{Shape, Tape};

const RULES: Rules = Rules { message_bytes: 1 << 20, canvas_tasks: 1000, lineage_depth: 100, replacements: 100 };
const LEASE: Duration = Duration::from_secs(10);

/// What ended a task, as far as it was recorded.
#[derive(Debug, Clone)]
enum Fate {
    /// It returned its number, and had added these to its chord.
    Returned(Vec<u32>),
    Failed,
    Replaced(Shape),
    Revoked,
}

/// One life of one store.
struct World {
    store: Arc<dyn Store>,
    files: Option<tempfile::TempDir>,
    tape: Tape,
    now: Timestamp,
    ids: u32,
    /// The tasks made so far are numbered; the number is the last argument of each.
    made: u32,
    /// What each got besides its number, and what became of it.
    fates: BTreeMap<u32, (Vec<serde_json::Value>, Fate)>,
    /// Attempts whose host has died, or so it seems.
    ghosts: Vec<Lease>,
}

fn options() -> &'static TaskOptions {
    static OPTIONS: std::sync::OnceLock<TaskOptions> = std::sync::OnceLock::new();
    OPTIONS.get_or_init(TaskOptions::default)
}

fn attempted(message: &Message, deliveries: u32) -> Attempted<'_> {
    Attempted { message, deliveries, worker: "w", options: options(), eager: false }
}

/// What a message was given besides its number, and its number; none: it is no task of ours.
fn read(args: &Json, task: &str) -> Option<(Vec<serde_json::Value>, u32)> {
    let mut args: Vec<serde_json::Value> = args.read().unwrap();
    let number = (task == shapes::TASK).then(|| args.pop())?.expect("a number");
    Some((args, u32::try_from(number.as_u64().expect("a number")).unwrap()))
}

impl World {
    fn new(tape: Vec<u8>, on_files: bool) -> Self {
        let files = on_files.then(|| tempfile::tempdir().unwrap());
        let now = clock::now();
        let store: Arc<dyn Store> = match &files {
            Some(place) => Arc::new(FileStore::open(place.path(), now).unwrap()),
            None => Arc::new(MemoryStore::new()),
        };
        let (fates, ghosts) = (BTreeMap::new(), Vec::new());
        Self { store, files, tape: Tape::new(tape), now, ids: 0, made: 0, fates, ghosts }
    }

    fn scoped<T>(&mut self, decide: impl FnOnce(&mut Scope<'_>) -> T) -> T {
        let mut ids = || {
            self.ids += 1;
            TaskId::new(format!("id-{}", self.ids)).unwrap()
        };
        decide(&mut Scope::new(&AnyTask, &mut ids, RULES, self.now))
    }

    async fn submit(&mut self, shape: &Shape) {
        let sent = self.scoped(|scope| canvas::expand(shape.signature(), None, scope)).unwrap();
        self.store.submit(&TenantId::default(), vec![sent.plan], self.now, Room::UNLIMITED).await.unwrap();
    }

    /// Takes steps until nothing is left that could happen.
    async fn live(&mut self) {
        loop {
            self.follow().await;
            match self.tape.next(30) {
                1 => self.revoke().await,
                2 => self.restart(),
                3 => self.haunt().await,
                _ => {}
            }
            let (worker, max) = ("w".to_owned(), 1 + self.tape.next(4) as usize);
            let ask = Ask {
                worker,
                queues: None,
                max,
                shares: crate::store::Shares::default(),
                now: self.now,
                until: self.now.after(LEASE),
            };
            let leased = self.store.lease(ask).await.unwrap();
            if leased.leases.is_empty() && leased.next_due.is_none() && self.store.ended(1).await.unwrap().is_empty() {
                return;
            }
            if leased.leases.is_empty() {
                self.now = self.now.after(LEASE);
            }
            for lease in leased.leases {
                self.attempt(lease).await;
            }
        }
    }

    async fn follow(&mut self) {
        let (now, ids) = (self.now, std::sync::atomic::AtomicU32::new(self.ids));
        let next =
            || TaskId::new(format!("id-{}", ids.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1)).unwrap();
        let decide = |message: &Message, arrived: Arrived<'_>| {
            let awaited = if arrived.of_group { Awaited::Group(arrived.many) } else { Awaited::Task };
            let mut ids = || next();
            let scope = &mut Scope::new(&AnyTask, &mut ids, RULES, now);
            trace::follow(attempted(message, 0), awaited, arrived.arrival, scope)
        };
        let (store, hub) = (Arc::clone(&self.store), Arc::new(Hub::new(now)));
        let complete = |_: &_, _: &_, _| lovage_model::Inline::default();
        let following = Following { store, hub, decide, complete, message_bytes: RULES.message_bytes };
        let mut stuck = Stuck::default();
        while following.pass(&mut stuck).await.unwrap() {}
        self.ids = ids.into_inner();
    }

    /// The host dies, if the store can tell.
    fn restart(&mut self) {
        if let Some(place) = &self.files {
            self.store = Arc::new(MemoryStore::new());
            self.store = Arc::new(FileStore::open(place.path(), self.now).unwrap());
        }
    }

    /// A host that was thought dead comes back with an outcome.
    async fn haunt(&mut self) {
        if let Some(lease) = self.ghosts.pop() {
            self.end(&lease, Outcome::Raised(error(), None), Effects::default(), Some(Fate::Failed)).await;
        }
    }

    async fn tasks(&self) -> Vec<ResultMeta> {
        let all = Filter { limit: 10_000, ..Filter::default() };
        self.store.list(&TenantId::default(), all).await.unwrap().tasks
    }

    async fn revoke(&mut self) {
        let mut tasks = self.tasks().await;
        if tasks.is_empty() {
            return;
        }
        let chosen = tasks.swap_remove(self.tape.next(tasks.len()) as usize);
        let Some((_, number)) = read(&chosen.args, chosen.name.as_str()) else { return };
        let found = self.store.revoke(&TenantId::default(), &chosen.task_id, self.now).await.unwrap();
        if found == Revoked::Waiting {
            self.record(number, Vec::new(), Fate::Revoked);
        }
    }

    async fn attempt(&mut self, lease: Lease) {
        let message = &lease.message;
        assert_ne!(message.task.as_str(), builtin::ACCUMULATE, "nobody runs it");
        let is_part = matches!(message.then, Some(Then::Part { .. }));
        match self.tape.next(20) {
            1 | 2 => self.ghosts.push(lease),
            3 | 4 if message.retries < 2 => {
                let effects = Effects { retry: Some(retry(self.now)), ..Effects::default() };
                self.end(&lease, Outcome::Retried, effects, None).await;
            }
            5 => self.end(&lease, Outcome::Rejected(true), Effects::default(), None).await,
            6 => self.end(&lease, Outcome::Raised(error(), None), Effects::default(), Some(Fate::Failed)).await,
            7 | 8 if self.made < 60 => {
                let by = Shape::random(&mut self.tape, &mut self.made, 2);
                let effects = Effects { replace: Some(Json::of(&by.signature()).unwrap()), ..Effects::default() };
                self.end(&lease, Outcome::Replaced, effects, Some(Fate::Replaced(by))).await;
            }
            9..=11 if is_part && self.made < 60 => self.add_to_chord(&lease).await,
            _ => self.succeed(&lease, Effects::default(), Vec::new()).await,
        }
    }

    async fn add_to_chord(&mut self, lease: &Lease) {
        let mut effects = Effects::default();
        let mut numbers = Vec::new();
        for _ in 0..=self.tape.next(2) {
            let added = Shape::task(&mut self.made, true);
            self.ids += 1;
            let id = TaskId::new(format!("id-{}", self.ids)).unwrap();
            effects.subtasks.push((id.clone(), Json::of(&added.signature()).unwrap()));
            effects.add_to_chord.push(id);
            numbers.push(self.made);
        }
        self.succeed(lease, effects, numbers).await;
    }

    async fn succeed(&mut self, lease: &Lease, effects: Effects, added: Vec<u32>) {
        let (_, number) = read(&lease.message.args, lease.message.task.as_str()).expect("one of ours");
        let value = Json::from(serde_json::Value::from(number));
        self.end(lease, Outcome::Returned(value), effects, Some(Fate::Returned(added))).await;
    }

    async fn end(&mut self, lease: &Lease, outcome: Outcome, effects: Effects, fate: Option<Fate>) {
        let report = Report { outcome, effects, usage: Usage::default(), log: AttemptLog::default() };
        let attempted = attempted(&lease.message, lease.deliveries);
        let settlement = self.scoped(|scope| trace::settle(attempted, report, scope)).expect("it was not interrupted");
        let answer = self.store.commit(lease.key, settlement.clone()).await.unwrap();
        if let (Fenced::Applied, Some(fate)) = (answer, fate) {
            let (got, number) = read(&lease.message.args, lease.message.task.as_str()).expect("one of ours");
            self.record(number, got, fate);
        }
        assert_eq!(self.store.commit(lease.key, settlement).await.unwrap(), Fenced::Refused, "once is enough");
    }

    fn record(&mut self, number: u32, got: Vec<serde_json::Value>, fate: Fate) {
        let before = self.fates.insert(number, (got, fate));
        assert!(before.is_none(), "task {number} ended twice, first so: {before:?}");
    }

    async fn check(&self, shape: &Shape) {
        let states = expected::states(shape, &self.fates);
        let mut found = HashMap::new();
        for task in self.tasks().await {
            assert!(
                task.status.is_terminal(),
                "{} is {:?}, waiting for {:?}",
                task.task_id,
                task.status,
                task.waiting_for
            );
            if let Some((_, number)) = read(&task.args, task.name.as_str()) {
                assert!(found.insert(number, task.status).is_none(), "two tasks {number}");
            }
        }
        assert_eq!(found, states, "{shape:?}\n{:#?}", self.fates);
        assert!(self.store.queues(&TenantId::default(), self.now).await.unwrap().is_empty());
    }
}

fn error() -> Exception {
    Exception::new("m", "Unlucky", "no")
}

fn retry(now: Timestamp) -> RetryRequest {
    let countdown = Seconds::new(3.0).unwrap();
    let eta = now.after(countdown.duration());
    RetryRequest { exception: error(), eta, countdown, args: None, kwargs: None, throw: true }
}

fn happens(tape: Vec<u8>, on_files: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(tape, on_files);
        let shape = Shape::random(&mut world.tape, &mut world.made, 3);
        world.submit(&shape).await;
        world.live().await;
        world.check(&shape).await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn canvases_end_as_they_must_in_memory(tape in prop::collection::vec(any::<u8>(), 0..400)) {
        happens(tape, false);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn canvases_end_as_they_must_on_files(tape in prop::collection::vec(any::<u8>(), 0..400)) {
        happens(tape, true);
    }
}
