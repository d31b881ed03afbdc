//! From what was written to what is proven.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lovage_model::{EntryName, PeriodicTask, QueueName};

use super::granted::Grantee;
use super::keys::{self, KEYS, Key, Value};
use super::show::{Entry, Origin};
use super::tables::Declared;
use super::{Compile, Config, Faults, Flags, Http, Limits, Log, Redis, Worker};
use super::{granted, periodic};
use crate::attempt::Capabilities;

const PREFIX: &str = "LOVAGE__";
/// Whose tables have names of the operator's own.
const NAMED: [&str; 2] = ["beat", "grants"];

/// Reads file, environment and flags; the later goes before the earlier. The error lists everything that is wrong.
pub fn load(
    flags: &Flags,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    read_file: impl FnOnce(&Path) -> io::Result<String>,
) -> Result<Config, Faults> {
    let mut written = Written::default();
    if let Some(path) = &flags.config {
        written.file(path, read_file(path));
    }
    for (name, text) in environment {
        // One whose name is no text is none of ours, or is called like none that there is.
        written.variable(&name.to_string_lossy(), &text);
    }
    written.flags(flags);
    written.prove()
}

/// What was written, per key the last that counts.
#[derive(Default)]
struct Written {
    values: HashMap<&'static str, (toml::Value, Origin)>,
    periodic: BTreeMap<EntryName, Declared<PeriodicTask>>,
    granted: BTreeMap<Grantee, Declared<Capabilities>>,
    faults: Vec<String>,
    /// Whether there is a file that says nobody knows what.
    unread: bool,
}

impl Written {
    fn file(&mut self, path: &Path, text: io::Result<String>) {
        let text = match text {
            Ok(text) => text,
            Err(error) => return self.cannot_read(format!("{}: cannot be read: {error}", path.display())),
        };
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(error) => return self.cannot_read(format!("{}: {}", path.display(), said(&text, &error))),
        };
        for (section, value) in table {
            let toml::Value::Table(keys) = value else {
                self.unknown(&section, &section, &path.display().to_string());
                continue;
            };
            let origin = Origin::File(path.display().to_string());
            match section.as_str() {
                "beat" => self.named(
                    keys,
                    |name, written| periodic::read(name, written, origin.clone()),
                    |all| &mut all.periodic,
                ),
                "grants" => self.named(
                    keys,
                    |name, written| granted::read(name, written, origin.clone()),
                    |all| &mut all.granted,
                ),
                _ => self.section(&section, keys, &origin),
            }
        }
    }

    fn cannot_read(&mut self, fault: String) {
        self.unread = true;
        self.faults.push(fault);
    }

    fn section(&mut self, section: &str, keys: toml::Table, origin: &Origin) {
        for (short, value) in keys {
            let name = format!("{section}.{short}");
            match known(&name) {
                Some(key) => self.put(key, value, origin.clone()),
                None if value.is_table() && !is_section(section) => self.unknown_table(section, &short, origin),
                None => self.unknown(&name, &name, &origin.to_string()),
            }
        }
    }

    fn unknown_table(&mut self, section: &str, short: &str, origin: &Origin) {
        let alike = |known: &&str| strsim::jaro_winkler(known, section);
        let nearest = NAMED.into_iter().max_by(|a, b| alike(a).total_cmp(&alike(b))).expect("there are some");
        self.faults.push(format!(
            "{section}.{short} (in {origin}): there is no such table; the nearest is [{nearest}.{short}]"
        ));
    }

    /// Tables with names of the operator's own.
    fn named<K: Ord, T>(
        &mut self,
        tables: toml::Table,
        read: impl Fn(&str, toml::Value) -> Result<(K, T), String>,
        all: impl Fn(&mut Self) -> &mut BTreeMap<K, T>,
    ) {
        for (name, written) in tables {
            match read(&name, written) {
                Ok((name, declared)) => _ = all(self).insert(name, declared),
                Err(fault) => self.faults.push(fault),
            }
        }
    }

    fn variable(&mut self, variable: &str, text: &OsStr) {
        let Some(rest) = variable.strip_prefix(PREFIX) else { return };
        let Some(text) = text.to_str() else {
            return self
                .faults
                .push(format!("{variable} (in the environment) is not UTF-8: write it anew, or unset it"));
        };
        let name = rest.replace("__", ".").to_lowercase();
        match known(&name) {
            Some(key) => self.put(key, key.written(text), Origin::Environment(variable.to_owned())),
            None => self.unknown(&name, variable, "the environment"),
        }
    }

    fn flags(&mut self, flags: &Flags) {
        let given = [
            ("store.url", "--store", &flags.store),
            ("http.listen", "--listen", &flags.listen),
            ("worker.concurrency", "--concurrency", &flags.concurrency),
            ("worker.queues", "--queues", &flags.queues),
            ("worker.hostname", "--hostname", &flags.hostname),
        ];
        for (name, flag, text) in given {
            if let Some(text) = text {
                let key = known(name).expect("a key");
                self.put(key, key.written(text), Origin::Flag(flag));
            }
        }
    }

    fn put(&mut self, key: &'static Key, value: toml::Value, origin: Origin) {
        self.values.insert(key.name, (value, origin));
    }

    fn unknown(&mut self, name: &str, written: &str, place: &str) {
        let alike = |key: &&Key| strsim::jaro_winkler(key.name, name).max(strsim::jaro_winkler(key.short(), name));
        let nearest = KEYS.iter().max_by(|a, b| alike(a).total_cmp(&alike(b))).expect("there are keys");
        let meant = if written.starts_with(PREFIX) { nearest.variable() } else { nearest.name.to_owned() };
        self.faults.push(format!("{written} (in {place}): there is no such setting; the nearest is {meant}"));
    }

    fn prove(mut self) -> Result<Config, Faults> {
        let mut entries = Vec::with_capacity(KEYS.len());
        for key in KEYS {
            let (written, origin) =
                self.values.remove(key.name).unwrap_or_else(|| (key.default_value(), Origin::Default));
            match key.check(&written) {
                Ok(value) => entries.push(Entry { key, value, origin }),
                Err(rule) => {
                    let written = key.quoted(&written);
                    self.faults.push(format!("{} ({origin}) is {written}: {rule}", key.name));
                }
            }
        }
        // What contradicts the rest may be right with what the file says.
        if !self.unread {
            self.faults.extend(Proven(&entries).contradictions());
        }
        if !self.faults.is_empty() {
            return Err(Faults(self.faults));
        }
        Ok(Config { periodic: self.periodic, granted: self.granted, ..Proven(&entries).config() })
    }
}

