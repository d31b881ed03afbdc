//! Which messages follow?
//!
//! Turns calls into messages: a client's signature, a guest's subtask, a retry, a replacement. Pure: ids and the time are
//! arguments. What Celery's canvas would expand (chains, groups, chords) is refused.

use std::time::Duration;

use lovage_model::{Expires, Json, Message, Seconds, Signature, SignatureOptions, TaskId, TimeLimit, Timestamp};

use crate::attempt::RetryRequest;

/// The most replacements of one task by another, under one id.
const MAX_REPLACEMENTS: u32 = 100;
/// The lowest priority.
const LOWEST: u8 = 9;
/// The longest name for logs and lists, in bytes.
const SHADOW_BYTES: usize = 255;

/// Why a call cannot become a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {message}")]
pub struct Invalid {
    /// Which part of the call, such as `priority`.
    pub field: &'static str,
    /// What is wrong with it, and what is allowed.
    pub message: String,
}

fn invalid<T>(field: &'static str, message: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid { field, message: message.into() })
}

/// A message for a call that has no parent. The id in the signature, if any, is the caller's to honour.
pub fn message(call: Signature, id: TaskId, now: Timestamp) -> Result<Message, Invalid> {
    check(&call)?;
    let eta = eta(&call.options, now)?;
    let options = call.options;
    Ok(Message {
        args: call.args,
        kwargs: call.kwargs,
        queue: options.queue.unwrap_or_default(),
        priority: options.priority.unwrap_or(0),
        eta,
        expires: expires(options.expires, now),
        timelimit: TimeLimit { soft: options.soft_time_limit, hard: options.time_limit },
        fuel: options.fuel,
        ignore_result: options.ignore_result,
        shadow: options.shadow,
        headers: options.headers,
        ..Message::new(id, call.task)
    })
}

/// A message for a call made by a running task. It goes to the parent's queue unless the call says otherwise.
pub fn subtask(parent: &Message, call: Signature, id: TaskId, now: Timestamp) -> Result<Message, Invalid> {
    let queue = call.options.queue.clone().unwrap_or_else(|| parent.queue.clone());
    let message = message(call, id, now)?;
    Ok(Message { queue, root_id: parent.root_id.clone(), parent_id: Some(parent.id.clone()), ..message })
}

/// The message that takes a running task's place: under its id, with its parent and root.
pub fn replacement(replaced: &Message, call: Signature, now: Timestamp) -> Result<Message, Invalid> {
    let nesting = replaced.replaced_task_nesting + 1;
    if nesting > MAX_REPLACEMENTS {
        return invalid(
            "replace",
            format!("is refused: the task was replaced {MAX_REPLACEMENTS} times already: it may be a loop"),
        );
    }
    let queue = call.options.queue.clone().unwrap_or_else(|| replaced.queue.clone());
    let message = message(call, replaced.id.clone(), now)?;
    Ok(Message {
        queue,
        root_id: replaced.root_id.clone(),
        parent_id: replaced.parent_id.clone(),
        ignore_result: message.ignore_result.or(replaced.ignore_result),
        replaced_task_nesting: nesting,
        ..message
    })
}

/// The next attempt of a task that asked for one.
pub fn again(message: &Message, retry: RetryRequest) -> Message {
    Message {
        retries: message.retries + 1,
        eta: Some(retry.eta),
        args: retry.args.unwrap_or_else(|| message.args.clone()),
        kwargs: retry.kwargs.unwrap_or_else(|| message.kwargs.clone()),
        ..message.clone()
    }
}

fn check(call: &Signature) -> Result<(), Invalid> {
    if let Some(canvas) = &call.subtask_type {
        return invalid("signature.subtask_type", format!("is {canvas:?}: this version runs single tasks; send those"));
    }
    if !call.args.is_array() {
        return invalid("args", format!("is {}: positional arguments are a JSON array", glimpse(&call.args)));
    }
    if !call.kwargs.is_object() {
        return invalid("kwargs", format!("is {}: keyword arguments are a JSON object", glimpse(&call.kwargs)));
    }
    check_numbers(&call.options)?;
    match &call.options.shadow {
        Some(text) if text.len() > SHADOW_BYTES || text.chars().any(char::is_control) => invalid(
            "options.shadow",
            format!("is a name for logs and lists: at most {SHADOW_BYTES} bytes, no control characters"),
        ),
        _ => Ok(()),
    }
}

fn check_numbers(options: &SignatureOptions) -> Result<(), Invalid> {
    if let Some(asked) = options.priority.filter(|asked| *asked > LOWEST) {
        return invalid("options.priority", format!("is {asked}: priorities are 0 (first) to {LOWEST} (last)"));
    }
    if options.fuel == Some(0) {
        return invalid("options.fuel", "is 0: no task can run on that; leave it out for the default");
    }
    let (soft, hard) = (options.soft_time_limit, options.time_limit);
    for (field, limit) in [("options.soft_time_limit", soft), ("options.time_limit", hard)] {
        if limit.is_some_and(|limit| limit.get() == 0.0) {
            return invalid(field, "is 0: a limit is more than 0 seconds; leave it out for the default");
        }
    }
    match (soft, hard) {
        (Some(soft), Some(hard)) if soft > hard => invalid(
            "options.soft_time_limit",
            format!("is {}, above the time_limit of {}: it would never be met", soft.get(), hard.get()),
        ),
        _ => Ok(()),
    }
}

