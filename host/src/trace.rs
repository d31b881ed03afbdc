//! What does an outcome mean?
//!
//! [`settle`] turns the report of an attempt into its settlement: the transition it makes, the tasks that follow, the
//! events to tell. Pure: no IO, no clock, no async; the same report settles the same way on every host. This is Celery's
//! `celery.app.trace`.

mod follow;
mod links;
mod unsent;

use std::collections::HashSet;

use lovage_model::{
    Arrival, AttemptLog, Event, EventKind, Exception, Inline, Json, LogLevel, LogRecord, Message, Plan, Planned,
    ResultTuple, Settlement, Signature, State, TaskDefinition, TaskId, TaskOptions, Then, Timestamp, Usage, Verdict,
    exc_module,
};

use crate::attempt::{Effects, Outcome, Report, RetryRequest, Stop};
use crate::canvas::{self, Fault, Invalid, Scope, Sent, inline};

pub use follow::{Awaited, follow};
pub use unsent::{Unsent, refused, unsent};

/// What is known of an attempt besides its report.
#[derive(Debug, Clone, Copy)]
pub struct Attempted<'a> {
    /// The message it tried.
    pub message: &'a Message,
    /// How often the task has been delivered, this time included.
    pub deliveries: u32,
    /// The host that ran it.
    pub worker: &'a str,
    /// The options in force.
    pub options: &'a TaskOptions,
    /// Whether retries do not wait, as in Celery's `apply()`.
    pub eager: bool,
}

impl Attempted<'_> {
    /// Whether the result is dropped.
    pub fn ignores_result(&self) -> bool {
        self.message.ignores_result(self.options)
    }
}

/// Why an attempt was not made at all.
#[derive(Debug, Clone, PartialEq)]
pub enum Unrun {
    /// It came too late.
    Expired,
    /// It was revoked before it began.
    Revoked,
    /// No module exports its task.
    NotRegistered,
    /// Its module cannot be run, for this reason.
    Unusable(String),
    /// The host that ran it before is gone, and it must not run twice.
    Lost,
    /// It began so often on hosts that were lost meanwhile that it may be why.
    Poison {
        /// How often.
        lost: u32,
    },
}

/// What follows from an attempt; none: nothing, the message goes back to its queue untouched.
pub fn settle(attempted: Attempted<'_>, report: Report, scope: &mut Scope<'_>) -> Option<Settlement> {
    let Report { mut outcome, effects, usage, log } = report;
    if matches!(outcome, Outcome::Stopped(Stop::Interrupted | Stop::Lost)) {
        return None;
    }
    let mut left = Left { usage, log, ..Left::default() };
    let sent = sent(attempted.message, &effects, scope, &mut left);
    let mut value = None;
    if let Outcome::Returned(returned) = &mut outcome {
        complete_result(returned, &left.results);
        // Most are for nobody but who asks for the result, and may be large. Of an ignored one the verdict has nothing to tell.
        let is_wanted = is_passed_on(attempted.message) || attempted.ignores_result();
        value = is_wanted.then(|| returned.clone());
    }
    let verdict = match sent {
        Ok(()) => verdict(attempted, outcome, effects, scope, &mut left),
        // Who ordered its end was told that it is revoked.
        Err(_) if matches!(outcome, Outcome::Stopped(_)) => Verdict::Revoked { reason: "terminated" },
        // A subtask that cannot be sent is the task's error, as it is where Celery raises it.
        Err(invalid) => value_error(&invalid),
    };
    let value = value.filter(|_| matches!(verdict, Verdict::Success { .. }));
    Some(settlement(attempted, verdict, value, left, scope))
}

/// Whether others get the value of a task: those who wait for it, its callbacks, what comes next in Celery's form.
fn is_passed_on(Message { then, callbacks, embed, .. }: &Message) -> bool {
    then.is_some() || !callbacks.is_empty() || embed.is_some()
}

