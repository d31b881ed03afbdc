//! When, and on which slot?
//!
//! One loop leases messages for the slots that are free, and hands each to the pipeline; another renews the leases of what
//! runs; a third sweeps expired results. Draining stops the first and waits for what runs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use lovage_model::{QueueName, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, watch};

use crate::clock;
use crate::pipeline::{Delivery, Pipeline};
use crate::store::{Ask, StoreError};

/// What the operator wants of the scheduler.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Attempts at once.
    pub concurrency: usize,
    /// Serve these queues only; none: all.
    pub queues: Option<BTreeSet<QueueName>>,
    /// How long a lease holds without being renewed.
    pub lease: Duration,
}

/// At most so many messages are taken before a slot is free for them, and only while tasks end that fast.
const MAX_AHEAD: usize = 1024;
/// How often the sweeper looks.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// How long to wait before a store that failed is asked again.
const STORE_PAUSE: Duration = Duration::from_millis(500);
/// The longest wait for a message that is due: a clock that was set, or a machine that slept, is noticed after it.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(30);

/// The loops of one host.
pub struct Scheduler {
    pipeline: Arc<Pipeline>,
    settings: Settings,
    /// Where attempts run: apart from everything that must answer quickly.
    guests: Handle,
    slots: Arc<Semaphore>,
    /// Attempts that were handed over and still need, or have, a slot.
    handed: AtomicUsize,
    /// Attempts that have ended since the last lease: how fast slots become free.
    ended: AtomicUsize,
    slot_freed: Notify,
    /// When leases were last renewed, in microseconds since 1970.
    renewed: AtomicI64,
    draining: watch::Sender<bool>,
}

