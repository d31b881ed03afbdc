//! `lovage task`: send tasks, await them, look at them, stop them.

use std::time::Duration;

use clap::{Args, Subcommand};
use lovage_client::{AsyncResult, Client, Polled, TaskFailure, TaskFilter};
use lovage_model::api::{ControlReply, TaskLogs};
use lovage_model::{QueueName, ResultMeta, Seconds, State, TaskId, TaskName};

use super::exit::Exit;
use super::live::Live;
use super::logs::{Line, Tail};
use super::screen::{Format, Screen};
use super::send::{Send, seconds};
use super::value::{RULES, Stdin};
use super::watch::{Watch, until_ended};
use super::{Session, table};

/// The largest page that is asked for at once.
const PAGE: u32 = 200;

const RUN_EXAMPLES: &str = "\
Examples:
  lovage task run wordcount.count @README.md
  lovage task run tour.add 2 3 --countdown 5
  lovage task run thumbnail.resize @base64:photo.png --kwargs '{\"width\": 200}' --logs
  lovage task run --canvas @signature.json --timeout 60";

const SUBMIT_EXAMPLES: &str = "\
Examples:
  id=$(lovage task submit tour.add 2 3)
  lovage task submit report.build --eta 2026-12-01T06:00:00Z --expires 3600 --queue slow
  lovage task submit import.file @data.csv --id import-2026-11-21     # sent twice, runs once";

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Send a task; prints its id once it is stored
    #[command(after_help = format!("{RULES}\n\n{SUBMIT_EXAMPLES}"))]
    Submit(Box<Send>),
    /// Send a task, show its progress, print its result as JSON
    #[command(after_help = format!("{RULES}\n\n{RUN_EXAMPLES}"))]
    Run(Box<Run>),
    /// Show everything about a task
    Get(One),
    /// Print the result of a task that has ended, as JSON; exit 5 if it has not
    Result(One),
    /// Wait until a task has ended, and print its result as JSON
    Wait(Wait),
    /// Print what each attempt of a task wrote
    Logs(Logs),
    /// List tasks, the newest first
    #[command(after_help = "Examples:\n  lovage task list --state FAILURE --limit 20\n  \
                            lovage task list --name tour.add -o jsonl")]
    List(List),
    /// Keep a task from running; with --terminate, stop it too if it runs
    Revoke(Revoke),
    /// Drop a task that has ended, with its result and log
    Forget(One),
    /// Queue a task that has ended once more, under its id
    Retry(One),
}

/// One task.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// Id of the task
    id: TaskId,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Wait at most so many seconds; the task goes on after that
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Seconds>,
    /// Show what the task writes, on standard error
    #[arg(long)]
    logs: bool,
    #[command(flatten)]
    send: Send,
}

#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Id of the task
    id: TaskId,
    /// Wait at most so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Seconds>,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Id of the task
    id: TaskId,
    /// Go on until the task has ended
    #[arg(short, long)]
    follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// In this state only: PENDING, STARTED, SUCCESS, FAILURE, RETRY, REVOKED, ... or one of a task's own
    #[arg(long, value_parser = state)]
    state: Option<State>,
    /// Of this task only
    #[arg(long)]
    name: Option<TaskName>,
    /// Of this queue only
    #[arg(long)]
    queue: Option<QueueName>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// Id of the task
    id: TaskId,
    /// Stop it too if it is running
    #[arg(long)]
    terminate: bool,
}

/// Celery's states in any spelling; others as they are.
fn state(text: &str) -> Result<State, String> {
    match State::from_name(&text.to_uppercase()) {
        State::Custom(_) => Ok(State::from_name(text)),
        known => Ok(known),
    }
}

pub(crate) async fn execute(command: TaskCommand, session: &Session) -> anyhow::Result<Exit> {
    let Session { client, screen } = session;
    match command {
        TaskCommand::Submit(send) => submit(*send, client, screen).await,
        TaskCommand::Run(run) => self::run(*run, client, screen).await,
        TaskCommand::Get(One { id }) => {
            let meta = client.task(&id).await?;
            screen.one(&meta, || table::task(&meta, screen.colour))?;
            Ok(Exit::Done)
        }
        TaskCommand::Result(One { id }) => match client.poll_result(&id, Duration::ZERO).await? {
            Polled::Ended(meta) => ending(&meta, screen),
            Polled::Running(meta) => {
                let state = meta.status;
                screen.note(&format!("task {id} is {state}: no result yet; to wait for it: lovage task wait {id}"));
                Ok(Exit::TimedOut)
            }
        },
        TaskCommand::Wait(Wait { id, timeout }) => {
            show_until_ended(&client.async_result(id), timeout, false, screen).await
        }
        TaskCommand::Logs(logs) => self::logs(logs, client, screen).await,
        TaskCommand::List(list) => self::list(list, client, screen).await,
        TaskCommand::Revoke(Revoke { id, terminate }) => told(&client.revoke(&id, terminate).await?, screen),
        TaskCommand::Forget(One { id }) => told(&client.forget(&id).await?, screen),
        TaskCommand::Retry(One { id }) => told(&client.retry(&id).await?, screen),
    }
}

