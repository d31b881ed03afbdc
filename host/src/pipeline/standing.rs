//! What has been ordered of this host, until it restarts?
//!
//! Limits of task types that are changed while it runs, which queues it takes messages from, how many at once and whether at
//! all, and which tasks it must not run. As in Celery nothing of it is kept: after a restart what tasks and the configuration
//! declare holds again.

mod revoked;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{PoisonError, RwLock};

use lovage_model::{Message, QueueName, RateLimit, TaskName, TaskOptions, TenantId, TimeLimit};
use tokio::sync::{mpsc, watch};

pub use revoked::Foretold;

/// One task type of one tenant.
pub type TaskType = (TenantId, TaskName);

/// What was ordered about one task type.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Ordered {
    /// In place of what tasks and messages declare; a rate of 0 is no limit.
    pub rate_limit: Option<RateLimit>,
    /// In place of what the task declares; what a message asks for goes before it.
    pub time_limit: Option<TimeLimit>,
}

/// Which part of the work a host takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// From these queues; none: from all.
    pub queues: Option<BTreeSet<QueueName>>,
    /// So many attempts at once.
    pub slots: usize,
}

/// The standing orders of one host.
#[derive(Debug)]
pub struct Standing {
    /// Tasks that it must not run if they come.
    pub foretold: Foretold,
    orders: RwLock<HashMap<TaskType, Ordered>>,
    rates: mpsc::UnboundedSender<TaskType>,
    changed_rates: tokio::sync::Mutex<mpsc::UnboundedReceiver<TaskType>>,
    resting: watch::Sender<bool>,
    leaving: watch::Sender<bool>,
    share: watch::Sender<Share>,
}

impl Standing {
    /// Nothing was ordered of a host that takes this much.
    pub fn of(share: Share) -> Self {
        let (rates, changed_rates) = mpsc::unbounded_channel();
        let (orders, changed_rates) = (RwLock::default(), tokio::sync::Mutex::new(changed_rates));
        let (resting, leaving, share) =
            (watch::Sender::new(false), watch::Sender::new(false), watch::Sender::new(share));
        Self { foretold: Foretold::default(), orders, rates, changed_rates, resting, leaving, share }
    }

    /// Changes the rate limit of a task type: 0 is no limit; none: what is declared holds again.
    pub fn set_rate_limit(&self, of: TaskType, limit: Option<RateLimit>) {
        self.change(of.clone(), |ordered| ordered.rate_limit = limit);
        // The other end goes with this one.
        let _ = self.rates.send(of);
    }

    /// Changes the time limits of a task type; none: what is declared holds again.
    pub fn set_time_limit(&self, of: TaskType, limit: Option<TimeLimit>) {
        self.change(of, |ordered| ordered.time_limit = limit);
    }

    fn change(&self, of: TaskType, change: impl FnOnce(&mut Ordered)) {
        let mut orders = self.orders.write().unwrap_or_else(PoisonError::into_inner);
        let mut ordered = orders.get(&of).copied().unwrap_or_default();
        change(&mut ordered);
        if ordered == Ordered::default() {
            orders.remove(&of);
        } else {
            orders.insert(of, ordered);
        }
    }

    /// What was ordered about a task type.
    pub fn ordered(&self, tenant: &TenantId, task: &TaskName) -> Ordered {
        let orders = self.orders.read().unwrap_or_else(PoisonError::into_inner);
        if orders.is_empty() {
            return Ordered::default();
        }
        orders.get(&(tenant.clone(), task.clone())).copied().unwrap_or_default()
    }

    /// Everything that was ordered about tasks of a tenant, by name.
    pub fn all(&self, tenant: &TenantId) -> BTreeMap<TaskName, Ordered> {
        let orders = self.orders.read().unwrap_or_else(PoisonError::into_inner);
        let own = orders.iter().filter(|((of, _), _)| of == tenant);
        own.map(|((_, task), ordered)| (task.clone(), *ordered)).collect()
    }

