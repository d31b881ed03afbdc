//! The one table of keys: name, default, meaning, check.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use lovage_model::QueueName;
use url::Url;

use super::StoreUrl;
use super::secret::masked;

/// A setting there is.
#[derive(Debug)]
pub struct Key {
    /// Section and name, such as `store.url`.
    pub name: &'static str,
    /// What holds if nobody says anything, as TOML writes it.
    pub default: &'static str,
    /// What it means, in one line.
    pub doc: &'static str,
    /// What it may be.
    pub(super) kind: Kind,
}

/// What a setting may be.
#[derive(Debug)]
pub(super) enum Kind {
    /// A text that passes a check; the error says what it should be.
    Text(fn(&str) -> Result<(), String>),
    /// One of these.
    Choice(&'static [&'static str]),
    /// A whole number from, to.
    Number(u64, u64),
    /// Names of queues.
    Queues,
}

/// A setting's value, checked.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Number(u64),
    /// A list of names.
    Names(Vec<String>),
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// A message, and all that an attempt may leave, fit into one frame of 512 MiB between a daemon and its executors: subtasks of eight
/// results, an exception and three outputs, the latter as JSON, where a byte takes six at most. Nor does a Redis server take a larger value.
const MOST_MESSAGE: u64 = 256 * MIB;
const MOST_RESULT: u64 = 24 * MIB;
const MOST_OUTPUT: u64 = 8 * MIB;
const DAY: u64 = 86_400;

const fn key(name: &'static str, default: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, default, doc, kind }
}

