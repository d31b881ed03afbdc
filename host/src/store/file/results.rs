//! Results: from submit to expiry.

use async_trait::async_trait;
use lovage_model::api::QueueView;
use lovage_model::{AttemptLog, ResultMeta, State, TaskId, TenantId, Timestamp};
use rusqlite::{Connection, OptionalExtension, ToSql, params};

use super::FileStore;
use super::ledger::Ledger;
use super::record::{COLUMNS, JOINS, read};
use super::writer::Need;
use crate::store::record::{MAX_LISTED_BYTES, json_bytes};
use crate::store::{Filter, Page, Redone, Result, Results};

#[async_trait]
impl Results for FileStore {
    async fn task(&self, tenant: &TenantId, id: &TaskId) -> Result<Option<ResultMeta>> {
        let (tenant, id) = (tenant.clone(), id.clone());
        self.readers.run(move |db| task(db, &tenant, &id)).await
    }

    async fn list(&self, tenant: &TenantId, filter: Filter) -> Result<Page> {
        let (mut page, mut rest) = (Page::default(), Rest { filter, bytes: 0 });
        while rest.filter.limit > 0 {
            let (tenant, asked) = (tenant.clone(), rest);
            // By walks: between them it is the turn of others that want lists.
            let (walked, left) = self.lists.run(move |db| walk(db, &tenant, asked)).await?;
            page.tasks.extend(walked.tasks);
            page.next = walked.next;
            let Some(left) = left else { break };
            rest = left;
        }
        Ok(page)
    }

    async fn logs(&self, tenant: &TenantId, id: &TaskId) -> Result<Option<Vec<AttemptLog>>> {
        let (tenant, id) = (tenant.clone(), id.clone());
        self.readers.run(move |db| logs(db, &tenant, &id)).await
    }

    async fn forget(&self, tenant: &TenantId, id: &TaskId) -> Result<Redone> {
        let (tenant, id) = (tenant.clone(), id.clone());
        let forget = move |ledger: &mut Ledger| {
            let Some(row) = ledger.find(&tenant, &id)? else { return Ok(Redone::Unknown) };
            if !row.ended {
                return Ok(Redone::Busy(ledger.busy(&row)?));
            }
            ledger.delete_ended(row.seq).map(|()| Redone::Done)
        };
        self.writer.run(Need::DURABLE, forget).await
    }

    async fn expire(&self, before: Timestamp, max: usize) -> Result<u64> {
        let expire = move |ledger: &mut Ledger| {
            let old = ended_before(&ledger.db, before, max)?;
            old.iter().try_for_each(|&seq| ledger.delete_ended(seq))?;
            ledger.drop_orphans(before, max)?;
            Ok(old.len() as u64)
        };
        self.writer.run(Need { durable: true, weight: max }, expire).await
    }
}

fn ended_before(db: &Connection, before: Timestamp, max: usize) -> rusqlite::Result<Vec<i64>> {
    let sql = "SELECT seq FROM task WHERE ended < ?1 ORDER BY ended, seq LIMIT ?2";
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    db.prepare_cached(sql)?.query_map([before.as_micros(), max], |row| row.get(0))?.collect()
}

fn number_of(db: &Connection, tenant: &TenantId) -> rusqlite::Result<Option<i64>> {
    let mut statement = db.prepare_cached("SELECT id FROM tenant WHERE name = ?1")?;
    statement.query_row([tenant.as_str()], |row| row.get(0)).optional()
}

fn task(db: &Connection, tenant: &TenantId, id: &TaskId) -> rusqlite::Result<Option<ResultMeta>> {
    let Some(tenant) = number_of(db, tenant)? else { return Ok(None) };
    let mut statement = db.prepare_cached(&format!("{COLUMNS} {JOINS} WHERE t.tenant = ?1 AND t.id = ?2"))?;
    let found = statement.query_row(params![tenant, id.as_str()], read).optional()?;
    Ok(found.map(|(_, record)| record.meta()))
}

