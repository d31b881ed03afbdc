//! Which messages does this host take, and how are they given back?

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use lovage_model::{Json, QueueName, State, TaskId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use super::RedisStore;
use super::broker::Answers;
use super::leases::Taken;
use super::script::Script;
use super::settle::Of;
use super::texts::{self, Outcome};
use super::wire::Blob;
use crate::store::{Ask, Fenced, LeaseKey, Leased, Result, Share};

/// How often it is looked whether a Celery worker lost something.
const RESTORE: Duration = Duration::from_secs(10);
/// When that was, if it is to be done with the next call.
pub(super) const LONG_AGO: i64 = i64::MIN / 2;

/// Where leases look: what a script said when it was asked last.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Registry {
    /// Which edition of it this is.
    registry: Option<String>,
    queues: Vec<Line>,
    paused: Vec<Line>,
    /// Those that were added.
    tenants: Vec<TenantId>,
}

/// A queue of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) t: TenantId,
    pub(super) q: QueueName,
}

impl Registry {
    /// The queues that a call looks at: those that are known and wanted; and those that are wanted, or Celery's default,
    /// whether anybody has used them or not, since a client of any tenant may.
    fn lines(&self, wanted: Option<&BTreeSet<QueueName>>) -> Vec<Line> {
        let always = wanted.cloned().unwrap_or_else(|| [QueueName::default()].into());
        let tenants = self.tenants.iter().cloned().chain([TenantId::default()]);
        let always = tenants.flat_map(|t| always.iter().map(move |q| Line { t: t.clone(), q: q.clone() }));
        let is_wanted = |line: &&Line| wanted.is_none_or(|wanted| wanted.contains(&line.q));
        let mut lines: Vec<Line> = self.queues.iter().filter(is_wanted).cloned().chain(always).collect();
        lines.sort();
        lines.dedup();
        lines.retain(|line| !self.paused.contains(line));
        lines
    }
}

#[derive(Serialize)]
struct LeaseArgs<'a> {
    registry: Option<&'a str>,
    now: i64,
    until: i64,
    /// Leases that lapsed until then are taken back.
    lapsed: i64,
    max: usize,
    worker: &'a str,
    first: u64,
    lists: &'a [Line],
    #[serde(skip_serializing_if = "Option::is_none")]
    shares: Option<Shared<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    void: Option<u64>,
}

#[derive(Deserialize)]
struct LeaseAnswer {
    #[serde(default)]
    stale: bool,
    #[serde(default)]
    leases: Vec<Granted>,
    due: Option<f64>,
    #[serde(default)]
    dropped: u64,
}

/// A message that was taken for this host: a list of these, in this order.
#[derive(Debug, Deserialize)]
pub(super) struct Granted {
    pub(super) n: i64,
    /// Its token, without the number of the opening.
    pub(super) token: u64,
    pub(super) t: TenantId,
    pub(super) id: String,
    pub(super) m: Blob,
    /// Whether it is as a client sent it.
    pub(super) raw: bool,
    pub(super) de: u32,
    pub(super) q: QueueName,
}

/// What each tenant has used, uses with each message, and may get.
type Shared<'a> = BTreeMap<&'a TenantId, (u64, u64, usize)>;

/// How much is taken in all, and how several tenants share it; none: there is only one.
fn shared<'a>(ask: &Ask, lines: &'a [Line]) -> (usize, Option<Shared<'a>>) {
    let of = |tenant| {
        let Share { used, step, max } = ask.shares.get(tenant);
        // A script counts in floating point.
        (used.min(1 << 52), step.min(1 << 40), max.min(ask.max))
    };
    let all: Shared<'a> = lines.iter().map(|line| (&line.t, of(&line.t))).collect();
    match all.first_key_value() {
        Some((_, &(_, _, max))) if all.len() == 1 => (max, None),
        Some(_) => (ask.max, Some(all)),
        None => (ask.max, None),
    }
}

