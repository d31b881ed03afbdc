//! Plans for the tests here: chains, joins, and how their tasks end.

use lovage_model::{Arrival, Followed, Join, Then};

use super::*;
use crate::store::{Completed, Ended, FollowUp};

pub(super) fn planned(message: Message, awaits: &str) -> Planned {
    Planned { message, awaits: Some(id(awaits)) }
}

/// A task that others wait for.
pub(super) fn next(name: &str) -> Message {
    Message { then: Some(Then::Next), ..message(name) }
}

/// A task that is a part of a join.
pub(super) fn part(name: &str, group: &str, index: u32) -> Message {
    Message { then: Some(Then::Part { group: id(group), index }), ..message(name) }
}

pub(super) fn join(group: &str, size: u32) -> Join {
    Join { group: id(group), size, then: Then::Next }
}

/// Tasks that run one after the other; nobody waits for the last.
pub(super) fn chain(names: &[&str]) -> Plan {
    let mut plan = Plan::default();
    for (at, name) in names.iter().enumerate() {
        let message = if at + 1 < names.len() { next(name) } else { message(name) };
        let awaits = at.checked_sub(1).map(|before| id(names[before]));
        plan.tasks.push(Planned { message, awaits });
    }
    plan
}

/// Tasks that run side by side, and one that gets their values.
pub(super) fn chord(group: &str, parts: &[&str], body: &str) -> Plan {
    let mut plan = header(group, parts, Then::Next);
    plan.tasks.push(planned(message(body), group));
    plan
}

/// Tasks that run side by side, and the join of their values.
pub(super) fn header(group: &str, parts: &[&str], then: Then) -> Plan {
    let mut plan = Plan::default();
    for (index, name) in parts.iter().enumerate() {
        plan.append(Plan::of(part(name, group, u32::try_from(index).unwrap())));
    }
    plan.joins.push(Join { group: id(group), size: u32::try_from(parts.len()).unwrap(), then });
    plan
}

pub(super) fn value(text: &str) -> Arrival {
    Arrival::Value(json(text))
}

pub(super) fn failed(task: &str) -> Arrival {
    Arrival::Failed { task: id(task), exception: value_error() }
}

pub(super) fn revoked(task: &str) -> Arrival {
    Arrival::Failed { task: id(task), exception: Exception::revoked("revoked") }
}

/// How a task ends that others wait for.
pub(super) fn arriving(verdict: Verdict, arrival: Arrival, now: Timestamp) -> Settlement {
    Settlement { arrival: Some(arrival), ..settlement(verdict, now) }
}

/// How a task ends that never runs, because what it waited for failed.
pub(super) fn fails_with(arrival: Option<Arrival>, now: Timestamp) -> Followed {
    let verdict = Verdict::Failure { exception: value_error(), traceback: None, fault: None };
    Followed::Settled(Box::new(Settlement { arrival, ..Settlement::of(verdict, now) }))
}

pub(super) fn released(message: Message) -> Followed {
    Followed::Released(Box::new(message))
}

/// The last step of dealing with the followers of something.
pub(super) fn last(followed: Vec<(TaskId, Followed)>) -> FollowUp {
    FollowUp::last(followed)
}

impl Bench {
    pub(super) async fn plan(&self, plan: Plan, now: Timestamp) {
        let answers = self.store.submit(&tenant(), vec![plan], now, Room::UNLIMITED).await.unwrap();
        assert_eq!(answers, [Submitted::Stored]);
    }

    /// Runs the next task and ends it with a value that others wait for.
    pub(super) async fn run_next(&self, name: &str, result: &str, now: Timestamp) {
        let lease = self.lease_one(now).await;
        assert_eq!(lease.message.id, id(name));
        let settlement = arriving(success(result), value(result), now);
        assert_eq!(self.store.commit(lease.key, settlement).await.unwrap(), Fenced::Applied);
    }

    /// Runs the next task, which others wait for, and lets it fail.
    pub(super) async fn fail_next(&self, name: &str, now: Timestamp) {
        let lease = self.lease_one(now).await;
        assert_eq!(lease.message.id, id(name));
        let settlement = arriving(failure(), failed(name), now);
        assert_eq!(self.store.commit(lease.key, settlement).await.unwrap(), Fenced::Applied);
    }

    pub(super) async fn ended(&self) -> Vec<Ended> {
        self.store.ended(99).await.unwrap()
    }

    /// The one thing that has ended.
    pub(super) async fn ended_one(&self) -> Ended {
        let mut ended = self.ended().await;
        assert_eq!(ended.len(), 1, "one end must be there: {ended:?}");
        ended.remove(0)
    }

    pub(super) async fn follow(&self, key: i64, step: FollowUp, now: Timestamp) {
        assert_eq!(self.store.follow(key, step, now).await.unwrap(), Fenced::Applied);
    }

    /// Who waits for something.
    pub(super) async fn followers(&self, awaited: &str) -> Vec<String> {
        let messages = self.store.followers(&tenant(), &id(awaited), 99).await.unwrap();
        messages.into_iter().map(|message| message.id.to_string()).collect()
    }

    pub(super) async fn waiting_for(&self, name: &str) -> Option<String> {
        self.task(name).await.waiting_for
    }
}

/// The parts of a join that has ended.
pub(super) fn parts(ended: &Ended) -> &[Arrival] {
    match &ended.outcome {
        Completed::Join { parts, .. } => parts,
        other => panic!("no join has ended: {other:?}"),
    }
}
