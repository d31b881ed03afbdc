//! What may be queued?
//!
//! Admission turns what somebody asks for into a [`Message`], or says which field is wrong and why. Pure: the code, the
//! limits, the time and the id are arguments. Every message in a store has passed here, whether it came over HTTP or
//! from a running task.
//!
//! Absent: the length of queues (only a store can count in the same step in which it stores), and the types of a task's
//! arguments (only the task knows them).

use std::time::Duration;

use lovage_model::api::SubmitRequest;
use lovage_model::{Expires, Json, Message, Seconds, Signature, SignatureOptions, TaskId, TimeLimit, Timestamp};

use crate::modules::Code;

/// The longest name for logs and lists, in bytes.
const SHADOW_BYTES: usize = 255;
/// The lowest priority.
const LOWEST: u8 = 9;

/// What the operator lets into a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Arguments and headers of one message together, in bytes.
    pub message_bytes: usize,
    /// The most messages of a tenant that wait, ready or scheduled.
    pub queued_tasks: u64,
}

/// Why a message was not queued. The text names the field, the value, the limit and the cure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Refusal {
    /// What kind of refusal.
    pub code: RefusalCode,
    /// Where in the request, such as `options.eta`.
    pub field: &'static str,
    /// What is wrong, and what to do.
    pub message: String,
}

/// Kinds of refusals, for those who must tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalCode {
    /// A field is missing, or is not what it must be.
    Invalid,
    /// The message is larger than the operator allows.
    TooLarge,
    /// A canvas: this version runs single tasks.
    Canvas,
}

fn invalid(field: &'static str, message: impl Into<String>) -> Refusal {
    Refusal { code: RefusalCode::Invalid, field, message: message.into() }
}

/// The call that a request describes: its `signature`, or its `task` with `args`, `kwargs` and `options`.
pub fn call(request: SubmitRequest) -> Result<Signature, Refusal> {
    let SubmitRequest { task, args, kwargs, options, signature } = request;
    match (task, signature) {
        (Some(_), Some(_)) => Err(invalid("signature", "stands beside task: send one of the two")),
        (None, None) => Err(invalid("task", "is missing: send a task, or a signature")),
        (None, Some(_)) if args.is_some() || kwargs.is_some() || options.is_some() => {
            Err(invalid("signature", "holds args, kwargs and options itself: move those beside it into it"))
        }
        (None, Some(signature)) => Ok(signature),
        (Some(task), None) => Ok(Signature {
            kwargs: kwargs.unwrap_or_else(Json::empty_object),
            options: options.unwrap_or_default(),
            ..Signature::new(task, args.unwrap_or_else(Json::empty_array))
        }),
    }
}

/// The message of a call, under `id`. `code` is what the call's task name was resolved to.
pub fn admit(call: Signature, id: TaskId, code: &Code, limits: &Limits, now: Timestamp) -> Result<Message, Refusal> {
    let Signature { task: _, args, kwargs, options, subtask_type, immutable: _ } = call;
    if let Some(canvas) = subtask_type {
        let message = format!("is {canvas:?}: canvas is not supported by this version; send single tasks");
        return Err(Refusal { code: RefusalCode::Canvas, field: "signature.subtask_type", message });
    }
    check_payload(&args, &kwargs, &options, limits)?;
    let timelimit = time_limit(&options)?;
    Ok(Message {
        root_id: id.clone(),
        id,
        task: code.definition.name.clone(),
        args,
        kwargs,
        priority: priority(&options, code)?,
        retries: 0,
        eta: eta(&options, now)?,
        expires: options.expires.map(|expires| match expires {
            Expires::In(seconds) => now.after(seconds.duration()),
            Expires::At(time) => time,
        }),
        timelimit,
        fuel: fuel(&options)?,
        queue: options.queue.unwrap_or_default(),
        parent_id: None,
        ignore_result: options.ignore_result,
        shadow: shadow(options.shadow)?,
        origin: None,
        replaced_task_nesting: 0,
        headers: options.headers,
    })
}

