//! `lovage task`: send tasks, await them, look at them, stop them.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use lovage_client::{Client, Receipt, TaskFilter};
use lovage_model::api::{ControlReply, RevokeItem, SubmitReply, TaskLogs};
use lovage_model::{Json, QueueName, Seconds, State, TaskId, TaskName};
use std::collections::BTreeMap;

use super::exit::Exit;
use super::graph::Graph;
use super::live::Live;
use super::logs::{Line, Tail};
use super::result::{self, Which};
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
    Result(Of),
    /// Wait until a task or a group has ended, and print its result as JSON
    Wait(Wait),
    /// Show what came of a task or a group: what it sent, what that sent, and so on
    #[command(after_help = "Example:\n  lovage task graph $id --dot | dot -Tsvg >graph.svg")]
    Graph(Graph),
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

/// One task or group.
#[derive(Debug, Args)]
pub(crate) struct Of {
    /// Id of the task, or of a group that was saved; or a result tuple: [[ID, PARENT], [MEMBER, ...]]
    id: Which,
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
    /// Id of the task, or of a group that was saved; or a result tuple: [[ID, PARENT], [MEMBER, ...]]
    id: Which,
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
    /// Of this task only, by its whole name: tour.add, not add
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
    /// Ids of the tasks
    #[arg(value_name = "ID", required_unless_present = "stamp")]
    ids: Vec<TaskId>,
    /// Those that have this stamp, too; the value is JSON, else a string. Of several, any will do
    #[arg(long, value_name = "NAME=VALUE", value_parser = stamp)]
    stamp: Vec<(String, Json)>,
    /// Stop those too that are running
    #[arg(long)]
    terminate: bool,
}

fn stamp(text: &str) -> Result<(String, Json), String> {
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("write NAME=VALUE")?;
    let string = || Json::of(value).map_err(|error| error.to_string());
    Ok((name.to_owned(), Json::parse(value.to_owned()).or_else(|_| string())?))
}

/// The states that every task may be in.
const STATES: &str = "PENDING, RECEIVED, STARTED, SUCCESS, FAILURE, RETRY, REVOKED, REJECTED, IGNORED";

/// Celery's states in any spelling; others as they are.
fn state(text: &str) -> Result<State, String> {
    match State::from_name(&text.to_uppercase()) {
        State::Custom(_) => Ok(State::from_name(text)),
        known => Ok(known),
    }
}

impl TaskCommand {
    /// The one task that it is about, where a group will not do.
    fn one(&self) -> Option<&TaskId> {
        match self {
            Self::Get(One { id }) | Self::Forget(One { id }) | Self::Retry(One { id }) => Some(id),
            Self::Logs(logs) => Some(&logs.id),
            Self::Revoke(Revoke { ids, .. }) => ids.first().filter(|_| ids.len() == 1),
            _ => None,
        }
    }
}

pub(crate) async fn execute(command: TaskCommand, session: &Session) -> anyhow::Result<Exit> {
    let one = command.one().cloned();
    let done = carry_out(command, session).await;
    if let (Some(id), Err(error)) = (one, &done) {
        result::say_if_group(&id, error, session).await;
    }
    done
}

async fn carry_out(command: TaskCommand, session: &Session) -> anyhow::Result<Exit> {
    let Session { client, screen } = session;
    match command {
        TaskCommand::Submit(send) => submit(*send, client, screen).await,
        TaskCommand::Run(run) => self::run(*run, session).await,
        TaskCommand::Get(One { id }) => {
            let meta = client.task(&id).await?;
            screen.one(&meta, || table::task(&meta, screen.colour))?;
            Ok(Exit::Done)
        }
        TaskCommand::Result(Of { id }) => result::now(id, session).await,
        TaskCommand::Wait(Wait { id, timeout }) => result::wait(id, timeout, session).await,
        TaskCommand::Graph(graph) => graph.show(session).await,
        TaskCommand::Logs(logs) => self::logs(logs, client, screen).await,
        TaskCommand::List(list) => self::list(list, client, screen).await,
        TaskCommand::Revoke(Revoke { ids, stamp, terminate }) => match (&ids[..], &stamp[..]) {
            ([id], []) => told(&client.revoke(id, terminate).await?, screen),
            _ => revoke_many(ids, stamp, terminate, session).await,
        },
        TaskCommand::Forget(One { id }) => told(&client.forget(&id).await?, screen),
        TaskCommand::Retry(One { id }) => told(&client.retry(&id).await?, screen),
    }
}

async fn submit(send: Send, client: &Client, screen: &Screen) -> anyhow::Result<Exit> {
    let Receipt { reply, .. } = self::send(send, client, screen).await?;
    screen.one(&reply, || reply.id.to_string())?;
    Ok(Exit::Done)
}

async fn run(run: Run, session: &Session) -> anyhow::Result<Exit> {
    let Receipt { reply, .. } = send(run.send, &session.client, &session.screen).await?;
    let what = if reply.result_tuple.children.is_some() { "group" } else { "task" };
    session.screen.note(&format!("{what} {}", reply.id));
    let sent = session.client.result_from_tuple(reply.result_tuple);
    result::show(sent, result::Until { timeout: run.timeout, logs: run.logs }, &session.screen).await
}

