//! What must a join give? Counted here from what is seen of its parts.

use std::collections::BTreeMap;

use lovage_model::{Arrival, State, Then};

use super::*;

#[derive(Default)]
pub(super) struct Expected {
    /// The join that a task is a part of, and its place there.
    part_of: BTreeMap<TaskId, (TaskId, u32)>,
    joins: BTreeMap<TaskId, Counted>,
}

struct Counted {
    size: usize,
    /// In the order in which they came.
    parts: Vec<(u32, TaskId, Arrival)>,
    given: bool,
}

impl Expected {
    pub(super) fn plan(&mut self, plan: &Plan) {
        for one in &plan.tasks {
            if let Some(Then::Part { group, index }) = &one.message.then {
                self.part_of.insert(one.message.id.clone(), (group.clone(), *index));
            }
        }
        for join in &plan.joins {
            let counted = Counted { size: join.size as usize, parts: Vec::new(), given: false };
            self.joins.insert(join.group.clone(), counted);
        }
    }

    pub(super) fn grow(&mut self, group: &TaskId, parts: u32) {
        let join = self.joins.get_mut(group).expect("a join that was planned");
        if join.parts.len() < join.size {
            join.size += parts as usize;
        }
    }

    /// A task has ended.
    pub(super) fn ended(&mut self, id: &TaskId, state: &State, result: Json) {
        let Some((group, index)) = self.part_of.get(id).cloned() else { return };
        let failed = Arrival::Failed { task: id.clone(), exception: value_error() };
        let arrival = if *state == State::Success { Arrival::Value(result) } else { failed };
        self.part(&group, id, index, arrival);
    }

    pub(super) fn part(&mut self, group: &TaskId, id: &TaskId, index: u32, arrival: Arrival) {
        let join = self.joins.get_mut(group).expect("a join that was planned");
        if join.parts.len() < join.size && join.parts.iter().all(|(_, part, _)| part != id) {
            join.parts.push((index, id.clone(), arrival));
        }
    }

    /// A join says that it is complete.
    pub(super) fn completed(&mut self, group: &TaskId, given: &[Arrival]) {
        let join = self.joins.get_mut(group).expect("a join that was planned");
        assert_eq!(join.parts.len(), join.size, "{group} is complete");
        let mut parts = join.parts.clone();
        parts.sort_by_key(|(index, ..)| *index);
        assert_eq!(parts.len(), given.len(), "{group}: {parts:?} and {given:?}");
        for ((_, part, expected), given) in parts.iter().zip(given) {
            let same = match (expected, given) {
                (Arrival::Value(expected), Arrival::Value(given)) => expected == given,
                (Arrival::Failed { .. }, Arrival::Failed { .. }) => true,
                _ => false,
            };
            assert!(same, "{group}: {part} came to {expected:?}, not {given:?}");
        }
        join.given = true;
    }

    pub(super) fn everything_completed(&self) {
        for (group, join) in &self.joins {
            assert!(join.given, "{group} never completed: {:?} of {}", join.parts, join.size);
        }
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &TaskId> {
        self.joins.keys()
    }
}
