//! What was sent, what was acknowledged, and what must have come of it.

use std::collections::HashMap;

use lovage_client::{Client, Signature};
use lovage_model::{ResultMeta, State, TaskId};
use serde_json::Value;

use crate::dice::Dice;

/// A call of which it is known what comes of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Add(i64),
    Double(i64),
    Flaky,
    FanOut(usize),
    Progress,
    Sleep,
}

impl Kind {
    pub(crate) fn any(dice: &mut Dice) -> Self {
        let number = dice.below(1000);
        match dice.below(10) {
            0..4 => Self::Add(number.cast_signed()),
            4 => Self::Double(number.cast_signed()),
            5 => Self::Flaky,
            6 => Self::FanOut(usize::try_from(number % 4).unwrap()),
            7 => Self::Progress,
            _ => Self::Sleep,
        }
    }

    pub(crate) fn call(self) -> Signature {
        match self {
            Self::Add(n) => Signature::of("tour.add").arg(n).arg(1),
            Self::Double(n) => Signature::of("tour.double").arg(n),
            Self::Flaky => Signature::of("tour.flaky").arg(1),
            Self::FanOut(n) => Signature::of("tour.fan_out").arg(n),
            Self::Progress => Signature::of("tour.progress").arg(3).arg(0.02),
            Self::Sleep => Signature::of("tour.sleepy").arg(0.15),
        }
    }

    fn is_result(self, task: &ResultMeta) -> bool {
        let result: Value = task.result.read().unwrap();
        match self {
            Self::Add(n) => result == n + 1,
            Self::Double(n) => result == 2 * n,
            Self::Flaky => result == "worked after 1 retries" && task.retries == 1,
            Self::FanOut(n) => result.as_array().is_some_and(|ids| ids.len() == n) && task.children.len() == n,
            Self::Progress => result == 3,
            Self::Sleep => result.is_null(),
        }
    }
}

/// What the daemons of a run have been asked for.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    kept: HashMap<TaskId, Kind>,
    /// Sent under an id of our own, and never answered.
    unsure: Vec<(TaskId, Kind)>,
}

impl Promises {
    pub(crate) fn acknowledged(&mut self, id: TaskId, kind: Kind) {
        assert_eq!(self.kept.insert(id.clone(), kind), None, "{id} was given twice");
    }

    pub(crate) fn unanswered(&mut self, id: TaskId, kind: Kind) {
        self.unsure.push((id, kind));
    }

    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Sends again what was not answered, under the same ids: stored or not, it runs once.
    pub(crate) async fn repeat(&mut self, client: &Client) {
        for (id, kind) in std::mem::take(&mut self.unsure) {
            let sent = client.apply_async(kind.call().task_id(id.clone())).await.expect("the daemon is back");
            assert_eq!(*sent.id(), id);
            self.acknowledged(id, kind);
        }
    }

    /// Every promise was kept, once; and whatever else there is came of them.
    pub(crate) fn check(&self, tasks: &HashMap<TaskId, ResultMeta>) {
        for (id, kind) in &self.kept {
            let task = tasks.get(id).unwrap_or_else(|| panic!("{kind:?} {id} is lost"));
            assert!(task.status == State::Success && kind.is_result(task), "{kind:?}: {task:?}");
        }
        for task in tasks.values() {
            assert_eq!(task.status, State::Success, "{task:?}");
            if let Some(parent) = &task.parent_id {
                let parents = tasks[parent].children.iter().filter(|child| child.id == task.task_id).count();
                assert_eq!(parents, 1, "{} was sent by an attempt that was undone", task.task_id);
            }
        }
        let children = tasks.values().filter(|task| task.parent_id.is_some()).count();
        let sent: usize = tasks.values().map(|task| task.children.len()).sum();
        assert_eq!(children, sent, "every subtask that was sent is there");
    }
}
