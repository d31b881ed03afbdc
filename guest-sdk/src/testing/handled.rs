//! Which handlers does the fake host call after a run?

use std::rc::Rc;

use lovage_model::{Exception, LogLevel, exc_module};

use super::{FakeHost, Outcome};
use crate::handlers::End;
use crate::host::{Host, Raised, RetryOptions};
use crate::{Entry, run};

impl FakeHost {
    /// Tells the task's handlers how it ended.
    pub(super) fn tell(&self, task: &[Entry], outcome: &Outcome) {
        if let Some(later) = self.retry_later() {
            return self.call_handler(task, "on_retry", End::Retry(&why(&later)));
        }
        match outcome {
            Outcome::Returned(retval) => {
                self.call_handler(task, "on_success", End::Success(retval));
                self.call_handler(task, "after_return", End::Return("SUCCESS", Ok(retval)));
            }
            Outcome::Raised(exc) => {
                self.call_handler(task, "on_failure", End::Failure(exc));
                self.call_handler(task, "after_return", End::Return("FAILURE", Err(exc)));
            }
            Outcome::Retried(options) => self.call_handler(task, "on_retry", End::Retry(&why(options))),
            Outcome::Replaced(_) | Outcome::Ignored | Outcome::Rejected { .. } => {}
        }
    }

    fn call_handler(&self, task: &[Entry], name: &str, end: End<'_>) {
        let Some(entry) = task.first() else { return };
        if let Err(raised) = run::after(task, Rc::new(self.clone()), entry.definition.name, end) {
            self.log(LogLevel::Error, &format!("{name} raised {}", raised.exception));
        }
    }
}

/// Why a task is tried again; one that does not say is told that it is.
fn why(options: &RetryOptions) -> Raised {
    options.exc.clone().unwrap_or_else(|| Exception::new(exc_module::CELERY, "Retry", "Retry").into())
}
