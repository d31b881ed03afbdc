//! What has become of it? The result of a task or of a group: now, or once it has ended.

use std::str::FromStr;
use std::time::Duration;

use lovage_client::{AnyResult, AsyncResult, Error, GroupResult, Polled, TaskFailure};
use lovage_model::{Json, ResultMeta, ResultTuple, Seconds, TaskId};

use super::Session;
use super::exit::Exit;
use super::live::Live;
use super::logs::Line;
use super::screen::Screen;
use super::watch::{Watch, until_ended};

/// What was typed for a task or a group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Which {
    /// The id of a task, or of a group that was saved.
    Id(TaskId),
    /// All there is to know of where it is.
    Tuple(ResultTuple),
}

impl FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim_start().starts_with('[') {
            return serde_json::from_str(text).map(Self::Tuple).map_err(|error| error.to_string());
        }
        TaskId::new(text).map(Self::Id).map_err(|error| error.to_string())
    }
}

/// How far to go on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Until {
    /// At most so long.
    pub(crate) timeout: Option<Seconds>,
    /// Whether to show what it writes.
    pub(crate) logs: bool,
}

/// The handle of what was typed.
pub(crate) async fn find(which: Which, session: &Session) -> anyhow::Result<AnyResult> {
    let client = &session.client;
    match which {
        Which::Tuple(tuple) => Ok(client.result_from_tuple(tuple)),
        Which::Id(id) => match client.task(&id).await {
            Ok(_) => Ok(client.async_result(id).into()),
            Err(error) => Ok(instead(&id, error, session).await?.into()),
        },
    }
}

/// The group that was saved under the id of a task that there is not; or the error.
async fn instead(id: &TaskId, error: Error, session: &Session) -> lovage_client::Result<GroupResult> {
    if error.code() != Some("unknown_id") {
        return Err(error);
    }
    session.client.restore_group(id).await?.ok_or(error)
}

/// If there is no such task, but a group of that id: what may be done with one.
pub(crate) async fn say_if_group(id: &TaskId, error: &anyhow::Error, Session { client, screen }: &Session) {
    let code = error.downcast_ref::<Error>().and_then(Error::code);
    // It goes beside the error, which is enough where nobody answers.
    if code == Some("unknown_id") && matches!(client.restore_group(id).await, Ok(Some(_))) {
        screen.note(&format!(
            "{id} is the id of a group: lovage task wait {id}, result {id} and graph {id} take one; for this, name one of its tasks"
        ));
    }
}

/// The result, if it is there.
pub(crate) async fn now(which: Which, session: &Session) -> anyhow::Result<Exit> {
    let result = match which {
        Which::Tuple(tuple) => session.client.result_from_tuple(tuple),
        Which::Id(id) => session.client.async_result(id).into(),
    };
    match result {
        AnyResult::Group(group) => group_now(&group, &session.screen).await,
        AnyResult::Task(task) => match session.client.poll_result(task.id(), Duration::ZERO).await {
            Ok(Polled::Ended(meta)) => ending(&meta, &session.screen),
            Ok(Polled::Running(meta)) => Ok(not_yet("task", task.id(), meta.status.as_str(), &session.screen)),
            Err(error) => group_now(&instead(task.id(), error, session).await?, &session.screen).await,
        },
    }
}

async fn group_now(group: &GroupResult, screen: &Screen) -> anyhow::Result<Exit> {
    if all_ended(group).await? {
        return show_group(group, Until { timeout: None, logs: false }, screen).await;
    }
    let state = format!("not complete, {} of {} succeeded", group.completed_count().await?, group.len());
    Ok(not_yet("group", group.id(), &state, screen))
}

/// Whether waiting for it would be over at once; also if a task has ended without a result.
async fn all_ended(group: &GroupResult) -> lovage_client::Result<bool> {
    let mut each = group.iter_native(Some(Duration::ZERO));
    loop {
        match each.next().await {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(true),
            Err(Error::Timeout { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

fn not_yet(what: &str, id: &TaskId, state: &str, screen: &Screen) -> Exit {
    screen.note(&format!("{what} {id} is {state}: no result yet; to wait for it: lovage task wait {id}"));
    Exit::TimedOut
}

/// The result, once it is there.
pub(crate) async fn wait(which: Which, timeout: Option<Seconds>, session: &Session) -> anyhow::Result<Exit> {
    show(find(which, session).await?, Until { timeout, logs: false }, &session.screen).await
}

/// What happens on standard error, then the result on standard output.
pub(crate) async fn show(result: AnyResult, until: Until, screen: &Screen) -> anyhow::Result<Exit> {
    match result {
        AnyResult::Task(task) => show_task(&task, until, screen).await,
        AnyResult::Group(group) => show_group(&group, until, screen).await,
    }
}

/// How many have ended on standard error, then the list of results; or the first failure.
async fn show_group(group: &GroupResult, until: Until, screen: &Screen) -> anyhow::Result<Exit> {
    if until.logs {
        screen.note("--logs shows what one task writes; for a task of a group: lovage task logs ID");
    }
    let mut live = Live::new(*screen);
    let (mut each, total) = (group.iter_native(until.timeout.map(Seconds::duration)), group.leaves().len());
    let mut ended = 0;
    while let Some((_, meta)) = each.next().await? {
        if let Some(failure) = TaskFailure::of(&meta) {
            live.clear();
            screen.note(&failure_text(&failure));
            return Ok(Exit::Failed);
        }
        ended += 1;
        live.state("ENDED", &Json::from(serde_json::json!({"current": ended, "total": total})));
    }
    live.clear();
    screen.raw_json(serde_json::to_string(&group.join_native(None).await?)?.as_str())?;
    Ok(Exit::Done)
}

/// A task as it goes on standard error, then its result on standard output.
async fn show_task(task: &AsyncResult, until: Until, screen: &Screen) -> anyhow::Result<Exit> {
    let mut live = Live::new(*screen);
    let mut above = |live: Option<&Live>, lines: &[Line]| {
        for line in lines {
            live.map_or_else(|| screen.note(&line.shown()), |live| live.line(&line.shown()));
        }
        Ok(())
    };
    let watch = Watch { live: Some(&mut live), lines: if until.logs { Some(&mut above) } else { None } };
    let meta = until_ended(task, until.timeout.map(Seconds::duration), watch).await;
    live.clear();
    if let Err(error) = &meta {
        say_what_keeps(task, error, screen).await;
    }
    ending(&meta?, screen)
}

/// If the wait for a task was over first: what the task itself waits for.
async fn say_what_keeps(task: &AsyncResult, error: &anyhow::Error, screen: &Screen) {
    if !matches!(error.downcast_ref(), Some(Error::Timeout { .. })) {
        return;
    }
    // It goes beside the error, which is enough where nobody answers.
    if let Ok(Some(why)) = task.meta().await.map(|meta| meta.waiting_for) {
        screen.note(&format!("task {} waits for: {why}", task.id()));
    }
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

#[cfg(test)]
mod tests {
    use lovage_model::{Exception, State, TaskName};

    use super::*;

    #[test]
    fn an_id_or_a_tuple_is_typed() {
        let id = |text: &str| TaskId::new(text).unwrap();
        assert_eq!("t-1".parse(), Ok(Which::Id(id("t-1"))));
        assert_eq!(r#"[["t-1", null], null]"#.parse(), Ok(Which::Tuple(ResultTuple::of(id("t-1")))));
        assert!("[1".parse::<Which>().is_err());
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