/// Every setting there is, by section.
pub static KEYS: &[Key] = &[
    key(
        "store.url",
        "\"file:./lovage-data\"",
        Kind::Text(check_store),
        "Where tasks and results are kept: file:DIR, redis://HOST:PORT/DB, or memory: (gone with the daemon).",
    ),
    key(
        "http.listen",
        "\"127.0.0.1:7380\"",
        Kind::Text(check_listen),
        "Address and port of the HTTP API: a loopback address, unless tokens are required. Port 0: any free one.",
    ),
    key(
        "http.tokens",
        "\"auto\"",
        Kind::Choice(&["auto", "required"]),
        "Whether requests need a token: required, or auto: from the first one that is made on.",
    ),
    key(
        "http.max_connections",
        "1024",
        Kind::Number(1, 65_536),
        "Connections at once; one more closes the one that was idle for longest, or waits.",
    ),
    key(
        "worker.hostname",
        "\"lovage@%h\"",
        Kind::Text(check_hostname),
        "Name of this host in results and events; %h is the machine's name, as in Celery.",
    ),
    key("worker.concurrency", "256", Kind::Number(1, 100_000), "Tasks this host runs at once."),
    key(
        "worker.isolation",
        "\"processes\"",
        Kind::Choice(&["processes", "in-process"]),
        "Where sandboxes are: in confined processes, of which one may die without the rest, or in the daemon's own.",
    ),
    key(
        "worker.executors",
        "0",
        Kind::Number(0, 256),
        "How many of those processes; 0: as many as there are processors.",
    ),
    key("worker.queues", "[]", Kind::Queues, "Queues this host takes tasks from; an empty list: from all."),
    key(
        "worker.task_events",
        "\"no\"",
        Kind::Choice(&["yes", "no"]),
        "Whether Celery's monitors are told of tasks from the start (celery worker -E), and not when they ask for it.",
    ),
    key(
        "worker.drain_seconds",
        "30",
        Kind::Number(0, DAY),
        "How long running tasks may take to end on SIGTERM; then they go back to their queue.",
    ),
    key(
        "worker.lease_seconds",
        "15",
        Kind::Number(2, 3600),
        "A task whose host gave no sign of life for so long runs again elsewhere.",
    ),
    key("limits.message_bytes", "4194304", Kind::Number(KIB, MOST_MESSAGE), "Arguments and headers of one message."),
    key("limits.result_bytes", "4194304", Kind::Number(KIB, MOST_RESULT), "One result, progress meta or signature."),
    key("limits.module_bytes", "67108864", Kind::Number(KIB, GIB), "One component."),
    key("limits.batch_bytes", "33554432", Kind::Number(KIB, GIB), "The body of one batch of submits."),
    key(
        "limits.queued_tasks",
        "1000000",
        Kind::Number(1, u64::MAX >> 1),
        "Tasks that may wait. Submits are refused with queue_full beyond it, and tasks that send more fail.",
    ),
    key(
        "limits.scheduled_tasks",
        "1000000",
        Kind::Number(1, u64::MAX >> 1),
        "Of them, those that may wait for their eta or countdown; more are refused in the same way.",
    ),
    key(
        "limits.memory_bytes",
        "268435456",
        Kind::Number(MIB, 4 * GIB),
        "Memory of one attempt: linear memories and tables together.",
    ),
    key(
        "limits.time_limit_seconds",
        "3600",
        Kind::Number(1, 366 * DAY),
        "The longest an attempt may take, whatever task or message ask for.",
    ),
    key(
        "limits.default_time_limit_seconds",
        "300",
        Kind::Number(1, 366 * DAY),
        "The longest an attempt may take if neither task nor message say.",
    ),
    key(
        "limits.fuel",
        "0",
        Kind::Number(0, u64::MAX >> 1),
        "Fuel of one attempt; 0: metered only if the message asks for it.",
    ),
    key(
        "limits.output_bytes",
        "1048576",
        Kind::Number(0, MOST_OUTPUT),
        "Kept of what an attempt writes to stdout, and of its stderr and log records together.",
    ),
    key("limits.subtasks", "1000", Kind::Number(0, 100_000), "Calls that one attempt may send; each may be a canvas."),
    key("limits.canvas_tasks", "20000", Kind::Number(1, 1_000_000), "Tasks of one canvas; items of one map."),
    key("limits.lineage_depth", "100", Kind::Number(0, 100_000), "Tasks above a task: who sent it, who sent that, ..."),
    key(
        "limits.lineage_tasks",
        "100000",
        Kind::Number(0, u64::MAX >> 1),
        "Tasks that come from one submit, besides its own: what its tasks send, what those send, ... They are counted anew once its first task is forgotten or has expired.",
    ),
    key(
        "limits.streams",
        "128",
        Kind::Number(1, 1_000_000),
        "Event streams that a tenant may hold open at once: of a task, of the ends of several, of all its events.",
    ),
    key(
        "limits.key_value_bytes",
        "67108864",
        Kind::Number(0, 1 << 50),
        "What the tasks of a tenant keep in buckets, its secrets and its saved groups may take together, keys, names of buckets and 64 bytes for each included.",
    ),
    key(
        "limits.deliveries",
        "10",
        Kind::Number(2, 1000),
        "Times that a task begins whose hosts were lost, before it is thought to be why, and fails.",
    ),
    key("limits.replacements", "100", Kind::Number(0, 100_000), "Times that one task may be replaced by another."),
    key(
        "results.expires_seconds",
        "86400",
        Kind::Number(1, 10 * 366 * DAY),
        "How long a result is kept after its task has ended.",
    ),
    key(
        "results.extended",
        "\"yes\"",
        Kind::Choice(&["yes", "no"]),
        "Whether results in Redis say what task they are of: Celery's result_extended.",
    ),
    key(
        "results.track_started",
        "\"no\"",
        Kind::Choice(&["yes", "no"]),
        "Whether Celery's clients see STARTED, for one more write for each task: Celery's task_track_started.",
    ),
    key(
        "redis.global_keyprefix",
        "\"\"",
        Kind::Text(check_prefix),
        "Before every key in Redis, as in Celery's transport options.",
    ),
    key(
        "redis.result_keyprefix",
        "\"%g\"",
        Kind::Text(check_prefix),
        "Before the keys of results, as in Celery's result_backend_transport_options; %g: redis.global_keyprefix as it is.",
    ),
    key(
        "redis.priority_steps",
        "\"0,3,6,9\"",
        Kind::Text(check_steps),
        "The first priority of each list of a queue, as in Celery's transport options.",
    ),
    key(
        "redis.sep",
        "\"\\u0006\\u0016\"",
        Kind::Text(check_key),
        "Between the name of a queue and a step, and in bindings, as in Celery's transport options.",
    ),
    key("redis.unacked_key", "\"unacked\"", Kind::Text(check_key), "Where Celery's workers keep what they have taken."),
    key("redis.unacked_index_key", "\"unacked_index\"", Kind::Text(check_key), "Since when they have it."),
    key("redis.unacked_mutex_key", "\"unacked_mutex\"", Kind::Text(check_key), "Who of them puts back what was lost."),
    key(
        "redis.visibility_timeout_seconds",
        "3600",
        Kind::Number(1, 366 * DAY),
        "What a Celery worker took and gave no sign of for so long is put back.",
    ),
    key(
        "cache.dir",
        "\"\"",
        Kind::Text(check_dir),
        "Where compiled code is kept; empty: in the store's directory, or for Redis in $XDG_CACHE_HOME/lovage/HOSTNAME.",
    ),
    key("compile.time_limit_seconds", "60", Kind::Number(1, 3600), "The longest the compilation of a module may take."),
    key(
        "compile.memory_bytes",
        "2147483648",
        Kind::Number(128 * MIB, 64 * GIB),
        "Memory of the compiler, which runs in a process of its own.",
    ),
    key(
        "log.level",
        "\"info\"",
        Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
        "How much the daemon logs.",
    ),
    key("log.format", "\"text\"", Kind::Choice(&["text", "json"]), "Lines of text, or of JSON."),
];

