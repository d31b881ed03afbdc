//! Do all backends keep the same promises? Each test here runs over each of them.
//!
//! Time is made up: [`at`] gives the seconds since a start, so nothing depends on a clock.

mod access;
mod budgets;
mod chains;
mod differential;
mod endings;
mod groups;
mod joins;
mod messages;
mod metering;
mod modules;
mod orders;
mod plans;
mod properties;
mod results;
mod schedules;
mod sharing;
mod values;
mod waiting;

use std::collections::BTreeSet;
use std::sync::Arc;

use lovage_model::{
    AttemptLog, Exception, Json, Message, Plan, Planned, QueueName, ResultMeta, ResultTuple, Room, Seconds, Settlement,
    TaskId, TaskName, TenantId, TimeLimit, Timestamp, Usage, Verdict, exc_module,
};

use super::file::FileStore;
use super::memory::MemoryStore;
use super::redis::tests::server::Server;
use super::redis::{Options, RedisStore};
use super::{Ask, Fenced, Lease, LeaseKey, Quota, Store, Submitted};

/// A store under test.
pub(super) struct Bench {
    pub(super) store: Arc<dyn Store>,
    kind: Kind,
}

enum Kind {
    Memory(Arc<MemoryStore>),
    File(tempfile::TempDir),
    Redis(Box<Options>),
}

impl Bench {
    pub(super) fn memory() -> Self {
        let store = Arc::new(MemoryStore::new());
        Self { store: store.clone(), kind: Kind::Memory(store) }
    }

    pub(super) fn file() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(FileStore::open(dir.path(), at(0)).unwrap());
        Self { store, kind: Kind::File(dir) }
    }

    pub(super) async fn redis() -> Self {
        // The reference tells ten priorities apart.
        let options = Options { priority_steps: (0..10).collect(), ..Server::of_all().options() };
        let store = Arc::new(RedisStore::open(options.clone(), at(0)).await.unwrap());
        Self { store, kind: Kind::Redis(Box::new(options)) }
    }

    /// Kills the daemon and starts another: what a store must remember is there, leases have ended.
    pub(super) async fn restart(&mut self) {
        match &self.kind {
            Kind::Memory(store) => store.restart(),
            Kind::File(dir) => {
                // Dropped, not closed.
                self.store = Arc::new(MemoryStore::new());
                self.store = Arc::new(FileStore::open(dir.path(), at(0)).unwrap());
            }
            Kind::Redis(options) => {
                self.store = Arc::new(MemoryStore::new());
                self.store = Arc::new(RedisStore::open((**options).clone(), at(0)).await.unwrap());
            }
        }
    }

    pub(super) async fn submit(&self, messages: Vec<Message>, now: Timestamp) {
        let count = messages.len();
        assert_eq!(self.offer(&tenant(), messages, now, u64::MAX).await, vec![Submitted::Stored; count]);
    }

    /// Submits plans of one task each, where so many tasks may wait.
    pub(super) async fn offer(
        &self,
        tenant: &TenantId,
        messages: Vec<Message>,
        now: Timestamp,
        queued_tasks: u64,
    ) -> Vec<Submitted> {
        let plans = messages.into_iter().map(Plan::of).collect();
        self.store.submit(tenant, plans, now, Room { queued_tasks, ..Room::UNLIMITED }).await.unwrap()
    }

    /// Leases whatever there is, until ten seconds later.
    pub(super) async fn lease(&self, max: usize, now: Timestamp) -> Vec<Lease> {
        self.store.lease(ask(max, now)).await.unwrap().leases
    }

    pub(super) async fn lease_one(&self, now: Timestamp) -> Lease {
        let mut leases = self.lease(1, now).await;
        assert_eq!(leases.len(), 1, "one message must be ready at {now}");
        leases.remove(0)
    }

    pub(super) async fn commit(&self, key: LeaseKey, verdict: Verdict, now: Timestamp) {
        assert_eq!(self.store.commit(key, settlement(verdict, now)).await.unwrap(), Fenced::Applied);
    }

    pub(super) async fn task(&self, name: &str) -> ResultMeta {
        self.store.task(&tenant(), &id(name)).await.unwrap().unwrap_or_else(|| panic!("no task {name}"))
    }

    /// Submits a task, runs it, and ends it so.
    pub(super) async fn run_to(&self, name: &str, verdict: Verdict, now: Timestamp) {
        self.submit(vec![message(name)], now).await;
        let lease = self.lease_one(now).await;
        assert_eq!(lease.message.id, id(name));
        self.commit(lease.key, verdict, now).await;
    }
}

/// Makes a test of each function for each backend.
macro_rules! for_each_backend {
    ($($promise:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test] async fn $promise() { super::$promise($crate::store::suite::Bench::memory()).await; })*
        }
        mod file {
            $(#[tokio::test] async fn $promise() { super::$promise($crate::store::suite::Bench::file()).await; })*
        }
        mod redis {
            $(#[tokio::test] async fn $promise() { super::$promise($crate::store::suite::Bench::redis().await).await; })*
        }
    };
}
pub(super) use for_each_backend;
pub(super) use schedules::periodic;

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000 + seconds * 1_000_000)
}

pub(super) fn tenant() -> TenantId {
    TenantId::default()
}

pub(super) fn id(name: &str) -> TaskId {
    TaskId::new(name).unwrap()
}

pub(super) fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

pub(super) fn json(text: &str) -> Json {
    Json::parse(text.to_owned()).unwrap()
}

pub(super) fn message(name: &str) -> Message {
    Message {
        args: json("[1, 2]"),
        kwargs: json(r#"{"z": 12345678901234567890123}"#),
        priority: 4,
        timelimit: TimeLimit { soft: None, hard: Some(Seconds::new(3.5).unwrap()) },
        origin: Some("gen1@here".to_owned()),
        headers: [("trace".to_owned(), json("1.10"))].into(),
        ..Message::new(id(name), TaskName::new("tour.add").unwrap())
    }
}

pub(super) fn in_queue(name: &str, of: &str) -> Message {
    Message { queue: queue(of), ..message(name) }
}

pub(super) fn ask(max: usize, now: Timestamp) -> Ask {
    let until = Timestamp::from_micros(now.as_micros() + 10_000_000);
    Ask { worker: "host-1".to_owned(), queues: None, max, shares: crate::store::Shares::default(), now, until }
}

pub(super) fn ask_of(queues: &[&str], max: usize, now: Timestamp) -> Ask {
    Ask { queues: Some(queues.iter().map(|name| queue(name)).collect::<BTreeSet<_>>()), ..ask(max, now) }
}

pub(super) fn settlement(verdict: Verdict, now: Timestamp) -> Settlement {
    Settlement {
        worker: "host-1".to_owned(),
        usage: Usage { fuel: Some(7), wall_seconds: 0.25, ..Usage::default() },
        ..Settlement::of(verdict, now)
    }
}

pub(super) fn success(result: &str) -> Verdict {
    Verdict::Success { result: json(result) }
}

pub(super) fn value_error() -> Exception {
    Exception::new(exc_module::BUILTINS, "ValueError", "no such page")
}

pub(super) fn failure() -> Verdict {
    Verdict::Failure {
        exception: value_error(),
        traceback: Some("at tour::add".to_owned()),
        fault: Some("panic".to_owned()),
    }
}

pub(super) fn retry(again: Message) -> Verdict {
    Verdict::Retry { exception: value_error(), traceback: Some("at tour::add".to_owned()), again: Box::new(again) }
}

pub(super) fn ids(leases: &[Lease]) -> Vec<&str> {
    leases.iter().map(|lease| lease.message.id.as_str()).collect()
}
