//! What did the person type?
//!
//! Verbs about tasks, modules and queues are clients of the HTTP API, never of a store; `serve`, `dev`, `exec`, `store`
//! and `config` ask the daemon's and the configuration's own rooms. Data goes to standard output, everything else to
//! standard error. Only here does anything print, and only here does the process end.

mod access;
mod beat;
mod escape;
mod events;
mod exit;
mod graph;
mod host;
mod live;
mod local;
mod logs;
mod module;
mod queue;
mod result;
mod screen;
mod secret;
mod send;
mod table;
mod task;
mod value;
mod watch;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;
use lovage_client::Client;

use exit::Exit;
use screen::{Format, Screen};

const EXAMPLES: &str = "\
Examples:
  lovage dev tour.wasm                            a daemon to play with
  lovage exec tour.wasm tour.add 2 3              one task, no daemon
  lovage serve                                    a daemon that keeps what it is given
  lovage module push tour tour.wasm
  lovage task run tour.add 2 3";

/// Celery's task queue with every task inside a WebAssembly sandbox
#[derive(Debug, Parser)]
#[command(name = "lovage", version, after_help = format!("{EXAMPLES}\n\n{}", exit::TABLE))]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct Globals {
    /// Address of the daemon
    #[arg(long, global = true, env = "LOVAGE_URL", hide_env_values = true, default_value = "http://127.0.0.1:7380")]
    url: String,
    /// Token that says who asks, if the daemon needs one
    #[arg(long, global = true, env = "LOVAGE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// How data is written; everything that is not data goes to standard error
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a daemon
    Serve(Box<local::Serve>),
    /// Run a daemon on a temporary store, and push modules whenever they change
    Dev(local::Dev),
    /// Run one task here and now, with no daemon, and print its result as JSON
    #[command(after_help = format!("{}\n\nExamples:\n  lovage exec tour.wasm tour.add 2 3\n  \
                                    lovage exec wordcount.wasm count - <README.md", value::RULES))]
    Exec(Box<local::Exec>),
    /// Push task modules, look at them, go back
    #[command(subcommand)]
    Module(module::ModuleCommand),
    /// What the tasks of a module are told in confidence
    #[command(subcommand)]
    Secret(secret::SecretCommand),
    /// Send tasks, await them, look at them, stop them
    #[command(subcommand)]
    Task(task::TaskCommand),
    /// What waits
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    /// The host that is asked: show it, let it take no more tasks
    #[command(subcommand)]
    Worker(host::WorkerCommand),
    /// Ask a host what it does, as Celery's inspect does; others on the same Redis are asked at their own addresses
    Inspect(host::Inspect),
    /// Change limits of tasks while hosts run, as Celery's control does
    #[command(subcommand)]
    Control(host::ControlCommand),
    /// Watch what happens to all tasks, as it happens
    Events,
    /// What is sent again and again
    #[command(subcommand)]
    Beat(beat::BeatCommand),
    /// Who shares the daemon, and what each may use
    #[command(subcommand)]
    Tenant(access::TenantCommand),
    /// What proves who asks
    #[command(subcommand)]
    Token(access::TokenCommand),
    /// Whether the daemon is there and can take tasks; exit 1 if it cannot, 6 if none answers
    Status,
    /// Check or copy a store
    #[command(subcommand)]
    Store(local::StoreCommand),
    /// Prove or print a configuration
    #[command(subcommand)]
    Config(local::ConfigCommand),
    /// Compile a component, as a child of a daemon
    #[command(hide = true)]
    CompileChild(local::CompileChild),
    /// Run tasks, as a child of a daemon
    #[command(hide = true)]
    ExecutorChild,
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  lovage completions bash >~/.local/share/bash-completion/completions/lovage")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

impl Command {
    /// Whether it is a client of a daemon.
    fn asks_a_daemon(&self) -> bool {
        let is_one = matches!(self, Self::Serve(_) | Self::Dev(_) | Self::CompileChild(_) | Self::ExecutorChild);
        let needs_none = matches!(self, Self::Exec(_) | Self::Store(_) | Self::Config(_) | Self::Completions { .. });
        !is_one && !needs_none
    }
}

/// What a verb needs that asks a daemon.
struct Session {
    client: Client,
    screen: Screen,
}