impl Key {
    /// Its section.
    pub fn section(&self) -> &'static str {
        self.name.split_once('.').expect("section.name").0
    }

    /// Its name within the section.
    pub fn short(&self) -> &'static str {
        self.name.split_once('.').expect("section.name").1
    }

    /// Its variable in the environment.
    pub fn variable(&self) -> String {
        format!("LOVAGE__{}", self.name.replace('.', "__").to_uppercase())
    }

    /// A value from TOML; the error says what it should be.
    pub(super) fn check(&self, written: &toml::Value) -> Result<Value, String> {
        match (&self.kind, written) {
            (Kind::Text(check), toml::Value::String(text)) => check(text).map(|()| Value::Text(text.clone())),
            (Kind::Text(_), _) => Err("must be a text in quotes".to_owned()),
            (Kind::Choice(choices), written) => match written.as_str() {
                Some(text) if choices.contains(&text) => Ok(Value::Text(text.to_owned())),
                _ => Err(format!("must be one of {}", choices.join(", "))),
            },
            (Kind::Number(least, most), toml::Value::Integer(number)) => match u64::try_from(*number) {
                Ok(number) if (*least..=*most).contains(&number) => Ok(Value::Number(number)),
                _ => Err(format!("must be from {least} to {most}")),
            },
            (Kind::Number(..), _) => Err("must be a whole number".to_owned()),
            (Kind::Queues, toml::Value::Array(names)) => {
                names.iter().map(queue).collect::<Result<_, _>>().map(Value::Names)
            }
            (Kind::Queues, toml::Value::String(none)) if none.trim_matches([',', ' ']).is_empty() => {
                Err("names no queue: write names, such as a,b; or leave it out, to take tasks from all".to_owned())
            }
            (Kind::Queues, _) => Err("must be a list of queue names, such as [\"a\", \"b\"]".to_owned()),
        }
    }

    /// A text from the environment or a flag as the TOML it stands for.
    pub(super) fn written(&self, text: &str) -> toml::Value {
        match self.kind {
            Kind::Number(..) => match text.trim().replace('_', "").parse() {
                Ok(number) => toml::Value::Integer(number),
                Err(_) => toml::Value::String(text.to_owned()),
            },
            Kind::Queues => {
                let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
                let names: Vec<_> = names.map(|name| toml::Value::String(name.to_owned())).collect();
                // An empty list means all queues, which nobody writes in this way.
                if names.is_empty() { toml::Value::String(text.to_owned()) } else { toml::Value::Array(names) }
            }
            Kind::Text(_) | Kind::Choice(_) => toml::Value::String(text.to_owned()),
        }
    }

    /// What was written, as an error may quote it.
    pub(super) fn quoted(&self, written: &toml::Value) -> String {
        if self.name == "store.url" { masked(&written.to_string()) } else { written.to_string() }
    }

    /// Its default, as TOML.
    pub(super) fn default_value(&self) -> toml::Value {
        let line: toml::Table = format!("it = {}", self.default).parse().expect("a default is TOML");
        line["it"].clone()
    }
}

fn queue(name: &toml::Value) -> Result<String, String> {
    let text = name.as_str().ok_or("must be a list of texts")?;
    QueueName::new(text).map(String::from).map_err(|error| error.to_string())
}

