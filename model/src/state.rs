//! The states of a task, with the sets and the order that `celery.states` gives them.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The state of a task as Celery names it.
/// See <https://docs.celeryq.dev/en/stable/reference/celery.states.html>.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum State {
    /// Waiting to run. (In Celery also: unknown. Here an unknown id is an error.)
    Pending,
    /// Taken from the queue by a host; not running yet.
    Received,
    /// Running.
    Started,
    /// Ran and returned; the result is its value. Never overwritten.
    Success,
    /// Raised, was killed by a limit, or could not be run; the result is an exception.
    Failure,
    /// Asked to run again; the result is the exception that made it.
    Retry,
    /// Revoked, expired or terminated.
    Revoked,
    /// Rejected by itself, to be queued again.
    Rejected,
    /// Ended without leaving a result, or was replaced by another task.
    Ignored,
    /// A state of the task's own making, such as `PROGRESS`.
    Custom(String),
}

impl State {
    /// The state's name on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pending => "PENDING",
            Self::Received => "RECEIVED",
            Self::Started => "STARTED",
            Self::Success => "SUCCESS",
            Self::Failure => "FAILURE",
            Self::Retry => "RETRY",
            Self::Revoked => "REVOKED",
            Self::Rejected => "REJECTED",
            Self::Ignored => "IGNORED",
            Self::Custom(name) => name,
        }
    }

    /// The state of that name; one that Celery does not know is a custom one.
    pub fn from_name(name: &str) -> Self {
        match name {
            "PENDING" => Self::Pending,
            "RECEIVED" => Self::Received,
            "STARTED" => Self::Started,
            "SUCCESS" => Self::Success,
            "FAILURE" => Self::Failure,
            "RETRY" => Self::Retry,
            "REVOKED" => Self::Revoked,
            "REJECTED" => Self::Rejected,
            "IGNORED" => Self::Ignored,
            custom => Self::Custom(custom.to_owned()),
        }
    }

    /// Whether a task may set a state of this name itself; the error says why not.
    pub fn check_own(name: &str) -> Result<(), String> {
        if !matches!(Self::from_name(name), Self::Custom(_)) {
            return Err(format!("{name} is one of Celery's own states: use a name such as PROGRESS"));
        }
        if !(1..=50).contains(&name.len()) || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(format!("{name:?} is not a state: 1 to 50 bytes, no spaces"));
        }
        Ok(())
    }

    /// Whether Celery's clients call the result ready: SUCCESS, FAILURE, REVOKED (`READY_STATES`).
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Success | Self::Failure | Self::Revoked)
    }

    /// Whether nothing will happen to the task any more: ready, or ended without a result.
    pub fn is_terminal(&self) -> bool {
        self.is_ready() || matches!(self, Self::Ignored)
    }

    /// Whether the result is an encoded exception (`EXCEPTION_STATES`).
    pub fn is_exception(&self) -> bool {
        matches!(self, Self::Retry | Self::Failure | Self::Revoked)
    }

    /// Whether waiting for the result raises (`PROPAGATE_STATES`).
    pub fn propagates(&self) -> bool {
        matches!(self, Self::Failure | Self::Revoked)
    }

    /// Rank in `celery.states.PRECEDENCE`, 0 the highest; a custom state stands between FAILURE and REVOKED.
    /// IGNORED, which Celery does not rank, stands last.
    pub fn precedence(&self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Custom(_) => 2,
            Self::Revoked => 3,
            Self::Started => 4,
            Self::Received => 5,
            Self::Rejected => 6,
            Self::Retry => 7,
            Self::Pending => 8,
            Self::Ignored => 9,
        }
    }

    /// Compares as `celery.states.state` does: a state that Celery ranks higher is greater.
    pub fn compare(&self, other: &Self) -> Ordering {
        other.precedence().cmp(&self.precedence())
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<String> for State {
    fn from(name: String) -> Self {
        Self::from_name(&name)
    }
}

impl From<State> for String {
    fn from(state: State) -> String {
        match state {
            State::Custom(name) => name,
            known => known.as_str().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precedence_is_celerys() {
        assert_eq!(State::Pending.compare(&State::Success), Ordering::Less);
        assert_eq!(State::Failure.compare(&State::Success), Ordering::Less);
        let progress = State::from_name("PROGRESS");
        assert_eq!(progress.compare(&State::Started), Ordering::Greater);
        assert_eq!(progress.compare(&State::Revoked), Ordering::Greater);
    }

    #[test]
    fn a_task_sets_short_names_of_its_own() {
        let longest = "X".repeat(50);
        for name in ["PROGRESS", longest.as_str()] {
            assert_eq!(State::check_own(name), Ok(()));
        }
        assert!(State::check_own("SUCCESS").unwrap_err().contains("one of Celery's own states"));
        for name in ["", "HALF WAY", "A\n", &"X".repeat(51), &"\u{e9}".repeat(26)] {
            assert!(State::check_own(name).unwrap_err().contains("1 to 50 bytes"), "{name:?}");
        }
    }

    #[test]
    fn every_name_round_trips() {
        for name in
            ["PENDING", "RECEIVED", "STARTED", "SUCCESS", "FAILURE", "RETRY", "REVOKED", "REJECTED", "IGNORED", "X"]
        {
            assert_eq!(State::from_name(name).as_str(), name);
        }
    }
}