/// What follows from a message that is not run.
pub fn settle_unrun(attempted: Attempted<'_>, why: Unrun, scope: &mut Scope<'_>) -> Settlement {
    let failure =
        |exception, fault: &str| Verdict::Failure { exception, traceback: None, fault: Some(fault.to_owned()) };
    let name = attempted.message.task.as_str();
    let verdict = match why {
        Unrun::Expired => Verdict::Revoked { reason: "expired" },
        Unrun::Revoked => Verdict::Revoked { reason: "revoked" },
        Unrun::NotRegistered => failure(Exception::new(exc_module::CELERY, "NotRegistered", name), "not-registered"),
        Unrun::Unusable(why) => failure(Exception::new(exc_module::LOVAGE, "ModuleUnusable", why), "module-unusable"),
        Unrun::Lost => {
            let text = "Worker exited prematurely: the host that ran it is gone, and the task must not run twice";
            failure(Exception::new(exc_module::BILLIARD, "WorkerLostError", text), "worker-lost")
        }
        Unrun::Poison { lost } => {
            let text = format!(
                "Worker exited prematurely: the task began {lost} times, and each time its host was lost, so it is not run \
                 again (limits.deliveries)"
            );
            failure(Exception::new(exc_module::BILLIARD, "WorkerLostError", text), "poison")
        }
    };
    settlement(attempted, verdict, None, Left::default(), scope)
}

/// A task that returns the result of a call that it has sent knows no more of it than its id; what came before it in its chain, and
/// who its members are, is known here.
fn complete_result(returned: &mut Json, results: &[ResultTuple]) {
    if results.is_empty() || !returned.as_str().starts_with("[[") {
        return;
    }
    let Ok(result) = returned.read::<ResultTuple>() else { return };
    let sent = results.iter().find(|child| child.id == result.id);
    if let Some(Ok(whole)) = sent.filter(|_| result == ResultTuple::of(result.id.clone())).map(Json::of) {
        *returned = whole;
    }
}

/// What an attempt leaves behind besides its verdict.
#[derive(Default)]
struct Left {
    publish: Plan,
    children: Vec<ResultTuple>,
    /// Of each call.
    results: Vec<ResultTuple>,
    grown: Vec<(TaskId, u32)>,
    inline: Inline,
    /// Whether the task has rejected its message for good.
    refused: bool,
    usage: Usage,
    log: AttemptLog,
}

impl Left {
    fn drop_sent(&mut self) {
        (self.publish, self.children, self.grown) = (Plan::default(), Vec::new(), Vec::new());
        self.inline = Inline::default();
    }
}

fn sent(message: &Message, effects: &Effects, scope: &mut Scope<'_>, left: &mut Left) -> Result<(), Invalid> {
    let parts: HashSet<_> = effects.add_to_chord.iter().collect();
    for (id, text) in &effects.subtasks {
        let call = call_of(text).inspect_err(|_| left.drop_sent())?;
        let (id_given, listed) = (Some(id.clone()), call.options.add_to_parent.unwrap_or(true));
        let is_part = parts.contains(id);
        if message.embed.is_some() {
            let sent = if is_part { inline::added_part } else { inline::subtask };
            let (sent, result) = sent(message, &call, id.clone(), scope).inspect_err(|_| left.drop_sent())?;
            left.inline.append(sent.inline);
            left.children.extend(sent.children);
            left.results.push(result);
            continue;
        }
        let expanded = if is_part {
            canvas::added_part(message, call, id_given, scope)
        } else {
            canvas::subtask(message, call, id_given, scope)
        };
        let Sent { plan, result } = expanded.inspect_err(|_| left.drop_sent())?;
        left.publish.append(plan);
        left.results.push(result.clone());
        left.children.extend(Some(result).filter(|_| listed));
        if let (true, Some(Then::Part { group, .. })) = (is_part, &message.then) {
            left.grown.push((group.clone(), 1));
        }
    }
    Ok(())
}

/// A call, as an attempt has written it.
fn call_of(text: &Json) -> Result<Signature, Invalid> {
    text.read().map_err(|error| Invalid::wrong("signature", format!("cannot be read: {error}")))
}