impl Scheduler {
    /// A scheduler that is not running yet.
    pub fn new(pipeline: Arc<Pipeline>, settings: Settings, guests: Handle) -> Arc<Self> {
        let (handed, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (slot_freed, draining) = (Notify::new(), watch::Sender::new(false));
        let slots = Arc::new(Semaphore::new(settings.concurrency));
        let renewed = AtomicI64::new(clock::now().as_micros());
        Arc::new(Self { pipeline, settings, guests, slots, handed, ended, slot_freed, renewed, draining })
    }

    /// Runs until it is drained.
    pub async fn run(self: &Arc<Self>) {
        tokio::join!(self.lease_loop(), self.renew_loop(), self.sweep_loop());
    }

    /// Whether no more messages are taken.
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Takes no more messages, waits at most so long for those that run, and gives the rest back to their queues.
    pub async fn drain(&self, patience: Duration) {
        self.draining.send_replace(true);
        if tokio::time::timeout(patience, self.idle()).await.is_err() {
            self.stop_now().await;
        }
    }

    /// Takes no more messages, and gives those that run back to their queues at once.
    pub async fn stop_now(&self) {
        self.draining.send_replace(true);
        self.pipeline.running.stop_all();
        self.idle().await;
    }

    async fn idle(&self) {
        self.pipeline.running.wait_until_empty().await;
    }

    async fn lease_loop(self: &Arc<Self>) {
        let mut draining = self.draining.subscribe();
        while !*draining.borrow_and_update() {
            let pause = self.lease_once().await;
            // Only a pause is cut short: a lease call that was given up would leave its messages leased to nobody.
            tokio::select! {
                biased;
                _ = draining.changed() => {}
                () = self.rest(pause) => {}
            }
        }
    }

    /// Leases as much as there is room for; returns what to wait for before the next time.
    async fn lease_once(self: &Arc<Self>) -> Pause {
        let max = self.room();
        if max == 0 {
            return Pause::Slot;
        }
        match self.lease(max).await {
            Ok((got, _)) if got == max => Pause::None,
            Ok((_, next_due)) => Pause::Message(next_due),
            Err(error) => {
                tracing::error!(%error, "the store gives no messages; trying again");
                Pause::Store
            }
        }
    }

    async fn rest(&self, pause: Pause) {
        match pause {
            Pause::None => {}
            Pause::Slot => self.slot_freed.notified().await,
            Pause::Message(None) => self.pipeline.store.ready().await,
            Pause::Message(Some(due)) => {
                // Whichever comes first: the message that is due, or a new one.
                let wait = due.since(clock::now()).min(LOOK_AT_CLOCK);
                let _ = tokio::time::timeout(wait, self.pipeline.store.ready()).await;
            }
            Pause::Store => tokio::time::sleep(STORE_PAUSE).await,
        }
    }

    /// Free slots, and as many as have become free lately: short tasks are taken ahead, long ones are not.
    fn room(&self) -> usize {
        let ahead = self.ended.swap(0, Ordering::Relaxed).min(MAX_AHEAD);
        (self.settings.concurrency + ahead).saturating_sub(self.handed.load(Ordering::Acquire))
    }

    async fn lease(self: &Arc<Self>, max: usize) -> Result<(usize, Option<Timestamp>), StoreError> {
        if clock::now().since(self.renewed()) > self.settings.lease / 2 {
            // The clock was set forward, or everything stood still: what runs here must not lapse for that.
            self.renew().await;
        }
        let now = clock::now();
        let ask = Ask {
            worker: self.pipeline.hostname.clone(),
            queues: self.settings.queues.clone(),
            max,
            now,
            until: now.after(self.settings.lease),
        };
        let leased = self.pipeline.store.lease(ask).await?;
        let got = leased.leases.len();
        self.handed.fetch_add(got, Ordering::AcqRel);
        let next_due = leased.next_due;
        // All are listed, then begun in their order: their leases are renewed while they wait for a slot.
        let deliveries: Vec<_> = leased.leases.into_iter().map(|lease| self.pipeline.list(lease)).collect();
        let this = Arc::clone(self);
        // From a thread of the guests: to wake those once for each attempt would cost more than some attempts do.
        let begun = self.guests.spawn(async move { this.begin(deliveries).await });
        if begun.await.is_err() {
            tracing::error!("the threads of the guests are gone; the leases of {got} messages will lapse");
        }
        Ok((got, next_due))
    }

    /// Begins attempts, each when it has a slot.
    async fn begin(self: &Arc<Self>, deliveries: Vec<Delivery>) {
        for delivery in deliveries {
            let slot = Arc::clone(&self.slots).acquire_owned().await;
            let this = Arc::clone(self);
            tokio::spawn(async move {
                let place = Place(&this);
                this.pipeline.deliver(delivery, slot, place).await;
            });
        }
    }

    async fn renew_loop(&self) {
        let mut draining = self.draining.subscribe();
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.settings.lease / 3) => self.renew().await,
                () = self.drained(&mut draining) => return,
            }
        }
    }

    fn renewed(&self) -> Timestamp {
        Timestamp::from_micros(self.renewed.load(Ordering::Relaxed))
    }

    async fn renew(&self) {
        let now = clock::now();
        self.renewed.store(now.as_micros(), Ordering::Relaxed);
        let leases = self.pipeline.running.leases();
        if leases.is_empty() {
            return;
        }
        match self.pipeline.store.renew(leases, now.after(self.settings.lease)).await {
            Ok(lost) if lost.is_empty() => {}
            Ok(lost) => {
                tracing::warn!(count = lost.len(), "leases were lost; their attempts are stopped");
                self.pipeline.running.stop_leases(&lost);
            }
            Err(error) => tracing::error!(%error, "leases could not be renewed"),
        }
    }

    async fn sweep_loop(&self) {
        let mut draining = self.draining.subscribe();
        loop {
            tokio::select! {
                () = tokio::time::sleep(SWEEP_EVERY) => self.sweep().await,
                () = self.drained(&mut draining) => return,
            }
        }
    }

    async fn sweep(&self) {
        if let Err(error) = self.pipeline.expire(clock::now()).await {
            tracing::error!(%error, "expired results could not be dropped");
        }
    }

    async fn drained(&self, draining: &mut watch::Receiver<bool>) {
        // Closed only together with this scheduler, which is borrowed here.
        let _ = draining.wait_for(|draining| *draining).await;
        self.idle().await;
    }
}

