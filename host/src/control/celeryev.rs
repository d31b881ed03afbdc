//! What is told to those who watch Celery's events: Flower, `celery events`, other workers?
//!
//! That this host is there, every two seconds; and what happens to tasks, while somebody has asked for it. Never the source of
//! truth: when the store is slow, or nobody could be told for a while, the oldest events are lost, and it is logged how many.
//! Nothing waits for it.
//! See <https://docs.celeryq.dev/en/stable/userguide/monitoring.html#event-reference>.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use lovage_model::TenantId;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::Control;
use crate::celery::event::{self, Health, Node, Presence, Publication};
use crate::clock;
use crate::events::{Notice, Subscription};
use crate::store::{Fanout, Result, StoreError};

/// How often this host says that it is there: Celery's own figure.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// The most events that are told at once.
const AT_ONCE: usize = 256;

/// Tells Celery's monitors.
pub struct Celeryev {
    control: Control,
    enabled: watch::Sender<bool>,
}

impl Celeryev {
    /// Of a host that tells of tasks from the beginning, or not before it is told to.
    pub fn new(control: Control, tasks: bool) -> Arc<Self> {
        Arc::new(Self { control, enabled: watch::Sender::new(tasks) })
    }

    /// From now on tells of tasks, or does not; whether that is a change.
    pub fn enable(&self, tasks: bool) -> bool {
        self.enabled.send_replace(tasks) != tasks
    }

    /// Tells for ever, where there is anybody to be told.
    pub async fn run(&self) {
        let Some(fanout) = self.control.store.fanout() else { return std::future::pending().await };
        self.say(Presence::Online).await;
        let (mut pulse, mut enabled) = (tokio::time::interval(HEARTBEAT), self.enabled.subscribe());
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        enabled.mark_changed();
        let mut tasks = None;
        loop {
            tokio::select! {
                _ = pulse.tick() => self.beat().await,
                _ = enabled.changed() => {
                    let is_on = *enabled.borrow_and_update();
                    tasks = is_on.then(|| self.control.hub.listen(&TenantId::default(), None));
                }
                notice = next(&mut tasks) => self.tell(fanout, notice, &mut tasks).await,
            }
        }
    }

    /// Says now that this host is there.
    pub async fn beat(&self) {
        self.say(Presence::Heartbeat).await;
    }

    /// Says that this host goes.
    pub async fn leave(&self) {
        self.say(Presence::Offline).await;
    }

    fn node(&self) -> Node<'_> {
        Node { hostname: &self.control.host.hostname, pid: std::process::id(), utcoffset: clock::hours_west_of_utc() }
    }

    async fn say(&self, presence: Presence) {
        let Some(fanout) = self.control.store.fanout() else { return };
        let health = Health {
            freq: HEARTBEAT.as_secs_f64(),
            active: self.control.running.len(),
            processed: self.control.running.totals(&TenantId::default()).into_values().sum(),
            loadavg: loadavg(),
            sw_ident: "lovage",
            sw_ver: env!("CARGO_PKG_VERSION"),
            sw_sys: "Linux",
        };
        let (node, clock) = (self.node(), self.control.clock.forward());
        let publication = event::worker(presence, &health, clock::now(), &node, clock)
            .and_then(|body| event::publish(presence.name(), &body, &node, &tag()));
        if let Err(error) = publish(fanout, publication).await {
            tracing::debug!(%error, "monitors were not told that this host is there");
        }
    }

    /// Tells what happened, with everything else that has happened meanwhile.
    async fn tell(&self, fanout: &dyn Fanout, first: Notice, tasks: &mut Option<Subscription>) {
        let (node, mut bodies, mut own) = (self.node(), Vec::new(), Vec::new());
        let (mut lost, mut notice) = (0, Some(first));
        while let Some(one) = notice.take() {
            match one {
                Notice::Event(numbered) => match event::task(&numbered.event, &node, self.control.clock.forward()) {
                    Ok(Some(body)) => match event::own_name(&numbered.event) {
                        Some(name) => own.push((name.to_owned(), body)),
                        None => bodies.push(body),
                    },
                    Ok(None) => {}
                    Err(error) => tracing::warn!(%error, "an event cannot be written for monitors"),
                },
                Notice::Lagged(count) => lost += count,
                Notice::Recheck => {}
            }
            if bodies.len() + own.len() < AT_ONCE {
                notice = next(tasks).now_or_never();
            }
        }
        if lost > 0 {
            tracing::warn!(lost, "events came faster than monitors could be told");
        }
        // Each with how many events it tells.
        let together = (!bodies.is_empty()).then(|| (bodies.len(), event::publish_tasks(&bodies, &node, &tag())));
        let each = own.iter().map(|(name, body)| (1, event::publish(name, body, &node, &tag())));
        let (counts, publications): (Vec<usize>, Vec<_>) = together.into_iter().chain(each).unzip();
        // All at once: this host says nothing else meanwhile.
        let told = join_all(publications.into_iter().map(|publication| publish(fanout, publication))).await;
        let failed: Vec<(usize, StoreError)> =
            counts.into_iter().zip(told).filter_map(|(count, told)| Some((count, told.err()?))).collect();
        if let Some((_, error)) = failed.first() {
            let count: usize = failed.iter().map(|(count, _)| count).sum();
            tracing::warn!(%error, count, "monitors were not told what happened to tasks");
        }
    }
}

/// The next notice of a subscription; never, if there is none.
async fn next(tasks: &mut Option<Subscription>) -> Notice {
    match tasks {
        Some(tasks) => tasks.next().await,
        None => std::future::pending().await,
    }
}

async fn publish(fanout: &dyn Fanout, publication: serde_json::Result<Publication>) -> Result<()> {
    let Publication { routing_key, envelope } = publication.map_err(|error| StoreError::Failed(error.to_string()))?;
    fanout.publish(event::EXCHANGE, &routing_key, &envelope).await
}

fn tag() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Of the machine, over 1, 5 and 15 minutes.
fn loadavg() -> [f64; 3] {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut numbers = text.split(' ').map_while(|number| number.parse().ok());
    [(); 3].map(|()| numbers.next().unwrap_or_default())
}