fn verdict(
    attempted: Attempted<'_>,
    outcome: Outcome,
    effects: Effects,
    scope: &mut Scope<'_>,
    left: &mut Left,
) -> Verdict {
    // Also if it asked for another attempt and went on: the last attempt's outcome is the task's.
    if let Some(retry) = effects.retry_after(&outcome) {
        let task = scope.tasks.find(&attempted.message.task).ok().flatten();
        return retried(attempted, retry.clone(), task.as_deref());
    }
    match outcome {
        Outcome::Returned(result) => {
            Verdict::Success { result: if attempted.ignores_result() { Json::null() } else { result } }
        }
        Outcome::Raised(exception, traceback) => Verdict::Failure { exception, traceback, fault: None },
        Outcome::Faulted(fault) => Verdict::Failure {
            exception: fault.exception,
            traceback: fault.traceback,
            fault: Some(fault.kind.name().to_owned()),
        },
        Outcome::Retried => without_request("retry"),
        Outcome::Replaced => replaced(attempted, effects, scope, left),
        Outcome::Ignored => Verdict::Ignored,
        // Else its next delivery would look as if a host had been lost, and it would not run again; or one after many such.
        Outcome::Rejected(true)
            if attempted.options.runs_once() || attempted.message.is_redelivered(attempted.deliveries) =>
        {
            let message = attempted.message.clone();
            let message = Message { requeued: true, earlier_deliveries: attempted.deliveries, ..message };
            Verdict::Replaced { by: Box::new(Planned { message, awaits: None }) }
        }
        Outcome::Rejected(true) => Verdict::Requeued,
        Outcome::Rejected(false) => {
            left.refused = true;
            // The reason, which no task of ours gives, and whether it is queued again.
            failed(Exception::with_args(exc_module::CELERY, "Reject", &[None, Some(false)]))
        }
        Outcome::Stopped(Stop::Revoked | Stop::Interrupted | Stop::Lost) => Verdict::Revoked { reason: "terminated" },
    }
}

fn retried(attempted: Attempted<'_>, retry: RetryRequest, task: Option<&TaskDefinition>) -> Verdict {
    let exception = retry.exception.clone();
    let traceback = Some(format!("Retry in {}s: {exception}\n", retry.countdown.get()));
    let again = canvas::again(attempted.message, retry, task);
    let (eta, earlier_deliveries) = (again.eta.filter(|_| !attempted.eager), attempted.deliveries);
    Verdict::Retry {
        exception,
        traceback,
        again: Box::new(Message { eta, earlier_deliveries, requeued: false, ..again }),
    }
}

fn replaced(attempted: Attempted<'_>, effects: Effects, scope: &mut Scope<'_>, left: &mut Left) -> Verdict {
    let Some(text) = effects.replace else { return without_request("replacement") };
    let call = match call_of(&text) {
        Ok(call) => call,
        Err(invalid) => {
            left.drop_sent();
            return value_error(&invalid);
        }
    };
    if attempted.message.embed.is_some() {
        return match inline::replacement(attempted.message, &call, scope) {
            Ok(sent) => {
                left.inline.append(sent.inline);
                Verdict::HandedOn { to: call.task }
            }
            Err(invalid) => {
                left.drop_sent();
                value_error(&invalid)
            }
        };
    }
    match canvas::replacement(attempted.message, call, scope) {
        Ok((by, others)) => {
            left.publish.append(others);
            let Planned { message, awaits } = *by;
            let message = Message { earlier_deliveries: attempted.deliveries, ..message };
            Verdict::Replaced { by: Box::new(Planned { message, awaits }) }
        }
        Err(invalid) => {
            left.drop_sent();
            value_error(&invalid)
        }
    }
}

/// The sandbox promises a request with such an outcome; without one there is nothing to run next.
fn without_request(what: &str) -> Verdict {
    let text = format!("it ended for a {what} that it did not ask for");
    let exception = Exception::new(exc_module::LOVAGE, "ContractViolation", text);
    Verdict::Failure { exception, traceback: None, fault: Some("contract".to_owned()) }
}

fn value_error(invalid: &Invalid) -> Verdict {
    if invalid.kind == Fault::Empty {
        return failed(Exception::new(exc_module::CELERY, "ImproperlyConfigured", invalid.message.clone()));
    }
    failed(Exception::new(exc_module::BUILTINS, "ValueError", invalid.to_string()))
}

fn failed(exception: Exception) -> Verdict {
    Verdict::Failure { exception, traceback: None, fault: None }
}