/// Reads the command line, does what it says, and returns how it ended.
pub fn main() -> ExitCode {
    let cli = typed(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let screen = Screen::of_process(cli.globals.output);
    run(cli, screen).unwrap_or_else(|error| match Exit::of(&error) {
        Some(exit) => {
            screen.note(&format!("error: {error:#}"));
            exit.into()
        }
        None => Exit::Done.into(),
    })
}

/// The command line. Which daemon is asked is no option of a verb that asks none: it would do nothing. (A variable of the
/// environment may be there for other verbs.)
fn typed(line: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Cli, clap::Error> {
    let mut command = Cli::command();
    let matches = command.try_get_matches_from_mut(line)?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    let typed = |option: &&str| matches.value_source(option) == Some(ValueSource::CommandLine);
    match ["url", "token"].into_iter().find(typed) {
        Some(option) if !cli.command.asks_a_daemon() => {
            let verb = matches.subcommand_name().unwrap_or_default();
            let why = format!("`lovage {verb}` asks no daemon: leave out --{option}");
            Err(command.error(ErrorKind::ArgumentConflict, why))
        }
        _ => Ok(cli),
    }
}

fn run(cli: Cli, screen: Screen) -> anyhow::Result<ExitCode> {
    let exit = match cli.command {
        Command::Serve(typed) => local::serve(*typed, screen)?,
        Command::Dev(typed) => local::dev(typed, screen)?,
        Command::CompileChild(typed) => return Ok(local::compile_child(&typed)),
        Command::ExecutorChild => return Ok(local::executor_child()),
        Command::Exec(typed) => local::exec(*typed, screen)?,
        Command::Store(command) => local::store(command, screen)?,
        Command::Config(command) => local::config(command, screen)?,
        Command::Completions { shell } => {
            screen.data(&completions(shell))?;
            Exit::Done
        }
        Command::Module(command) => ask(cli.globals, screen, async |session| module::execute(command, session).await)?,
        Command::Secret(command) => ask(cli.globals, screen, async |session| secret::execute(command, session).await)?,
        Command::Task(command) => ask(cli.globals, screen, async |session| task::execute(command, session).await)?,
        Command::Queue(command) => ask(cli.globals, screen, async |session| queue::execute(command, session).await)?,
        Command::Worker(command) => ask(cli.globals, screen, async |session| host::worker(command, session).await)?,
        Command::Inspect(asked) => ask(cli.globals, screen, async |session| host::inspect(asked, session).await)?,
        Command::Control(command) => ask(cli.globals, screen, async |session| host::control(command, session).await)?,
        Command::Events => ask(cli.globals, screen, events::watch)?,
        Command::Beat(command) => ask(cli.globals, screen, async |session| beat::execute(command, session).await)?,
        Command::Tenant(command) => ask(cli.globals, screen, async |session| access::tenant(command, session).await)?,
        Command::Token(command) => ask(cli.globals, screen, async |session| access::token(command, session).await)?,
        Command::Status => ask(cli.globals, screen, status)?,
    };
    Ok(exit.into())
}

/// `localhost:7380` means http: nothing else is spoken.
fn with_scheme(url: &str) -> String {
    if url.contains("://") || url.is_empty() { url.to_owned() } else { format!("http://{url}") }
}

/// Does what needs a daemon.
fn ask(
    globals: Globals,
    screen: Screen,
    act: impl AsyncFnOnce(&Session) -> anyhow::Result<Exit>,
) -> anyhow::Result<Exit> {
    let client = Client::new(with_scheme(&globals.url))?;
    let client = match globals.token {
        Some(token) => client.with_token(token),
        None => client,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(act(&Session { client, screen }))
}

async fn status(session: &Session) -> anyhow::Result<Exit> {
    let health = session.client.readyz().await?;
    session.screen.one(&health, || table::health(&health))?;
    Ok(Exit::Done)
}

fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut shown(), "lovage", &mut script);
    String::from_utf8_lossy(&script).trim_end().to_owned()
}

/// The command line without what nobody types.
fn shown() -> clap::Command {
    let all = Cli::command();
    let verbs = all.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned();
    clap::Command::new("lovage")
        .version(env!("CARGO_PKG_VERSION"))
        .args(all.get_arguments().cloned())
        .subcommands(verbs)
}

#[cfg(test)]
mod tests;
