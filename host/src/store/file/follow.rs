//! What waits for others, in tables: joins and their parts, ends that are kept, and what is released or ended by them.
//!
//! Invariant: a join with as many parts as its size has a row in `ended`, and takes no part more.

use lovage_model::{Arrival, Join, Message, Plan, Room, TaskId, Then, Timestamp};
use rusqlite::{OptionalExtension, params};

use super::book::read_name;
use super::codec::{decode, decoded_len};
use super::draft::Written;
use super::joins::{Fate, Step};
use super::ledger::{Ledger, Row, read_json, unwritable, write_json};
use super::settle::{Ender, Ending};
use crate::store::Fenced;
use crate::store::admission::{Backlog, Clash, clash, full};
use crate::store::advance::{Advance, Following, MAX_FOLLOWER, MAX_PARTS_BYTES, advance, is_complete};

/// Those who come from one call.
pub(super) struct Family {
    root: TaskId,
    published: u64,
}

/// Something that ended, whose followers are to be dealt with.
struct Left {
    tenant: i64,
    id: TaskId,
    /// The join, and what its list is for, if it is one.
    joint: Option<i64>,
    follows: Option<Then>,
}

/// A part of a join, on its way to it.
struct Part<'a> {
    group: &'a TaskId,
    place: u32,
    /// The task, or the inner join.
    member: &'a TaskId,
    arrival: &'a Arrival,
}

impl Ledger {
    /// Which id of a plan is in use.
    pub(super) fn clash(&self, tenant: i64, plan: &Plan) -> rusqlite::Result<Option<Clash>> {
        self.clash_of(tenant, std::iter::once(plan))
    }

