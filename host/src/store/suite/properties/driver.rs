//! Who runs the tasks? A host without a sandbox: it settles as it is told, and deals with what has ended as simply as can be.

use lovage_model::{Arrival, Followed, Then};

use super::super::plans::header;
use super::expected::Expected;
use super::trees::{Between, Ids};
use super::watch::Watch;
use super::*;
use crate::store::{Completed, Ended, FollowUp, Redone};

/// More turns than any history here takes to come to its end.
const TURNS: usize = 5_000;

pub(super) struct Driver {
    bench: Bench,
    now: i64,
    ids: Ids,
    watch: Watch,
    expected: Expected,
    /// Every lease that was ever given.
    leases: Vec<Lease>,
    /// A value for each attempt, so that they are told apart.
    values: u32,
}

impl Driver {
    pub(super) fn new(bench: Bench) -> Self {
        let (ids, watch, expected) = (Ids::default(), Watch::default(), Expected::default());
        Self { bench, now: 0, ids, watch, expected, leases: Vec::new(), values: 0 }
    }

    pub(super) async fn take(&mut self, act: &Act) {
        let mut ordered = None;
        match act {
            Act::Submit(tree) => {
                let plan = self.expand(tree, None).0;
                self.expected.plan(&plan);
                self.bench.plan(plan, at(self.now)).await;
            }
            Act::Lease(max) => {
                let leases = self.bench.lease(*max, at(self.now)).await;
                self.leases.extend(leases);
            }
            Act::Report(which) => {
                if !self.leases.is_empty() {
                    let key = which.get(&self.leases).key;
                    self.bench.store.report(key, "PROGRESS".to_owned(), json("1")).await.unwrap();
                }
            }
            Act::Finish(which, end) => {
                if !self.leases.is_empty() {
                    let lease = which.get(&self.leases).clone();
                    self.finish_attempt(lease, end).await;
                }
            }
            Act::Follow(which, max) => {
                let ended = self.bench.ended().await;
                if !ended.is_empty() {
                    self.follow(which.get(&ended).clone(), *max).await;
                }
            }
            Act::Revoke(which) => {
                if let Some(id) = self.any(which) {
                    self.bench.store.revoke(&tenant(), &id, at(self.now)).await.unwrap();
                }
            }
            Act::Resubmit(which) => {
                ordered = self.any(which);
                if let Some(id) = &ordered
                    && self.bench.store.resubmit(&tenant(), id, at(self.now), Room::UNLIMITED).await.unwrap()
                        != Redone::Done
                {
                    ordered = None;
                }
            }
            Act::Purge => {
                self.bench.store.purge(&tenant(), &QueueName::default(), at(self.now)).await.unwrap();
            }
            Act::Lapse => self.now += 20,
            Act::Crash => self.bench.restart().await,
        }
        self.look(ordered.as_ref()).await;
    }

    async fn look(&mut self, ordered: Option<&TaskId>) {
        for (id, state, result) in self.watch.look(&self.bench, ordered).await {
            self.expected.ended(&id, &state, result);
        }
    }

    fn any(&self, which: &Index) -> Option<TaskId> {
        let ids = self.watch.ids();
        (!ids.is_empty()).then(|| which.get(&ids).clone())
    }

    /// The plan of a canvas, and what waits for it would wait for.
    fn expand(&mut self, tree: &Tree, then: Option<Then>) -> (Plan, TaskId) {
        let mut plan = Plan::default();
        let awaited = tree.expand(Between { awaits: None, then }, &mut self.ids, &mut plan);
        (plan, awaited)
    }

    async fn finish_attempt(&mut self, lease: Lease, end: &End) {
        if matches!(end, End::GivesBack) {
            self.bench.store.release(lease.key, true).await.unwrap();
            return;
        }
        let settlement = self.settlement(&lease.message, end);
        let (publish, grown) = (settlement.publish.clone(), settlement.grown.clone());
        match self.bench.store.commit(lease.key, settlement).await.unwrap() {
            Fenced::Applied => {
                let of_task = self.leases.iter().filter(|other| other.key.task == lease.key.task);
                let newest = of_task.map(|other| other.key.token).max();
                assert!(newest <= Some(lease.key.token), "{} was leased again since", lease.message.id);
                self.expected.plan(&publish);
                grown.iter().for_each(|(group, parts)| self.expected.grow(group, *parts));
            }
            Fenced::Refused => {}
            other => panic!("{other:?}"),
        }
    }