/// The message of a call that a running task made, under the id it was promised.
pub fn subtask(
    parent: &Message,
    (id, call): (TaskId, Signature),
    code: &Code,
    limits: &Limits,
    now: Timestamp,
) -> Result<Message, Refusal> {
    let message = admit(call, id, code, limits, now)?;
    Ok(Message { root_id: parent.root_id.clone(), parent_id: Some(parent.id.clone()), ..message })
}

fn check_payload(args: &Json, kwargs: &Json, options: &SignatureOptions, limits: &Limits) -> Result<(), Refusal> {
    if !args.is_array() {
        return Err(invalid("args", format!("is {}: positional arguments are a JSON array", glimpse(args))));
    }
    if !kwargs.is_object() {
        return Err(invalid("kwargs", format!("is {}: keyword arguments are a JSON object", glimpse(kwargs))));
    }
    let headers: usize = options.headers.iter().map(|(name, value)| name.len() + value.as_str().len()).sum();
    let bytes = args.as_str().len() + kwargs.as_str().len() + headers;
    if bytes <= limits.message_bytes {
        return Ok(());
    }
    let most = limits.message_bytes;
    let message =
        format!("with kwargs and headers are {bytes} bytes, the limit is {most} (limits.message_bytes): send less");
    Err(Refusal { code: RefusalCode::TooLarge, field: "args", message })
}

/// The first characters of a value, to show which one is meant.
fn glimpse(json: &Json) -> String {
    json.as_str().chars().take(40).collect()
}

fn priority(options: &SignatureOptions, code: &Code) -> Result<u8, Refusal> {
    match options.priority {
        Some(asked) if asked > LOWEST => {
            Err(invalid("options.priority", format!("is {asked}: priorities are 0 (first) to {LOWEST} (last)")))
        }
        Some(asked) => Ok(asked),
        // A module may declare any number; one that is too low means the lowest.
        None => Ok(code.definition.options.priority.unwrap_or_default().min(LOWEST)),
    }
}

/// When to run it at the earliest: as in Celery, `countdown` goes before `eta`, and a time in the past means now.
fn eta(options: &SignatureOptions, now: Timestamp) -> Result<Option<Timestamp>, Refusal> {
    let latest = now.after(Duration::from_secs_f64(Seconds::MAX));
    match (options.countdown, options.eta) {
        (Some(countdown), _) => Ok(Some(now.after(countdown.duration()))),
        (None, Some(eta)) if eta > latest => {
            Err(invalid("options.eta", format!("is {eta}: more than a year away; the latest is {latest}")))
        }
        (None, eta) => Ok(eta),
    }
}

fn time_limit(options: &SignatureOptions) -> Result<TimeLimit, Refusal> {
    let (soft, hard) = (options.soft_time_limit, options.time_limit);
    for (field, limit) in [("options.soft_time_limit", soft), ("options.time_limit", hard)] {
        if limit.is_some_and(|limit| limit.get() == 0.0) {
            return Err(invalid(field, "is 0: a limit is more than 0 seconds; leave it out for the default"));
        }
    }
    match (soft, hard) {
        (Some(soft), Some(hard)) if soft > hard => Err(invalid(
            "options.soft_time_limit",
            format!("is {}, above the time_limit of {}: it would never be met", soft.get(), hard.get()),
        )),
        _ => Ok(TimeLimit { soft, hard }),
    }
}

fn fuel(options: &SignatureOptions) -> Result<Option<u64>, Refusal> {
    match options.fuel {
        Some(0) => Err(invalid("options.fuel", "is 0: no task can run on that; leave it out for the default")),
        fuel => Ok(fuel),
    }
}

fn shadow(shadow: Option<String>) -> Result<Option<String>, Refusal> {
    match shadow {
        Some(text) if text.len() > SHADOW_BYTES || text.chars().any(char::is_control) => Err(invalid(
            "options.shadow",
            format!("is a name for logs and lists: at most {SHADOW_BYTES} bytes, no control characters"),
        )),
        shadow => Ok(shadow),
    }
}

#[cfg(test)]
mod tests;
