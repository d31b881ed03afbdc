//! Which state can follow which, and why.

use crate::State;

/// Something that changes the state of a task, as its clients see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What happens.
    pub cause: &'static str,
    /// In which states it can happen; none stands for no task of that id.
    pub from: &'static [Option<State>],
    /// What the task can be then. (A state that stays as it is, is no change.)
    pub to: &'static [Option<State>],
    /// For people.
    pub meaning: &'static str,
}

/// Any state of a task's own making.
pub const CUSTOM: State = State::Custom(String::new());

/// What a running task shows: STARTED, a state of its own, or PENDING if it is not tracked.
const RUNNING: &[Option<State>] = &[Some(State::Started), Some(CUSTOM), Some(State::Pending)];
/// What a task shows that waits.
const WAITING: &[Option<State>] = &[Some(State::Pending), Some(State::Retry)];
/// How a task ends.
const ENDED: &[Option<State>] =
    &[Some(State::Success), Some(State::Failure), Some(State::Revoked), Some(State::Ignored)];

/// Every change there is. RECEIVED and REJECTED are Celery's names of moments that leave no trace here.
pub static CHANGES: &[Change] = &[
    Change {
        cause: "submit",
        from: &[None],
        to: &[Some(State::Pending)],
        meaning: "A client or a task sends it. It is ready, or waits for its ETA, for another task or for a group.",
    },
    Change {
        cause: "lease",
        from: &[Some(State::Pending), Some(State::Retry), Some(CUSTOM)],
        to: &[Some(State::Started), Some(State::Pending)],
        meaning: "A host takes it, or takes it over from one that is lost. Without `track_started` it shows as PENDING.",
    },
    Change {
        cause: "update_state",
        from: RUNNING,
        to: &[Some(CUSTOM)],
        meaning: "The running task sets a state of its own, such as PROGRESS.",
    },
    Change { cause: "return", from: RUNNING, to: &[Some(State::Success)], meaning: "It returns a value." },
    Change {
        cause: "fail",
        from: RUNNING,
        to: &[Some(State::Failure)],
        meaning: "It raises, or is stopped by a limit, or cannot be run.",
    },
    Change { cause: "retry", from: RUNNING, to: &[Some(State::Retry)], meaning: "It is to run again." },
    Change {
        cause: "stop",
        from: RUNNING,
        to: &[Some(State::Revoked)],
        meaning: "It is terminated by an order, or had expired before it was started.",
    },
    Change { cause: "ignore", from: RUNNING, to: &[Some(State::Ignored)], meaning: "It ends without a result." },
    Change {
        cause: "replace",
        from: RUNNING,
        to: &[Some(State::Pending)],
        meaning: "A canvas takes its place, under the same id.",
    },
    Change {
        cause: "requeue",
        from: RUNNING,
        to: &[Some(State::Pending)],
        meaning: "It rejects itself and goes to the end of its line.",
    },
    Change {
        cause: "give back",
        from: RUNNING,
        to: WAITING,
        meaning: "Its host is lost, shuts down, or has to wait before it may run it: it is what it was before the lease.",
    },
    Change {
        cause: "revoke",
        from: WAITING,
        to: &[Some(State::Revoked)],
        meaning: "An order ends it while it waits: a revoke by id or by stamp, or a purge of its queue.",
    },
    Change {
        cause: "follow",
        from: &[Some(State::Pending)],
        to: ENDED,
        meaning: "What it waited for has ended, and it ends with that and without a run: it failed, or it only gathers.",
    },
    Change {
        cause: "run again",
        from: ENDED,
        to: &[Some(State::Pending)],
        meaning: "An order of a person (`task retry`). Nothing else overwrites an end.",
    },
    Change { cause: "forget", from: ENDED, to: &[None], meaning: "Its result is forgotten by an order, or expires." },
];

/// Whether some cause leads from one state to another one; none stands for no task.
pub fn is_legal(from: Option<&State>, to: Option<&State>) -> bool {
    CHANGES.iter().any(|change| has(change.from, from) && has(change.to, to))
}

fn has(states: &[Option<State>], state: Option<&State>) -> bool {
    states.iter().any(|known| match (known, state) {
        (Some(State::Custom(_)), Some(State::Custom(_))) => true,
        (known, state) => known.as_ref() == state,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_overwritten_by_an_order_alone() {
        for ended in ENDED {
            for change in CHANGES.iter().filter(|change| change.from.contains(ended)) {
                assert!(["run again", "forget"].contains(&change.cause), "{ended:?}: {}", change.cause);
            }
        }
        assert!(!is_legal(Some(&State::Success), Some(&State::Failure)));
    }

    #[test]
    fn every_state_can_be_reached_and_left() {
        for state in ENDED.iter().chain(RUNNING).chain(WAITING) {
            let state = state.as_ref();
            assert!(CHANGES.iter().any(|change| has(change.to, state)), "{state:?} cannot be reached");
            assert!(CHANGES.iter().any(|change| has(change.from, state)), "{state:?} cannot be left");
        }
        let progress = State::from_name("PROGRESS");
        assert!(is_legal(Some(&State::Started), Some(&progress)) && is_legal(Some(&progress), Some(&State::Retry)));
        assert!(is_legal(None, Some(&State::Pending)) && !is_legal(None, Some(&State::Started)));
    }
}
