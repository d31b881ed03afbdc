//! The daemon's own log: on standard error, with the operator's level and format. Guests' logs never go there.

use tracing_subscriber::EnvFilter;

use crate::config::Log;

/// Starts to log. A second call in one process changes nothing.
pub(super) fn start(log: &Log) {
    let filter = EnvFilter::new(format!("warn,lovage={}", log.level));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    let started = if log.json { builder.json().try_init() } else { builder.compact().try_init() };
    // Already started: by a test, or by another house in this process.
    let _ = started;
}
