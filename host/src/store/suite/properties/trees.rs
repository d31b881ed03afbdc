//! Which canvases are run? Chains and groups of tasks, of chains and of groups, down to a few levels; a group that something
//! follows is the header of a chord.

use lovage_model::{Join, Then};
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
pub(super) enum Tree {
    Task,
    Chain(Vec<Self>),
    Group(Vec<Self>),
}

pub(super) fn tree() -> impl Strategy<Value = Tree> {
    Just(Tree::Task).prop_recursive(4, 12, 4, |inner| {
        prop_oneof![
            2 => prop::collection::vec(inner.clone(), 1..4).prop_map(Tree::Chain),
            2 => prop::collection::vec(inner, 1..4).prop_map(Tree::Group),
        ]
    })
}

/// Gives out ids.
#[derive(Default)]
pub(super) struct Ids(u32);

impl Ids {
    pub(super) fn next(&mut self, kind: &str) -> TaskId {
        self.0 += 1;
        id(&format!("{kind}-{}", self.0))
    }
}

/// What a canvas waits for, and what its end is for.
#[derive(Clone)]
pub(super) struct Between {
    pub(super) awaits: Option<TaskId>,
    pub(super) then: Option<Then>,
}

impl Tree {
    /// Adds its tasks to a plan; what waits for it waits for this.
    pub(super) fn expand(&self, between: Between, ids: &mut Ids, plan: &mut Plan) -> TaskId {
        match self {
            Self::Task => {
                let id = ids.next("task");
                // Some do not show that they run.
                let untracked = id.as_str().ends_with('5');
                let message = Message { then: between.then, untracked, ..message(id.as_str()) };
                plan.tasks.push(Planned { message, awaits: between.awaits });
                id
            }
            Self::Chain(steps) => {
                let (last, before) = steps.split_last().expect("a chain has steps");
                let mut awaits = between.awaits;
                for step in before {
                    let to_next = Between { awaits, then: Some(Then::Next) };
                    awaits = Some(step.expand(to_next, ids, plan));
                }
                last.expand(Between { awaits, then: between.then }, ids, plan)
            }
            Self::Group(members) => {
                let group = ids.next("group");
                for (index, member) in (0..).zip(members) {
                    let part = between.then.is_some().then(|| Then::Part { group: group.clone(), index });
                    member.expand(Between { awaits: between.awaits.clone(), then: part }, ids, plan);
                }
                if let Some(then) = between.then {
                    let size = u32::try_from(members.len()).expect("a small group");
                    plan.joins.push(Join { group: group.clone(), size, then });
                }
                group
            }
        }
    }
}