/// The first characters of a value, to show which one is meant.
fn glimpse(json: &Json) -> String {
    json.as_str().chars().take(40).collect()
}

/// When to run it at the earliest: as in Celery, `countdown` goes before `eta`, and a time in the past means now.
fn eta(options: &SignatureOptions, now: Timestamp) -> Result<Option<Timestamp>, Invalid> {
    let latest = now.after(Duration::from_secs_f64(Seconds::MAX));
    match (options.countdown, options.eta) {
        (Some(countdown), _) => Ok(Some(now.after(countdown.duration())).filter(|eta| *eta > now)),
        (None, Some(eta)) if eta > latest => {
            invalid("options.eta", format!("is {eta}: more than a year away; the latest is {latest}"))
        }
        (None, eta) => Ok(eta.filter(|eta| *eta > now)),
    }
}

fn expires(expires: Option<Expires>, now: Timestamp) -> Option<Timestamp> {
    expires.map(|expires| match expires {
        Expires::In(seconds) => now.after(seconds.duration()),
        Expires::At(time) => time,
    })
}

#[cfg(test)]
mod tests {
    use lovage_model::{Exception, Json, TaskName};

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);

    fn call() -> Signature {
        Signature::new(TaskName::new("tour.add").unwrap(), Json::empty_array())
    }

    fn id(text: &str) -> TaskId {
        TaskId::new(text).unwrap()
    }

    fn field(change: impl FnOnce(&mut Signature)) -> &'static str {
        let mut call = call();
        change(&mut call);
        message(call, id("a"), NOW).unwrap_err().field
    }

    #[test]
    fn what_cannot_be_sent_names_its_field() {
        assert_eq!(field(|c| c.options.priority = Some(10)), "options.priority");
        assert_eq!(field(|c| c.args = Json::null()), "args");
        assert_eq!(field(|c| c.kwargs = Json::empty_array()), "kwargs");
        assert_eq!(field(|c| c.options.fuel = Some(0)), "options.fuel");
        assert_eq!(field(|c| c.subtask_type = Some("chord".into())), "signature.subtask_type");
        assert_eq!(field(|c| c.options.eta = Some(Timestamp::from_micros(i64::MAX))), "options.eta");
        assert_eq!(field(|c| c.options.time_limit = Some(Seconds::new(0.0).unwrap())), "options.time_limit");
        let soft_over_hard = |c: &mut Signature| {
            c.options.soft_time_limit = Some(Seconds::new(2.0).unwrap());
            c.options.time_limit = Some(Seconds::new(1.0).unwrap());
        };
        assert_eq!(field(soft_over_hard), "options.soft_time_limit");
    }

    #[test]
    fn a_countdown_is_an_eta_and_a_past_eta_is_now() {
        let mut soon = call();
        soon.options.countdown = Some(Seconds::new(1.5).unwrap());
        assert_eq!(message(soon, id("a"), NOW).unwrap().eta, Some(Timestamp::from_micros(1_001_500_000)));
        let mut past = call();
        past.options.eta = Some(Timestamp::from_micros(1));
        assert_eq!(message(past, id("a"), NOW).unwrap().eta, None);
    }

    #[test]
    fn lineage_is_kept() {
        let root = message(call(), id("root"), NOW).unwrap();
        let child = subtask(&root, call(), id("child"), NOW).unwrap();
        let grandchild = subtask(&child, call(), id("grandchild"), NOW).unwrap();
        assert_eq!((grandchild.root_id, grandchild.parent_id), (id("root"), Some(id("child"))));
        let replaced = replacement(&child, call(), NOW).unwrap();
        assert_eq!((&replaced.id, &replaced.parent_id), (&id("child"), &Some(id("root"))));
    }

    #[test]
    fn replacing_ends_somewhere() {
        let mut message = message(call(), id("a"), NOW).unwrap();
        for _ in 0..MAX_REPLACEMENTS {
            message = replacement(&message, call(), NOW).unwrap();
        }
        assert_eq!(replacement(&message, call(), NOW).unwrap_err().field, "replace");
    }

    #[test]
    fn a_retry_is_the_same_call_once_more() {
        let first = message(call(), id("a"), NOW).unwrap();
        let retry = RetryRequest {
            exception: Exception::revoked("x"),
            eta: NOW,
            countdown: Seconds::new(0.0).unwrap(),
            args: Some(Json::from(serde_json::json!([1]))),
            kwargs: None,
            throw: true,
        };
        let second = again(&first, retry);
        assert_eq!((second.retries, second.args.as_str(), &second.kwargs), (1, "[1]", &first.kwargs));
    }
}
