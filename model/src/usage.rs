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
