//! Does a task retry by itself, and after how long?
//!
//! The rules are those in force, which the request holds: what the task declares, with what its sender overrides. Read
//! only once a task has raised, so that a task that works pays nothing.

use lovage_model::Exception;
use serde::Deserialize;

use crate::host::Host;

/// What of a request decides.
#[derive(Deserialize)]
struct Tried {
    retries: u32,
    options: Rules,
}

#[derive(Deserialize)]
struct Rules {
    #[serde(default)]
    autoretry_for: Vec<String>,
    #[serde(default)]
    dont_autoretry_for: Vec<String>,
    #[serde(default)]
    retry_backoff: Option<f64>,
    retry_backoff_max: f64,
    retry_jitter: bool,
}

/// The countdown of the retry that this exception makes; none: it makes none. A countdown of none is the task's
/// `default_retry_delay`.
pub(crate) fn autoretry(host: &dyn Host, exception: &Exception) -> Option<Option<f64>> {
    let Tried { retries, options } = serde_json::from_str(&host.request()).expect("the host sends a request");
    let named = |names: &[String]| names.iter().any(|name| exception.is_a(name));
    let retry = named(&options.autoretry_for) && !named(&options.dont_autoretry_for);
    retry.then(|| options.countdown(retries, || host.random()))
}

impl Rules {
    /// As Celery's `get_exponential_backoff_interval`, in fractions of seconds.
    fn countdown(&self, retries: u32, random: impl FnOnce() -> f64) -> Option<f64> {
        let factor = self.retry_backoff?;
        let doubled = factor * 2.0_f64.powi(retries.min(1000).cast_signed());
        let most = doubled.min(self.retry_backoff_max);
        Some(if self.retry_jitter { most * random() } else { most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most() {
        let rules = |jitter| Rules {
            autoretry_for: Vec::new(),
            dont_autoretry_for: Vec::new(),
            retry_backoff: Some(1.5),
            retry_backoff_max: 10.0,
            retry_jitter: jitter,
        };
        let wait = |retries| rules(false).countdown(retries, || 0.0);
        assert_eq!([wait(0), wait(1), wait(2), wait(3)], [Some(1.5), Some(3.0), Some(6.0), Some(10.0)]);
        assert_eq!(wait(u32::MAX), Some(10.0));
        assert_eq!(rules(true).countdown(2, || 0.5), Some(3.0));
        assert_eq!(Rules { retry_backoff: None, ..rules(true) }.countdown(2, || 0.5), None);
    }
}
