//! May a plan be stored?
//!
//! Decided here for every backend: what is taken comes before what is full, since more room would not help; and the
//! tasks of one call before those of its tenant, since they may wait for room in vain.

use std::collections::HashSet;

use lovage_model::{Plan, Planned, Room, TaskId, Timestamp};

use super::transition::due_later;
use super::{Fenced, Quota, Submitted};

/// An id of a plan that is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clash {
    /// The first one.
    pub(super) id: TaskId,
    /// Whether all its tasks exist: it was stored before.
    pub(super) whole: bool,
}

impl From<Clash> for Submitted {
    fn from(clash: Clash) -> Self {
        if clash.whole { Self::Exists } else { Self::Taken(clash.id) }
    }
}

impl From<Clash> for Fenced {
    fn from(clash: Clash) -> Self {
        Self::Taken(clash.id)
    }
}

/// Whether plans can have their ids together, given which tasks and which joins exist. Those that use an id twice cannot.
pub(super) fn clash<'p, E>(
    plans: impl Iterator<Item = &'p Plan> + Clone,
    task_exists: impl Fn(&TaskId) -> Result<bool, E>,
    join_exists: impl Fn(&TaskId) -> Result<bool, E>,
) -> Result<Option<Clash>, E> {
    let (mut seen, mut known, mut all, mut first) = (HashSet::new(), 0, 0, None);
    for id in plans.clone().flat_map(|plan| &plan.tasks).map(|one| &one.message.id) {
        let exists = task_exists(id)?;
        all += 1;
        known += usize::from(exists);
        if exists || !seen.insert(id) {
            first = first.or(Some(id));
        }
    }
    let whole = known > 0 && known == all;
    if first.is_none() {
        seen.clear();
        for id in plans.flat_map(|plan| &plan.joins).map(|join| &join.group) {
            if join_exists(id)? || !seen.insert(id) {
                first = first.or(Some(id));
            }
        }
    }
    Ok(first.map(|id| Clash { id: id.clone(), whole }))
}

/// How many tasks wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Backlog {
    /// Whatever for.
    pub(super) tasks: u64,
    /// Of them, for their time alone.
    pub(super) scheduled: u64,
}

impl Backlog {
    /// One task that waits for nothing.
    pub(super) const ONE: Self = Self { tasks: 1, scheduled: 0 };

    /// Those of a plan, once it is stored.
    pub(super) fn of(plan: &Plan, now: Timestamp) -> Self {
        let is_scheduled = |one: &&Planned| one.awaits.is_none() && due_later(&one.message, now).is_some();
        let scheduled = plan.tasks.iter().filter(is_scheduled).count();
        Self { tasks: plan.tasks.len() as u64, scheduled: scheduled as u64 }
    }
}

/// Which limit leaves no room for more tasks that wait, beside those of their tenant that do. `descendants`: how many there
/// are already of the call that they come from; none if they are a call of their own.
pub(super) fn full(room: Room, more: Backlog, there: Backlog, descendants: Option<u64>) -> Option<Quota> {
    let over = |more: u64, there: u64, limit: u64| more > 0 && there.saturating_add(more) > limit;
    if descendants.is_some_and(|there| over(more.tasks, there, room.descendants)) {
        Some(Quota::Descendants)
    } else if over(more.tasks, there.tasks, room.queued_tasks) {
        Some(Quota::QueuedTasks)
    } else if over(more.scheduled, there.scheduled, room.scheduled_tasks) {
        Some(Quota::ScheduledTasks)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use lovage_model::{Join, Message, TaskName, Then};

    use super::*;

    fn id(name: &str) -> TaskId {
        TaskId::new(name).unwrap()
    }

    fn found(tasks: &[&str], joins: &[&str]) -> Option<(String, bool)> {
        let mut plan = Plan::default();
        for name in tasks {
            plan.append(Plan::of(Message::new(id(name), TaskName::new("tour.add").unwrap())));
        }
        plan.joins = joins.iter().map(|name| Join { group: id(name), size: 1, then: Then::Next }).collect();
        let is = |known: &'static str| move |id: &TaskId| Ok::<_, Infallible>(id.as_str().starts_with(known));
        let Ok(clash) = clash(std::iter::once(&plan), is("known"), is("open"));
        clash.map(|clash| (clash.id.to_string(), clash.whole))
    }

    #[test]
    fn the_first_id_in_use_is_named() {
        assert_eq!(found(&["a", "b"], &["g"]), None);
        assert_eq!(found(&[], &[]), None);
        assert_eq!(found(&["a", "known-1", "known-2"], &["open"]), Some(("known-1".to_owned(), false)));
        assert_eq!(found(&["known-1", "known-2"], &["open"]), Some(("known-1".to_owned(), true)));
        assert_eq!(found(&["a", "b", "a"], &[]), Some(("a".to_owned(), false)));
        assert_eq!(found(&["a"], &["g", "open-1"]), Some(("open-1".to_owned(), false)));
        assert_eq!(found(&["a"], &["g", "g"]), Some(("g".to_owned(), false)));
        assert_eq!(found(&["known-1", "known-1"], &[]), Some(("known-1".to_owned(), true)));
    }

    #[test]
    fn nothing_needs_no_room() {
        let room = Room { queued_tasks: 3, scheduled_tasks: 1, descendants: 5 };
        let tasks = |tasks| Backlog { tasks, scheduled: 0 };
        assert_eq!(full(room, tasks(0), tasks(9), Some(9)), None);
        assert_eq!(full(room, tasks(2), tasks(1), Some(3)), None);
        assert_eq!(full(room, tasks(2), tasks(2), Some(3)), Some(Quota::QueuedTasks));
        assert_eq!(full(room, tasks(2), tasks(2), Some(4)), Some(Quota::Descendants));
        assert_eq!(full(room, tasks(2), tasks(1), None), None);
        assert_eq!(full(Room::UNLIMITED, tasks(2), tasks(u64::MAX - 1), Some(4)), None);
        let (one, two) = (Backlog { tasks: 1, scheduled: 1 }, Backlog { tasks: 2, scheduled: 2 });
        assert_eq!(full(room, one, tasks(1), None), None);
        assert_eq!(full(room, one, one, None), Some(Quota::ScheduledTasks));
        assert_eq!(full(room, tasks(1), two, None), None, "what is not scheduled needs none of that room");
        assert_eq!(full(room, two, two, None), Some(Quota::QueuedTasks));
    }

    #[test]
    fn what_waits_for_another_is_not_scheduled() {
        let now = Timestamp::from_micros(5);
        let at = |name: &str, eta: Option<i64>| Message {
            eta: eta.map(Timestamp::from_micros),
            ..Message::new(id(name), TaskName::new("tour.add").unwrap())
        };
        let tasks = [at("now", None), at("due", Some(5)), at("later", Some(6))].into_iter();
        let mut plan =
            Plan { tasks: tasks.map(|message| Planned { message, awaits: None }).collect(), joins: Vec::new() };
        plan.tasks.push(Planned { message: at("next", Some(6)), awaits: Some(id("later")) });
        assert_eq!(Backlog::of(&plan, now), Backlog { tasks: 4, scheduled: 1 });
    }
}
