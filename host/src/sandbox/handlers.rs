//! Which handlers follow a run, and how are they called?
//!
//! Celery's order: after a success `on_success` and `after_return`, after a failure `on_failure` and `after_return`, after
//! a retry `on_retry` alone; nothing after an order, an `Ignore`, a `Reject` or a replacement. Only what the task declares.

use std::sync::Arc;

use lovage_model::{Exception, Handler, Json, Request};
use wasmtime::Store;

use super::bindings::lovage::task::types;
use super::guest::Guest;
use super::linked::Instance;
use crate::attempt::{Effects, Fault, Outcome};

/// What a handler is told: what the run returned, or what it raised.
pub(super) type Came = Result<Json, types::Exception>;

/// The handlers to be called after a run, and what they are told.
pub(super) fn following(declared: &[Handler], outcome: &Outcome, effects: &Effects) -> Vec<(Handler, Came)> {
    let (handlers, came): (&[Handler], Came) = match (effects.retry_after(outcome), outcome) {
        (Some(retry), _) => (&[Handler::OnRetry], Err(raised(&retry.exception, None))),
        (None, Outcome::Returned(value)) => (&[Handler::OnSuccess, Handler::AfterReturn], Ok(value.clone())),
        (None, Outcome::Raised(exception, traceback))
        | (None, Outcome::Faulted(Fault { exception, traceback, .. })) => {
            (&[Handler::OnFailure, Handler::AfterReturn], Err(raised(exception, traceback.as_deref())))
        }
        _ => return Vec::new(),
    };
    let declared = handlers.iter().filter(|handler| declared.contains(handler));
    declared.map(|handler| (*handler, came.clone())).collect()
}

/// Calls a handler; the inner error is what it raised.
pub(super) async fn tell(
    instance: &Instance,
    store: &mut Store<Guest>,
    handler: Handler,
    came: Came,
) -> wasmtime::Result<Result<(), types::Exception>> {
    let Some(handlers) = &instance.handlers else { return Ok(Ok(())) };
    let attempt = Arc::clone(&store.data().attempt);
    let Request { task, args, kwargs, .. } = &attempt.request;
    let (task, args, kwargs) = (task.as_str(), args.as_str(), kwargs.as_str());
    match (handler, &came) {
        (Handler::OnSuccess, Ok(value)) => handlers.call_on_success(store, task, value.as_str(), args, kwargs).await,
        (Handler::OnRetry, Err(raised)) => handlers.call_on_retry(store, task, raised, args, kwargs).await,
        (Handler::OnFailure, Err(raised)) => handlers.call_on_failure(store, task, raised, args, kwargs).await,
        (Handler::AfterReturn, came) => {
            let status = if came.is_ok() { "SUCCESS" } else { "FAILURE" };
            let came = came.as_ref().map(Json::as_str);
            handlers.call_after_return(store, task, status, came, args, kwargs).await
        }
        _ => Ok(Ok(())),
    }
}

fn raised(exception: &Exception, traceback: Option<&str>) -> types::Exception {
    types::Exception {
        exc_type: exception.exc_type.clone(),
        exc_message: exception.exc_message.to_string(),
        exc_module: exception.exc_module.clone(),
        traceback: traceback.unwrap_or_default().to_owned(),
    }
}
