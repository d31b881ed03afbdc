//! What does an outcome mean?
//!
//! [`settle`] turns the report of an attempt into its settlement: the transition it makes, the messages that follow, the
//! events to tell. Pure: no IO, no clock, no async; the same report settles the same way on every host. This is Celery's
//! `celery.app.trace`, with its handlers replaced by data.

mod unsent;

use lovage_model::{
    AttemptLog, Event, EventKind, Exception, Json, Message, Plan, Planned, ResultTuple, Settlement, Timestamp, Usage,
    Verdict, exc_module,
};

use crate::attempt::{Effects, Outcome, Report, Stop};
use crate::canvas;
pub use unsent::{Unsent, unsent};

/// What is known of an attempt besides its report.
#[derive(Debug, Clone, Copy)]
pub struct Attempted<'a> {
    /// The message it tried.
    pub message: &'a Message,
    /// How often the task has been delivered, this time included.
    pub deliveries: u32,
    /// The host that ran it.
    pub worker: &'a str,
    /// Whether the result is dropped: the message's wish, or the task's own declaration.
    pub ignore_result: bool,
    /// Whether retries do not wait, as in Celery's `apply()`.
    pub eager: bool,
}

/// Why an attempt was not made at all.
#[derive(Debug, Clone, PartialEq)]
pub enum Unrun {
    /// It came too late.
    Expired,
    /// No module exports its task.
    NotRegistered,
    /// Its module cannot be run, for this reason.
    Unusable(String),
}

/// What follows from an attempt; none: nothing, the message goes back to its queue untouched.
pub fn settle(attempted: Attempted<'_>, report: Report, now: Timestamp) -> Option<Settlement> {
    let Report { outcome, effects, usage, log } = report;
    let verdict = match outcome {
        Outcome::Stopped(Stop::Interrupted) => return None,
        outcome => verdict(attempted, outcome, &effects, now),
    };
    let (verdict, publish) = match subtasks(attempted.message, effects, now) {
        Ok(publish) => (verdict, publish),
        // Who ordered its end was told that it is revoked.
        Err(_) if matches!(verdict, Verdict::Revoked { .. }) => (verdict, Vec::new()),
        // A subtask that cannot be sent is the task's error, as it is where Celery raises it.
        Err(invalid) => (value_error(&invalid), Vec::new()),
    };
    Some(settlement(attempted, verdict, now, Left { publish, usage, log }))
}

/// What an attempt leaves behind besides its verdict.
#[derive(Default)]
struct Left {
    publish: Vec<Message>,
    usage: Usage,
    log: AttemptLog,
}

/// What follows from a message that is not run.
pub fn settle_unrun(attempted: Attempted<'_>, why: Unrun, now: Timestamp) -> Settlement {
    let failure =
        |exception, fault: &str| Verdict::Failure { exception, traceback: None, fault: Some(fault.to_owned()) };
    let name = attempted.message.task.as_str();
    let verdict = match why {
        Unrun::Expired => Verdict::Revoked { reason: "expired" },
        Unrun::NotRegistered => failure(Exception::new(exc_module::CELERY, "NotRegistered", name), "not-registered"),
        Unrun::Unusable(why) => failure(Exception::new(exc_module::LOVAGE, "ModuleUnusable", why), "module-unusable"),
    };
    settlement(attempted, verdict, now, Left::default())
}

fn verdict(attempted: Attempted<'_>, outcome: Outcome, effects: &Effects, now: Timestamp) -> Verdict {
    match outcome {
        Outcome::Returned(result) => {
            Verdict::Success { result: if attempted.ignore_result { Json::null() } else { result } }
        }
        Outcome::Raised(exception, traceback) => Verdict::Failure { exception, traceback, fault: None },
        Outcome::Faulted(fault) => Verdict::Failure {
            exception: fault.exception,
            traceback: fault.traceback,
            fault: Some(fault.kind.name().to_owned()),
        },
        Outcome::Retried => retried(attempted, effects),
        Outcome::Replaced => replaced(attempted, effects, now),
        Outcome::Ignored => Verdict::Ignored,
        Outcome::Rejected(true) => Verdict::Requeued,
        Outcome::Rejected(false) => Verdict::Failure {
            exception: Exception::new(exc_module::CELERY, "Reject", "requeue=False"),
            traceback: None,
            fault: None,
        },
        Outcome::Stopped(Stop::Revoked | Stop::Interrupted) => Verdict::Revoked { reason: "terminated" },
    }
}

