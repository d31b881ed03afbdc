//! What must a Redis store be told? Celery's names for what Celery has: its transport options, and three of results.

use std::time::Duration;

/// How a Redis store is opened. What must agree with the Celery workers beside it has their defaults.
#[derive(Debug, Clone)]
pub struct Options {
    /// `redis://[user:password@]host[:port][/db]`, or `redis+unix:///path?db=0`.
    pub url: String,
    /// Name of this host: the owner of its leases. No two that run may have the same.
    pub hostname: String,
    /// Before every key: `global_keyprefix` of the transport options.
    pub global_keyprefix: String,
    /// Before the keys of results instead: `global_keyprefix` of `result_backend_transport_options`, as Celery's backends have it.
    pub result_keyprefix: String,
    /// The first priority of each list of a queue, ascending: `priority_steps`.
    pub priority_steps: Vec<u8>,
    /// Between the name of a queue and a step, and in bindings: `sep`.
    pub sep: String,
    /// The hash of messages that are delivered and not acknowledged: `unacked_key`.
    pub unacked_key: String,
    /// Since when: `unacked_index_key`.
    pub unacked_index_key: String,
    /// Who restores what was lost: `unacked_mutex_key`.
    pub unacked_mutex_key: String,
    /// After so long a Celery worker that gave no sign is thought to be lost: `visibility_timeout`.
    pub visibility_timeout: Duration,
    /// How long results are kept: `result_expires`.
    pub result_expires: Duration,
    /// Whether clients see in a result that its task runs: `task_track_started`.
    pub track_started: bool,
    /// Whether results say the name, arguments, worker and queue of their task: `result_extended`.
    pub result_extended: bool,
}

impl Options {
    /// Celery's defaults.
    pub fn new(url: impl Into<String>, hostname: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            hostname: hostname.into(),
            global_keyprefix: String::new(),
            result_keyprefix: String::new(),
            priority_steps: vec![0, 3, 6, 9],
            sep: "\u{6}\u{16}".to_owned(),
            unacked_key: "unacked".to_owned(),
            unacked_index_key: "unacked_index".to_owned(),
            unacked_mutex_key: "unacked_mutex".to_owned(),
            visibility_timeout: Duration::from_secs(3600),
            result_expires: Duration::from_secs(86_400),
            track_started: false,
            result_extended: true,
        }
    }

    /// What is behind the name of a queue in that of its list for a step.
    pub(super) fn behind(&self, step: u8) -> String {
        if step == 0 { String::new() } else { format!("{}{step}", self.sep) }
    }
}
