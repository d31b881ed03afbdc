//! How is a task put together from its rows?

use lovage_model::{Json, Message, QueueName, State, TaskId, TaskName, Timestamp, Usage};
use rusqlite::Row;

use super::book::read_name;
use super::codec::decode;
use crate::store::record::{Kept, Leasehold, Place, Record};

/// Reads every column that [`read`] needs; `{}` in it is the rest of the query, over `t`, the task.
pub(super) const COLUMNS: &str = "
    SELECT t.seq, t.id, t.name, t.queue, t.priority, t.submitted, t.state, t.ended, t.worker, t.deliveries AS total,
           m.body, l.worker AS holder, l.state AS own, l.meta, l.deliveries AS leased,
           r.deliveries AS ready, s.deliveries AS scheduled, b.deliveries AS blocked, b.awaits, b.of_join,
           x.result, x.traceback, x.fault, x.children, x.usage
    FROM task AS t";

/// What a task is put together from.
pub(super) const JOINS: &str = "
    LEFT JOIN message AS m ON m.seq = t.seq
    LEFT JOIN leased AS l ON l.seq = t.seq
    LEFT JOIN line AS q ON q.tenant = t.tenant AND q.queue = t.queue
    LEFT JOIN ready AS r ON r.line = q.id AND r.priority = t.priority AND r.pos = t.pos
    LEFT JOIN scheduled AS s ON s.eta = t.eta AND s.pos = t.pos
    LEFT JOIN blocked AS b ON b.seq = t.seq
    LEFT JOIN result AS x ON x.seq = t.seq";

/// A task and its number. Text that cannot be read is shown as it is, so that one spoilt task does not hide others.
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<(i64, Record)> {
    let counts: [Option<u32>; 4] = [row.get("leased")?, row.get("ready")?, row.get("scheduled")?, row.get("blocked")?];
    let record = Record {
        message: message(row)?,
        submitted_at: Timestamp::from_micros(row.get("submitted")?),
        state: State::from_name(&row.get::<_, String>("state")?),
        ended: row.get::<_, Option<i64>>("ended")?.map(Timestamp::from_micros),
        worker: row.get("worker")?,
        deliveries: counts.into_iter().flatten().next().unwrap_or(row.get("total")?),
        kept: kept(row)?,
        place: place(row, counts)?,
    };
    Ok((row.get("seq")?, record))
}

fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    let body = row.get_ref("body")?.as_blob_or_null().ok().flatten();
    match body.and_then(|body| decode(body).ok()) {
        Some(message) => Ok(message),
        None => spoilt(row),
    }
}

/// What the task's own row says of a message that cannot be read.
fn spoilt(row: &Row<'_>) -> rusqlite::Result<Message> {
    let id = read_name(TaskId::try_from(row.get::<_, String>("id")?))?;
    Ok(Message {
        queue: read_name(QueueName::try_from(row.get::<_, String>("queue")?))?,
        priority: row.get("priority")?,
        ..Message::new(id, read_name(TaskName::try_from(row.get::<_, String>("name")?))?)
    })
}

fn kept(row: &Row<'_>) -> rusqlite::Result<Kept> {
    let read = |column: &str| row.get::<_, Option<String>>(column);
    Ok(Kept {
        result: read("result")?.map_or_else(Json::null, json),
        traceback: read("traceback")?,
        fault: read("fault")?,
        children: read("children")?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
        usage: read("usage")?.and_then(|text| serde_json::from_str::<Usage>(&text).ok()),
    })
}

fn place(row: &Row<'_>, [leased, ready, scheduled, blocked]: [Option<u32>; 4]) -> rusqlite::Result<Place> {
    if leased.is_some() {
        let own = match (row.get::<_, Option<String>>("own")?, row.get::<_, Option<String>>("meta")?) {
            (Some(state), meta) => Some((state, meta.map_or_else(Json::null, json))),
            (None, _) => None,
        };
        return Ok(Place::Leased(Leasehold { worker: row.get("holder")?, own }));
    }
    if blocked.is_some() {
        let awaited = read_name(TaskId::try_from(row.get::<_, String>("awaits")?))?;
        return Ok(Place::Blocked { awaited, group: row.get("of_join")? });
    }
    Ok(match (ready, scheduled) {
        (Some(_), _) => Place::Ready,
        (None, Some(_)) => Place::Scheduled,
        (None, None) => Place::Nowhere,
    })
}

fn json(text: String) -> Json {
    Json::parse(text.clone()).unwrap_or_else(|_| serde_json::Value::String(text).into())
}
