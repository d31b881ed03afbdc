//! What passes the sandbox's door, both ways: plain data, so that another process can stand behind the same door.
//!
//! In goes an [`Attempt`] with its [`Grants`]; while it runs, [`Progress`] comes out and a [`Stop`] may go in; at the end
//! comes a [`Report`]. What a task waits for meanwhile is an [`Ask`] and its [`Answer`]. Nothing here knows of WebAssembly, of stores or of Celery's states.

mod asked;
mod origin;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use lovage_model::{
    AttemptLog, Digest, Exception, Handler, Json, LogRecord, Request, Seconds, TaskId, TenantId, Timestamp, Usage,
};
use serde::{Deserialize, Serialize};

pub use asked::{
    Answer, Answered, Ask, Bytes, HTTP_AT_ONCE, HttpFault, HttpRequest, HttpResponse, KEYS_IN_A_PAGE, KeyValueCall,
    KeyValueDo, KeyValueFault, KeyValueFound, MAX_KEY_BYTES,
};
pub use origin::Origins;

/// One run of one task, as the sandbox is asked for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Whose it is: tenants take turns.
    pub tenant: TenantId,
    /// The component.
    pub module: Digest,
    /// What the task may know about its run; names the task, holds its arguments and the options in force.
    pub request: Request,
    /// The handlers that the task declares: no others are called.
    pub handlers: Vec<Handler>,
}

/// What one attempt may use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grants {
    /// Units of fuel; none: not metered.
    pub fuel: Option<u64>,
    /// Linear memories and tables together, in bytes.
    pub memory_bytes: u64,
    /// When the task is told.
    pub soft_limit: Option<Duration>,
    /// When it is killed. Every attempt has a hard limit.
    pub hard_limit: Duration,
    /// Bytes kept of stdout, and of stderr and log records together.
    pub output_bytes: usize,
    /// The largest result, meta or signature, in bytes.
    pub payload_bytes: usize,
    /// Its tenant's share of the processors, beside those of others.
    pub weight: u32,
    /// What its host will probably do for it besides, in time of a processor: its tenant's turns are charged with that.
    pub overhead: Duration,
    /// The most subtasks, those of its handlers included.
    pub subtasks: usize,
    /// The most bytes of all subtasks together: they stay in the host's memory until the run has ended.
    pub sent_bytes: usize,
    /// How long each handler that follows the run may take: its time is its own.
    pub handler_limit: Duration,
    /// Units of fuel for each handler that follows the run; none: not metered. As with [`Grants::fuel`], both or neither.
    pub handler_fuel: Option<u64>,
    /// What it may reach outside of its sandbox.
    pub capabilities: Arc<Capabilities>,
}

impl Grants {
    /// So much time, and nothing else.
    pub fn of_time(hard_limit: Duration) -> Self {
        Self {
            fuel: None,
            memory_bytes: 0,
            soft_limit: None,
            hard_limit,
            output_bytes: 0,
            payload_bytes: 0,
            weight: 1,
            overhead: Duration::ZERO,
            subtasks: 0,
            sent_bytes: 0,
            handler_limit: Duration::ZERO,
            handler_fuel: None,
            capabilities: Arc::default(),
        }
    }
}

/// All subtasks of a run together may be as large as so many of the largest payload.
pub const SENT_PAYLOADS: usize = 8;

/// What a log record costs besides its text: a flood of empty ones must end, too.
pub const RECORD_BYTES: usize = 64;

/// What a log record costs, wherever it is counted.
pub fn record_bytes(record: &LogRecord) -> usize {
    record.message.len() + RECORD_BYTES
}

/// A byte that is no text is said as a character of so many.
pub const LOSSY: usize = 3;

/// What the tasks of a module may reach outside of their sandbox: nothing, unless the operator grants it by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Capabilities {
    /// Peers that it may open TCP connections to: addresses with a port, no names.
    pub tcp: Vec<SocketAddr>,
    /// Servers that it may send HTTP requests to, through its host.
    pub http: Vec<Origins>,
    /// Whether names of such servers may stand for addresses that are not public.
    pub http_private: bool,
    /// Whether it has the tenant's key-value store.
    pub key_value: bool,
    /// Directories that it may open files in.
    pub directories: Vec<Directory>,
    /// Its environment.
    pub env: BTreeMap<String, String>,
    /// Clocks as fine as the host's, in place of those of whole milliseconds.
    pub fine_clock: bool,
}

/// A directory of the host's that a module may open files in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// Where it is on the host: an absolute path.
    pub host: PathBuf,
    /// Where the module finds it: an absolute path.
    pub guest: String,
    /// Whether it may be written to.
    #[serde(default)]
    pub write: bool,
}