    /// The rate limit in force for a message: as ordered, or as its sender overrides it, or as the task declares it.
    pub fn rate_limit(&self, tenant: &TenantId, message: &Message, declared: &TaskOptions) -> Option<RateLimit> {
        self.rate_limit_or(tenant, &message.task, || {
            let asked: Option<RateLimit> = message.overrides.get("rate_limit").and_then(|limit| limit.read().ok());
            asked.or(declared.rate_limit)
        })
    }

    /// The rate limit in force for a task: as ordered, or this one.
    pub(super) fn rate_limit_or(
        &self,
        tenant: &TenantId,
        task: &TaskName,
        other: impl FnOnce() -> Option<RateLimit>,
    ) -> Option<RateLimit> {
        let limit = self.ordered(tenant, task).rate_limit.or_else(other);
        limit.filter(|limit| limit.per_second().is_some())
    }

    /// Returns a task type whose rate limit was changed. For one listener.
    pub async fn changed_rate(&self) -> TaskType {
        match self.changed_rates.lock().await.recv().await {
            Some(of) => of,
            None => std::future::pending().await,
        }
    }

    /// Lets this host take no more messages, or take them again.
    pub fn rest(&self, resting: bool) {
        self.resting.send_replace(resting);
    }

    /// Whether this host was told to take no more messages; follows it.
    pub fn resting(&self) -> watch::Receiver<bool> {
        self.resting.subscribe()
    }

    /// Tells this host to end as if by a signal: it drains.
    pub fn leave(&self) {
        self.leaving.send_replace(true);
    }

    /// Returns once this host was told to end.
    pub async fn left(&self) {
        // Closed only together with this, which is borrowed.
        let _ = self.leaving.subscribe().wait_for(|leaving| *leaving).await;
    }

    /// Changes which part of the work this host takes.
    pub fn take(&self, change: impl FnOnce(&mut Share)) {
        self.share.send_modify(change);
    }

    /// Which part of the work this host takes; follows it.
    pub fn share(&self) -> watch::Receiver<Share> {
        self.share.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use lovage_model::{Json, Seconds};

    use super::*;

    fn of(task: &str) -> TaskType {
        (TenantId::default(), task.parse().unwrap())
    }

    #[test]
    fn an_order_goes_before_the_sender_and_the_task() {
        let standing = Standing::of(Share { queues: None, slots: 1 });
        let declared = TaskOptions { rate_limit: "1/s".parse().ok(), ..TaskOptions::default() };
        let message = Message::new("a".parse().unwrap(), "t".parse().unwrap());
        let asks =
            Message { overrides: [("rate_limit".to_owned(), Json::of("2/s").unwrap())].into(), ..message.clone() };
        let limit = |message: &Message| {
            let limit = standing.rate_limit(&TenantId::default(), message, &declared);
            limit.map(|limit| limit.to_string())
        };
        assert_eq!((limit(&message).as_deref(), limit(&asks).as_deref()), (Some("1/s"), Some("2/s")));
        standing.set_rate_limit(of("t"), "3/s".parse().ok());
        assert_eq!(limit(&asks).as_deref(), Some("3/s"));
        standing.set_rate_limit(of("t"), "0".parse().ok());
        assert_eq!(limit(&asks), None);
        standing.set_rate_limit(of("t"), None);
        assert_eq!(limit(&asks).as_deref(), Some("2/s"));
        assert!(standing.all(&TenantId::default()).is_empty());
    }

    #[tokio::test]
    async fn who_gives_out_starts_learns_of_changed_rates() {
        let standing = Standing::of(Share { queues: None, slots: 1 });
        standing.set_time_limit(of("t"), Some(TimeLimit { soft: None, hard: Seconds::new(1.0).ok() }));
        standing.set_rate_limit(of("u"), "3/s".parse().ok());
        assert_eq!(standing.changed_rate().await, of("u"));
        let names: Vec<_> = standing.all(&TenantId::default()).into_keys().map(String::from).collect();
        assert_eq!(names, ["t", "u"]);
    }
}