fn logs(db: &Connection, tenant: &TenantId, id: &TaskId) -> rusqlite::Result<Option<Vec<AttemptLog>>> {
    let Some(tenant) = number_of(db, tenant)? else { return Ok(None) };
    let mut statement = db.prepare_cached("SELECT seq FROM task WHERE tenant = ?1 AND id = ?2")?;
    let found = statement.query_row(params![tenant, id.as_str()], |row| row.get::<_, i64>(0)).optional()?;
    let Some(seq) = found else { return Ok(None) };
    let mut statement = db.prepare_cached("SELECT body FROM log WHERE seq = ?1 ORDER BY delivery")?;
    let mut rows = statement.query([seq])?;
    let mut logs = Vec::new();
    while let Some(row) = rows.next()? {
        logs.extend(serde_json::from_str::<AttemptLog>(&row.get::<_, String>(0)?).ok());
    }
    Ok(Some(logs))
}

/// What is still to be found of a page, and how large that is which was found.
struct Rest {
    filter: Filter,
    bytes: usize,
}

/// As many tasks as a filter that few pass looks at in one walk.
const WALK: i64 = 20_000;

/// Finds tasks of a page: all of them, or those of one walk and what is still to be found.
fn walk(db: &Connection, tenant: &TenantId, rest: Rest) -> rusqlite::Result<(Page, Option<Rest>)> {
    let Some(tenant) = number_of(db, tenant)? else { return Ok((Page::default(), None)) };
    let Rest { mut filter, mut bytes } = rest;
    let (before, limit) = (filter.before.unwrap_or(i64::MAX), filter.limit);
    let one_more = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
    let state = filter.state.as_ref().map(State::as_str);
    let (name, queue) = (filter.name.as_ref().map(|it| it.as_str()), filter.queue.as_ref().map(|it| it.as_str()));
    let query = Query::of(&filter);
    let end = query.end.as_ref().map(|sql| end_of_walk(db, sql, tenant, before, state)).transpose()?.flatten();
    let params: [(&str, &dyn ToSql); 7] = [
        (":tenant", &tenant),
        (":before", &before),
        (":end", &end.unwrap_or(i64::MIN)),
        (":limit", &one_more),
        (":state", &state),
        (":name", &name),
        (":queue", &queue),
    ];
    let used: Vec<_> = params.into_iter().filter(|(name, _)| query.rows.contains(name)).collect();
    let mut statement = db.prepare_cached(&query.rows)?;
    let mut rows = statement.query(&*used)?;
    let (mut page, mut last) = (Page::default(), None);
    while let Some(row) = rows.next()? {
        if page.tasks.len() == limit || bytes >= MAX_LISTED_BYTES {
            // What was found by a walk before this one was the last, if nothing is here.
            page.next = last.or(filter.before);
            return Ok((page, None));
        }
        let (seq, record) = read(row)?;
        let meta = record.meta();
        bytes += json_bytes(&meta);
        page.tasks.push(meta);
        last = Some(seq);
    }
    let Some(end) = end else { return Ok((page, None)) };
    filter.limit -= page.tasks.len();
    // Where it goes on, if that is not here.
    page.next = Some(end);
    filter.before = Some(end);
    Ok((page, Some(Rest { filter, bytes })))
}

/// Where a walk ends: nothing before that is looked at. None: it reaches the first task.
fn end_of_walk(
    db: &Connection,
    sql: &str,
    tenant: i64,
    before: i64,
    state: Option<&str>,
) -> rusqlite::Result<Option<i64>> {
    let params: [(&str, &dyn ToSql); 4] =
        [(":tenant", &tenant), (":before", &before), (":state", &state), (":walk", &(WALK - 1))];
    let used: Vec<_> = params.into_iter().filter(|(name, _)| sql.contains(name)).collect();
    db.prepare_cached(sql)?.query_row(&*used, |row| row.get(0)).optional()
}

/// The queries of a filter.
struct Query {
    rows: String,
    /// Where a walk of it ends, unless each task that it looks at passes.
    end: Option<String>,
}