/// Told while an attempt runs. Receivers must not block: a running guest waits for them.
pub trait Progress: Send + Sync {
    /// The task set a state of its own. A later one replaces one that was not stored yet.
    fn state(&self, state: &str, meta: Json);
    /// The task wrote to a stream: `stdout` or `stderr`.
    fn wrote(&self, stream: &'static str, bytes: &[u8]);
    /// The task logged.
    fn logged(&self, record: &LogRecord);
    /// The task sent an event of its own: its name, and a JSON object.
    fn event(&self, name: &str, fields: Json);
    /// The task tells nothing more for now: what was held back, to go out together, goes.
    fn flush(&self) {}
    /// Whether the task has told more than was heard yet. Then it rests, until `waker` is woken.
    fn is_behind(&self, _waker: &Waker) -> bool {
        false
    }
    /// The task asks for something that its host does for it.
    fn ask(&self, _ask: Ask) -> Answered {
        Box::pin(std::future::ready(Answer::Refused))
    }
}

/// Nobody listens.
impl Progress for () {
    fn state(&self, _: &str, _: Json) {}
    fn wrote(&self, _: &'static str, _: &[u8]) {}
    fn logged(&self, _: &LogRecord) {}
    fn event(&self, _: &str, _: Json) {}
}

/// Why a running attempt must end at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stop {
    /// Somebody revoked the task.
    Revoked,
    /// The host is going down, or lost its lease: the attempt is void.
    Interrupted,
    /// The process that ran it died: the attempt is void, and counts as one that was lost.
    Lost,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// It returned this.
    Returned(Json),
    /// It raised this; the text says where.
    Raised(Exception, Option<String>),
    /// It ended for the retry it asked for.
    Retried,
    /// It ended for the replacement it asked for.
    Replaced,
    /// It ended without a result.
    Ignored,
    /// It refused the message; true: queue it again.
    Rejected(bool),
    /// It was stopped for what it did.
    Faulted(Fault),
    /// It was stopped by an order.
    Stopped(Stop),
}

/// Why the sandbox stopped an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// Which wall it ran into.
    pub kind: FaultKind,
    /// What a Celery client will raise.
    pub exception: Exception,
    /// The guest's functions, innermost first.
    pub traceback: Option<String>,
}

/// The walls of the sandbox. The names are stable: they are part of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FaultKind {
    /// It panicked.
    Panic,
    /// It trapped: unreachable code, a wild pointer, a division by zero, ...
    Trap,
    /// It called itself too deep.
    StackOverflow,
    /// It asked for more memory than granted.
    MemoryLimit,
    /// It asked for larger tables than granted.
    TableLimit,
    /// It burnt its fuel.
    FuelLimit,
    /// It ignored the soft limit and met the hard one.
    TimeLimit,
    /// It passed more data to its host in one call than may be copied.
    HostCallLimit,
    /// It held more handles than granted.
    HandleLimit,
    /// It returned more bytes than a result may have.
    ResultLimit,
    /// It called `exit` with a failure.
    Exit,
    /// It broke the contract: a result that is not JSON, an ending without its request, ...
    Contract,
    /// Its module killed the processes that ran it, and was not run.
    Poison,
}

impl FaultKind {
    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Trap => "trap",
            Self::StackOverflow => "stack-overflow",
            Self::MemoryLimit => "memory-limit",
            Self::TableLimit => "table-limit",
            Self::FuelLimit => "fuel-limit",
            Self::TimeLimit => "time-limit",
            Self::HostCallLimit => "host-call-limit",
            Self::HandleLimit => "handle-limit",
            Self::ResultLimit => "result-limit",
            Self::Exit => "exit",
            Self::Contract => "contract",
            Self::Poison => "poison",
        }
    }
}

/// What an attempt asked to be done when it ends. Signatures are held as text, which is the smallest form of them: they are read one
/// after the other when they are sent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Effects {
    /// The retry it asked for last.
    pub retry: Option<RetryRequest>,
    /// The replacement it asked for last: a signature.
    pub replace: Option<Json>,
    /// Its subtasks, signatures with the ids they were promised, in the order in which it sent them.
    pub subtasks: Vec<(TaskId, Json)>,
    /// Those of its subtasks that become parts of the chord the task is a part of.
    pub add_to_chord: Vec<TaskId>,
}

impl Effects {
    /// The retry that follows an attempt that ended so: the one it ended for, or one that holds however it ends, unless it
    /// was killed.
    pub fn retry_after(&self, outcome: &Outcome) -> Option<&RetryRequest> {
        self.retry.as_ref().filter(|retry| match outcome {
            Outcome::Retried => true,
            Outcome::Faulted(_) | Outcome::Stopped(_) => false,
            _ => !retry.throw,
        })
    }
}

/// A retry that was accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetryRequest {
    /// Why.
    pub exception: Exception,
    /// Not before this.
    pub eta: Timestamp,
    /// What was asked, for the text of the traceback.
    pub countdown: Seconds,
    /// Other positional arguments.
    pub args: Option<Json>,
    /// Other keyword arguments.
    pub kwargs: Option<Json>,
    /// Whether the run ends with it: [`Outcome::Retried`]. False: it holds however the run ends, unless it was killed.
    pub throw: bool,
}

/// All that is known after an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// What it asked for.
    pub effects: Effects,
    /// What it used.
    pub usage: Usage,
    /// What it wrote.
    pub log: AttemptLog,
}

impl Report {
    /// Of an attempt that did not begin.
    pub fn stopped(stop: Stop) -> Self {
        Self {
            outcome: Outcome::Stopped(stop),
            effects: Effects::default(),
            usage: Usage::default(),
            log: AttemptLog::default(),
        }
    }
}