/// What is wrong with a file, and where. The line itself is not quoted: it may have a password.
fn said(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|at| text.get(..at.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}: {}", error.message().trim_end().replace('\n', ", "))
}

fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| key.name.split_once('.').is_some_and(|(section, _)| section == name))
}

fn known(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Values that have passed their checks, one for each key.
struct Proven<'a>(&'a [Entry]);

impl Proven<'_> {
    fn value(&self, name: &str) -> &Value {
        let entry = self.0.iter().find(|entry| entry.key.name == name);
        &entry.unwrap_or_else(|| panic!("{name} is not in the table of keys")).value
    }

    fn number(&self, name: &str) -> u64 {
        match self.value(name) {
            Value::Number(number) => *number,
            other => panic!("{name} is {other:?} in the table of keys"),
        }
    }

    fn size(&self, name: &str) -> usize {
        usize::try_from(self.number(name)).unwrap_or(usize::MAX)
    }

    fn seconds(&self, name: &str) -> Duration {
        Duration::from_secs(self.number(name))
    }

    fn text(&self, name: &str) -> &str {
        match self.value(name) {
            Value::Text(text) => text,
            other => panic!("{name} is {other:?} in the table of keys"),
        }
    }

    /// Settings that are right alone and wrong together.
    fn contradictions(&self) -> impl Iterator<Item = String> {
        [self.default_above_cap(), self.open_to_everybody()].into_iter().flatten()
    }

    /// Whether all of these are right alone: else there is nothing to say of them together.
    fn are_right(&self, names: [&str; 2]) -> bool {
        names.iter().all(|name| self.0.iter().any(|entry| entry.key.name == *name))
    }

    fn default_above_cap(&self) -> Option<String> {
        let (default, cap) = ("limits.default_time_limit_seconds", "limits.time_limit_seconds");
        if !self.are_right([default, cap]) {
            return None;
        }
        let (default_is, cap_is) = (self.number(default), self.number(cap));
        (default_is > cap_is).then(|| format!("{default} is {default_is}: must not be above {cap}, which is {cap_is}"))
    }

    fn open_to_everybody(&self) -> Option<String> {
        if !self.are_right(["http.listen", "http.tokens"]) {
            return None;
        }
        let listen = keys::listen(self.text("http.listen")).expect("checked");
        let is_open = !listen.ip().is_loopback() && self.text("http.tokens") != "required";
        is_open.then(|| {
            format!(
                "http.listen is {listen}: must be a loopback address, such as 127.0.0.1:7380, or http.tokens must be \
                 \"required\": else whoever reaches the port may do anything"
            )
        })
    }

    fn config(&self) -> Config {
        Config {
            store: keys::store_url(self.text("store.url")).expect("checked"),
            http: Http {
                listen: keys::listen(self.text("http.listen")).expect("checked"),
                tokens: self.text("http.tokens") == "required",
                max_connections: self.size("http.max_connections"),
            },
            worker: self.worker(),
            limits: self.limits(),
            results_expire: self.seconds("results.expires_seconds"),
            compile: Compile {
                time_limit: self.seconds("compile.time_limit_seconds"),
                memory_bytes: self.number("compile.memory_bytes"),
            },
            log: Log { level: self.text("log.level").to_owned(), json: self.text("log.format") == "json" },
            redis: self.redis(),
            cache: Some(self.text("cache.dir")).filter(|dir| !dir.is_empty()).map(PathBuf::from),
            entries: self.0.iter().map(Entry::shown).collect(),
            periodic: BTreeMap::new(),
            granted: BTreeMap::new(),
        }
    }

    fn redis(&self) -> Redis {
        let text = |name: &str| self.text(name).to_owned();
        Redis {
            global_keyprefix: text("redis.global_keyprefix"),
            result_keyprefix: keys::result_prefix(
                self.text("redis.result_keyprefix"),
                self.text("redis.global_keyprefix"),
            ),
            priority_steps: keys::steps(self.text("redis.priority_steps")).expect("checked"),
            sep: text("redis.sep"),
            unacked_key: text("redis.unacked_key"),
            unacked_index_key: text("redis.unacked_index_key"),
            unacked_mutex_key: text("redis.unacked_mutex_key"),
            visibility_timeout: self.seconds("redis.visibility_timeout_seconds"),
            track_started: self.text("results.track_started") == "yes",
            result_extended: self.text("results.extended") == "yes",
        }
    }

    fn executors(&self) -> Option<usize> {
        let processors = || std::thread::available_parallelism().map_or(2, usize::from);
        let asked = Some(self.size("worker.executors")).filter(|_| self.text("worker.isolation") == "processes");
        asked.map(|count| if count == 0 { processors() } else { count })
    }

    fn worker(&self) -> Worker {
        let Value::Names(queues) = self.value("worker.queues") else { panic!("worker.queues is a list") };
        let queues = queues.iter().map(|name| QueueName::new(name).expect("checked")).collect();
        let machine = rustix::system::uname();
        let hostname = self.text("worker.hostname").replace("%h", &machine.nodename().to_string_lossy());
        Worker {
            hostname,
            concurrency: self.size("worker.concurrency"),
            executors: self.executors(),
            queues: Some(queues).filter(|queues: &std::collections::BTreeSet<_>| !queues.is_empty()),
            drain: self.seconds("worker.drain_seconds"),
            task_events: self.text("worker.task_events") == "yes",
            lease: self.seconds("worker.lease_seconds"),
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            message_bytes: self.size("limits.message_bytes"),
            result_bytes: self.size("limits.result_bytes"),
            module_bytes: self.size("limits.module_bytes"),
            batch_bytes: self.size("limits.batch_bytes"),
            queued_tasks: self.number("limits.queued_tasks"),
            scheduled_tasks: self.number("limits.scheduled_tasks"),
            memory_bytes: self.number("limits.memory_bytes"),
            time_limit: self.seconds("limits.time_limit_seconds"),
            default_time_limit: self.seconds("limits.default_time_limit_seconds"),
            fuel: Some(self.number("limits.fuel")).filter(|fuel| *fuel > 0),
            output_bytes: self.size("limits.output_bytes"),
            subtasks: self.size("limits.subtasks"),
            canvas_tasks: self.size("limits.canvas_tasks"),
            lineage_depth: u32::try_from(self.number("limits.lineage_depth")).unwrap_or(u32::MAX),
            lineage_tasks: self.number("limits.lineage_tasks"),
            key_value_bytes: self.number("limits.key_value_bytes"),
            streams: u32::try_from(self.number("limits.streams")).unwrap_or(u32::MAX),
            deliveries: u32::try_from(self.number("limits.deliveries")).unwrap_or(u32::MAX),
            replacements: u32::try_from(self.number("limits.replacements")).unwrap_or(u32::MAX),
        }
    }
}