    /// The same for several together.
    fn clash_of<'p>(
        &self,
        tenant: i64,
        plans: impl Iterator<Item = &'p Plan> + Clone,
    ) -> rusqlite::Result<Option<Clash>> {
        let task =
            |id: &TaskId| self.exists("SELECT 1 FROM task WHERE tenant = ?1 AND id = ?2", params![tenant, id.as_str()]);
        clash(plans, task, |id| self.has_join(tenant, id))
    }

    /// What stands against publishing a plan.
    pub(super) fn refusal(
        &self,
        tenant: i64,
        plan: &Plan,
        family: Option<&Family>,
        room: Room,
        now: Timestamp,
    ) -> rusqlite::Result<Option<Fenced>> {
        if plan.is_empty() {
            return Ok(None);
        }
        if let Some(clash) = self.clash(tenant, plan)? {
            return Ok(Some(clash.into()));
        }
        let descendants = family.map(|family| family.published);
        Ok(full(room, Backlog::of(plan, now), self.book.backlog(tenant), descendants).map(Fenced::Full))
    }

    /// The family of a task that publishes others; none if it publishes none, or cannot be read.
    pub(super) fn family(&self, seq: i64, tenant: i64, plan: &Plan) -> rusqlite::Result<Option<Family>> {
        if plan.tasks.is_empty() {
            return Ok(None);
        }
        let Some(root) = self.message(seq)?.map(|message| message.root_id) else { return Ok(None) };
        let sql = "SELECT published FROM lineage WHERE tenant = ?1 AND root = ?2";
        let mut statement = self.db.prepare_cached(sql)?;
        let published: Option<i64> =
            statement.query_row(params![tenant, root.as_str()], |row| row.get(0)).optional()?;
        Ok(Some(Family { root, published: published.unwrap_or(0).unsigned_abs() }))
    }

    pub(super) fn count_descendants(
        &self,
        tenant: i64,
        family: &Family,
        more: usize,
        at: Timestamp,
    ) -> rusqlite::Result<()> {
        self.run(
            "INSERT INTO lineage (tenant, root, published, orphaned)
             VALUES (?1, ?2, ?3, iif(EXISTS (SELECT 1 FROM task WHERE tenant = ?1 AND id = ?2), NULL, ?4))
             ON CONFLICT DO UPDATE SET published = published + excluded.published, orphaned = excluded.orphaned",
            params![tenant, family.root.as_str(), number(more), at.as_micros()],
        )
    }

    /// Forgets what is counted of calls whose first task is gone, and of which nothing has come since then.
    pub(super) fn drop_orphans(&self, before: Timestamp, max: usize) -> rusqlite::Result<()> {
        let mut old = self.db.prepare_cached("SELECT tenant, root FROM lineage WHERE orphaned < ?1 LIMIT ?2")?;
        let old = old.query_map([before.as_micros(), number(max)], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for (tenant, root) in old.collect::<rusqlite::Result<Vec<(i64, String)>>>()? {
            self.run("DELETE FROM lineage WHERE tenant = ?1 AND root = ?2", params![tenant, root])?;
        }
        Ok(())
    }

    /// The message of a task, if it can be read.
    fn message(&self, seq: i64) -> rusqlite::Result<Option<Message>> {
        Ok(decode(&self.body(seq)?).ok())
    }

    pub(super) fn has_join(&self, tenant: i64, id: &TaskId) -> rusqlite::Result<bool> {
        self.exists("SELECT 1 FROM joint WHERE tenant = ?1 AND id = ?2", params![tenant, id.as_str()])
    }

    /// Opens the joins of a plan, whose ids are free. One of no parts is complete.
    pub(super) fn add_joins(&mut self, tenant: i64, plan: &Plan) -> rusqlite::Result<()> {
        for Join { group, size, then } in &plan.joins {
            let sql = "INSERT INTO joint (tenant, id, size, follows) VALUES (?1, ?2, ?3, ?4)";
            self.run(sql, params![tenant, group.as_str(), size, write_json(then)?])?;
            if is_complete(0, u64::from(*size)) {
                self.keep(tenant, group, None)?;
            }
        }
        Ok(())
    }

    /// Lets a join wait for more parts, unless it has all.
    pub(super) fn grow(&self, tenant: i64, group: &TaskId, parts: u32) -> rusqlite::Result<()> {
        let sql = "UPDATE joint SET size = size + ?3 WHERE tenant = ?1 AND id = ?2 AND counted < size";
        self.run(sql, params![tenant, group.as_str(), parts])
    }

    /// Counts a part of a join, if the join waits for it. Of what is more than anybody reads again only the number is kept.
    fn count_part(&mut self, tenant: i64, part: &Part<'_>) -> rusqlite::Result<()> {
        let sql = "SELECT key, size, counted, bytes FROM joint WHERE tenant = ?1 AND id = ?2 AND counted < size";
        let open = self.db.prepare_cached(sql)?.query_row(params![tenant, part.group.as_str()], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?))
        });
        let Some((joint, size, counted, before)) = open.optional()? else { return Ok(()) };
        let mut arrival = write_json(part.arrival)?;
        let bytes = before.saturating_add(number(arrival.len()));
        if bytes > number(MAX_PARTS_BYTES) {
            arrival = String::new();
        }
        let new = self.count(
            "INSERT INTO part (joint, member, place, arrival) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (joint, member) DO NOTHING",
            params![joint, part.member.as_str(), part.place, arrival],
        )?;
        if new == 0 {
            return Ok(());
        }
        self.run("UPDATE joint SET counted = counted + 1, bytes = ?2 WHERE key = ?1", [joint, bytes])?;
        if is_complete(counted.unsigned_abs() + 1, size.unsigned_abs()) {
            self.keep(tenant, part.group, None)?;
        }
        Ok(())
    }

    /// Keeps that a task has ended, or a join, whose parts say with what.
    fn keep(&mut self, tenant: i64, id: &TaskId, arrival: Option<&Arrival>) -> rusqlite::Result<()> {
        let key = self.next_pos();
        let sql = "INSERT INTO ended (key, tenant, id, arrival) VALUES (?1, ?2, ?3, ?4)";
        self.run(sql, params![key, tenant, id.as_str(), arrival.map(write_json).transpose()?])?;
        self.book.ended = true;
        Ok(())
    }

    /// Deals with those that wait for a task that has ended, or leaves that to who asks for it.
    pub(super) fn hand_on(&mut self, seq: i64, arrival: Arrival, at: Timestamp) -> rusqlite::Result<()> {
        let Some(row) = self.get(seq)? else { return Ok(()) };
        match &row.follows {
            None => Ok(()),
            Some(Then::Next) => self.advance(&row, arrival, at),
            Some(Then::Part { group, index }) => {
                self.count_part(row.tenant, &Part { group, place: *index, member: &row.id, arrival: &arrival })
            }
        }
    }

    fn advance(&mut self, ended: &Row, arrival: Arrival, at: Timestamp) -> rusqlite::Result<()> {
        let (first, following) = self.following(ended, &arrival)?;
        match (advance(arrival, following, at), first) {
            (Advance::Release(message), Some(seq)) => {
                let written = Written::free(*message).map_err(unwritable)?;
                self.release(seq, ended.tenant, &written, at)
            }
            (Advance::Keep(arrival), _) => self.keep(ended.tenant, &ended.id, Some(&arrival)),
            (Advance::Release(_) | Advance::Nothing, _) => Ok(()),
        }
    }

    /// Who waits for a task. One whose message is not worth reading, or cannot be read, is left for later like several.
    fn following(&self, ended: &Row, arrival: &Arrival) -> rusqlite::Result<(Option<i64>, Following)> {
        let sql = "SELECT seq FROM blocked WHERE tenant = ?1 AND awaits = ?2 ORDER BY seq LIMIT 2";
        let mut statement = self.db.prepare_cached(sql)?;
        let found = statement.query_map(params![ended.tenant, ended.id.as_str()], |row| row.get(0))?;
        let found = found.collect::<rusqlite::Result<Vec<i64>>>()?;
        let following = match found[..] {
            [] => Following::Nobody,
            [one] if matches!(arrival, Arrival::Value(_)) => {
                let body = self.body(one)?;
                let message = if decoded_len(&body) > MAX_FOLLOWER { None } else { decode(&body).ok() };
                message.map_or(Following::Several, |message| Following::One(Box::new(message)))
            }
            _ => Following::Several,
        };
        Ok((found.first().copied(), following))
    }

    /// Lets a task run that waited for something else, with this message.
    fn release(&mut self, seq: i64, tenant: i64, written: &Written, now: Timestamp) -> rusqlite::Result<()> {
        match self.take_blocked(seq)? {
            Some(taken) => self.swap((seq, tenant), written.draft(), taken, now),
            None => Ok(()),
        }
    }

    /// Applies a step whole or not at all.
    pub(super) fn follow(&mut self, key: i64, step: &Step, now: Timestamp) -> rusqlite::Result<Fenced> {
        let Some(left) = self.left(key)? else { return Ok(Fenced::Refused) };
        let followed = self.still_waiting(&left, step)?;
        let published = followed.iter().filter_map(|(_, fate)| fate.publishes());
        if let Some(clash) = self.clash_of(left.tenant, published)? {
            return Ok(clash.into());
        }
        for (seq, fate) in followed {
            match fate {
                Fate::Released(written) => self.release(seq, left.tenant, written, now)?,
                Fate::Settled(ending) => self.end_waiting(seq, left.tenant, ending)?,
            }
        }
        if let Some(arrival) = &step.part {
            self.count_join(&left, arrival)?;
        }
        if step.done && !self.anybody_left(&left, now)? {
            self.drop_left(key, &left)?;
        }
        Ok(Fenced::Applied)
    }

    fn left(&self, key: i64) -> rusqlite::Result<Option<Left>> {
        let sql = "SELECT e.tenant, e.id, j.key, j.follows FROM ended AS e
                   LEFT JOIN joint AS j ON e.arrival IS NULL AND j.tenant = e.tenant AND j.id = e.id WHERE e.key = ?1";
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Left {
                tenant: row.get(0)?,
                id: read_name(TaskId::try_from(row.get::<_, String>(1)?))?,
                joint: row.get(2)?,
                follows: row.get::<_, Option<String>>(3)?.map(|text| read_json(&text)).transpose()?,
            })
        };
        self.db.prepare_cached(sql)?.query_row([key], read).optional()
    }

    /// Those of a step that wait for what ended: others have been revoked meanwhile.
    fn still_waiting<'a>(&self, left: &Left, step: &'a Step) -> rusqlite::Result<Vec<(i64, &'a Fate)>> {
        let sql = "SELECT b.seq FROM task AS t JOIN blocked AS b ON b.seq = t.seq
                   WHERE t.tenant = ?1 AND t.id = ?2 AND b.awaits = ?3";
        let mut statement = self.db.prepare_cached(sql)?;
        let mut waiting = Vec::with_capacity(step.followed.len());
        for (id, fate) in &step.followed {
            let found = statement.query_row(params![left.tenant, id.as_str(), left.id.as_str()], |row| row.get(0));
            waiting.extend(found.optional()?.map(|seq| (seq, fate)));
        }
        Ok(waiting)
    }

    fn end_waiting(&mut self, seq: i64, tenant: i64, ending: &Ending) -> rusqlite::Result<()> {
        let family = self.family(seq, tenant, &ending.publish.plan)?;
        match self.take_blocked(seq)? {
            Some(taken) => self.conclude(Ender::waiting(seq, tenant, taken), ending, family),
            None => Ok(()),
        }
    }

    /// Counts a join that is complete as a part of the outer one, if it is one.
    fn count_join(&mut self, left: &Left, arrival: &Arrival) -> rusqlite::Result<()> {
        match &left.follows {
            Some(Then::Part { group, index }) => {
                self.count_part(left.tenant, &Part { group, place: *index, member: &left.id, arrival })
            }
            Some(Then::Next) | None => Ok(()),
        }
    }

    /// Whether somebody waits still. Nobody was told of those whose messages cannot be read: they end now.
    fn anybody_left(&mut self, left: &Left, now: Timestamp) -> rusqlite::Result<bool> {
        let sql = "SELECT seq FROM blocked WHERE tenant = ?1 AND awaits = ?2 ORDER BY seq";
        let rest: Vec<i64> = {
            let mut statement = self.db.prepare_cached(sql)?;
            statement.query_map(params![left.tenant, left.id.as_str()], |row| row.get(0))?.collect::<Result<_, _>>()?
        };
        for seq in rest {
            if self.message(seq)?.is_some() {
                self.book.ended = true;
                return Ok(true);
            }
            if let Some(taken) = self.take_blocked(seq)? {
                self.condemn(Ender::waiting(seq, left.tenant, taken), now)?;
            }
        }
        Ok(false)
    }

    /// Drops what ended, with its join.
    fn drop_left(&self, key: i64, left: &Left) -> rusqlite::Result<()> {
        self.run("DELETE FROM ended WHERE key = ?1", [key])?;
        if let Some(joint) = left.joint {
            self.run("DELETE FROM part WHERE joint = ?1", [joint])?;
            self.run("DELETE FROM joint WHERE key = ?1", [joint])?;
        }
        Ok(())
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
