//! What is called before and after a task's run?

use std::fmt;

use lovage_model::Handler;

use crate::host::Raised;
use crate::{Context, Json, TaskError};

/// What a handler comes to.
pub(crate) type Handled = Result<(), TaskError>;

/// What a run came to: what it returned, or what it raised.
pub type Retval<'a> = Result<&'a Json, &'a Raised>;

/// The functions that `#[task(...)]` names, in Celery's order. See
/// <https://docs.celeryq.dev/en/stable/userguide/tasks.html#handlers>.
#[derive(Clone, Copy)]
pub struct Handlers {
    /// Before the run, which does not happen if it raises.
    pub before_start: Option<fn(&Context) -> Handled>,
    /// After a run that returned this.
    pub on_success: Option<fn(&Context, &Json) -> Handled>,
    /// After a run that will be tried again for this.
    pub on_retry: Option<fn(&Context, &Raised) -> Handled>,
    /// After a run that failed with this.
    pub on_failure: Option<fn(&Context, &Raised) -> Handled>,
    /// After either of success and failure: the state, and what it returned or raised.
    pub after_return: Option<fn(&Context, &str, Retval<'_>) -> Handled>,
}

/// What a handler is told.
#[derive(Clone, Copy)]
pub(crate) enum End<'a> {
    Success(&'a Json),
    Retry(&'a Raised),
    Failure(&'a Raised),
    Return(&'a str, Retval<'a>),
}

impl Handlers {
    /// Calls the one that is told of that end, if there is one.
    pub(crate) fn tell(&self, ctx: &Context, end: End<'_>) -> Handled {
        match end {
            End::Success(retval) => self.on_success.map_or(Ok(()), |handler| handler(ctx, retval)),
            End::Retry(exc) => self.on_retry.map_or(Ok(()), |handler| handler(ctx, exc)),
            End::Failure(exc) => self.on_failure.map_or(Ok(()), |handler| handler(ctx, exc)),
            End::Return(status, retval) => self.after_return.map_or(Ok(()), |handler| handler(ctx, status, retval)),
        }
    }

    /// No functions.
    pub const NONE: Self =
        Self { before_start: None, on_success: None, on_retry: None, on_failure: None, after_return: None };

    /// Those that there are.
    pub(crate) fn names(&self) -> Vec<Handler> {
        let all = [
            (self.before_start.is_some(), Handler::BeforeStart),
            (self.on_success.is_some(), Handler::OnSuccess),
            (self.on_retry.is_some(), Handler::OnRetry),
            (self.on_failure.is_some(), Handler::OnFailure),
            (self.after_return.is_some(), Handler::AfterReturn),
        ];
        all.into_iter().filter_map(|(there, handler)| there.then_some(handler)).collect()
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