fn retried(attempted: Attempted<'_>, effects: &Effects) -> Verdict {
    let Some(retry) = effects.retry.clone() else { return without_request("retry") };
    let exception = retry.exception.clone();
    let traceback = Some(format!("Retry in {}s: {exception}\n", retry.countdown.get()));
    let again = canvas::again(attempted.message, retry);
    let (eta, earlier_deliveries) = (again.eta.filter(|_| !attempted.eager), attempted.deliveries);
    Verdict::Retry { exception, traceback, again: Box::new(Message { eta, earlier_deliveries, ..again }) }
}

fn replaced(attempted: Attempted<'_>, effects: &Effects, now: Timestamp) -> Verdict {
    let Some(call) = effects.replace.clone() else { return without_request("replacement") };
    match canvas::replacement(attempted.message, call, now) {
        Ok(by) => {
            let message = Message { earlier_deliveries: attempted.deliveries, ..by };
            Verdict::Replaced { by: Box::new(Planned { message, awaits: None }) }
        }
        Err(invalid) => value_error(&invalid),
    }
}

/// The sandbox promises a request with such an outcome; without one there is nothing to run next.
fn without_request(what: &str) -> Verdict {
    let text = format!("it ended for a {what} that it did not ask for");
    let exception = Exception::new(exc_module::LOVAGE, "ContractViolation", text);
    Verdict::Failure { exception, traceback: None, fault: Some("contract".to_owned()) }
}

fn value_error(invalid: &canvas::Invalid) -> Verdict {
    let exception = Exception::new(exc_module::BUILTINS, "ValueError", invalid.to_string());
    Verdict::Failure { exception, traceback: None, fault: None }
}

fn subtasks(parent: &Message, effects: Effects, now: Timestamp) -> Result<Vec<Message>, canvas::Invalid> {
    effects.subtasks.into_iter().map(|(id, call)| canvas::subtask(parent, call, id, now)).collect()
}

fn settlement(attempted: Attempted<'_>, verdict: Verdict, now: Timestamp, left: Left) -> Settlement {
    let Left { publish, usage, log } = left;
    let mut events = vec![event(attempted.message, now, kind(&verdict, usage))];
    events.extend(publish.iter().map(|child| event(child, now, EventKind::Sent)));
    let children = publish.iter().map(|child| ResultTuple::of(child.id.clone())).collect();
    let tasks = publish.into_iter().map(|message| Planned { message, awaits: None }).collect();
    Settlement {
        worker: attempted.worker.to_owned(),
        ignore_result: attempted.ignore_result,
        publish: Plan { tasks, joins: Vec::new() },
        children,
        usage,
        log,
        events,
        ..Settlement::of(verdict, now)
    }
}

fn event(message: &Message, timestamp: Timestamp, kind: EventKind) -> Event {
    Event { uuid: message.id.clone(), name: message.task.clone(), timestamp, kind }
}

fn kind(verdict: &Verdict, usage: Usage) -> EventKind {
    match verdict {
        Verdict::Success { .. } => EventKind::Succeeded { runtime: usage.wall_seconds },
        Verdict::Failure { exception, traceback, .. } => EventKind::failed(exception, traceback.clone()),
        Verdict::Retry { exception, traceback, .. } => EventKind::retried(exception, traceback.clone()),
        Verdict::Revoked { reason } => {
            EventKind::Revoked { terminated: *reason == "terminated", expired: *reason == "expired" }
        }
        Verdict::Replaced { by } => EventKind::Replaced { by: by.message.task.clone() },
        Verdict::Ignored => EventKind::Ignored,
        Verdict::Requeued => EventKind::Rejected { requeue: true },
    }
}

#[cfg(test)]
mod tests;
