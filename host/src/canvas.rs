//! Which messages follow?
//!
//! Turns calls into messages: a client's signature, a guest's subtask, a retry, a replacement. Pure: ids and the time are
//! arguments. What Celery's canvas would expand (chains, groups, chords) is refused.

use std::time::Duration;

use lovage_model::{Expires, Message, Seconds, Signature, TaskId, TimeLimit, Timestamp};

use crate::attempt::RetryRequest;

/// The most replacements of one task by another, under one id.
const MAX_REPLACEMENTS: u32 = 100;

/// Why a call cannot become a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
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
    let options = call.options;
    Ok(Message {
        root_id: id.clone(),
        id,
        task: call.task,
        args: call.args,
        kwargs: call.kwargs,
        queue: options.queue.unwrap_or_default(),
        priority: options.priority.unwrap_or(0),
        retries: 0,
        eta: eta(options.eta, options.countdown, now)?,
        expires: expires(options.expires, now),
        timelimit: TimeLimit { soft: options.soft_time_limit, hard: options.time_limit },
        fuel: options.fuel,
        parent_id: None,
        ignore_result: options.ignore_result,
        shadow: options.shadow,
        origin: None,
        replaced_task_nesting: 0,
        headers: options.headers,
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
        return invalid("replace", format!("the task was replaced {MAX_REPLACEMENTS} times already: it may be a loop"));
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
        return invalid("subtask_type", format!("{canvas}: this version runs single tasks only; leave it null"));
    }
    if !call.args.is_array() {
        return invalid("args", "must be a JSON array, such as [1, 2]");
    }
    if !call.kwargs.is_object() {
        return invalid("kwargs", "must be a JSON object, such as {\"x\": 1}");
    }
    if let Some(priority) = call.options.priority.filter(|priority| *priority > 9) {
        return invalid("priority", format!("{priority} is not between 0 (first) and 9 (last)"));
    }
    if call.options.fuel == Some(0) {
        return invalid("fuel", "0 would stop the task before it starts; leave it out to run without a budget");
    }
    match (call.options.soft_time_limit, call.options.time_limit) {
        (Some(soft), Some(hard)) if soft > hard => invalid(
            "soft_time_limit",
            format!(
                "{} is over the time_limit of {}: the task would be killed before it is told",
                soft.get(),
                hard.get()
            ),
        ),
        (_, Some(hard)) if hard.get() == 0.0 => {
            invalid("time_limit", "0 would stop the task before it starts; leave it out for the default")
        }
        _ => Ok(()),
    }
}

fn eta(eta: Option<Timestamp>, countdown: Option<Seconds>, now: Timestamp) -> Result<Option<Timestamp>, Invalid> {
    match (eta, countdown) {
        (Some(_), Some(_)) => invalid("eta", "give either eta or countdown, not both"),
        (Some(eta), None) if eta > now.after(Duration::from_secs_f64(Seconds::MAX)) => {
            invalid("eta", format!("{eta} is more than a year ahead"))
        }
        (Some(eta), None) => Ok(Some(eta).filter(|eta| *eta > now)),
        (None, Some(countdown)) if countdown.get() > 0.0 => Ok(Some(now.after(countdown.duration()))),
        (None, _) => Ok(None),
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
        assert_eq!(field(|c| c.options.priority = Some(10)), "priority");
        assert_eq!(field(|c| c.args = Json::null()), "args");
        assert_eq!(field(|c| c.kwargs = Json::empty_array()), "kwargs");
        assert_eq!(field(|c| c.options.fuel = Some(0)), "fuel");
        assert_eq!(field(|c| c.subtask_type = Some("chord".into())), "subtask_type");
        assert_eq!(field(|c| c.options.eta = Some(Timestamp::from_micros(i64::MAX))), "eta");
        assert_eq!(field(|c| c.options.time_limit = Some(Seconds::new(0.0).unwrap())), "time_limit");
        let soft_over_hard = |c: &mut Signature| {
            c.options.soft_time_limit = Some(Seconds::new(2.0).unwrap());
            c.options.time_limit = Some(Seconds::new(1.0).unwrap());
        };
        assert_eq!(field(soft_over_hard), "soft_time_limit");
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
        };
        let second = again(&first, retry);
        assert_eq!((second.retries, second.args.as_str(), &second.kwargs), (1, "[1]", &first.kwargs));
    }
}
