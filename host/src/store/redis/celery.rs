//! What do Celery's workers and clients read of a task? Its element on a list, and its result.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lovage_model::{InlineEnd, Json, Message, ResultTuple, State, TaskId, Timestamp};
use serde_json::json;

use super::draft::text;
use super::settle::Of;
use crate::store::Result;

/// The element of a message on its list.
pub(super) fn element(message: &Message) -> Result<String> {
    let nothing = r#"{"callbacks": null, "errbacks": null, "chain": null, "chord": null}"#;
    let body = STANDARD.encode(format!("[{}, {}, {nothing}]", message.args, message.kwargs));
    let envelope = json!({
        "body": body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py", "task": message.task, "id": message.id, "root_id": message.root_id,
            "parent_id": message.parent_id, "retries": message.retries, "group": message.group,
        },
        "properties": {
            "correlation_id": message.id, "delivery_mode": 2, "priority": message.priority, "body_encoding": "base64",
            "delivery_tag": uuid::Uuid::new_v4().to_string(),
            "delivery_info": { "exchange": "", "routing_key": message.queue },
        },
    });
    text(&envelope)
}

/// The end of a task, or where it is on its way there.
pub(super) struct Outcome<'a> {
    pub(super) state: &'a State,
    pub(super) result: &'a Json,
    pub(super) traceback: Option<&'a str>,
    pub(super) children: &'a [ResultTuple],
    pub(super) worker: Option<&'a str>,
    pub(super) at: Timestamp,
}

/// The result of a task, as Celery's clients read it.
pub(super) fn meta(of: Of<'_>, outcome: &Outcome<'_>) -> Result<String> {
    let mut written = plain(of.id, outcome)?;
    if let Some(message) = of.message {
        let links = [("group_id", &message.group), ("parent_id", &message.parent_id)];
        for (name, id) in links.into_iter().filter_map(|(name, id)| Some((name, id.as_ref()?))) {
            written += &format!(r#", "{name}": {}"#, text(id)?);
        }
        if of.extended {
            written += &format!(
                r#", "name": {}, "args": {}, "kwargs": {}, "worker": {}, "retries": {}, "queue": {}"#,
                text(&message.task)?,
                message.args,
                message.kwargs,
                text(&outcome.worker)?,
                message.retries,
                text(&message.queue)?
            );
        }
    }
    Ok(written + "}")
}

/// The result of a task that has not run.
pub(super) fn meta_of_other(end: &InlineEnd, outcome: &Outcome<'_>) -> Result<String> {
    let mut written = plain(&end.id, outcome)?;
    for (name, id) in [("group_id", &end.group), ("parent_id", &end.parent_id)] {
        if let Some(id) = id {
            written += &format!(r#", "{name}": {}"#, text(id)?);
        }
    }
    Ok(written + "}")
}

/// What every result says, but for the last brace.
fn plain(id: &TaskId, outcome: &Outcome<'_>) -> Result<String> {
    let done = outcome.state.is_ready().then(|| outcome.at.to_string());
    Ok(format!(
        r#"{{"status": {}, "result": {}, "traceback": {}, "children": {}, "date_done": {}, "task_id": {}"#,
        text(outcome.state)?,
        outcome.result,
        text(&outcome.traceback)?,
        text(outcome.children)?,
        text(&done)?,
        text(id)?,
    ))
}

/// The result of a group that is kept, as Celery's clients read it.
pub(super) fn group(group: &ResultTuple) -> Result<String> {
    Ok(format!(r#"{{"result": {}}}"#, text(group)?))
}

/// The same, read.
pub(super) fn read_group(written: &[u8]) -> Option<ResultTuple> {
    #[derive(serde::Deserialize)]
    struct Written {
        result: ResultTuple,
    }
    serde_json::from_slice(written).ok().map(|written: Written| written.result)
}

/// What a result says: the state, and the value or the exception.
pub(super) fn read_meta(written: &[u8]) -> Option<(State, Json)> {
    #[derive(serde::Deserialize)]
    struct Written {
        status: State,
        result: Json,
    }
    serde_json::from_slice(written).ok().map(|Written { status, result }| (status, result))
}