/// The queues of those who may have more than they got: what others have there is no reason to ask again.
fn with_share(mut lines: Vec<Line>, ask: &Ask, got: &[Granted]) -> Vec<Line> {
    let mut left: BTreeMap<TenantId, usize> = BTreeMap::new();
    for line in &lines {
        left.entry(line.t.clone()).or_insert_with(|| ask.shares.get(&line.t).max);
    }
    for granted in got {
        if let Some(left) = left.get_mut(&granted.t) {
            *left = left.saturating_sub(1);
        }
    }
    lines.retain(|line| left[&line.t] > 0);
    lines
}

impl RedisStore {
    pub(super) async fn take(&self, ask: Ask) -> Result<Leased> {
        // One at a time: what was granted and never heard of is taken back by the next.
        let mut turn = self.turn.lock().await;
        if self.bell.was_cut() {
            turn.missed();
        }
        let lapsed = turn.until(ask.now.as_micros(), ask.until.as_micros().saturating_sub(ask.now.as_micros()));
        self.latest.fetch_max(ask.now.as_micros(), Ordering::Relaxed);
        if ask.now.since(Timestamp::from_micros(self.restored.load(Ordering::Relaxed))) >= RESTORE {
            self.restored.store(ask.now.as_micros(), Ordering::Relaxed);
            if self.restore_lost().await? {
                self.restored.store(LONG_AGO, Ordering::Relaxed);
            }
        }
        loop {
            let registry = self.registry();
            let lines = registry.lines(ask.queues.as_ref());
            let first = self.tokens.fetch_add(ask.max as u64, Ordering::Relaxed);
            let (max, shares) = shared(&ask, &lines);
            let void = Some(self.unheard.load(Ordering::Relaxed)).filter(|&from| from != u64::MAX);
            let args = LeaseArgs {
                registry: registry.registry.as_deref(),
                now: ask.now.as_micros(),
                until: ask.until.as_micros(),
                lapsed,
                max,
                worker: &ask.worker,
                first,
                lists: &lines,
                shares,
                void,
            };
            let answer = self.link.call::<LeaseAnswer>(Script::Lease, &args).await;
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    self.unheard.fetch_min(first, Ordering::Relaxed);
                    turn.missed();
                    return Err(error);
                }
            };
            if answer.stale {
                self.read_registry().await?;
                continue;
            }
            self.unheard.store(u64::MAX, Ordering::Relaxed);
            turn.answered(ask.now.as_micros());
            self.bell.watch(self.keys_of(&with_share(lines, &ask, &answer.leases)));
            return self.leased(answer, &ask).await;
        }
    }

    async fn leased(&self, answer: LeaseAnswer, ask: &Ask) -> Result<Leased> {
        if answer.dropped > 0 {
            tracing::debug!(count = answer.dropped, "elements were dropped that stood for nothing any more");
        }
        let taken = answer.leases.len();
        let (mut leases, mut foreign) = (Vec::with_capacity(taken), Vec::new());
        for granted in answer.leases {
            if granted.raw {
                foreign.push(granted);
                continue;
            }
            match serde_json::from_slice(&granted.m.0) {
                Ok(message) => leases.push(self.known(&granted, message)),
                Err(why) => self.condemn(granted, &why.to_string(), ask.now).await,
            }
        }
        if !foreign.is_empty() {
            leases.extend(self.read_foreign(foreign, ask).await?);
        }
        #[allow(clippy::cast_possible_truncation)]
        let due = answer.due.map(|due| Timestamp::from_micros(due as i64));
        // Who gets fewer than there were must not think that the queues are empty.
        let next_due = if leases.len() < taken { Some(ask.now) } else { due };
        Ok(Leased { leases, next_due })
    }

    pub(super) fn tag_of(&self, granted: &Granted) -> String {
        self.tag(granted.token, &granted.t, &granted.id)
    }

    /// The delivery tag of a token.
    pub(super) fn tag(&self, token: u64, tenant: &TenantId, id: &str) -> String {
        format!("lovage-{}{token:010x}/{tenant}/{id}", self.link.opening())
    }

    pub(super) async fn extend(&self, keys: Vec<LeaseKey>, until: Timestamp) -> Result<Vec<LeaseKey>> {
        #[derive(Serialize)]
        struct One {
            tenant: TenantId,
            id: TaskId,
            tag: String,
        }
        #[derive(Serialize)]
        struct Args {
            keys: Vec<One>,
            until: i64,
        }
        #[derive(Deserialize)]
        struct Answer {
            lost: Vec<usize>,
        }
        // Nobody knows of a key that is not known here.
        let (mut is_lost, mut asked, mut args) = (vec![true; keys.len()], Vec::new(), Vec::new());
        for (at, key) in keys.iter().enumerate() {
            if let Some(Taken { tenant, tag, message }) = self.leases.get(*key) {
                asked.push(at);
                args.push(One { tenant, id: message.id.clone(), tag });
                is_lost[at] = false;
            }
        }
        if !args.is_empty() {
            let args = Args { keys: args, until: until.as_micros() };
            let answer: Answer = self.link.call(Script::Renew, &args).await?;
            for at in answer.lost.into_iter().filter_map(|number| asked.get(number - 1)) {
                is_lost[*at] = true;
            }
        }
        let lost: Vec<LeaseKey> = keys.into_iter().zip(is_lost).filter(|(_, lost)| *lost).map(|(key, _)| key).collect();
        lost.iter().for_each(|key| self.leases.remove(*key));
        Ok(lost)
    }

    pub(super) async fn tell_state(&self, key: LeaseKey, state: String, own: Json) -> Result<Fenced> {
        #[derive(Serialize)]
        struct Args<'a> {
            tenant: &'a TenantId,
            id: &'a TaskId,
            tag: &'a str,
            state: &'a str,
            own: &'a str,
            meta: Option<String>,
        }
        let Some(Taken { tenant, tag, message }) = self.leases.get(key) else { return Ok(Fenced::Refused) };
        let named = State::from_name(&state);
        let outcome = Outcome {
            state: &named,
            result: &own,
            traceback: None,
            children: &[],
            worker: Some(&self.hostname),
            at: Timestamp::from_micros(0),
        };
        let of = Of { message: Some(&message), id: &message.id, extended: self.extended };
        let meta = Some(texts::meta(of, &outcome)?).filter(|_| message.ignore_result != Some(true));
        let args = Args { tenant: &tenant, id: &message.id, tag: &tag, state: &state, own: own.as_str(), meta };
        let applied: i64 = self.link.ask(Script::Report, &args).await?;
        Ok(if applied == 1 { Fenced::Applied } else { Fenced::Refused })
    }

    /// Gives a message back without an outcome, to be leased no earlier than a time.
    pub(super) async fn give(&self, key: LeaseKey, begun: bool, until: Option<Timestamp>) -> Result<Fenced> {
        #[derive(Serialize)]
        struct One<'a> {
            tenant: &'a TenantId,
            id: &'a TaskId,
            tag: &'a str,
            begun: bool,
            until: Option<i64>,
        }
        #[derive(Serialize)]
        struct Args<'a> {
            batch: [One<'a>; 1],
            now: i64,
        }
        let Some(Taken { tenant, tag, message }) = self.leases.get(key) else { return Ok(Fenced::Refused) };
        let one = One { tenant: &tenant, id: &message.id, tag: &tag, begun, until: until.map(Timestamp::as_micros) };
        let done: Answers<bool> = self.link.call(Script::Give, &Args { batch: [one], now: self.micros() }).await?;
        self.leases.remove(key);
        self.ring(done.rings);
        if done.answers != [true] {
            return Ok(Fenced::Refused);
        }
        if let Some(until) = until {
            self.leases.postpone(key.task, tenant, message.id.clone(), until, Timestamp::from_micros(self.micros()));
        }
        Ok(Fenced::Applied)
    }
}