/// Sends it. A group is saved, so that it can be asked for by its id.
async fn send(send: Send, client: &Client, screen: &Screen) -> anyhow::Result<Receipt> {
    send.doubts().iter().for_each(|doubt| screen.note(doubt));
    let receipt = client.send_request(&send.request(&mut Stdin::new(std::io::stdin()))?).await?;
    let reply = &receipt.reply;
    if !receipt.is_new {
        screen.note(&sent_before(reply));
    }
    if reply.result_tuple.children.is_some() {
        client.save_group(&reply.result_tuple).await.with_context(|| unsaved(reply))?;
    }
    Ok(receipt)
}

/// The state of a group is none that the daemon keeps: what the answer has is how each begins.
fn sent_before(SubmitReply { id, state, result_tuple }: &SubmitReply) -> String {
    match result_tuple.children {
        Some(_) => {
            format!("{id} was sent before: nothing new was sent; lovage task result {id} shows what became of it")
        }
        None => format!("{id} was sent before, and is {state} by now: nothing new was sent"),
    }
}

/// What else would be lost: where the tasks are that have been sent.
fn unsaved(reply: &SubmitReply) -> String {
    let tuple = serde_json::to_string(&reply.result_tuple).unwrap_or_default();
    format!("group {} was sent, and cannot be found by its id; wait for {tuple} instead", reply.id)
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
    if let Some(State::Custom(name)) = filter.state.as_ref().filter(|_| tasks.is_empty()) {
        screen.note(&format!("no task is in state {name}; the states are {STATES}, and those that tasks set"));
    }
    if let Some(name) = filter.name.as_ref().filter(|name| tasks.is_empty() && !name.as_str().contains('.')) {
        screen.note(&format!("no task has the name {name}; --name takes the whole name, such as tour.{name}"));
    }
    if filter.cursor.is_some() {
        screen.note(&format!("there are more: the newest {} are shown; --limit asks for others", tasks.len()));
    }
    Ok(Exit::Done)
}

fn told(reply: &ControlReply, screen: &Screen) -> anyhow::Result<Exit> {
    screen.one(reply, || format!("{}: {} ({})", reply.id, reply.outcome, reply.state))?;
    Ok(Exit::Done)
}

async fn revoke_many(
    ids: Vec<TaskId>,
    stamps: Vec<(String, Json)>,
    terminate: bool,
    Session { client, screen }: &Session,
) -> anyhow::Result<Exit> {
    let mut found = client.revoke_many(ids, terminate).await?.results;
    if !stamps.is_empty() {
        let mut headers = BTreeMap::<String, Vec<Json>>::new();
        for (name, value) in stamps {
            headers.entry(name).or_default().push(value);
        }
        let headers = headers.into_iter().map(|(name, values)| Ok((name, Json::of(&values)?)));
        let headers = headers.collect::<Result<_, serde_json::Error>>()?;
        found.extend(client.revoke_by_stamped_headers(headers, terminate).await?.results);
    }
    let line = |item: &RevokeItem| match item {
        RevokeItem::Found(reply) => format!("{}: {} ({})", reply.id, reply.outcome, reply.state),
        RevokeItem::Refused(problem) => format!("{}: {}", problem.code, problem.detail),
    };
    let table = || {
        if found.is_empty() { "none found".to_owned() } else { found.iter().map(line).collect::<Vec<_>>().join("\n") }
    };
    screen.list(&found, table)?;
    // The first that was refused decides, as it would alone.
    let refused = found.iter().find_map(|item| match item {
        RevokeItem::Refused(problem) => Some(Exit::of_problem(problem)),
        RevokeItem::Found(_) => None,
    });
    Ok(refused.unwrap_or(Exit::Done))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_state_is_made_up_for_a_group_that_was_sent_before() {
        let reply = |tuple: &str| SubmitReply {
            id: TaskId::new("g").unwrap(),
            state: State::Pending,
            result_tuple: serde_json::from_str(tuple).unwrap(),
        };
        let group = sent_before(&reply(r#"[["g", null], [[["a", null], null]]]"#));
        assert!(group.starts_with("g was sent before: ") && !group.contains("PENDING"), "{group}");
        assert!(sent_before(&reply(r#"[["g", null], null]"#)).contains("is PENDING by now"));
    }

    #[test]
    fn a_stamp_is_a_name_and_a_value() {
        assert_eq!(stamp("build=12").unwrap(), ("build".to_owned(), Json::of(&12).unwrap()));
        assert_eq!(stamp("user=Ada=x").unwrap(), ("user".to_owned(), Json::of("Ada=x").unwrap()));
        assert!(stamp("build").is_err() && stamp("=1").is_err());
    }

    #[test]
    fn states_are_found_in_any_spelling() {
        assert_eq!(state("failure").unwrap(), State::Failure);
        assert_eq!(state("Progress").unwrap(), State::Custom("Progress".to_owned()));
    }
}
