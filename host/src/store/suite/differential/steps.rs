//! What is told to both stores? Ids, queues and times are few, so that steps meet.

use lovage_model::{Seconds, Then};
use proptest::prelude::*;

use super::super::plans::{header, join};
use super::kept::{Keep, keep};
use super::*;

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// With how many tasks may wait, and how many of them may be scheduled.
    Submit(u8, Vec<Canvas>, (u64, u64)),
    Lease {
        queues: Option<Vec<u8>>,
        max: usize,
        hold: i64,
        /// What some tenants have used, use with each message, and may get.
        shares: Vec<(u64, u64, usize)>,
    },
    Renew(Vec<Index>, i64),
    Report(Index, bool),
    Commit(Index, Box<Outcome>),
    Release(Index, bool),
    Postpone(Index, i64),
    /// Postpones, and lets it be leased at once all the same.
    Hasten(Index, i64),
    Follow(Index, Vec<Outcome>, bool),
    Pause(u8, u8, bool),
    Revoke(u8, u8),
    RevokeStamped(u8, Vec<u8>),
    Resubmit(u8, u8),
    Forget(u8, u8),
    Purge(u8, u8),
    Expire(i64, usize),
    Push(u8, u8),
    Rollback(u8),
    Remove(u8),
    Keep(Keep),
    Wait(i64),
    Restart,
}

/// One task of a canvas.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) id: u8,
    queue: u8,
    priority: u8,
    eta: Option<i64>,
    countdown: Option<u8>,
    stamps: Vec<u8>,
    root: Option<u8>,
    part: Option<(u8, u8)>,
    builtin: bool,
    untracked: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Canvas {
    Chain(Vec<Draft>),
    /// Tasks that a join waits for, and those that wait for it.
    Chord(u8, Vec<Draft>, Vec<Draft>),
    /// A join whose list is a part of another.
    Nested((u8, u8), Vec<Draft>, Vec<Draft>, Box<Draft>),
}

/// What a settlement is made of.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) end: End,
    pub(super) publish: Option<Canvas>,
    pub(super) grown: Option<(u8, u32)>,
    pub(super) ignore: (bool, bool),
    /// Tasks that may wait, those of them that may be scheduled, and descendants.
    pub(super) room: (u64, u64, u64),
    pub(super) long: bool,
    pub(super) by_nobody: bool,
}

#[derive(Debug, Clone)]
pub(super) enum End {
    Success,
    Failure,
    Retry(Draft),
    /// By a task that waits for the last one that is published, if anything is.
    Replaced(Draft),
    Revoked,
    Ignored,
    Requeued,
}

fn draft() -> impl Strategy<Value = Draft> {
    let rare = |of| prop::option::weighted(0.15, of);
    let times = (prop::option::weighted(0.25, -5..30_i64), rare(0..9_u8));
    let labels = (prop::collection::vec(0..3_u8, 0..2), rare(0..4_u8));
    let kinds = (prop::bool::weighted(0.1), prop::bool::weighted(0.1));
    ((0..12_u8, 0..3_u8, 0..3_u8), times, labels, prop::option::weighted(0.15, (0..3_u8, 0..3_u8)), kinds).prop_map(
        |((id, queue, priority), (eta, countdown), (stamps, root), part, (builtin, untracked))| Draft {
            id,
            queue,
            priority,
            eta,
            countdown,
            stamps,
            root,
            part,
            builtin,
            untracked,
        },
    )
}

fn drafts(least: usize) -> impl Strategy<Value = Vec<Draft>> {
    prop::collection::vec(draft(), least..4)
}

