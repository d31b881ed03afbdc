//! What is wired to what?

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use lovage_model::{Json, ModuleVersion, ResultMeta, Seconds, TaskName};

use crate::attempt::Progress;
use crate::config::Flags;

/// Runs the daemon until it is told to stop.
pub fn serve(_flags: Flags) -> anyhow::Result<ExitCode> {
    anyhow::bail!("this build has no daemon")
}

/// How to run a daemon for development.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DevArgs {
    /// Component files to push, and to push again when they change.
    pub modules: Vec<PathBuf>,
    /// Where to listen; a free port of this machine if left out.
    pub listen: Option<SocketAddr>,
}

/// What a development daemon tells its user.
#[derive(Debug, Clone, PartialEq)]
pub enum DevNews {
    /// It listens.
    Ready {
        /// Its address.
        url: String,
        /// What callers must show.
        token: Option<String>,
        /// Where it keeps things until it ends.
        store: String,
    },
    /// A file was pushed.
    Pushed(ModuleVersion),
    /// A file could not be pushed.
    Refused {
        /// Which.
        path: PathBuf,
        /// Why, and what to do.
        why: String,
    },
}

/// Runs a daemon on a temporary store until it is told to stop.
pub fn dev(_args: DevArgs, _tell: impl Fn(DevNews) + Send + Sync + 'static) -> anyhow::Result<ExitCode> {
    anyhow::bail!("this build has no daemon")
}

/// One run without a daemon.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecArgs {
    /// The component.
    pub module: PathBuf,
    /// Which of its tasks.
    pub task: TaskName,
    /// Positional arguments: a JSON array.
    pub args: Json,
    /// Keyword arguments: a JSON object.
    pub kwargs: Json,
    /// Hard limit.
    pub time_limit: Option<Seconds>,
    /// Soft limit.
    pub soft_time_limit: Option<Seconds>,
    /// Units of fuel.
    pub fuel: Option<u64>,
    /// Linear memories and tables together.
    pub memory_bytes: Option<u64>,
}

/// Runs one task here and now. Retries are run too; the result is that of the last attempt.
pub fn exec(_args: ExecArgs, _progress: Arc<dyn Progress>) -> anyhow::Result<ResultMeta> {
    anyhow::bail!("this build has no sandbox")
}

/// What is wrong with a store, if anything.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct StoreCheck {
    /// Version of its schema.
    pub schema: u32,
    /// How many tasks it holds.
    pub tasks: u64,
    /// How many of them wait or run.
    pub messages: u64,
    /// How many modules.
    pub modules: u64,
    /// What is wrong; empty: nothing.
    pub problems: Vec<String>,
}

/// Reads a whole store and says what is wrong with it.
pub fn store_check(_url: &str) -> anyhow::Result<StoreCheck> {
    anyhow::bail!("this build has no store")
}

/// Copies a store, while it is in use if need be; returns the size of the copy in bytes.
pub fn store_backup(_url: &str, _to: &Path) -> anyhow::Result<u64> {
    anyhow::bail!("this build has no store")
}
