//! Which number does the process end with? Scripts branch on these; they never change.

use std::process::ExitCode;

use lovage_client::Error;
use lovage_model::api::Problem;

use crate::config::Faults;
use crate::daemon::Stopped;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what was asked.
    Done = 0,
    /// The task failed, or the command did.
    Failed = 1,
    /// What was typed or sent makes no sense.
    Usage = 2,
    /// There is no such task, module or queue.
    NotFound = 3,
    /// The daemon does not allow it.
    NotAllowed = 4,
    /// The time to wait was over.
    TimedOut = 5,
    /// No daemon answered.
    Unreachable = 6,
    /// SIGHUP ended it; this and the next two as a shell says it.
    Hangup = 129,
    /// SIGINT ended it.
    Interrupt = 130,
    /// SIGTERM ended it.
    Terminate = 143,
}

/// For `--help`.
pub(crate) const TABLE: &str = "\
Exit codes:
  0  done
  1  the task failed or was revoked, or the command did: a full or failing daemon
  2  usage: what was typed or sent makes no sense, or not beside what is there
  3  not found: nothing has this id or name
  4  not allowed: the daemon refuses who asks, or the address that was asked
  5  not yet: the task had not ended, and the wait for it was over
  6  no daemon answered (start one with `lovage serve`), or the connection broke
  129, 130, 143  it was stopped by SIGHUP, SIGINT, SIGTERM";

/// What was typed makes no sense; the text says what, and what would.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

impl Usage {
    /// An error that ends the command with 2.
    pub(crate) fn error(text: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Self(text.into()))
    }
}

impl Exit {
    /// The exit that an error leads to. None: the reader of our output is gone, which is its good right.
    pub(crate) fn of(error: &anyhow::Error) -> Option<Self> {
        if error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe) {
            return None;
        }
        if let Some(stopped) = error.downcast_ref() {
            return Some(Self::of_signal(*stopped));
        }
        if error.is::<Usage>() || error.is::<Faults>() {
            return Some(Self::Usage);
        }
        Some(error.downcast_ref().map_or(Self::Failed, Self::of_client))
    }

    fn of_client(error: &Error) -> Self {
        match error {
            Error::Address { .. } | Error::Invalid { .. } => Self::Usage,
            Error::Unreachable { .. } => Self::Unreachable,
            Error::Timeout { .. } | Error::IncompleteStream { .. } => Self::TimedOut,
            Error::Task(_) | Error::Protocol { .. } | Error::EndsInGroup(_) | Error::Decode { .. } => Self::Failed,
            Error::Problem(problem) => Self::of_problem(problem),
        }
    }

    /// The exit that a refusal leads to.
    pub(crate) fn of_problem(problem: &Problem) -> Self {
        match problem.status {
            401 | 403 => Self::NotAllowed,
            404 | 410 => Self::NotFound,
            408 | 429 => Self::Failed,
            400..500 => Self::Usage,
            _ => Self::Failed,
        }
    }

    fn of_signal(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Hangup => Self::Hangup,
            Stopped::Interrupt => Self::Interrupt,
            Stopped::Terminate => Self::Terminate,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    fn problem(status: u16) -> Error {
        let text = String::new;
        Error::Problem(Box::new(Problem {
            kind: text(),
            title: text(),
            status,
            detail: text(),
            code: text(),
            retryable: false,
        }))
    }

    #[test]
    fn the_page_has_the_same_table() {
        assert!(include_str!("../../../docs/operating.md").contains(TABLE), "docs/operating.md");
    }

    #[test]
    fn every_error_has_its_code() {
        let silence = Error::Unreachable { url: String::new(), why: String::new() };
        let table = [
            (silence, Exit::Unreachable),
            (problem(400), Exit::Usage),
            (problem(401), Exit::NotAllowed),
            (problem(403), Exit::NotAllowed),
            (problem(404), Exit::NotFound),
            (problem(409), Exit::Usage),
            (problem(422), Exit::Usage),
            (problem(429), Exit::Failed),
            (problem(503), Exit::Failed),
            (problem(507), Exit::Failed),
        ];
        for (error, exit) in table {
            let shown = error.to_string();
            let wrapped = Err::<(), _>(error).context("while at it").unwrap_err();
            assert_eq!(Exit::of(&wrapped), Some(exit), "{shown}");
        }
        assert_eq!(Exit::of(&Usage::error("x")), Some(Exit::Usage));
        assert_eq!(Exit::of(&anyhow::anyhow!("no such file").context(Usage("not run".into()))), Some(Exit::Usage));
        assert_eq!(Exit::of(&anyhow::anyhow!("port taken")), Some(Exit::Failed));
        assert_eq!(Exit::of(&Faults(vec!["http.listen".to_owned()]).into()), Some(Exit::Usage));
        for (stopped, code) in [(Stopped::Hangup, 129), (Stopped::Interrupt, 130), (Stopped::Terminate, 143)] {
            assert_eq!(Exit::of(&stopped.into()).map(|exit| exit as u8), Some(code));
        }
        assert_eq!(Exit::of(&std::io::Error::from(std::io::ErrorKind::BrokenPipe).into()), None);
    }
}
