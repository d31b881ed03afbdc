//! What has been seen of each task? Holds every change against what may be.

use std::collections::BTreeMap;

use lovage_model::{State, is_legal};

use super::*;
use crate::store::Filter;

#[derive(Default)]
pub(super) struct Watch {
    seen: BTreeMap<TaskId, (State, Json)>,
    /// How often each was sent or ordered to run again, and how often it ended.
    lives: BTreeMap<TaskId, (u32, u32)>,
}

impl Watch {
    pub(super) fn ids(&self) -> Vec<TaskId> {
        self.seen.keys().cloned().collect()
    }

    /// Looks at every task, after one act; what has ended by it. `ordered`: a task that was ordered to run again.
    pub(super) async fn look(&mut self, bench: &Bench, ordered: Option<&TaskId>) -> Vec<(TaskId, State, Json)> {
        let mut ended = Vec::new();
        let filter = Filter { limit: 99_999, ..Filter::default() };
        let tasks = bench.store.list(&tenant(), filter).await.unwrap().tasks;
        assert!(tasks.len() >= self.seen.len(), "no task is lost");
        for task in tasks {
            let (id, now) = (task.task_id, (task.status, task.result));
            let before = self.seen.insert(id.clone(), now.clone());
            if before.as_ref() != Some(&now) || ordered == Some(&id) {
                self.note(&id, before, &now, ordered == Some(&id));
                if now.0.is_terminal() {
                    ended.push((id, now.0, now.1));
                }
            }
        }
        ended
    }

    fn note(&mut self, id: &TaskId, before: Option<(State, Json)>, now: &(State, Json), ordered: bool) {
        let from = before.as_ref().map(|(state, _)| state);
        assert!(from == Some(&now.0) || is_legal(from, Some(&now.0)), "{id}: {from:?} became {}", now.0);
        let had_ended = from.is_some_and(State::is_terminal);
        assert!(!had_ended || ordered, "{id} had ended as {before:?}, and is {now:?}");
        let lives = self.lives.entry(id.clone()).or_default();
        lives.0 += u32::from(before.is_none() || ordered);
        lives.1 += u32::from(now.0.is_terminal());
    }

    /// Whether each task has ended as often as it was begun.
    pub(super) fn everything_ended(&self) {
        for (id, (begun, ended)) in &self.lives {
            assert_eq!(begun, ended, "{id} was begun {begun} times and ended {ended} times: {:?}", self.seen[id]);
        }
    }
}
