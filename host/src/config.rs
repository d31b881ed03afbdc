//! What did the operator mean?
//!
//! Settings as written (a TOML file, below `LOVAGE__SECTION__KEY` in the environment, below flags) become settings as
//! proven: every value checked, every fault reported at once (of a table with a name of the operator's own the first), the
//! origin of each value known. One table of keys ([`KEYS`]) drives the reading, the sample and [`Config::show`]; beside it,
//! only `[beat.NAME]` and `[grants.NAME]` tables have names of the operator's own.
//!
//! Absent: what the settings do. The one secret, the password in the URL of a Redis store, is never shown.

mod granted;
mod idle;
mod keys;
mod periodic;
mod read;
mod secret;
mod show;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use lovage_model::{EntryName, ModuleName, PeriodicTask, QueueName, TenantId};

use crate::attempt::Capabilities;

pub use keys::{KEYS, Key, Value};
pub use read::load;
pub use show::{Entry, Origin};

use granted::Grantee;
use tables::Declared;

/// What was given on the command line.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--config`: the file to read.
    pub config: Option<PathBuf>,
    /// `--store`: `store.url`.
    pub store: Option<String>,
    /// `--listen`: `http.listen`.
    pub listen: Option<String>,
    /// `--concurrency`: `worker.concurrency`.
    pub concurrency: Option<String>,
    /// `--queues`: `worker.queues`, separated by commas.
    pub queues: Option<String>,
    /// `--hostname`: `worker.hostname`.
    pub hostname: Option<String>,
}

/// Settings that have been proven.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where results and queues are kept.
    pub store: StoreUrl,
    /// The HTTP API.
    pub http: Http,
    /// What this host runs.
    pub worker: Worker,
    /// What tasks and messages may use.
    pub limits: Limits,
    /// How long results are kept after their task has ended.
    pub results_expire: Duration,
    /// What the compilation of a module may use.
    pub compile: Compile,
    /// What is logged, and how.
    pub log: Log,
    /// How a Redis store is used.
    pub redis: Redis,
    /// Where compiled code is kept; none: beside the store.
    pub cache: Option<PathBuf>,
    entries: Vec<Entry>,
    periodic: BTreeMap<EntryName, Declared<PeriodicTask>>,
    granted: BTreeMap<Grantee, Declared<Capabilities>>,
}

impl Config {
    /// The periodic tasks that are declared.
    pub fn beat(&self) -> BTreeMap<EntryName, PeriodicTask> {
        self.periodic.iter().map(|(name, declared)| (name.clone(), declared.it.clone())).collect()
    }

    /// What some modules may reach outside of their sandboxes.
    pub fn grants(&self) -> BTreeMap<(TenantId, ModuleName), Capabilities> {
        self.granted.iter().map(|(name, declared)| (name.clone(), declared.it.clone())).collect()
    }
}

/// Where results and queues are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// In memory: gone with the daemon.
    Memory,
    /// In a directory.
    File(PathBuf),
    /// On a Redis server.
    Redis(String),
}

impl StoreUrl {
    /// As it may be shown: without a password.
    pub fn shown(url: &str) -> String {
        secret::shown(url)
    }
}

/// What a Redis store has to agree on with the Celery workers beside it. See Celery's transport options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redis {
    /// Before every key.
    pub global_keyprefix: String,
    /// Before those of results, instead.
    pub result_keyprefix: String,
    /// The first priority of each list of a queue.
    pub priority_steps: Vec<u8>,
    /// Between the name of a queue and a step.
    pub sep: String,
    /// What was taken and not acknowledged.
    pub unacked_key: String,
    /// Since when.
    pub unacked_index_key: String,
    /// Who puts back what was lost.
    pub unacked_mutex_key: String,
    /// When a Celery worker is thought to be lost.
    pub visibility_timeout: Duration,
    /// Whether clients see that a task runs.
    pub track_started: bool,
    /// Whether results say what their task was.
    pub result_extended: bool,
}

/// The HTTP API.
#[derive(Debug, Clone)]
pub struct Http {
    /// A loopback address, unless every request needs a token.
    pub listen: SocketAddr,
    /// Whether every request needs a token, also before there is one.
    pub tokens: bool,
    /// Connections at once.
    pub max_connections: usize,
}

/// What this host runs.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Its name in results and events.
    pub hostname: String,
    /// Tasks at once.
    pub concurrency: usize,
    /// Processes that tasks run in; none: the daemon's own.
    pub executors: Option<usize>,
    /// From these queues only; none: from all.
    pub queues: Option<BTreeSet<QueueName>>,
    /// How long running tasks may take to end when the daemon goes down.
    pub drain: Duration,
    /// Whether Celery's monitors are told of tasks from the start.
    pub task_events: bool,
    /// How long a task is held without a sign of life.
    pub lease: Duration,
}

/// What tasks and messages may use.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Arguments and headers of a message, in bytes.
    pub message_bytes: usize,
    /// A result, a meta or a signature, in bytes.
    pub result_bytes: usize,
    /// A component, in bytes.
    pub module_bytes: usize,
    /// The body of a batch, in bytes.
    pub batch_bytes: usize,
    /// Messages that wait.
    pub queued_tasks: u64,
    /// Of them, those that wait for their time.
    pub scheduled_tasks: u64,
    /// Memory of one attempt, in bytes.
    pub memory_bytes: u64,
    /// The longest hard limit.
    pub time_limit: Duration,
    /// The hard limit of tasks that do not ask for one.
    pub default_time_limit: Duration,
    /// Fuel of one attempt; none: metered only if the message asks for it.
    pub fuel: Option<u64>,
    /// Bytes kept of what an attempt writes.
    pub output_bytes: usize,
    /// Subtasks of one attempt.
    pub subtasks: usize,
    /// Tasks of one canvas, items of one map.
    pub canvas_tasks: usize,
    /// Tasks above a task.
    pub lineage_depth: u32,
    /// Tasks that come from one submit, besides its own.
    pub lineage_tasks: u64,
    /// What the tasks of a tenant keep in buckets, its secrets and its saved groups, in bytes.
    pub key_value_bytes: u64,
    /// Event streams that a tenant may hold open.
    pub streams: u32,
    /// Times that a task begins whose hosts were lost.
    pub deliveries: u32,
    /// Times that one task may be replaced by another.
    pub replacements: u32,
}

/// What the compilation of a module may use.
#[derive(Debug, Clone)]
pub struct Compile {
    /// How long it may take.
    pub time_limit: Duration,
    /// Memory of the compiler, in bytes.
    pub memory_bytes: u64,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// Lines of JSON instead of text.
    pub json: bool,
}

/// Everything that is wrong with the settings. One line each: where, what, and the cure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Faults(pub Vec<String>);

#[cfg(test)]
mod tests;
