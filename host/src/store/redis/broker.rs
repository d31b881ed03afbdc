//! Messages: from submit to settlement.

use async_trait::async_trait;
use lovage_model::api::QueueView;
use lovage_model::{Json, Plan, QueueName, Room, Settlement, State, TaskId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use super::draft::{Draft, DraftPlan};
use super::script::Script;
use super::settle::DraftRoom;
use super::{RedisStore, Rings};
use crate::store::transition::{again, state_of_its_own};
use crate::store::{Ask, Broker, Fenced, LeaseKey, Leased, Quota, Redone, Result, Revoked, StoreError, Submitted};

/// Messages purged in one step, so that others get their turn.
const PURGE: usize = 500;

/// About how many tasks are stored in one step, and how many bytes of them: others wait meanwhile. A plan is stored whole, however
/// large it is.
const STORED: usize = 1000;
const STORED_BYTES: usize = 1 << 20;

/// Plans, in order, as they are stored together.
fn in_pieces(plans: Vec<DraftPlan>) -> Vec<Vec<DraftPlan>> {
    let mut pieces: Vec<Vec<DraftPlan>> = Vec::new();
    let (mut tasks, mut bytes) = (0, 0);
    for plan in plans {
        tasks += plan.tasks();
        bytes += plan.bytes();
        match pieces.last_mut() {
            Some(piece) if tasks <= STORED && bytes <= STORED_BYTES => piece.push(plan),
            _ => {
                (tasks, bytes) = (plan.tasks(), plan.bytes());
                pieces.push(vec![plan]);
            }
        }
    }
    pieces
}

/// One answer of a script, by its name.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Answer {
    Stored,
    Exists,
    Applied,
    Refused,
    Taken { id: TaskId },
    QueuedTasks,
    ScheduledTasks,
    Descendants,
}

impl Answer {
    pub(super) fn fenced(self) -> Fenced {
        match self {
            Self::Taken { id } => Fenced::Taken(id),
            Self::QueuedTasks => Fenced::Full(Quota::QueuedTasks),
            Self::ScheduledTasks => Fenced::Full(Quota::ScheduledTasks),
            Self::Descendants => Fenced::Full(Quota::Descendants),
            Self::Stored | Self::Exists | Self::Applied => Fenced::Applied,
            Self::Refused => Fenced::Refused,
        }
    }

    fn submitted(self) -> Submitted {
        match self {
            Self::Exists => Submitted::Exists,
            Self::Taken { id } => Submitted::Taken(id),
            Self::QueuedTasks => Submitted::Full(Quota::QueuedTasks),
            Self::ScheduledTasks => Submitted::Full(Quota::ScheduledTasks),
            Self::Descendants => Submitted::Full(Quota::Descendants),
            Self::Stored | Self::Applied | Self::Refused => Submitted::Stored,
        }
    }
}

/// The answers of a script to a batch.
#[derive(Debug, Deserialize)]
pub(super) struct Answers<T> {
    pub(super) answers: Vec<T>,
    pub(super) rings: Rings,
}

/// What a script found that was to revoke a task.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Found {
    Waiting,
    Unknown,
    Running { n: i64, token: String },
    Ended { state: String },
}

impl Found {
    pub(super) fn revoked(self) -> Revoked {
        match self {
            Self::Waiting => Revoked::Waiting,
            Self::Unknown => Revoked::Unknown,
            Self::Ended { state } => Revoked::Ended(State::from_name(&state)),
            Self::Running { n, token } => {
                Revoked::Running(LeaseKey { task: n, token: u64::from_str_radix(&token, 16).unwrap_or_default() })
            }
        }
    }
}