    fn settlement(&mut self, message: &Message, end: &End) -> Settlement {
        self.values += 1;
        let result = self.values.to_string();
        let now = at(self.now);
        let again = Message { retries: message.retries + 1, ..message.clone() };
        let mut settlement = match end {
            End::Returns | End::Grows | End::Publishes(_) | End::GivesBack => settlement(success(&result), now),
            End::Raises => settlement(failure(), now),
            End::Retries => settlement(retry(again), now),
            End::Stops => settlement(Verdict::Revoked { reason: "terminated" }, now),
            End::Ignores => settlement(Verdict::Ignored, now),
            End::Requeues => settlement(Verdict::Requeued, now),
            End::Replaces(tree) => {
                let (publish, awaited) = self.expand(tree, Some(Then::Next));
                let by = Box::new(Planned { message: message.clone(), awaits: Some(awaited) });
                Settlement { publish, ..settlement(Verdict::Replaced { by }, now) }
            }
        };
        if let End::Publishes(tree) = end {
            settlement.publish = self.expand(tree, None).0;
        }
        if let (End::Grows, Some(Then::Part { group, index })) = (end, &message.then) {
            let then = Some(Then::Part { group: group.clone(), index: *index });
            let added = Message { then, ..super::message(self.ids.next("added").as_str()) };
            (settlement.publish, settlement.grown) = (Plan::of(added), vec![(group.clone(), 1)]);
        }
        if message.then.is_some() {
            settlement.arrival = arrival(&settlement.verdict, &message.id);
        }
        settlement
    }

    /// Deals with some of those that wait for something.
    async fn follow(&mut self, ended: Ended, max: usize) {
        let now = at(self.now);
        let (arrival, then) = match ended.outcome {
            Completed::Task(arrival) => (arrival, Then::Next),
            Completed::Join { parts, then } => {
                self.expected.completed(&ended.id, &parts);
                (gathered(&parts), then)
            }
            Completed::Chord(chord) => unreachable!("nothing was sent in Celery's form: {chord:?}"),
        };
        let step = match then {
            Then::Part { group, index } => {
                self.expected.part(&group, &ended.id, index, arrival.clone());
                FollowUp { part: Some(arrival), ..FollowUp::last(vec![]) }
            }
            Then::Next => {
                let followers = self.bench.store.followers(&ended.tenant, &ended.id, max).await.unwrap();
                let done = followers.len() < max;
                let followed =
                    followers.into_iter().map(|message| (message.id.clone(), received(message, &arrival, now)));
                FollowUp { done, ..FollowUp::last(followed.collect()) }
            }
        };
        assert_eq!(self.bench.store.follow(ended.key, step.clone(), now).await.unwrap(), Fenced::Applied);
        let twice = self.bench.store.follow(ended.key, step.clone(), now).await.unwrap();
        assert_eq!(twice == Fenced::Refused, step.done, "what was dealt with is gone, and nothing else");
    }

    /// Runs whatever there is until there is nothing more.
    pub(super) async fn finish(mut self) {
        for _ in 0..TURNS {
            for ended in self.bench.ended().await {
                self.follow(ended, 3).await;
                self.look(None).await;
            }
            self.now += 20;
            let leases = self.bench.lease(50, at(self.now)).await;
            self.look(None).await;
            if leases.is_empty() && self.bench.ended().await.is_empty() {
                return self.check_the_end().await;
            }
            for lease in leases {
                self.finish_attempt(lease, &End::Returns).await;
                self.look(None).await;
            }
        }
        panic!("it goes on for ever");
    }

    async fn check_the_end(self) {
        self.watch.everything_ended();
        self.expected.everything_completed();
        for group in self.expected.groups() {
            let plan = header(group.as_str(), &[], Then::Next);
            let answers = self.bench.store.submit(&tenant(), vec![plan], at(self.now), Room::UNLIMITED).await.unwrap();
            assert_eq!(answers, [Submitted::Stored], "the join {group} is gone");
        }
    }
}

/// What those get that wait for a task that ended so.
fn arrival(verdict: &Verdict, task: &TaskId) -> Option<Arrival> {
    let failed = |exception| Some(Arrival::Failed { task: task.clone(), exception });
    match verdict {
        Verdict::Success { result } => Some(Arrival::Value(result.clone())),
        Verdict::Failure { exception, .. } => failed(exception.clone()),
        Verdict::Revoked { reason } => failed(Exception::revoked(reason)),
        Verdict::Ignored => failed(Exception::new(exc_module::CELERY, "Ignore", "")),
        Verdict::Retry { .. } | Verdict::Replaced { .. } | Verdict::Requeued | Verdict::HandedOn { .. } => None,
    }
}

/// What the parts of a join come to: the list of their values, or the first that failed.
fn gathered(parts: &[Arrival]) -> Arrival {
    let mut values = Vec::new();
    for part in parts {
        match part {
            Arrival::Value(value) => values.push(value),
            failed @ Arrival::Failed { .. } => return failed.clone(),
        }
    }
    Arrival::Value(Json::of(&values).unwrap())
}

fn received(message: Message, arrival: &Arrival, now: Timestamp) -> Followed {
    match arrival {
        Arrival::Value(value) => Followed::Released(Box::new(message.receive(value, now).unwrap())),
        Arrival::Failed { exception, .. } => {
            let verdict = Verdict::Failure { exception: exception.clone(), traceback: None, fault: None };
            let arrival = message.then.as_ref().map(|_| arrival.clone());
            Followed::Settled(Box::new(Settlement { arrival, ..Settlement::of(verdict, now) }))
        }
    }
}
