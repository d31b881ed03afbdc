//! What happened inside?

use lovage_model::{Digest, TaskDefinition};

/// Why a component was not admitted: what, where and the cure.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Stable name, such as `not_a_component`.
    pub code: &'static str,
    /// What is wrong, where, and what to do.
    pub message: String,
}

/// The engine behind the door.
#[derive(Debug)]
pub struct Sandbox {}

impl Sandbox {
    /// Compiles a component in a child process and checks it against the contract; returns its tasks.
    pub async fn admit(&self, _digest: &Digest, _component: &[u8]) -> Result<Vec<TaskDefinition>, Refusal> {
        Err(Refusal { code: "no_engine", message: "not there".to_owned() })
    }
}
