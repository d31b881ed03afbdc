//! A message that cannot run, with everything of it that could be read: whoever waits for it, for its chord or for what
//! follows it, gets an answer. The exceptions are those that Celery or kombu have for it, so a Python client raises them.

use std::fmt;

use lovage_model::{Exception, Message, TaskId, exc_module};

use super::read::Delivery;

/// A message that cannot run.
#[derive(Debug, Clone, PartialEq)]
pub struct Poison {
    /// As much of it as could be read, if that is at least its id. It must not run: what could not be read is missing in it,
    /// a name that no task can have is spelled with `_`, and such an id with `%`.
    pub message: Option<Box<Message>>,
    /// The id that its sender gave it, if no task can have that: who waits for it looks there.
    pub misnamed: Option<String>,
    /// How it came.
    pub delivery: Delivery,
    /// What it fails with.
    pub exception: Exception,
}

impl Poison {
    /// Of a message of which not even the id can be read.
    pub(super) fn nameless(delivery: Delivery, exception: Exception) -> Box<Self> {
        Box::new(Self { message: None, misnamed: None, delivery, exception })
    }

    /// The task that fails, if its id could be read.
    pub fn id(&self) -> Option<&TaskId> {
        self.message.as_ref().map(|message| &message.id)
    }
}

impl fmt::Display for Poison {
    /// `InvalidTaskError: expires is "soon", which is no time`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.exception.fmt(f)
    }
}

impl std::error::Error for Poison {}

/// The message is not what it says it is.
pub(super) fn undecodable(why: impl fmt::Display) -> Exception {
    Exception::new(exc_module::KOMBU, "DecodeError", why.to_string())
}

/// It is written in a way that is not accepted.
pub(super) fn disallowed(content_type: &str) -> Exception {
    let short: String = content_type.chars().take(80).collect();
    let shown = match content_type {
        "application/x-python-serialize" => format!("pickle ({short})"),
        "application/x-yaml" => format!("yaml ({short})"),
        _ => short,
    };
    let text = format!("Refusing to deserialize untrusted content of type {shown}");
    Exception::new(exc_module::KOMBU, "ContentDisallowed", text)
}

/// Something of the message has a value that it cannot have.
pub(super) fn invalid(why: impl fmt::Display) -> Exception {
    Exception::new(exc_module::CELERY, "InvalidTaskError", why.to_string())
}

/// No task can have this name.
pub(super) fn not_registered(name: &str) -> Exception {
    Exception::new(exc_module::CELERY, "NotRegistered", name)
}

/// A body that is no triple of arguments, keyword arguments and what follows; none: it is no list at all.
pub(super) fn no_triple(items: Option<usize>) -> Exception {
    let text = match items {
        Some(got @ 0..3) => format!("not enough values to unpack (expected 3, got {got})"),
        Some(_) => "too many values to unpack (expected 3)".to_owned(),
        None => "cannot unpack the body: it is no list (expected 3 values)".to_owned(),
    };
    Exception::new(exc_module::BUILTINS, "ValueError", text)
}

/// A number that Python's JSON has and JSON has not: `nan`, `inf` or `-inf`.
pub(super) fn not_finite(shown: &str) -> Exception {
    let text = format!("Out of range float values are not JSON compliant: {shown}");
    Exception::new(exc_module::BUILTINS, "ValueError", text)
}
