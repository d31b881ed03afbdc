//! What does a call ask for instead of what its task declares?

use lovage_model::{Compression, RateLimit, Seconds, Serializer};

use super::options::{Options, sure};

/// Each takes, for one call, the place of what `#[task(...)]` says.
impl Options {
    /// The most retries.
    pub fn max_retries(self, most: u32) -> Self {
        self.choose("max_retries", sure(most))
    }

    /// Seconds to wait before a retry that does not say.
    pub fn default_retry_delay(self, seconds: f64) -> Self {
        self.choose("default_retry_delay", Seconds::new(seconds))
    }

    /// The exceptions that make it retry by itself.
    pub fn autoretry_for(self, names: &[&str]) -> Self {
        self.choose("autoretry_for", sure(names))
    }

    /// The exceptions that do not, though `autoretry_for` names them.
    pub fn dont_autoretry_for(self, names: &[&str]) -> Self {
        self.choose("dont_autoretry_for", sure(names))
    }

    /// Seconds before its first automatic retry, doubled for each that follows.
    pub fn retry_backoff(self, seconds: f64) -> Self {
        self.choose("retry_backoff", Seconds::new(seconds))
    }

    /// The most seconds that `retry_backoff` comes to.
    pub fn retry_backoff_max(self, seconds: f64) -> Self {
        self.choose("retry_backoff_max", Seconds::new(seconds))
    }

    /// Whether `retry_backoff` is the most of a random wait.
    pub fn retry_jitter(self, jitter: bool) -> Self {
        self.choose("retry_jitter", sure(jitter))
    }

    /// The exceptions that are no news to the operator.
    pub fn throws(self, names: &[&str]) -> Self {
        self.choose("throws", sure(names))
    }

    /// Whether its message is kept until it has ended.
    pub fn acks_late(self, late: bool) -> Self {
        self.choose("acks_late", sure(late))
    }

    /// Whether a failure ends its message.
    pub fn acks_on_failure(self, acks: bool) -> Self {
        self.choose("acks_on_failure", sure(acks))
    }

    /// Whether it runs again after its host died.
    pub fn reject_on_worker_lost(self, again: bool) -> Self {
        self.choose("reject_on_worker_lost", sure(again))
    }

    /// Whether its exception is kept though its result is not.
    pub fn store_errors_even_if_ignored(self, store: bool) -> Self {
        self.choose("store_errors_even_if_ignored", sure(store))
    }

    /// Whether it shows as STARTED while it runs.
    pub fn track_started(self, track: bool) -> Self {
        self.choose("track_started", sure(track))
    }

    /// How many of it may start in a time: `10/s`, `100/m`, `5/h`.
    pub fn rate_limit(self, rate: &str) -> Self {
        self.choose("rate_limit", rate.parse::<RateLimit>())
    }

    /// How its message is written.
    pub fn serializer(self, serializer: Serializer) -> Self {
        self.choose("serializer", sure(serializer))
    }

    /// How its message is compressed.
    pub fn compression(self, compression: Compression) -> Self {
        self.choose("compression", sure(compression))
    }

    /// The most bytes of its result that events show.
    pub fn resultrepr_maxsize(self, bytes: usize) -> Self {
        self.choose("resultrepr_maxsize", sure(bytes))
    }

    /// Whether the tasks it sends are recorded as its children.
    pub fn trail(self, trail: bool) -> Self {
        self.choose("trail", sure(trail))
    }

    /// Whether the number and names of its arguments are checked when it is sent.
    pub fn typing(self, typing: bool) -> Self {
        self.choose("typing", sure(typing))
    }
}
