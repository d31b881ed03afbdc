//! How did a run on a fake host end?

use lovage_model::{Exception, Json, Signature};
use serde::de::DeserializeOwned;

use crate::host::{Raised, RetryOptions};

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum Outcome {
    /// It returned this.
    Returned(Json),
    /// It raised this.
    Raised(Raised),
    /// It asked for another attempt.
    Retried(RetryOptions),
    /// It asked for another task in its place.
    Replaced(Box<Signature>),
    /// It left no result.
    Ignored,
    /// It refused the message.
    Rejected {
        /// Whether to queue it again.
        requeue: bool,
    },
}

impl Outcome {
    /// The value returned. Panics if the task ended otherwise, or if it is not of that type.
    #[track_caller]
    pub fn value<T: DeserializeOwned>(&self) -> T {
        match self {
            Self::Returned(json) => json.read().unwrap_or_else(|error| panic!("{json} is another type: {error}")),
            other => panic!("the task returned nothing: {other:?}"),
        }
    }

    /// The exception raised. Panics if the task ended otherwise.
    #[track_caller]
    pub fn exception(&self) -> &Exception {
        match self {
            Self::Raised(raised) => &raised.exception,
            other => panic!("the task raised nothing: {other:?}"),
        }
    }

    /// The retry asked for. Panics if the task ended otherwise.
    #[track_caller]
    pub fn retry(&self) -> &RetryOptions {
        match self {
            Self::Retried(options) => options,
            other => panic!("the task asked for no retry: {other:?}"),
        }
    }

    /// The task asked for in its place. Panics if the task ended otherwise.
    #[track_caller]
    pub fn replacement(&self) -> &Signature {
        match self {
            Self::Replaced(signature) => signature,
            other => panic!("the task asked for no replacement: {other:?}"),
        }
    }
}
