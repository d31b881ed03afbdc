//! What can a task declare about how it runs?

use lovage_model::{Compression, Serializer};
use serde::Serialize;

/// What `#[task(...)]` was given, with Celery's names; times are in seconds. `lovage_model::TaskOptions` says what each
/// means; here they are constants, so that a module needs no code to make them.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct TaskOptions {
    /// How many retries before it fails; none: for ever.
    pub max_retries: Option<u32>,
    /// Seconds to wait before a retry that does not say.
    pub default_retry_delay: f64,
    /// Exceptions that make the task retry by itself.
    pub autoretry_for: &'static [&'static str],
    /// Exceptions that do not, though `autoretry_for` names them.
    pub dont_autoretry_for: &'static [&'static str],
    /// Seconds before the first automatic retry, doubled for each that follows; none: `default_retry_delay` each time.
    pub retry_backoff: Option<f64>,
    /// The longest wait that `retry_backoff` comes to.
    pub retry_backoff_max: f64,
    /// Whether `retry_backoff` is the most of a random wait.
    pub retry_jitter: bool,
    /// Exceptions that are no news to the operator.
    pub throws: &'static [&'static str],
    /// Whether the message is kept until the task has ended.
    pub acks_late: bool,
    /// Whether a failure ends the message.
    pub acks_on_failure: bool,
    /// With `acks_late`: whether it runs again after its host died.
    pub reject_on_worker_lost: bool,
    /// Keep no result.
    pub ignore_result: bool,
    /// Whether exceptions are kept even so.
    pub store_errors_even_if_ignored: bool,
    /// Whether a running task shows as STARTED.
    pub track_started: bool,
    /// How many of it may start in a time, on each host.
    pub rate_limit: Option<&'static str>,
    /// Hard limit in seconds.
    pub time_limit: Option<f64>,
    /// Soft limit in seconds.
    pub soft_time_limit: Option<f64>,
    /// Seconds after which it is not started any more.
    pub expires: Option<f64>,
    /// 0 (first) to 9 (last), for messages that do not say.
    pub priority: Option<u8>,
    /// How its messages are written.
    pub serializer: Serializer,
    /// Whether its messages are compressed, and how.
    pub compression: Option<Compression>,
    /// The most bytes of a result that events show.
    pub resultrepr_maxsize: usize,
    /// Whether the tasks it sends are recorded as its children.
    pub trail: bool,
    /// Another name for logs and lists.
    pub shadow: Option<&'static str>,
    /// Whether the number and names of arguments are checked when it is sent.
    pub typing: bool,
}

impl TaskOptions {
    /// The model's defaults: Celery's, except where Celery loses work by them.
    pub const DEFAULT: Self = Self {
        max_retries: Some(3),
        default_retry_delay: 180.0,
        autoretry_for: &[],
        dont_autoretry_for: &[],
        retry_backoff: None,
        retry_backoff_max: 600.0,
        retry_jitter: true,
        throws: &[],
        acks_late: true,
        acks_on_failure: true,
        reject_on_worker_lost: true,
        ignore_result: false,
        store_errors_even_if_ignored: true,
        track_started: true,
        rate_limit: None,
        time_limit: None,
        soft_time_limit: None,
        expires: None,
        priority: None,
        serializer: Serializer::Json,
        compression: None,
        resultrepr_maxsize: 1024,
        trail: true,
        shadow: None,
        typing: true,
    };
}
