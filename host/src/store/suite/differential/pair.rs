//! How is a step told to the reference and to another store?

use std::fmt::Debug;

use bytes::Bytes;
use lovage_model::{Arrival, Followed, ModuleName, Then};
use sha2::{Digest as _, Sha256};

use super::steps::*;
use super::*;
use crate::store::{Completed, Ended, Filter, FollowUp, Leased, Revoked, Share, Shares, Upload};

/// Both stores, and what they have been told.
pub(super) struct Pair {
    pub(super) memory: Bench,
    pub(super) other: Bench,
    pub(super) now: i64,
    /// Every lease that was given: the reference's, the other's, and its message.
    leases: Vec<(LeaseKey, LeaseKey, Message)>,
}

pub(super) fn digest(byte: u8) -> Digest {
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
        let $store = &$pair.other.store;
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
    pub(super) fn with(other: Bench) -> Self {
        Self { memory: Bench::memory(), other, now: 0, leases: Vec::new() }
    }

    fn lease_of(&self, index: &Index) -> Option<&(LeaseKey, LeaseKey, Message)> {
        (!self.leases.is_empty()).then(|| index.get(&self.leases))
    }

    pub(super) async fn take(&mut self, step: &Step) {
        let now = at(self.now);
        match step {
            Step::Submit(t, canvases, (queued_tasks, scheduled_tasks)) => {
                let plans: Vec<Plan> = canvases.iter().map(|canvas| canvas.plan(self.now)).collect();
                let room = Room { queued_tasks: *queued_tasks, scheduled_tasks: *scheduled_tasks, ..Room::UNLIMITED };
                agree!(self, store => store.submit(&tenant_of(*t), plans.clone(), now, room));
            }
            Step::Lease { queues, max, hold, shares } => self.lease(queues.as_deref(), (*max, *hold), shares).await,
            Step::Renew(indices, hold) => self.renew(indices, *hold).await,
            Step::Report(..) | Step::Commit(..) | Step::Release(..) | Step::Postpone(..) => self.tell(step).await,
            Step::Hasten(index, later) => self.hasten(index, *later).await,
            Step::Keep(step) => self.keep(step).await,
            Step::Follow(index, outcomes, done) => self.follow(index, outcomes, *done).await,
            Step::Pause(t, queue, paused) => {
                agree!(self, store => store.pause(&tenant_of(*t), &queue_of(*queue), *paused));
            }
            Step::Revoke(t, task) => {
                let (tenant, task) = (tenant_of(*t), task_of(*task));
                let (expected, got) = both!(self, store => store.revoke(&tenant, &task, now));
                self.same_revoked(&expected.unwrap(), &got.unwrap());
            }
            Step::RevokeStamped(t, values) => self.revoke_stamped(&tenant_of(*t), values).await,
            Step::Resubmit(t, task) => {
                agree!(self, store => store.resubmit(&tenant_of(*t), &task_of(*task), now, Room::UNLIMITED))
            }
            Step::Forget(t, task) => agree!(self, store => store.forget(&tenant_of(*t), &task_of(*task))),
            Step::Purge(t, queue) => agree!(self, store => store.purge(&tenant_of(*t), &queue_of(*queue), now)),
            Step::Expire(ago, max) => agree!(self, store => store.expire(at(self.now - ago), *max)),
            Step::Push(..) | Step::Rollback(_) | Step::Remove(_) => self.change_modules(step).await,
            Step::Wait(seconds) => self.now += seconds,
            Step::Restart => {
                self.memory.restart().await;
                self.other.restart().await;
            }
        }
    }

    async fn lease(&mut self, queues: Option<&[u8]>, (max, hold): (usize, i64), shares: &[(u64, u64, usize)]) {
        let queues = queues.map(|some| some.iter().copied().map(queue_of).collect());
        let (now, until) = (at(self.now), at(self.now + hold));
        let shares = (0..).zip(shares).map(|(t, &(used, step, max))| (tenant_of(t), Share { used, step, max }));
        let shares = Shares { of: shares.collect(), ..Shares::default() };
        let ask = Ask { worker: format!("host-{max}"), queues, max, shares, now, until };
        let expected = self.memory.store.lease(ask.clone()).await.unwrap();
        let got = self.other.store.lease(ask).await.unwrap();
        let seen = |leased: &Leased| -> Vec<_> {
            let one = |it: &Lease| (it.key.task, it.tenant.clone(), it.message.clone(), it.deliveries);
            leased.leases.iter().map(one).collect()
        };
        same("leases", seen(&expected), seen(&got));
        same("next due", expected.next_due, got.next_due);
        self.leases.extend(expected.leases.into_iter().zip(got.leases).map(|(a, b)| (a.key, b.key, a.message)));
    }

    async fn renew(&self, indices: &[Index], hold: i64) {
        let keys = indices.iter().filter_map(|index| self.lease_of(index)).map(|(a, b, _)| (*a, *b));
        let (a, b): (Vec<_>, Vec<_>) = keys.unzip();
        let until = at(self.now + hold);
        let expected = self.memory.store.renew(a, until).await.unwrap();
        let got = self.other.store.renew(b, until).await.unwrap();
        same("lost", expected.len(), got.len());
        assert!(expected.into_iter().zip(got).all(|(a, b)| self.is_pair(a, b)), "the same leases are lost");
    }

    fn is_pair(&self, a: LeaseKey, b: LeaseKey) -> bool {
        self.leases.iter().any(|lease| (lease.0, lease.1) == (a, b))
    }

    /// What is told about a lease.
    async fn tell(&self, step: &Step) {
        let (Step::Report(index, _) | Step::Commit(index, _) | Step::Release(index, _) | Step::Postpone(index, _)) =
            step
        else {
            unreachable!("not about a lease")
        };
        let Some((a, b, message)) = self.lease_of(index).cloned() else { return };
        let answer = async |bench: &Bench, key| {
            let store = &bench.store;
            let answer = match step {
                Step::Report(_, legal) => {
                    let state = if *legal { "PROGRESS" } else { "SUCCESS" };
                    store.report(key, state.to_owned(), json("[1]")).await
                }
                Step::Release(_, begun) => store.release(key, *begun).await,
                Step::Postpone(_, later) => store.postpone(key, at(self.now + later)).await,
                Step::Commit(_, outcome) => {
                    let log = AttemptLog { stdout: format!("{index:?}"), ..AttemptLog::default() };
                    store.commit(key, Settlement { log, ..self.settlement(outcome, &message) }).await
                }
                _ => unreachable!("not about a lease"),
            };
            answer.map_err(|error| error.to_string())
        };
        same(&format!("{step:?}"), answer(&self.memory, a).await, answer(&self.other, b).await);
    }

    async fn hasten(&self, index: &Index, later: i64) {
        let Some((a, b, _)) = self.lease_of(index).cloned() else { return };
        let (now, until) = (at(self.now), at(self.now + later));
        let answer = async |bench: &Bench, key: LeaseKey| {
            let fenced = bench.store.postpone(key, until).await.unwrap();
            let postponed = if fenced == Fenced::Applied { vec![(key.task, until)] } else { vec![] };
            (fenced, bench.store.hasten(postponed, now).await.unwrap())
        };
        same("hasten", answer(&self.memory, a).await, answer(&self.other, b).await);
    }

    fn settlement(&self, outcome: &Outcome, of: &Message) -> Settlement {
        let mut publish = outcome.publish.as_ref().map(|canvas| canvas.plan(self.now)).unwrap_or_default();
        let own = |draft: &Draft| Message {
            id: of.id.clone(),
            then: of.then.clone(),
            retries: of.retries + 1,
            ..draft.message(self.now)
        };
        let verdict = match &outcome.end {
            End::Success => success("[1]"),
            End::Failure => failure(),
            End::Retry(draft) => retry(own(draft)),
            End::Replaced(draft) => {
                let last = publish.tasks.last_mut();
                let awaits = last.map(|last| {
                    last.message.then = Some(Then::Next);
                    last.message.id.clone()
                });
                Verdict::Replaced { by: Box::new(Planned { message: own(draft), awaits }) }
            }
            End::Revoked => Verdict::Revoked { reason: "terminated" },
            End::Ignored => Verdict::Ignored,
            End::Requeued => Verdict::Requeued,
        };
        let arrival = of.then.as_ref().and_then(|_| arrival(outcome, &of.id));
        let children = publish.tasks.iter().map(|one| ResultTuple::of(one.message.id.clone())).collect();
        let grown = outcome.grown.iter().map(|&(group, parts)| (group_of(group), parts)).collect();
        let plain = settlement(verdict, at(self.now));
        Settlement {
            publish,
            arrival,
            children,
            grown,
            ignore_result: outcome.ignore.0,
            ignore_errors: outcome.ignore.1,
            room: Room { queued_tasks: outcome.room.0, scheduled_tasks: outcome.room.1, descendants: outcome.room.2 },
            worker: if outcome.by_nobody { String::new() } else { plain.worker.clone() },
            ..plain
        }
    }

    /// What has ended: pairs of the same, one for each store.
    async fn ended(&self) -> Vec<(Ended, Ended)> {
        let (expected, got) = both!(self, store => store.ended(99));
        let (expected, mut got) = (expected.unwrap(), got.unwrap());
        let seen = |one: &Ended| (one.tenant.clone(), one.id.clone(), one.outcome.clone());
        let pair = |one: Ended| {
            let found = got.iter().position(|other| seen(other) == seen(&one));
            let other = got.remove(found.unwrap_or_else(|| panic!("{one:?} has ended, and is not among {got:?}")));
            (one, other)
        };
        let pairs: Vec<_> = expected.into_iter().map(pair).collect();
        assert!(got.is_empty(), "the reference knows nothing of {got:?}");
        pairs
    }

    async fn follow(&self, index: &Index, outcomes: &[Outcome], done: bool) {
        let ended = self.ended().await;
        if ended.is_empty() {
            return;
        }
        let (a, b) = index.get(&ended);
        let (expected, got) = both!(self, store => store.followers(&a.tenant, &a.id, outcomes.len()));
        same("followers", expected.clone(), got);
        let mut followed = Vec::new();
        for (message, outcome) in expected.unwrap().into_iter().zip(outcomes) {
            let id = message.id.clone();
            followed.push((id, self.followed(message, outcome)));
        }
        let part = Some(Arrival::Value(json("[0]"))).filter(|_| matches!(&a.outcome, Completed::Join { .. }));
        let step = FollowUp { part, done, ..FollowUp::last(followed) };
        let now = at(self.now);
        let expected = self.memory.store.follow(a.key, step.clone(), now).await.unwrap();
        same("follow", expected, self.other.store.follow(b.key, step, now).await.unwrap());
    }

    fn followed(&self, message: Message, outcome: &Outcome) -> Followed {
        match &outcome.end {
            // What is settled so has ended.
            End::Success | End::Retry(_) | End::Replaced(_) | End::Requeued => {
                let received = message.clone().receive(&json("[7]"), at(self.now));
                Followed::Released(Box::new(received.unwrap_or(message)))
            }
            End::Failure | End::Revoked | End::Ignored => {
                Followed::Settled(Box::new(self.settlement(outcome, &message)))
            }
        }
    }

    fn same_revoked(&self, expected: &Revoked, got: &Revoked) {
        match (expected, got) {
            (Revoked::Running(a), Revoked::Running(b)) => assert!(self.is_pair(*a, *b), "{a:?} {b:?}"),
            (expected, got) => same("revoke", expected, got),
        }
    }

    async fn revoke_stamped(&self, tenant: &TenantId, values: &[u8]) {
        let values: Vec<Json> = values.iter().copied().map(stamp_of).collect();
        let (expected, got) = both!(self, store => store.revoke_stamped(tenant, "job", &values, at(self.now)));
        let (expected, got) = (expected.unwrap(), got.unwrap());
        let ids = |found: &[(TaskId, Revoked)]| found.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
        same("revoke by stamp", ids(&expected), ids(&got));
        for ((_, expected), (_, got)) in expected.iter().zip(&got) {
            self.same_revoked(expected, got);
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

    /// The tasks of a tenant are the same.
    pub(super) async fn compare_tasks(&self, tenant: u8, filter: Filter) {
        let (expected, got) = both!(self, store => store.list(&tenant_of(tenant), filter.clone()));
        let (expected, got) = (expected.unwrap(), got.unwrap());
        same("list", expected.tasks, got.tasks);
        same("next page", expected.next, got.next);
    }

    /// Everything that can be seen is the same.
    pub(super) async fn compare(&self) {
        let now = at(self.now);
        for number in 0..3 {
            for filter in filters() {
                self.compare_tasks(number, filter).await;
            }
            let tenant = tenant_of(number);
            agree!(self, store => store.queues(&tenant, now));
            agree!(self, store => store.scheduled(&tenant, 99));
            agree!(self, store => store.versions(&tenant, &ModuleName::new("tour").unwrap()));
            agree!(self, store => store.active(&tenant));
            for task in (0..12).map(task_of) {
                agree!(self, store => store.logs(&tenant, &task));
                agree!(self, store => store.task(&tenant, &task));
                agree!(self, store => store.followers(&tenant, &task, 99));
            }
            for group in (0..3).map(group_of) {
                agree!(self, store => store.followers(&tenant, &group, 99));
            }
        }
        self.ended().await;
        self.compare_kept().await;
        agree!(self, store => store.tenants());
        for byte in 0..3 {
            agree!(self, store => store.component(&digest(byte)));
        }
    }
}

fn arrival(outcome: &Outcome, id: &TaskId) -> Option<Arrival> {
    let failed = |exception| Some(Arrival::Failed { task: id.clone(), exception });
    match outcome.end {
        End::Success if outcome.long => Some(Arrival::Value(json(&format!("\"{}\"", "x".repeat(70_000))))),
        End::Success => Some(Arrival::Value(json("[1]"))),
        End::Failure => failed(value_error()),
        End::Revoked => failed(Exception::revoked("terminated")),
        End::Ignored => failed(Exception::new(exc_module::CELERY, "Ignore", "")),
        End::Retry(_) | End::Replaced(_) | End::Requeued => None,
    }
}
