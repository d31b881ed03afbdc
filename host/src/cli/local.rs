//! The verbs that need no daemon, or are one: `serve`, `dev`, `exec`, `store`, `config`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use clap::{Args, Subcommand};
use lovage_model::{Json, LogRecord, Signature, TaskName};

use super::exit::{Exit, Usage};
use super::live::Live;
use super::logs::Line;
use super::screen::Screen;
use super::send::{self, Limits};
use super::value::{self, Stdin};
use super::{escape, result, table};
use crate::attempt::Progress;
use crate::config::{self, Config, Flags, StoreUrl};
use crate::daemon::{self, DevArgs, DevNews, ExecArgs, Ready, Stopped};

/// What the command line can say about the configuration.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Store: file:DIR, redis://HOST:PORT/DB or memory: [default: file:./lovage-data]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Address to listen at [default: 127.0.0.1:7380]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// How many tasks run at once [default: 256]
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
    /// Take tasks from these queues only
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    queues: Option<Vec<String>>,
    /// Name of this host, as tasks and results show it
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
}

impl From<Serve> for Flags {
    fn from(typed: Serve) -> Self {
        Self {
            config: typed.config,
            store: typed.store,
            listen: typed.listen,
            concurrency: typed.concurrency.map(|slots| slots.to_string()),
            queues: typed.queues.map(|names| names.join(",")),
            hostname: typed.hostname,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// Module files to push, now and whenever they change
    #[arg(value_name = "MODULE.wasm")]
    modules: Vec<PathBuf>,
    /// Address to listen at [default: a free port of this machine]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Settings in a file, such as what modules may reach; the store is a temporary one whatever it says
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// The component: a .wasm file
    #[arg(value_name = "MODULE.wasm")]
    module: PathBuf,
    /// Name of the task; its last part is enough while only one task ends in it
    #[arg(required_unless_present = "canvas")]
    task: Option<TaskName>,
    /// Positional arguments: JSON, else a string; @FILE, @base64:FILE and - read them (see below)
    #[arg(value_name = "ARG", allow_negative_numbers = true)]
    args: Vec<String>,
    /// Keyword arguments: a JSON object, @FILE or -
    #[arg(long, value_name = "JSON")]
    kwargs: Option<String>,
    /// Instead of TASK and ARG: a signature as Celery serialises it, in a file (or as JSON, or -)
    #[arg(long, value_name = "@FILE", conflicts_with_all = ["task", "args", "kwargs"])]
    canvas: Option<String>,
    #[command(flatten)]
    limits: Limits,
    /// Memory it may have, in bytes
    #[arg(long, value_name = "BYTES")]
    memory_bytes: Option<u64>,
    /// Settings in a file: its limits, and what it grants to a module of the file's name
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Read a whole store and say what is wrong with it; exit 1 if anything is
    Check(StoreAt),
    /// Copy a store, while a daemon uses it if need be
    Backup {
        #[command(flatten)]
        at: StoreAt,
        /// Where the copy goes: a place where nothing is yet
        to: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct StoreAt {
    /// Configuration file (TOML) that says which store it is
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The store: file:DIR [default: that of the settings, else file:./lovage-data]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Prove a configuration without starting anything; exit 2 if it is wrong
    Check(Box<Serve>),
    /// Print the settings that hold, as TOML, with where each comes from; with none given this is the sample
    Show(Box<Serve>),
}

#[derive(Debug, Args)]
pub(crate) struct CompileChild {
    /// The component
    component: PathBuf,
    /// Where its code goes
    directory: PathBuf,
    /// The most address space
    memory_bytes: u64,
    /// The most processor time
    cpu_seconds: u64,
}

pub(crate) fn compile_child(typed: &CompileChild) -> ExitCode {
    daemon::compile_child(&typed.component, &typed.directory, typed.memory_bytes, typed.cpu_seconds)
}

pub(crate) fn executor_child() -> ExitCode {
    daemon::executor_child()
}

fn load(typed: Serve) -> anyhow::Result<Config> {
    Ok(config::load(&typed.into(), std::env::vars_os(), |path| std::fs::read_to_string(path))?)
}

pub(crate) fn serve(typed: Serve, screen: Screen) -> anyhow::Result<Exit> {
    let config = load(typed)?;
    daemon::serve(&config, |ready| {
        let lines = if config.log.json { json(&ready, screen.is_live()) } else { words(&ready) };
        lines.iter().for_each(|line| screen.note(line));
    })?;
    Ok(Exit::Done)
}

/// What is said of a daemon that is ready, for people.
fn words(ready: &Ready) -> Vec<String> {
    let queues = ready.queues.as_ref().map_or_else(|| "all".to_owned(), |names| names.join(", "));
    let banner = format!(
        "{} {} is ready\n  api          http://{}\n  store        {}\n  queues       {queues}\n  concurrency  {}\n  \
         modules      {}",
        ready.hostname,
        env!("CARGO_PKG_VERSION"),
        ready.address,
        ready.store,
        ready.concurrency,
        ready.modules
    );
    let token = ready.token.as_deref().map(|token| format!("\n{}", token_in_words(token)));
    std::iter::once(banner).chain(token).collect()
}

fn token_in_words(token: &str) -> String {
    format!(
        "This token may do everything, and is not shown again. With it, make others (lovage token add --help):\n  \
         export LOVAGE_TOKEN={token}"
    )
}

/// The same as lines of the log, which are JSON from the first one on: its reader knows nothing else. The token is for
/// whoever sits there, if anybody does.
fn json(ready: &Ready, is_live: bool) -> Vec<String> {
    let line = |fields: serde_json::Value| {
        let at = ready.at.to_string();
        serde_json::json!({"timestamp": at, "level": "INFO", "fields": fields, "target": "lovage"}).to_string()
    };
    let is_ready = line(serde_json::json!({
        "message": "ready", "hostname": ready.hostname, "version": env!("CARGO_PKG_VERSION"),
        "api": format!("http://{}", ready.address), "store": ready.store, "queues": ready.queues,
        "concurrency": ready.concurrency, "modules": ready.modules,
    }));
    let token = ready.token.as_deref().map(|token| match is_live {
        true => token_in_words(token),
        false => line(serde_json::json!({
            "message": "this token may do everything, and is not shown again", "token": token,
        })),
    });
    std::iter::once(is_ready).chain(token).collect()
}

pub(crate) fn dev(typed: Dev, screen: Screen) -> anyhow::Result<Exit> {
    if let Some((one, other)) = daemon::of_one_module(&typed.modules) {
        let (one, other) = (one.display(), other.display());
        let why =
            "each would be a version of the other, since a module has its file's name: rename one, or leave it out";
        return Err(Usage::error(format!("{one} and {other}: {why}")));
    }
    daemon::dev(DevArgs { modules: typed.modules, listen: typed.listen, config: typed.config }, |news| {
        screen.note(&news_text(&news))
    })?;
    Ok(Exit::Done)
}

fn news_text(news: &DevNews) -> String {
    match news {
        DevNews::Ready { url, store, token } => format!(
            "ready; everything is in {store} and goes when this ends. In another terminal:\n  export LOVAGE_URL={url}{}",
            token.as_ref().map_or_else(String::new, |token| format!("\n  export LOVAGE_TOKEN={token}"))
        ),
        DevNews::Pushed(version) => {
            let tasks: Vec<_> = version.tasks.iter().map(|task| task.name.as_str()).collect();
            format!("pushed {} {}: {}", version.name, version.version, tasks.join(" "))
        }
        DevNews::Refused { path, why } => format!("{}: {why}", path.display()),
    }
}

pub(crate) fn exec(typed: Exec, screen: Screen) -> anyhow::Result<Exit> {
    let mut stdin = Stdin::new(std::io::stdin());
    value::doubts(&typed.args).iter().for_each(|doubt| screen.note(doubt));
    let args = ExecArgs {
        call: call_of(&typed, &mut stdin)?,
        module: typed.module,
        time_limit: typed.limits.time_limit,
        soft_time_limit: typed.limits.soft_time_limit,
        fuel: typed.limits.fuel,
        memory_bytes: typed.memory_bytes,
        config: typed.config,
    };
    let watcher = Watcher(Mutex::new(Watched { live: Live::new(screen), begun: BTreeMap::new() }));
    let meta = daemon::exec(args, &watcher);
    watcher.with(Watched::end);
    result::ending(&meta.map_err(unrun)?, &screen)
}

/// Unless a signal came, whatever keeps it from running (no such file, no such task, a component that is none) was typed.
fn unrun(error: anyhow::Error) -> anyhow::Error {
    if error.is::<Stopped>() { error } else { error.context(Usage("the task was not run".to_owned())) }
}

/// What is to be run.
fn call_of(typed: &Exec, stdin: &mut Stdin<impl Read>) -> anyhow::Result<Signature> {
    match (&typed.task, &typed.canvas) {
        (_, Some(canvas)) => send::signature(canvas, stdin),
        (Some(task), None) => Ok(Signature {
            kwargs: value::kwargs(typed.kwargs.as_deref(), stdin)?,
            ..Signature::new(task.clone(), value::arguments(&typed.args, stdin)?)
        }),
        (None, None) => Err(Usage::error("TASK or --canvas: what?")),
    }
}

/// Shows one run as it goes.
struct Watcher(Mutex<Watched>);

struct Watched {
    live: Live,
    /// Of each stream, the line that has no end yet.
    begun: BTreeMap<&'static str, String>,
}

impl Watched {
    fn wrote(&mut self, stream: &'static str, text: &str) {
        let begun = self.begun.entry(stream).or_default();
        begun.push_str(text);
        while let Some(end) = begun.find('\n') {
            let line: String = begun.drain(..=end).collect();
            self.live.line(&shown(stream, line.trim_end_matches('\n')));
        }
    }

    fn end(&mut self) {
        for (stream, text) in std::mem::take(&mut self.begun).iter().filter(|(_, text)| !text.is_empty()) {
            self.live.line(&shown(stream, text));
        }
        self.live.clear();
    }
}

fn shown(stream: &str, text: &str) -> String {
    Line { retries: 0, stream: stream.to_owned(), text: text.to_owned() }.shown()
}

impl Watcher {
    fn with(&self, act: impl FnOnce(&mut Watched)) {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Progress for Watcher {
    fn state(&self, state: &str, meta: Json) {
        self.with(|watched| watched.live.state(state, &meta));
    }

    fn wrote(&self, stream: &'static str, bytes: &[u8]) {
        self.with(|watched| watched.wrote(stream, &String::from_utf8_lossy(bytes)));
    }

    fn logged(&self, record: &LogRecord) {
        self.with(|watched| watched.live.line(&shown(record.level.name(), &record.message)));
    }

    fn event(&self, name: &str, fields: Json) {
        self.with(|watched| watched.live.line(&escape::line(&format!("event {name} {fields}"))));
    }
}

/// The store that a daemon of the same settings would be on.
fn store_at(at: StoreAt, environment: impl IntoIterator<Item = (OsString, OsString)>) -> anyhow::Result<StoreUrl> {
    let flags = Flags { config: at.config, store: at.store, ..Flags::default() };
    Ok(config::load(&flags, environment, |path| std::fs::read_to_string(path))?.store)
}

pub(crate) fn store(command: StoreCommand, screen: Screen) -> anyhow::Result<Exit> {
    match command {
        StoreCommand::Check(at) => {
            let store = store_at(at, std::env::vars_os())?;
            let found = daemon::store_check(&store)?;
            screen.one(&found, || table::store(&found))?;
            found.problems.iter().for_each(|problem| screen.note(problem));
            Ok(if found.problems.is_empty() { Exit::Done } else { Exit::Failed })
        }
        StoreCommand::Backup { at, to } => {
            let store = store_at(at, std::env::vars_os())?;
            let bytes = daemon::store_backup(&store, &to)?;
            screen.note(&format!("{} has a copy of {}: {bytes} bytes", to.display(), daemon::store_shown(&store)));
            Ok(Exit::Done)
        }
    }
}

pub(crate) fn config(command: ConfigCommand, screen: Screen) -> anyhow::Result<Exit> {
    match command {
        ConfigCommand::Check(flags) => {
            for idle in load(*flags)?.idle() {
                screen.note(&format!("warning: {idle}"));
            }
            screen.note("the configuration is right");
        }
        ConfigCommand::Show(flags) => {
            let config = load(*flags)?;
            screen.one(&config.json(), || config.show().trim_end().to_owned())?;
        }
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(token: Option<&str>) -> Ready {
        Ready {
            at: lovage_model::Timestamp::from_micros(0),
            address: "127.0.0.1:7380".parse().unwrap(),
            hostname: "lovage@h".to_owned(),
            store: "memory:".to_owned(),
            concurrency: 4,
            queues: None,
            modules: 2,
            token: token.map(str::to_owned),
        }
    }

    #[test]
    fn where_the_log_is_json_so_is_its_first_line() {
        let read = |line: &String| serde_json::from_str::<serde_json::Value>(line).unwrap();
        let lines = json(&ready(Some("lovage_t_1")), false);
        let [first, token] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!(read(first)["fields"]["api"], "http://127.0.0.1:7380", "{first}");
        assert_eq!(read(first)["fields"]["modules"], 2, "{first}");
        assert!(!first.contains("lovage_t_1") && read(first)["timestamp"].is_string(), "{first}");
        assert_eq!(read(token)["fields"]["token"], "lovage_t_1");
        let lines = json(&ready(Some("lovage_t_1")), true);
        assert!(lines[1].contains("export LOVAGE_TOKEN=lovage_t_1"), "who sits there can copy it: {lines:?}");
        assert_eq!(json(&ready(None), true).len(), 1);
        assert!(words(&ready(Some("lovage_t_1")))[1].starts_with("\nThis token"), "apart from the rest");
    }

    #[test]
    fn a_store_at_rest_is_that_of_the_settings() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[store]\nurl = \"file:of-file\"\n").unwrap();
        let found = |config: bool, variable: bool, flag: bool| {
            let config = config.then(|| file.path().to_owned());
            let environment = variable.then(|| ("LOVAGE__STORE__URL".into(), "file:of-variable".into()));
            let at = StoreAt { config, store: flag.then(|| "file:of-flag".to_owned()) };
            store_at(at, environment).unwrap()
        };
        let expect = |directory: &str| StoreUrl::File(directory.into());
        assert_eq!(found(false, false, false), expect("./lovage-data"));
        assert_eq!(found(true, false, false), expect("of-file"));
        assert_eq!(found(true, true, false), expect("of-variable"));
        assert_eq!(found(true, true, true), expect("of-flag"));
    }

    #[test]
    fn a_development_daemon_tells_how_to_reach_it() {
        let news = DevNews::Ready { url: "http://127.0.0.1:1".to_owned(), store: "/tmp/x".to_owned(), token: None };
        let text = news_text(&news);
        assert!(text.contains("export LOVAGE_URL=http://127.0.0.1:1"), "{text}");
    }
}