/// Reads the URL of a store; the error says what it should be.
pub(super) fn store_url(text: &str) -> Result<StoreUrl, String> {
    match text.split_once(':') {
        Some(("memory", "")) => Ok(StoreUrl::Memory),
        Some(("file", directory)) if !directory.is_empty() => {
            Ok(StoreUrl::File(PathBuf::from(directory.strip_prefix("//").unwrap_or(directory))))
        }
        Some(("redis" | "redis+unix" | "unix", rest)) if rest.starts_with("//") && rest.len() > 2 => {
            check_redis(text).map(|()| StoreUrl::Redis(text.to_owned()))
        }
        Some(("rediss", _)) => {
            Err("TLS is not supported by this version: use redis://, through a tunnel if need be".to_owned())
        }
        _ => Err("must be file:DIR, such as file:./lovage-data, redis://HOST:PORT/DB, or memory:".to_owned()),
    }
}

/// What a client of Redis would refuse once the daemon starts. The URL is not quoted: it may have a password.
fn check_redis(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| format!("must be such as redis://HOST:PORT/DB: {error}"))?;
    // Of several the client takes the last.
    let asked = |wanted: &str| {
        let all = url.query_pairs().filter(|(name, _)| name == wanted);
        all.last().map(|(_, value)| value.into_owned())
    };
    if asked("protocol").is_some_and(|protocol| !["2", "3", "resp2", "resp3"].contains(&protocol.as_str())) {
        return Err("the protocol must be 2 or 3, as in redis://HOST:PORT/0?protocol=3".to_owned());
    }
    let database = if url.scheme() == "redis" {
        if url.host_str().is_none_or(|host| matches!(host, "" | "0.0.0.0" | "[::]")) {
            return Err("must have the host of a server, as in redis://HOST:PORT/DB".to_owned());
        }
        Some(url.path().trim_matches('/').to_owned()).filter(|path| !path.is_empty())
    } else if url.to_file_path().is_ok() {
        asked("db")
    } else {
        return Err("must have the path of a socket, as in unix:///PATH".to_owned());
    };
    match database.map(|database| database.parse::<u32>()) {
        Some(Err(_)) => Err("the database must be a number, as in redis://HOST:PORT/0 or unix:///PATH?db=0".to_owned()),
        _ => Ok(()),
    }
}

/// Reads the steps of priorities: the first is 0, and each is above the one before it.
pub(super) fn steps(text: &str) -> Result<Vec<u8>, String> {
    let rule = || "must be numbers from 0 to 9, ascending from 0, such as \"0,3,6,9\"".to_owned();
    let steps: Vec<u8> =
        text.split(',').map(|step| step.trim().parse()).collect::<Result<_, _>>().map_err(|_| rule())?;
    let ascends = steps.windows(2).all(|pair| pair[0] < pair[1]);
    if steps.first() == Some(&0) && steps.last() <= Some(&9) && ascends { Ok(steps) } else { Err(rule()) }
}

fn check_steps(text: &str) -> Result<(), String> {
    steps(text).map(|_| ())
}

/// What stands before the keys of results. Celery's backends put a `_` behind a prefix that has no sign at its end; its broker does not.
pub(super) fn result_prefix(written: &str, global: &str) -> String {
    match written {
        "%g" => global.to_owned(),
        text if text.is_empty() || text.ends_with([':', '_', '-', '.']) => text.to_owned(),
        text => format!("{text}_"),
    }
}

fn check_prefix(text: &str) -> Result<(), String> {
    if text.len() <= 200 { Ok(()) } else { Err("must be at most 200 bytes".to_owned()) }
}

fn check_key(text: &str) -> Result<(), String> {
    if (1..=200).contains(&text.len()) { Ok(()) } else { Err("must be 1 to 200 bytes".to_owned()) }
}

fn check_dir(text: &str) -> Result<(), String> {
    if text.contains('\0') { Err("must be a path".to_owned()) } else { Ok(()) }
}

fn check_store(text: &str) -> Result<(), String> {
    store_url(text).map(|_| ())
}

pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    let local = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    let local = local.map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    local.or_else(|| text.parse().ok()).ok_or_else(|| "must be address:port, such as 127.0.0.1:7380".to_owned())
}

fn check_listen(text: &str) -> Result<(), String> {
    listen(text).map(|_| ())
}

fn check_hostname(text: &str) -> Result<(), String> {
    let printable = text.chars().all(|c| !c.is_control() && !c.is_whitespace());
    let expands = !text.replace("%h", "").contains('%');
    if (1..=200).contains(&text.len()) && printable && expands {
        return Ok(());
    }
    Err("must be 1 to 200 bytes without spaces; %h is the only abbreviation".to_owned())
}