/// The whole of it: what is linked to the task is sent, and those who wait for it get their part.
fn settlement(
    attempted: Attempted<'_>,
    verdict: Verdict,
    value: Option<Json>,
    mut left: Left,
    scope: &mut Scope<'_>,
) -> Settlement {
    let (message, at) = (attempted.message, scope.now);
    if message.embed.is_some() {
        let sent = handed_on(message, &verdict, value.as_ref(), scope);
        left.inline.append(sent.inline);
        left.children.extend(sent.children);
        left.log.records.extend(sent.refused.into_iter().map(|text| record(at, text)));
    }
    let linked = match (&verdict, &value) {
        (Verdict::Success { .. }, Some(value)) => links::callbacks(message, value, scope),
        (Verdict::Failure { exception, traceback, .. }, _) => {
            links::errbacks(message, exception, traceback.as_deref(), scope)
        }
        _ => links::Linked::default(),
    };
    left.publish.append(linked.plan);
    left.children.extend(linked.children);
    left.log.records.extend(linked.refused.into_iter().map(|text| record(at, text)));
    if matches!(verdict, Verdict::Success { .. }) {
        left.children.extend(message.successor.clone());
    }
    let mut events = vec![Event::of(message, at, kind(attempted, &verdict, value.as_ref(), left.usage))];
    let refused = left.refused && attempted.options.acks_late;
    if refused || matches!(verdict, Verdict::Failure { .. }) && !attempted.options.acks_on_failure {
        events.push(Event::of(message, at, EventKind::Rejected { requeue: false }));
    }
    let ignore_result = attempted.ignores_result();
    Settlement {
        worker: attempted.worker.to_owned(),
        ignore_result,
        ignore_errors: ignore_result && !attempted.options.store_errors_even_if_ignored,
        arrival: arrival(message, &verdict, value),
        publish: left.publish,
        children: if attempted.options.trail { left.children } else { Vec::new() },
        grown: left.grown,
        inline: left.inline,
        room: scope.room,
        usage: left.usage,
        log: left.log,
        events,
        ..Settlement::of(verdict, at)
    }
}

/// What the end of a task in Celery's own form means for others.
fn handed_on(message: &Message, verdict: &Verdict, value: Option<&Json>, scope: &mut Scope<'_>) -> inline::Sent {
    match verdict {
        Verdict::Success { result } => inline::returned(message, value.unwrap_or(result), scope),
        Verdict::Failure { exception, traceback, .. } => {
            inline::failed(message, exception, traceback.as_deref(), scope)
        }
        Verdict::Revoked { reason } => inline::ended(message, &State::Revoked, &Exception::revoked(reason), scope),
        Verdict::Ignored => inline::ended(message, &State::Failure, &ignored(), scope),
        Verdict::Retry { .. } | Verdict::Replaced { .. } | Verdict::Requeued | Verdict::HandedOn { .. } => {
            inline::Sent::default()
        }
    }
}

fn ignored() -> Exception {
    Exception::new(exc_module::CELERY, "Ignore", "it ended without a result, so nothing can follow it")
}

/// What those who wait for a task get, if any do and it has ended.
fn arrival(message: &Message, verdict: &Verdict, value: Option<Json>) -> Option<Arrival> {
    message.then.as_ref()?;
    let failed = |exception| Arrival::Failed { task: message.id.clone(), exception };
    match verdict {
        Verdict::Success { result } => Some(Arrival::Value(value.unwrap_or_else(|| result.clone()))),
        Verdict::Failure { exception, .. } => Some(failed(exception.clone())),
        Verdict::Revoked { reason } => Some(failed(Exception::revoked(reason))),
        Verdict::Ignored => Some(failed(ignored())),
        Verdict::Retry { .. } | Verdict::Replaced { .. } | Verdict::Requeued | Verdict::HandedOn { .. } => None,
    }
}

fn record(at: Timestamp, message: String) -> LogRecord {
    LogRecord { at, level: LogLevel::Error, message }
}

/// What is told of it. As in Celery a value is shown also where it is not kept.
fn kind(attempted: Attempted<'_>, verdict: &Verdict, value: Option<&Json>, usage: Usage) -> EventKind {
    match verdict {
        Verdict::Success { result } => {
            let shown = value.unwrap_or(result);
            EventKind::succeeded(shown, attempted.options.resultrepr_maxsize, usage.wall_seconds)
        }
        Verdict::Failure { exception, traceback, .. } => EventKind::failed(exception, traceback.clone()),
        Verdict::Retry { exception, traceback, .. } => EventKind::retried(exception, traceback.clone()),
        Verdict::Revoked { reason } => {
            EventKind::Revoked { terminated: *reason == "terminated", expired: *reason == "expired" }
        }
        Verdict::Replaced { by } if by.message.requeued => EventKind::Rejected { requeue: true },
        Verdict::Replaced { by } => EventKind::Replaced { by: by.message.task.clone() },
        Verdict::HandedOn { to } => EventKind::Replaced { by: to.clone() },
        Verdict::Ignored => EventKind::Ignored,
        Verdict::Requeued => EventKind::Rejected { requeue: true },
    }
}

#[cfg(test)]
mod tests;
