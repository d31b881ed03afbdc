//! Which failures must the operator hear of? Those that nobody expects: the task's own `throws` says which it does.
//!
//! Texts of a guest are logged as quoted fields, so that they cannot pass for lines of the daemon's own.

use lovage_model::{EventKind, Message, TaskOptions, Verdict};

/// Logs a failure: without alarm if the options in force say that it may be, else with its traceback.
pub(super) fn log_failure(message: &Message, verdict: &Verdict, options: &TaskOptions) {
    let Verdict::Failure { exception, traceback, fault } = verdict else { return };
    let (task_id, name) = (&message.id, &message.task);
    let shadow = message.shadow.as_ref().map(tracing::field::debug);
    // Cut, as it is for those who watch: a guest says how long its texts are.
    let EventKind::Failed { exception: shown, traceback, .. } = EventKind::failed(exception, traceback.clone()) else {
        return;
    };
    if fault.is_none() && options.expects(exception) {
        tracing::info!(%task_id, %name, shadow, exception = ?shown, "a task failed, as its throws says that it may");
    } else {
        tracing::error!(%task_id, %name, shadow, exception = ?shown, traceback = ?traceback.unwrap_or_default(), "a task failed");
    }
}