/// What the lease loop waits for.
enum Pause {
    /// Nothing: there may be more.
    None,
    /// An attempt to end.
    Slot,
    /// A message, at the latest until one is due.
    Message(Option<Timestamp>),
    /// The store to recover.
    Store,
}

/// What a message that was handed over takes up; given back when dropped, even by a panic.
struct Place<'a>(&'a Scheduler);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.handed.fetch_sub(1, Ordering::AcqRel);
        self.0.ended.fetch_add(1, Ordering::Relaxed);
        self.0.slot_freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use lovage_model::{Message, Plan, Room, TaskId, TaskName, TenantId};

    use super::*;
    use crate::canvas::Rules;
    use crate::modules::Modules;
    use crate::pipeline::{Caps, Committer};
    use crate::sandbox::{Compiler, Sandbox};
    use crate::store::memory::MemoryStore;
    use crate::store::{Broker, Store};

    const LEASE: Duration = Duration::from_secs(15);

    async fn scheduler(store: Arc<MemoryStore>, cache: &std::path::Path) -> Arc<Scheduler> {
        let settings = crate::sandbox::Settings {
            concurrency: 1,
            memory_bytes: 1 << 20,
            cache: cache.to_owned(),
            compiler: Compiler::InProcess,
        };
        let sandbox = Arc::new(Sandbox::new(settings).unwrap());
        let store: Arc<dyn Store> = store;
        let hub = Arc::new(crate::events::Hub::new(clock::now()));
        let (outcomes, _) = Committer::new(Arc::clone(&store), Arc::clone(&hub));
        let caps = Caps {
            memory_bytes: 1 << 20,
            time_limit: LEASE,
            default_time_limit: LEASE,
            fuel: None,
            output_bytes: 0,
            payload_bytes: 0,
            subtasks: 0,
        };
        let modules = Arc::new(Modules::open(Arc::clone(&store), Arc::clone(&sandbox)).await.unwrap());
        let hostname = "here".to_owned();
        let running = Arc::default();
        let rules = Rules { message_bytes: 0, canvas_tasks: 1, lineage_depth: 0, replacements: 0 };
        let (room, result_expires, eager) = (Room::UNLIMITED, LEASE, false);
        let pipeline = Pipeline {
            store,
            sandbox,
            modules,
            running,
            hub,
            outcomes,
            caps,
            rules,
            room,
            result_expires,
            hostname,
            eager,
        };
        let pipeline = Arc::new(pipeline);
        let settings = Settings { concurrency: 1, queues: None, lease: LEASE };
        Scheduler::new(pipeline, settings, Handle::current())
    }

    fn message(id: &str) -> Message {
        Message::new(TaskId::new(id).unwrap(), TaskName::new("a").unwrap())
    }

    #[tokio::test]
    async fn a_clock_that_leaps_takes_nothing_from_who_runs() {
        let (store, cache) = (Arc::new(MemoryStore::new()), tempfile::tempdir().unwrap());
        let scheduler = scheduler(Arc::clone(&store), cache.path()).await;
        let tenant = TenantId::default();
        // Leased and renewed an hour ago, by a clock that says that it was.
        let before = clock::now().before(Duration::from_secs(3600));
        store.submit(&tenant, vec![Plan::of(message("it"))], before, Room::UNLIMITED).await.unwrap();
        let ask = Ask { worker: "here".to_owned(), queues: None, max: 1, now: before, until: before.after(LEASE) };
        let mut leased = store.lease(ask).await.unwrap();
        let running = scheduler.pipeline.list(leased.leases.remove(0));
        scheduler.renewed.store(before.as_micros(), Ordering::Relaxed);

        let (got, _) = scheduler.lease(1).await.unwrap();
        assert_eq!(got, 0, "it is not delivered again");
        assert_eq!(scheduler.pipeline.running.leases().len(), 1);
        drop(running);
    }
}
