//! What does this host say of itself? The answers of Celery's `inspect`.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use lovage_model::inspect::{OrderedLimits, Pool, ScheduledInfo, Stats, TaskInfo};
use lovage_model::{DeliveryInfo, Message, QueueName, ResultMeta, State, TaskId, TaskName, TenantId, Timestamp};

use super::Control;
use crate::clock;
use crate::pipeline::{Brief, Ordered};
use crate::store::{Filter, MAX_LISTED_BYTES, Result};

/// The most tasks that one answer lists.
const SHOWN: usize = 1000;

impl Control {
    /// What runs here, the oldest first, as far as it has room in one answer.
    pub async fn active(&self, tenant: &TenantId) -> Result<Vec<TaskInfo>> {
        self.held(tenant, |brief| brief.time_start.is_some()).await
    }

    /// What was taken and waits for a slot, as far as it has room in one answer.
    pub async fn reserved(&self, tenant: &TenantId) -> Result<Vec<TaskInfo>> {
        self.held(tenant, |brief| brief.time_start.is_none()).await
    }

    async fn held(&self, tenant: &TenantId, which: impl Fn(&Brief) -> bool) -> Result<Vec<TaskInfo>> {
        let (mut all, mut bytes) = (Vec::new(), 0);
        for brief in self.running.all(tenant).into_iter().filter(which).take(SHOWN) {
            if bytes >= MAX_LISTED_BYTES {
                break;
            }
            // One that is not there any more has been forgotten since.
            if let Some(meta) = self.store.task(tenant, &brief.id).await? {
                bytes += argument_bytes(&meta);
                all.push(self.info(tenant, meta, &brief));
            }
        }
        Ok(all)
    }

    /// What waits for its time, the earliest first.
    pub async fn scheduled(&self, tenant: &TenantId) -> Result<Vec<ScheduledInfo>> {
        let all = self.store.scheduled(tenant, SHOWN).await?;
        let info = |(eta, message): (Timestamp, Message)| {
            let request = self.info_of(&message);
            ScheduledInfo { eta, priority: message.priority, request }
        };
        Ok(all.into_iter().map(info).collect())
    }

    /// What was revoked: before anybody had it, then the others, the newest first.
    pub async fn revoked(&self, tenant: &TenantId) -> Result<Vec<TaskId>> {
        let mut filter = Filter { state: Some(State::Revoked), limit: SHOWN, ..Filter::default() };
        let mut all = self.standing.foretold.ids(tenant, clock::now());
        // By pages: they are bounded in bytes.
        loop {
            let page = self.store.list(tenant, filter.clone()).await?;
            filter.limit -= page.tasks.len();
            all.extend(page.tasks.into_iter().map(|meta| meta.task_id));
            if page.next.is_none() || filter.limit == 0 {
                break;
            }
            filter.before = page.next;
        }
        let mut seen = HashSet::new();
        all.retain(|id| seen.insert(id.clone()));
        Ok(all)
    }

    /// The queues that this host takes messages from: those that it was told to, or all there are and the default one.
    pub async fn queues(&self, tenant: &TenantId, now: Timestamp) -> Result<BTreeSet<QueueName>> {
        if let Some(told) = self.standing.share().borrow().queues.clone() {
            return Ok(told);
        }
        let all = self.store.queues(tenant, now).await?.into_iter().filter_map(|queue| queue.name.parse().ok());
        Ok(all.chain([QueueName::default()]).collect())
    }

    /// How many tasks this host runs at once, by what it was told last.
    pub fn slots(&self) -> usize {
        self.standing.share().borrow().slots.min(self.host.concurrency)
    }

    /// The tasks there are, each with its rate limit if it has one.
    pub async fn registered(&self, tenant: &TenantId) -> Result<Vec<String>> {
        let versions = self.modules.list(tenant).await?;
        let tasks = versions.iter().flat_map(|version| &version.tasks);
        let mut all: Vec<String> = tasks
            .map(|task| {
                let ordered = self.standing.ordered(tenant, &task.name).rate_limit;
                match ordered.or(task.options.rate_limit) {
                    Some(limit) => format!("{} [rate_limit={limit}]", task.name),
                    None => task.name.to_string(),
                }
            })
            .collect();
        all.sort_unstable();
        Ok(all)
    }

