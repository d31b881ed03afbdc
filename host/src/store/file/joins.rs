//! What has ended, and who waits for it: as those ask for it who decide what becomes of them.

use async_trait::async_trait;
use lovage_model::{Arrival, Exception, Followed, Message, Plan, TaskId, TenantId, Then, Timestamp, exc_module};
use rusqlite::{Connection, params};

use super::FileStore;
use super::book::read_name;
use super::codec::decode;
use super::draft::Written;
use super::ledger::read_json;
use super::settle::Ending;
use super::writer::Need;
use crate::store::advance::{MAX_PARTS_BYTES, too_large};
use crate::store::record::MAX_LEASED_BYTES;
use crate::store::{Completed, Ended, Fenced, FollowUp, Joins, Result};

/// The parts of a join in their order: their keys alone, so that no part has to be held to be sorted.
pub(super) const PARTS: &str = "SELECT key FROM part WHERE joint = ?1 ORDER BY place, key";

/// What a part came to.
pub(super) const PART: &str = "SELECT arrival FROM part WHERE key = ?1";

/// A step, with all its texts made before it comes to the writer.
pub(super) struct Step {
    pub(super) followed: Vec<(TaskId, Fate)>,
    pub(super) part: Option<Arrival>,
    pub(super) done: bool,
}

/// What becomes of a task that waited.
pub(super) enum Fate {
    Released(Box<Written>),
    Settled(Box<Ending>),
}

impl Fate {
    fn of(followed: Followed) -> Result<Self> {
        Ok(match followed {
            Followed::Released(message) => Self::Released(Box::new(Written::free(*message)?)),
            Followed::Settled(settlement) => Self::Settled(Box::new(Ending::of(*settlement)?)),
        })
    }

    /// What it sends.
    pub(super) fn publishes(&self) -> Option<&Plan> {
        match self {
            Self::Released(_) => None,
            Self::Settled(ending) => Some(&ending.publish.plan),
        }
    }

    /// How many messages it writes.
    fn weight(&self) -> usize {
        match self {
            Self::Released(_) => 1,
            Self::Settled(ending) => ending.weight(),
        }
    }
}

#[async_trait]
impl Joins for FileStore {
    async fn ended(&self, max: usize) -> Result<Vec<Ended>> {
        self.readers.run(move |db| ended(db, max)).await
    }

    async fn any_ended(&self) {
        self.ends.notified().await;
    }

    async fn followers(&self, tenant: &TenantId, awaited: &TaskId, max: usize) -> Result<Vec<Message>> {
        let (tenant, awaited) = (tenant.clone(), awaited.clone());
        self.readers.run(move |db| followers(db, &tenant, &awaited, max)).await
    }

    async fn follow(&self, key: i64, step: FollowUp, now: Timestamp) -> Result<Fenced> {
        let FollowUp { followed, part, done, .. } = step;
        let followed = followed.into_iter().map(|(id, one)| Ok((id, Fate::of(one)?))).collect::<Result<Vec<_>>>()?;
        let weight = followed.iter().map(|(_, fate)| fate.weight()).sum();
        let step = Step { followed, part, done };
        self.writer.run(Need { durable: true, weight }, move |ledger| ledger.follow(key, &step, now)).await
    }
}

/// What has ended, the oldest first. How long the parts of joins are, is looked at before they are read.
fn ended(db: &Connection, max: usize) -> rusqlite::Result<Vec<Ended>> {
    let mut statement = db.prepare_cached(
        "SELECT e.key, t.name, e.id, coalesce(octet_length(e.arrival), j.bytes, 0) AS size, j.key, j.follows, e.arrival
         FROM ended AS e JOIN tenant AS t ON t.id = e.tenant
         LEFT JOIN joint AS j ON e.arrival IS NULL AND j.tenant = e.tenant AND j.id = e.id
         ORDER BY e.key LIMIT ?1",
    )?;
    let mut rows = statement.query([i64::try_from(max).unwrap_or(i64::MAX)])?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let tenant = read_name(TenantId::try_from(row.get::<_, String>(1)?))?;
        let id = read_name(TaskId::try_from(row.get::<_, String>(2)?))?;
        let size = usize::try_from(row.get::<_, i64>(3)?).unwrap_or_default();
        let join = row.get::<_, Option<i64>>(4)?;
        let is_whole = join.is_none() || size <= MAX_PARTS_BYTES;
        bytes += if is_whole { size } else { 0 };
        if bytes > MAX_LEASED_BYTES && !found.is_empty() {
            break;
        }
        let outcome = match (row.get::<_, Option<String>>(6)?, join) {
            (Some(arrival), _) => Completed::Task(arrival_of(&arrival, &id)),
            (None, Some(join)) => {
                let parts = if is_whole { parts(db, join, &id)? } else { vec![too_large(id.clone())] };
                Completed::Join { parts, then: read_json(&row.get::<_, String>(5)?).unwrap_or(Then::Next) }
            }
            // A join that is gone is followed by nobody.
            (None, None) => Completed::Join { parts: Vec::new(), then: Then::Next },
        };
        found.push(Ended { key: row.get(0)?, tenant, id, outcome });
    }
    Ok(found)
}

/// What a task has come to. One that cannot be read is told of as a failure: else those that come after it would wait for ever.
fn arrival_of(text: &str, task: &TaskId) -> Arrival {
    read_json(text).unwrap_or_else(|error| {
        let text = format!("what it has come to cannot be read: {error}");
        Arrival::Failed { exception: Exception::new(exc_module::LOVAGE, "StoreCorrupt", text), task: task.clone() }
    })
}

/// The parts of a join in their order.
fn parts(db: &Connection, joint: i64, id: &TaskId) -> rusqlite::Result<Vec<Arrival>> {
    let mut keys = db.prepare_cached(PARTS)?;
    let keys = keys.query_map([joint], |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
    let mut part = db.prepare_cached(PART)?;
    keys.into_iter().map(|key| part.query_row([key], |row| Ok(arrival_of(row.get_ref(0)?.as_str()?, id)))).collect()
}

/// Those whose messages cannot be read are left out: they end with the last step, see [`super::follow`].
fn followers(db: &Connection, tenant: &TenantId, awaited: &TaskId, max: usize) -> rusqlite::Result<Vec<Message>> {
    let mut statement = db.prepare_cached(
        "SELECT m.body FROM tenant AS t JOIN blocked AS b ON b.tenant = t.id JOIN message AS m ON m.seq = b.seq
         WHERE t.name = ?1 AND b.awaits = ?2 ORDER BY b.seq LIMIT ?3",
    )?;
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![tenant.as_str(), awaited.as_str(), max])?;
    let mut messages = Vec::new();
    while let Some(row) = rows.next()? {
        messages.extend(row.get_ref(0)?.as_blob().ok().and_then(|body| decode(body).ok()));
    }
    Ok(messages)
}