impl Query {
    /// It walks back from the tenant's newest task; states that few tasks have are walked by their index, and what runs by what is
    /// leased.
    fn of(filter: &Filter) -> Self {
        const OF_TENANT: &str = "t.tenant = :tenant AND t.seq < :before";
        let (mut index, mut walked) = ("INDEXED BY task_tenant", OF_TENANT.to_owned());
        let mut wanted = String::new();
        let mut is_sparse = filter.name.is_some() || filter.queue.is_some();
        if let Some(state) = &filter.state {
            wanted +=
                " AND coalesce(l.state, iif(l.seq IS NULL, t.state, iif(l.marks & 4, 'PENDING', 'STARTED'))) = :state";
            match state {
                State::Failure | State::Revoked | State::Retry | State::Ignored => {
                    index = "INDEXED BY task_odd";
                    walked += " AND t.state = :state AND t.state NOT IN ('PENDING', 'SUCCESS')";
                }
                // A task that runs and does not show it may have been retried before.
                State::Pending => {
                    wanted += " AND t.state IN ('PENDING', 'RETRY')";
                    is_sparse = true;
                }
                State::Success => {
                    wanted += " AND t.state = :state";
                    is_sparse = true;
                }
                State::Received | State::Started | State::Rejected | State::Custom(_) => {
                    index = "NOT INDEXED";
                    wanted += " AND t.seq IN (SELECT seq FROM leased)";
                    is_sparse = false;
                }
            }
        }
        if filter.name.is_some() {
            wanted += " AND t.name = :name";
        }
        if filter.queue.is_some() {
            wanted += " AND t.queue = :queue";
        }
        let end = is_sparse.then(|| {
            wanted += " AND t.seq >= :end";
            format!("SELECT t.seq FROM task AS t {index} WHERE {walked} ORDER BY t.seq DESC LIMIT 1 OFFSET :walk")
        });
        Self { rows: format!("{COLUMNS} {index} {JOINS} WHERE {walked}{wanted} ORDER BY t.seq DESC LIMIT :limit"), end }
    }
}

/// The query of the rows of a filter.
#[cfg(test)]
pub(super) fn rows_of(filter: &Filter) -> String {
    Query::of(filter).rows
}

/// Some queues of a tenant, by their names.
pub(super) const QUEUES: &str = "
    SELECT l.id, l.queue, ready, scheduled, blocked, leased, p.queue IS NOT NULL AS paused
    FROM line AS l LEFT JOIN paused AS p ON p.tenant = l.tenant AND p.queue = l.queue
    WHERE l.tenant = ?1 AND l.queue > ?2
    UNION ALL SELECT 0, queue, 0, 0, 0, 0, 1 FROM paused
    WHERE tenant = ?1 AND queue > ?2
    AND NOT EXISTS (SELECT 1 FROM line AS l WHERE l.tenant = ?1 AND l.queue = paused.queue) ORDER BY queue LIMIT ?3";

/// The first queues of a tenant after a name. The oldest ready message is one of the first of each priority.
pub(super) fn queues(
    db: &Connection,
    tenant: &TenantId,
    (after, max): (&str, usize),
    now: Timestamp,
) -> rusqlite::Result<Vec<QueueView>> {
    let Some(tenant) = number_of(db, tenant)? else { return Ok(Vec::new()) };
    let mut statement = db.prepare_cached(QUEUES)?;
    let mut rows = statement.query(params![tenant, after, i64::try_from(max).unwrap_or(i64::MAX)])?;
    let mut views = Vec::new();
    while let Some(row) = rows.next()? {
        let count = |column: &str| row.get::<_, i64>(column).map(i64::unsigned_abs);
        views.push(QueueView {
            name: row.get("queue")?,
            ready: count("ready")?,
            scheduled: count("scheduled")?,
            blocked: count("blocked")?,
            leased: count("leased")?,
            paused: row.get("paused")?,
            oldest_seconds: oldest(db, row.get("id")?)?.map(|since| now.since(since).as_secs_f64()),
        });
    }
    Ok(views)
}

/// Since when the oldest ready message of a line is ready.
fn oldest(db: &Connection, line: i64) -> rusqlite::Result<Option<Timestamp>> {
    let sql = "SELECT priority, pos, since FROM ready WHERE line = ?1 AND priority > ?2 ORDER BY priority, pos LIMIT 1";
    let mut statement = db.prepare_cached(sql)?;
    let (mut priority, mut best): (i64, Option<(i64, i64)>) = (-1, None);
    loop {
        let head =
            statement.query_row([line, priority], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))).optional()?;
        let Some((next, first)) = head else {
            return Ok(best.map(|(_, since)| Timestamp::from_micros(since)));
        };
        priority = next;
        best = best.into_iter().chain([first]).min();
    }
}
