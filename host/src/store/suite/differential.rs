//! Does the file store do what the reference does? Random histories, with restarts, are told to both; every answer and
//! every list must be the same. Ids, queues and times are few, so that operations meet.

use std::fmt::Debug;

use bytes::Bytes;
use lovage_model::{Digest, ModuleName, State};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::store::file::{CheckReport, check};
use crate::store::{Filter, Leased, Revoked, Upload};

#[derive(Debug, Clone)]
enum Step {
    Submit(u8, Vec<Draft>, u64),
    Lease { queues: Option<Vec<u8>>, max: usize, hold: i64 },
    Renew(Vec<prop::sample::Index>, i64),
    Report(prop::sample::Index, bool),
    Commit(prop::sample::Index, End, Vec<Draft>, bool),
    Release(prop::sample::Index, bool),
    Revoke(u8, u8),
    Resubmit(u8, u8),
    Forget(u8, u8),
    Purge(u8, u8),
    Expire(i64, usize),
    Push(u8, u8),
    Rollback(u8),
    Remove(u8),
    Wait(i64),
    Restart,
}

#[derive(Debug, Clone)]
struct Draft {
    id: u8,
    queue: u8,
    priority: u8,
    eta: Option<i64>,
}

#[derive(Debug, Clone)]
enum End {
    Success,
    Failure,
    Retry(Draft),
    Replaced(Draft),
    Revoked,
    Ignored,
    Requeued,
}