#[async_trait]
impl Broker for RedisStore {
    async fn submit(&self, tenant: &TenantId, plans: Vec<Plan>, now: Timestamp, room: Room) -> Result<Vec<Submitted>> {
        #[derive(Serialize)]
        struct Args<'a> {
            tenant: &'a TenantId,
            plans: Vec<DraftPlan>,
            now: i64,
            room: DraftRoom,
        }
        let drafts = plans.iter().map(|plan| DraftPlan::of(plan, now)).collect::<Result<Vec<_>>>()?;
        let all = drafts.len();
        let mut submitted = Vec::with_capacity(all);
        for plans in in_pieces(drafts) {
            let args = Args { tenant, plans, now: now.as_micros(), room: room.into() };
            match self.link.call::<Answers<Answer>>(Script::Submit, &args).await {
                Ok(done) => {
                    self.ring(done.rings);
                    submitted.extend(done.answers.into_iter().map(Answer::submitted));
                }
                Err(error) if submitted.is_empty() => return Err(error),
                // What is stored must be told: whoever heard of an error alone would send all of it again, and have it run twice.
                Err(error) => {
                    submitted.resize(all, Submitted::Failed(error));
                    break;
                }
            }
        }
        Ok(submitted)
    }

    async fn lease(&self, ask: Ask) -> Result<Leased> {
        self.take(ask).await
    }

    async fn ready(&self) {
        self.bell.ready().await;
    }

    async fn renew(&self, keys: Vec<LeaseKey>, until: Timestamp) -> Result<Vec<LeaseKey>> {
        self.extend(keys, until).await
    }

    async fn begun(&self, key: LeaseKey) {
        self.tell_started(key).await;
    }

    async fn report(&self, key: LeaseKey, state: String, meta: Json) -> Result<Fenced> {
        state_of_its_own(&state)?;
        self.tell_state(key, state, meta).await
    }

    async fn commit(&self, key: LeaseKey, settlement: Settlement) -> Result<Fenced> {
        let mut answers = self.settle(&[(key, settlement)]).await?;
        Ok(answers.pop().unwrap_or(Fenced::Refused))
    }

    async fn commit_all(&self, batch: &[(LeaseKey, Settlement)]) -> Result<Vec<Fenced>> {
        self.settle(batch).await
    }

    async fn release(&self, key: LeaseKey, begun: bool) -> Result<Fenced> {
        self.give(key, begun, None).await
    }

    async fn revoke(&self, tenant: &TenantId, id: &TaskId, now: Timestamp) -> Result<Revoked> {
        self.order_end(tenant, id, now).await
    }

    async fn resubmit(&self, tenant: &TenantId, id: &TaskId, now: Timestamp, room: Room) -> Result<Redone> {
        loop {
            let Some(row) = self.row(tenant, id).await? else { return Ok(Redone::Unknown) };
            if row.pl != "e" {
                return Ok(Redone::Busy(row.record(&self.link.faults)?.status()));
            }
            let message = row.message(&self.link.faults)?;
            if message.unreleased {
                return Ok(Redone::Unreleased(State::from_name(&row.st)));
            }
            let draft = Draft::free(&again(message, now), now)?;
            if let Some(done) = self.run_again((tenant, id), &draft, row.en, now, room).await? {
                return Ok(done);
            }
        }
    }

    async fn queues(&self, tenant: &TenantId, now: Timestamp) -> Result<Vec<QueueView>> {
        self.views(tenant, now).await
    }

    async fn purge(&self, tenant: &TenantId, queue: &QueueName, now: Timestamp) -> Result<u64> {
        #[derive(Serialize)]
        struct Args<'a> {
            tenant: &'a TenantId,
            queue: &'a QueueName,
            now: i64,
            most: usize,
            rest: Option<Vec<u64>>,
            #[serde(flatten)]
            revoked: &'a super::revoking::Texts,
        }
        #[derive(Deserialize)]
        struct Purged {
            purged: u64,
            rest: Vec<u64>,
            done: bool,
            rings: Rings,
        }
        let texts = super::revoking::Texts::of(now)?;
        let (mut purged, mut rest) = (0, None);
        loop {
            let args = Args { tenant, queue, now: now.as_micros(), most: PURGE, rest, revoked: &texts };
            let page: Purged = self.link.call(Script::Purge, &args).await?;
            self.ring(page.rings);
            purged += page.purged;
            if page.done {
                return Ok(purged);
            }
            rest = Some(page.rest);
        }
    }
}

impl RedisStore {
    /// Queues a task that has ended with this message; none if it was changed meanwhile.
    async fn run_again(
        &self,
        (tenant, id): (&TenantId, &TaskId),
        d: &Draft,
        ended: Option<String>,
        now: Timestamp,
        room: Room,
    ) -> Result<Option<Redone>> {
        #[derive(Serialize)]
        struct Args<'a> {
            tenant: &'a TenantId,
            id: &'a TaskId,
            d: &'a Draft,
            ended: Option<String>,
            now: i64,
            room: DraftRoom,
        }
        #[derive(Deserialize)]
        struct Answer {
            kind: String,
            state: Option<String>,
            rings: Option<Rings>,
        }
        let args = Args { tenant, id, d, ended, now: now.as_micros(), room: room.into() };
        let answer: Answer = self.link.call(Script::Resubmit, &args).await?;
        if let Some(rings) = answer.rings {
            self.ring(rings);
        }
        match answer.kind.as_str() {
            "done" => Ok(Some(Redone::Done)),
            "unknown" => Ok(Some(Redone::Unknown)),
            "busy" => Ok(Some(Redone::Busy(State::from_name(&answer.state.unwrap_or_default())))),
            "queued_tasks" => Ok(Some(Redone::Full(Quota::QueuedTasks))),
            "changed" => Ok(None),
            other => Err(StoreError::Failed(format!("a resubmit was answered {other:?}"))),
        }
    }

    async fn views(&self, tenant: &TenantId, now: Timestamp) -> Result<Vec<QueueView>> {
        #[derive(Serialize)]
        struct Args<'a> {
            tenant: &'a TenantId,
        }
        #[derive(Deserialize)]
        struct View {
            name: String,
            r: u64,
            s: u64,
            b: u64,
            l: u64,
            paused: bool,
            since: Option<i64>,
        }
        #[derive(Deserialize)]
        struct Views {
            queues: Vec<View>,
        }
        let found: Views = self.link.call(Script::Queues, &Args { tenant }).await?;
        let view = |it: View| QueueView {
            name: it.name,
            ready: it.r,
            scheduled: it.s,
            blocked: it.b,
            leased: it.l,
            paused: it.paused,
            oldest_seconds: it.since.map(|since| now.since(Timestamp::from_micros(since)).as_secs_f64()),
        };
        let mut views: Vec<QueueView> = found.queues.into_iter().map(view).collect();
        views.retain(|it| it.paused || it.ready + it.scheduled + it.blocked + it.leased > 0);
        views.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(views)
    }
}