    /// What this host has done, and what it is made of.
    pub fn stats(&self, tenant: &TenantId, now: Timestamp) -> Stats {
        let limits = |Ordered { rate_limit, time_limit }| OrderedLimits { rate_limit, time_limit };
        Stats {
            total: self.running.totals(tenant),
            pid: std::process::id(),
            uptime: now.since(self.host.since).as_secs(),
            pool: Pool {
                implementation: "sandbox".to_owned(),
                max_concurrency: self.slots(),
                processes: vec![std::process::id()],
                max_tasks_per_child: 1,
                timeouts: self.host.timeouts.map(|limit| limit.as_secs()),
            },
            prefetch_count: self.host.concurrency,
            orders: self.standing.all(tenant).into_iter().map(|(task, ordered)| (task, limits(ordered))).collect(),
        }
    }

    /// Where tasks are: `active`, `reserved` or `scheduled` here, or `ready`, which is at their end. Those that wait in a
    /// queue, and those that there are not, are left out, as in Celery; so are the last of those that have no room in one answer.
    pub async fn query_task(&self, tenant: &TenantId, ids: &[TaskId]) -> Result<BTreeMap<TaskId, (String, TaskInfo)>> {
        let held: BTreeMap<TaskId, Brief> =
            self.running.all(tenant).into_iter().map(|brief| (brief.id.clone(), brief)).collect();
        let (mut found, mut bytes) = (BTreeMap::new(), 0);
        for id in ids {
            if bytes >= MAX_LISTED_BYTES {
                break;
            }
            let Some(meta) = self.store.task(tenant, id).await? else { continue };
            let waits_for_time = matches!(meta.waiting_for.as_deref(), Some("eta" | "rate limit"));
            let place = match held.get(id) {
                _ if meta.status.is_terminal() => "ready",
                Some(brief) if brief.time_start.is_some() => "active",
                Some(_) => "reserved",
                None if waits_for_time => "scheduled",
                None => continue,
            };
            let unheld = || Brief { id: id.clone(), priority: 0, redelivered: false, time_start: None };
            let brief = held.get(id).cloned().unwrap_or_else(unheld);
            bytes += argument_bytes(&meta);
            found.insert(id.clone(), (place.to_owned(), self.info(tenant, meta, &brief)));
        }
        Ok(found)
    }

    fn info(&self, tenant: &TenantId, meta: ResultMeta, brief: &Brief) -> TaskInfo {
        // A name that was checked when the task was sent.
        let routing_key = meta.queue.parse().unwrap_or_else(|_| QueueName::default());
        TaskInfo {
            acknowledged: brief.time_start.is_some() && !self.acks_late(tenant, &meta.name),
            id: meta.task_id,
            kind: meta.name.clone(),
            name: meta.name,
            shadow: meta.shadow,
            args: meta.args,
            kwargs: meta.kwargs,
            hostname: self.host.hostname.clone(),
            time_start: brief.time_start,
            delivery_info: DeliveryInfo {
                exchange: String::new(),
                routing_key,
                priority: brief.priority,
                redelivered: brief.redelivered,
            },
            worker_pid: std::process::id(),
        }
    }

    fn info_of(&self, message: &Message) -> TaskInfo {
        let request = lovage_model::Request::of(message, &self.host.hostname, false);
        TaskInfo {
            acknowledged: false,
            id: request.id,
            kind: request.task.clone(),
            name: request.task,
            shadow: request.shadow,
            args: request.args,
            kwargs: request.kwargs,
            hostname: request.hostname,
            time_start: None,
            delivery_info: request.delivery_info,
            worker_pid: std::process::id(),
        }
    }

    fn acks_late(&self, tenant: &TenantId, task: &TaskName) -> bool {
        self.modules.code(tenant, task).is_none_or(|code| code.definition.options.acks_late)
    }
}

/// What of a task makes an answer large.
fn argument_bytes(meta: &ResultMeta) -> usize {
    meta.args.as_str().len() + meta.kwargs.as_str().len()
}