fn draft() -> impl Strategy<Value = Draft> {
    (0..8_u8, 0..3_u8, 0..3_u8, prop::option::weighted(0.3, -5..30_i64)).prop_map(|(id, queue, priority, eta)| Draft {
        id,
        queue,
        priority,
        eta,
    })
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        3 => Just(End::Success),
        1 => Just(End::Failure),
        2 => draft().prop_map(End::Retry),
        1 => draft().prop_map(End::Replaced),
        1 => Just(End::Revoked),
        1 => Just(End::Ignored),
        1 => Just(End::Requeued),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let key = any::<prop::sample::Index>;
    let lease = (prop::option::weighted(0.4, prop::collection::vec(0..3_u8, 0..3)), 0..5_usize, 1..20_i64);
    prop_oneof![
        8 => (0..2_u8, prop::collection::vec(draft(), 1..5), 1..8_u64).prop_map(|(t, d, m)| Step::Submit(t, d, m)),
        8 => lease.prop_map(|(queues, max, hold)| Step::Lease { queues, max, hold }),
        2 => (prop::collection::vec(key(), 0..4), 1..20_i64).prop_map(|(keys, hold)| Step::Renew(keys, hold)),
        2 => (key(), any::<bool>()).prop_map(|(key, legal)| Step::Report(key, legal)),
        8 => (key(), end(), prop::collection::vec(draft(), 0..3), any::<bool>())
            .prop_map(|(key, end, publish, ignore)| Step::Commit(key, end, publish, ignore)),
        2 => (key(), any::<bool>()).prop_map(|(key, begun)| Step::Release(key, begun)),
        2 => (0..3_u8, 0..8_u8).prop_map(|(t, id)| Step::Revoke(t, id)),
        2 => (0..3_u8, 0..8_u8).prop_map(|(t, id)| Step::Resubmit(t, id)),
        2 => (0..3_u8, 0..8_u8).prop_map(|(t, id)| Step::Forget(t, id)),
        1 => (0..3_u8, 0..3_u8).prop_map(|(t, queue)| Step::Purge(t, queue)),
        1 => (-5..30_i64, 0..4_usize).prop_map(|(ago, max)| Step::Expire(ago, max)),
        1 => (0..2_u8, 0..3_u8).prop_map(|(t, bytes)| Step::Push(t, bytes)),
        1 => (0..2_u8).prop_map(Step::Rollback),
        1 => (0..2_u8).prop_map(Step::Remove),
        4 => (1..12_i64).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

/// Both stores, and what they have been told.
struct Pair {
    memory: Bench,
    file: Bench,
    now: i64,
    /// Every lease that was given: the reference's, and the other's.
    keys: Vec<(LeaseKey, LeaseKey)>,
}

fn tenant_of(number: u8) -> TenantId {
    TenantId::new(format!("tenant-{number}")).unwrap()
}

fn task_of(number: u8) -> TaskId {
    id(&format!("task-{number}"))
}

fn queue_of(number: u8) -> QueueName {
    queue(&format!("queue-{number}"))
}

fn digest(byte: u8) -> Digest {
    Digest::from_bytes(&Sha256::digest([byte]).into())
}

fn same<T: PartialEq + Debug>(what: &str, expected: T, got: T) {
    assert_eq!(expected, got, "{what}: left is the reference");
}

/// Asks both stores the same question.
macro_rules! both {
    ($pair:ident, $store:ident => $question:expr) => {{
        let $store = &$pair.memory.store;
        let expected = $question.await.map_err(|error| error.to_string());
        let $store = &$pair.file.store;
        let got = $question.await.map_err(|error| error.to_string());
        (expected, got)
    }};
}

/// Asks both, and wants one answer.
macro_rules! agree {
    ($pair:ident, $store:ident => $question:expr) => {{
        let (expected, got) = both!($pair, $store => $question);
        same(stringify!($question), expected, got);
    }};
}

impl Pair {
    fn new() -> Self {
        Self { memory: Bench::memory(), file: Bench::file(), now: 0, keys: Vec::new() }
    }

    fn message(&self, draft: &Draft) -> Message {
        Message {
            priority: draft.priority,
            queue: queue_of(draft.queue),
            eta: draft.eta.map(|eta| at(self.now + eta)),
            ..message(task_of(draft.id).as_str())
        }
    }

    fn verdict(&self, end: &End, task: &TaskId) -> Verdict {
        let own = |draft: &Draft| Message { id: task.clone(), retries: 1, ..self.message(draft) };
        match end {
            End::Success => success("[1]"),
            End::Failure => failure(),
            End::Retry(draft) => retry(own(draft)),
            End::Replaced(draft) => Verdict::Replaced { by: Box::new(Planned { message: own(draft), awaits: None }) },
            End::Revoked => Verdict::Revoked { reason: "terminated" },
            End::Ignored => Verdict::Ignored,
            End::Requeued => Verdict::Requeued,
        }
    }

    fn key(&self, index: &prop::sample::Index) -> Option<(LeaseKey, LeaseKey)> {
        (!self.keys.is_empty()).then(|| *index.get(&self.keys))
    }

    async fn take(&mut self, step: &Step, ids: &mut Vec<TaskId>) {
        let now = at(self.now);
        match step {
            Step::Submit(t, drafts, max) => {
                let messages: Vec<_> = drafts.iter().map(|draft| self.message(draft)).collect();
                agree!(self, store => store.submit(&tenant_of(*t), messages.iter().cloned().map(Plan::of).collect(), now, Room { queued_tasks: *max, ..Room::UNLIMITED }));
            }
            Step::Lease { queues, max, hold } => self.lease(queues.as_deref(), *max, *hold, ids).await,
            Step::Renew(indices, hold) => self.renew(indices, *hold).await,
            Step::Report(index, legal) => self.report(index, *legal).await,
            Step::Commit(index, end, publish, ignore_result) => {
                let tasks =
                    publish.iter().map(|draft| Planned { message: self.message(draft), awaits: None }).collect();
                let publish = Plan { tasks, joins: Vec::new() };
                self.commit(
                    index,
                    end,
                    Settlement { publish, ignore_result: *ignore_result, ..settlement(success("0"), now) },
                    ids,
                )
                .await;
            }
            Step::Release(index, begun) => {
                let Some((a, b)) = self.key(index) else { return };
                let (memory, file) = (&self.memory.store, &self.file.store);
                same("release", memory.release(a, *begun).await.unwrap(), file.release(b, *begun).await.unwrap());
            }
            Step::Revoke(t, task) => self.revoke(&tenant_of(*t), &task_of(*task)).await,
            Step::Resubmit(t, task) => agree!(self, store => store.resubmit(&tenant_of(*t), &task_of(*task), now)),
            Step::Forget(t, task) => agree!(self, store => store.forget(&tenant_of(*t), &task_of(*task))),
            Step::Purge(t, queue) => agree!(self, store => store.purge(&tenant_of(*t), &queue_of(*queue), now)),
            Step::Expire(ago, max) => agree!(self, store => store.expire(at(self.now - ago), *max)),
            Step::Push(..) | Step::Rollback(_) | Step::Remove(_) => self.change_modules(step).await,
            Step::Wait(seconds) => self.now += seconds,
            Step::Restart => {
                self.memory.restart();
                self.file.restart();
            }
        }
    }

    async fn lease(&mut self, queues: Option<&[u8]>, max: usize, hold: i64, ids: &mut Vec<TaskId>) {
        let queues = queues.map(|some| some.iter().copied().map(queue_of).collect());
        let ask = Ask { worker: format!("host-{max}"), queues, max, now: at(self.now), until: at(self.now + hold) };
        let expected = self.memory.store.lease(ask.clone()).await.unwrap();
        let got = self.file.store.lease(ask).await.unwrap();
        let seen = |leased: &Leased| -> Vec<_> {
            let one = |it: &Lease| (it.key.task, it.tenant.clone(), it.message.clone(), it.deliveries);
            leased.leases.iter().map(one).collect()
        };
        same("leases", seen(&expected), seen(&got));
        same("next due", expected.next_due, got.next_due);
        ids.extend(expected.leases.iter().map(|lease| lease.message.id.clone()));
        self.keys.extend(expected.leases.iter().zip(&got.leases).map(|(a, b)| (a.key, b.key)));
    }

    async fn renew(&self, indices: &[prop::sample::Index], hold: i64) {
        let (a, b): (Vec<_>, Vec<_>) = indices.iter().filter_map(|index| self.key(index)).unzip();
        let until = at(self.now + hold);
        let expected = self.memory.store.renew(a, until).await.unwrap();
        let got = self.file.store.renew(b, until).await.unwrap();
        same("lost", expected.len(), got.len());
        assert!(expected.into_iter().zip(got).all(|pair| self.keys.contains(&pair)), "the same leases are lost");
    }

    async fn report(&self, index: &prop::sample::Index, legal: bool) {
        let Some((a, b)) = self.key(index) else { return };
        let state = if legal { "PROGRESS" } else { "SUCCESS" };
        let report = async |bench: &Bench, key| {
            bench.store.report(key, state.to_owned(), json("[1]")).await.map_err(|error| error.to_string())
        };
        same("report", report(&self.memory, a).await, report(&self.file, b).await);
    }

    async fn commit(&self, index: &prop::sample::Index, end: &End, rest: Settlement, ids: &[TaskId]) {
        let Some(at) = self.keys.iter().position(|pair| Some(*pair) == self.key(index)) else { return };
        let (a, b) = self.keys[at];
        let log = AttemptLog { stdout: format!("{at}"), ..AttemptLog::default() };
        let settlement = Settlement { verdict: self.verdict(end, &ids[at]), log, ..rest };
        let expected = self.memory.store.commit(a, settlement.clone()).await.unwrap();
        same("commit", expected, self.file.store.commit(b, settlement).await.unwrap());
    }

    async fn revoke(&self, tenant: &TenantId, task: &TaskId) {
        let (expected, got) = both!(self, store => store.revoke(tenant, task, at(self.now)));
        match (expected.unwrap(), got.unwrap()) {
            (Revoked::Running(a), Revoked::Running(b)) => assert!(self.keys.contains(&(a, b)), "{a:?} {b:?}"),
            (expected, got) => same("revoke", expected, got),
        }
    }

    async fn change_modules(&self, step: &Step) {
        let name = ModuleName::new("tour").unwrap();
        match step {
            Step::Push(t, byte) => {
                let (component, digest) = (Bytes::from(vec![*byte]), digest(*byte));
                let upload = Upload { name, digest, component, tasks: vec![] };
                agree!(self, store => store.push(&tenant_of(*t), upload.clone(), at(self.now)));
            }
            Step::Rollback(t) => agree!(self, store => store.rollback(&tenant_of(*t), &name)),
            Step::Remove(t) => agree!(self, store => store.remove(&tenant_of(*t), &name)),
            _ => unreachable!("not about modules"),
        }
    }

    /// Everything that can be seen is the same.
    async fn compare(&self) {
        let now = at(self.now);
        for tenant in [tenant_of(0), tenant_of(1), tenant_of(2)] {
            for filter in filters() {
                let (expected, got) = both!(self, store => store.list(&tenant, filter.clone()));
                let (expected, got) = (expected.unwrap(), got.unwrap());
                same("list", expected.tasks, got.tasks);
                same("next page", expected.next, got.next);
            }
            let (expected, got) = both!(self, store => store.queues(&tenant, now));
            same("queues", expected.unwrap(), got.unwrap());
            agree!(self, store => store.versions(&tenant, &ModuleName::new("tour").unwrap()));
            agree!(self, store => store.active(&tenant));
            for task in (0..8).map(task_of) {
                agree!(self, store => store.logs(&tenant, &task));
                agree!(self, store => store.task(&tenant, &task));
            }
        }
        agree!(self, store => store.tenants());
        for byte in 0..3 {
            agree!(self, store => store.component(&digest(byte)));
        }
    }
}

fn filters() -> Vec<Filter> {
    let all = Filter { limit: 99, ..Filter::default() };
    let states = ["PENDING", "STARTED", "PROGRESS", "RETRY", "SUCCESS", "FAILURE", "REVOKED", "IGNORED"];
    let by_state = states.map(|name| Filter { state: Some(State::from_name(name)), ..all.clone() });
    let by_queue = Filter { queue: Some(queue_of(1)), ..all.clone() };
    [all.clone(), Filter { limit: 3, before: Some(7), ..all }, by_queue].into_iter().chain(by_state).collect()
}

async fn live(steps: &[Step]) {
    let mut pair = Pair::new();
    // The id of each lease's task, beside `keys`.
    let mut ids = Vec::new();
    for step in steps {
        pair.take(step, &mut ids).await;
        let (expected, got) =
            both!(pair, store => store.list(&tenant_of(0), Filter { limit: 99, ..Filter::default() }));
        same("the list after a step", expected.unwrap().tasks, got.unwrap().tasks);
    }
    pair.compare().await;
    let report = pair.file.check();
    assert!(report.is_sound(), "{report:?}");
    pair.memory.restart();
    pair.file.restart();
    pair.compare().await;
}

impl Bench {
    fn check(&self) -> CheckReport {
        let Kind::File(dir) = &self.kind else { unreachable!("only files are checked") };
        check(dir.path()).unwrap()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_end_the_same(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(live(&steps));
    }
}