async fn submit(send: Send, client: &Client, screen: &Screen) -> anyhow::Result<Exit> {
    let body = send.request(&mut Stdin::new(std::io::stdin()))?;
    let reply = client.submit(body).await?;
    screen.one(&reply, || reply.id.to_string())?;
    Ok(Exit::Done)
}

async fn run(run: Run, client: &Client, screen: &Screen) -> anyhow::Result<Exit> {
    let body = run.send.request(&mut Stdin::new(std::io::stdin()))?;
    let reply = client.submit(body).await?;
    screen.note(&format!("task {}", reply.id));
    show_until_ended(&client.async_result(reply.id), run.timeout, run.logs, screen).await
}

/// The task as it goes on standard error, then its result on standard output.
async fn show_until_ended(
    result: &AsyncResult,
    timeout: Option<Seconds>,
    logs: bool,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let mut live = Live::new(*screen);
    let mut above = |live: Option<&Live>, lines: &[Line]| {
        for line in lines {
            live.map_or_else(|| screen.note(&line.shown()), |live| live.line(&line.shown()));
        }
        Ok(())
    };
    let watch = Watch { live: Some(&mut live), lines: if logs { Some(&mut above) } else { None } };
    let meta = until_ended(result, timeout.map(Seconds::duration), watch).await;
    live.clear();
    ending(&meta?, screen)
}

/// The value on standard output, or the exception on standard error.
pub(crate) fn ending(meta: &ResultMeta, screen: &Screen) -> anyhow::Result<Exit> {
    match TaskFailure::of(meta) {
        None => {
            screen.raw_json(meta.result.as_str())?;
            Ok(Exit::Done)
        }
        Some(failure) => {
            screen.note(&failure_text(&failure));
            Ok(Exit::Failed)
        }
    }
}

fn failure_text(failure: &TaskFailure) -> String {
    let mut text = failure.to_string();
    if let Some(fault) = &failure.fault {
        text.push_str(&format!("\nfault: {fault}"));
    }
    if let Some(traceback) = &failure.traceback {
        text.push_str(&format!("\n{}", traceback.trim_end()));
    }
    text
}

async fn logs(logs: Logs, client: &Client, screen: &Screen) -> anyhow::Result<Exit> {
    if logs.follow {
        let mut print = |_: Option<&Live>, lines: &[Line]| print_lines(lines, screen);
        let watch = Watch { live: None, lines: Some(&mut print) };
        until_ended(&client.async_result(logs.id), None, watch).await?;
        return Ok(Exit::Done);
    }
    let all: TaskLogs = client.logs(&logs.id).await?;
    match screen.format {
        Format::Json => screen.one(&all, String::new)?,
        _ => print_lines(&Tail::default().news(&all), screen)?,
    }
    Ok(Exit::Done)
}

/// What is still coming cannot be one document: with `-o json`, too, it is a document a line.
fn print_lines(lines: &[Line], screen: &Screen) -> anyhow::Result<()> {
    lines.iter().try_for_each(|line| match screen.format {
        Format::Table => screen.guest_data(&line.shown()),
        Format::Json | Format::Jsonl => screen.raw_json(&serde_json::to_string(line)?),
    })
}

async fn list(list: List, client: &Client, screen: &Screen) -> anyhow::Result<Exit> {
    let mut tasks = Vec::new();
    let (state, name, queue) = (list.state, list.name, list.queue);
    let mut filter = TaskFilter { state, name, queue, ..TaskFilter::default() };
    loop {
        let left = list.limit - u32::try_from(tasks.len()).unwrap_or(list.limit).min(list.limit);
        filter.limit = Some(left.min(PAGE));
        let page = client.tasks(&filter).await?;
        tasks.extend(page.tasks);
        filter.cursor = page.next;
        if filter.cursor.is_none() || tasks.len() >= list.limit as usize {
            break;
        }
    }
    screen.list(&tasks, || table::tasks(&tasks, screen.colour))?;
    if filter.cursor.is_some() {
        screen.note(&format!("there are more: the newest {} are shown; --limit asks for others", tasks.len()));
    }
    Ok(Exit::Done)
}

fn told(reply: &ControlReply, screen: &Screen) -> anyhow::Result<Exit> {
    screen.one(reply, || format!("{}: {} ({})", reply.id, reply.outcome, reply.state))?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use lovage_model::Exception;

    use super::*;

    #[test]
    fn states_are_found_in_any_spelling() {
        assert_eq!(state("failure").unwrap(), State::Failure);
        assert_eq!(state("Progress").unwrap(), State::Custom("Progress".to_owned()));
    }

    #[test]
    fn a_failure_tells_exception_fault_and_traceback() {
        let failure = TaskFailure {
            id: TaskId::new("t-1").unwrap(),
            name: TaskName::new("tour.eat").unwrap(),
            state: State::Failure,
            exception: Exception::new("lovage.exceptions", "MemoryLimitExceeded", "64 MiB"),
            traceback: Some("tour::eat\ntour::run\n".to_owned()),
            fault: Some("memory-limit".to_owned()),
        };
        let expected =
            "task t-1 (tour.eat) failed: MemoryLimitExceeded: 64 MiB\nfault: memory-limit\ntour::eat\ntour::run";
        assert_eq!(failure_text(&failure), expected);
    }
}
