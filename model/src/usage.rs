//! What a run cost.

use serde::{Deserialize, Serialize};

/// What one attempt used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Usage {
    /// Units of fuel burnt, if it was metered. One unit is about one WebAssembly instruction.
    pub fuel: Option<u64>,
    /// The most memory it had at once, in bytes: linear memories and tables.
    pub peak_memory_bytes: u64,
    /// Processor time of the thread that ran it, in seconds.
    pub cpu_seconds: f64,
    /// From start to end, in seconds, waits included.
    pub wall_seconds: f64,
    /// Time to set up the sandbox, in seconds; part of the wall time.
    pub instantiate_seconds: f64,
}

/// What the attempts of a tenant have used in one day: what a bill would need. An attempt counts with the step that records its
/// outcome, on the day on which it ended; one that no outcome was recorded of, since its host was lost, does not count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DailyUsage {
    /// The day, by UTC: `2026-11-27`.
    pub day: String,
    /// Attempts whose outcomes were recorded, retries among them.
    pub attempts: u64,
    /// Units of fuel, of those that were metered.
    pub fuel: u64,
    /// Processor time, in seconds.
    pub cpu_seconds: f64,
    /// The most memory of each attempt times how long it took, waits included, in GiB times seconds.
    pub memory_gib_seconds: f64,
}
