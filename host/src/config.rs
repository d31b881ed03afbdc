//! What did the operator mean?

use std::path::PathBuf;

/// What the command line says about the configuration, as written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Flags {
    /// The file to read instead of the usual one.
    pub config: Option<PathBuf>,
    /// URL of the store.
    pub store: Option<String>,
    /// Address to listen at.
    pub listen: Option<String>,
    /// Slots.
    pub concurrency: Option<usize>,
    /// Queues to take tasks from; none: all.
    pub queues: Option<Vec<String>>,
    /// Name of this host.
    pub hostname: Option<String>,
}

/// Proves a configuration; the error tells every fault.
pub fn check(_flags: &Flags) -> anyhow::Result<()> {
    anyhow::bail!("this build has no configuration")
}

/// The configuration that holds, as TOML; with `origin`, each key with where it comes from.
pub fn show(_flags: &Flags, _origin: bool) -> anyhow::Result<String> {
    anyhow::bail!("this build has no configuration")
}