fn canvas() -> impl Strategy<Value = Canvas> {
    prop_oneof![
        4 => prop::collection::vec(draft(), 1..2).prop_map(Canvas::Chain),
        3 => drafts(1).prop_map(Canvas::Chain),
        3 => (0..3_u8, drafts(0), drafts(0)).prop_map(|(g, header, bodies)| Canvas::Chord(g, header, bodies)),
        1 => ((0..3_u8, 0..3_u8), drafts(0), drafts(1), draft())
            .prop_map(|(groups, outer, inner, body)| Canvas::Nested(groups, outer, inner, Box::new(body))),
    ]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        6 => Just(End::Success),
        2 => Just(End::Failure),
        2 => draft().prop_map(End::Retry),
        2 => draft().prop_map(End::Replaced),
        1 => Just(End::Revoked),
        1 => Just(End::Ignored),
        1 => Just(End::Requeued),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let seldom = || prop::bool::weighted(0.1);
    let grown = prop::option::weighted(0.2, (0..3_u8, 1..3_u32));
    let most = |few: u64| prop_oneof![4 => Just(99_u64), 1 => 0..few];
    let room = (most(9), most(4), most(5));
    (end(), prop::option::weighted(0.4, canvas()), grown, (any::<bool>(), seldom()), room, (seldom(), seldom()))
        .prop_map(|(end, publish, grown, ignore, room, (long, by_nobody))| Outcome {
            end,
            publish,
            grown,
            ignore,
            room,
            long,
            by_nobody,
        })
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let key = any::<Index>;
    let share = (0..4_u64, 0..3_u64, prop_oneof![2 => Just(99_usize), 1 => 0..3_usize]);
    let shares = prop_oneof![1 => Just(Vec::new()), 1 => prop::collection::vec(share, 1..3)];
    let lease = (prop::option::weighted(0.3, prop::collection::vec(0..3_u8, 0..3)), 0..5_usize, 1..20_i64, shares);
    let room = (prop_oneof![3 => Just(99_u64), 1 => 1..12_u64], prop_oneof![3 => Just(99_u64), 1 => 0..5_u64]);
    let follow = (key(), prop::collection::vec(outcome(), 0..4), prop::bool::weighted(0.8));
    prop_oneof![
        8 => (0..2_u8, prop::collection::vec(canvas(), 1..3), room)
            .prop_map(|(t, plans, room)| Step::Submit(t, plans, room)),
        10 => lease.prop_map(|(queues, max, hold, shares)| Step::Lease { queues, max, hold, shares }),
        2 => (prop::collection::vec(key(), 0..4), 1..20_i64).prop_map(|(keys, hold)| Step::Renew(keys, hold)),
        2 => (key(), any::<bool>()).prop_map(|(key, legal)| Step::Report(key, legal)),
        14 => (key(), outcome()).prop_map(|(key, outcome)| Step::Commit(key, Box::new(outcome))),
        2 => (key(), any::<bool>()).prop_map(|(key, begun)| Step::Release(key, begun)),
        2 => (key(), -2..15_i64).prop_map(|(key, later)| Step::Postpone(key, later)),
        1 => (key(), 1..15_i64).prop_map(|(key, later)| Step::Hasten(key, later)),
        4 => keep().prop_map(Step::Keep),
        8 => follow.prop_map(|(key, outcomes, done)| Step::Follow(key, outcomes, done)),
        1 => (0..2_u8, 0..3_u8, any::<bool>()).prop_map(|(t, queue, paused)| Step::Pause(t, queue, paused)),
        2 => (0..3_u8, 0..12_u8).prop_map(|(t, id)| Step::Revoke(t, id)),
        1 => (0..2_u8, prop::collection::vec(0..3_u8, 0..3)).prop_map(|(t, of)| Step::RevokeStamped(t, of)),
        3 => (0..3_u8, 0..12_u8).prop_map(|(t, id)| Step::Resubmit(t, id)),
        2 => (0..3_u8, 0..12_u8).prop_map(|(t, id)| Step::Forget(t, id)),
        1 => (0..3_u8, 0..3_u8).prop_map(|(t, queue)| Step::Purge(t, queue)),
        1 => (-5..30_i64, 0..4_usize).prop_map(|(ago, max)| Step::Expire(ago, max)),
        1 => (0..2_u8, 0..3_u8).prop_map(|(t, bytes)| Step::Push(t, bytes)),
        1 => (0..2_u8).prop_map(Step::Rollback),
        1 => (0..2_u8).prop_map(Step::Remove),
        4 => (1..12_i64).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

pub(super) fn tenant_of(number: u8) -> TenantId {
    TenantId::new(format!("tenant-{number}")).unwrap()
}

pub(super) fn task_of(number: u8) -> TaskId {
    id(&format!("task-{number}"))
}

pub(super) fn group_of(number: u8) -> TaskId {
    id(&format!("group-{number}"))
}

pub(super) fn queue_of(number: u8) -> QueueName {
    queue(&format!("queue-{number}"))
}

pub(super) fn stamp_of(number: u8) -> Json {
    json(&number.to_string())
}

impl Draft {
    pub(super) fn message(&self, now: i64) -> Message {
        let task = if self.builtin { "celery.accumulate" } else { "tour.add" };
        let stamps = Json::of(&self.stamps).unwrap();
        let plain = message(task_of(self.id).as_str());
        Message {
            task: TaskName::new(task).unwrap(),
            priority: self.priority,
            queue: queue_of(self.queue),
            eta: self.eta.map(|eta| at(now + eta)),
            countdown: self.countdown.and_then(|seconds| Seconds::new(f64::from(seconds)).ok()),
            stamps: if self.stamps.is_empty() { plain.stamps.clone() } else { [("job".to_owned(), stamps)].into() },
            root_id: self.root.map_or_else(|| plain.root_id.clone(), task_of),
            then: self.part.map(|(group, index)| Then::Part { group: group_of(group), index: u32::from(index) }),
            untracked: self.untracked,
            ..plain
        }
    }

    fn planned(&self, awaits: Option<TaskId>, then: Option<Then>, now: i64) -> Planned {
        let message = self.message(now);
        Planned { message: Message { then: then.or(message.then.clone()), ..message }, awaits }
    }
}

impl Canvas {
    pub(super) fn plan(&self, now: i64) -> Plan {
        match self {
            Self::Chain(steps) => {
                let step = |(at, draft): (usize, &Draft)| {
                    let then = (at + 1 < steps.len()).then_some(Then::Next);
                    draft.planned(at.checked_sub(1).map(|before| task_of(steps[before].id)), then, now)
                };
                Plan { tasks: steps.iter().enumerate().map(step).collect(), joins: vec![] }
            }
            Self::Chord(group, parts, bodies) => {
                let mut plan = side_by_side(*group, parts, now);
                plan.joins = vec![join(group_of(*group).as_str(), plan.tasks.len() as u32)];
                plan.tasks.extend(bodies.iter().map(|body| body.planned(Some(group_of(*group)), None, now)));
                plan
            }
            Self::Nested((outer, inner), parts, within, body) => {
                let mut plan = side_by_side(*outer, parts, now);
                let index = plan.tasks.len() as u32;
                plan.joins = vec![join(group_of(*outer).as_str(), index + 1)];
                let then = Then::Part { group: group_of(*outer), index };
                let mut nested = header(group_of(*inner).as_str(), &[], then);
                nested.tasks = side_by_side(*inner, within, now).tasks;
                nested.joins[0].size = nested.tasks.len() as u32;
                plan.append(nested);
                plan.tasks.push(body.planned(Some(group_of(*outer)), None, now));
                plan
            }
        }
    }
}

fn side_by_side(group: u8, parts: &[Draft], now: i64) -> Plan {
    let part = |(index, draft): (usize, &Draft)| {
        draft.planned(None, Some(Then::Part { group: group_of(group), index: index as u32 }), now)
    };
    Plan { tasks: parts.iter().enumerate().map(part).collect(), joins: vec![] }
}
