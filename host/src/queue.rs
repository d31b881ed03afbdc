//! What may be queued?
//!
//! Admission turns what somebody asks for into a [`Message`], or says which field is wrong and why. Pure: the code, the
//! limits, the time and the id are arguments.
//!
//! Absent: the length of queues (only a store can count in the same step in which it stores), and the types of a task's
//! arguments (only the task knows them).

use lovage_model::api::SubmitRequest;
use lovage_model::{Json, Message, Signature, TaskId, Timestamp};

use crate::canvas;
use crate::modules::Code;

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
#[error("{field} {message}")]
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
        (None, Some(signature)) => single(signature),
        (Some(task), None) => Ok(Signature {
            kwargs: kwargs.unwrap_or_else(Json::empty_object),
            options: options.unwrap_or_default(),
            ..Signature::new(task, args.unwrap_or_else(Json::empty_array))
        }),
    }
}

/// Refuses a canvas before its name is looked up: no module exports `celery.chain`, but that is not what is wrong.
fn single(call: Signature) -> Result<Signature, Refusal> {
    match &call.subtask_type {
        None => Ok(call),
        Some(canvas) => Err(Refusal {
            code: RefusalCode::Canvas,
            field: "signature.subtask_type",
            message: format!("is {canvas:?}: this version runs single tasks; send those"),
        }),
    }
}

/// The message of a call, under `id`. `code` is what the call's task name was resolved to.
pub fn admit(call: Signature, id: TaskId, code: &Code, limits: &Limits, now: Timestamp) -> Result<Message, Refusal> {
    check_size(&call, limits)?;
    let mut call = Signature { task: code.definition.name.clone(), ..call };
    call.options.priority = call.options.priority.or(code.definition.options.priority);
    canvas::message(call, id, now).map_err(|canvas::Invalid { field, message }| invalid(field, message))
}

fn check_size(call: &Signature, limits: &Limits) -> Result<(), Refusal> {
    let headers: usize = call.options.headers.iter().map(|(name, value)| name.len() + value.as_str().len()).sum();
    let bytes = call.args.as_str().len() + call.kwargs.as_str().len() + headers;
    if bytes <= limits.message_bytes {
        return Ok(());
    }
    let most = limits.message_bytes;
    let message =
        format!("with kwargs and headers are {bytes} bytes, the limit is {most} (limits.message_bytes): send less");
    Err(Refusal { code: RefusalCode::TooLarge, field: "args", message })
}

#[cfg(test)]
mod tests;
