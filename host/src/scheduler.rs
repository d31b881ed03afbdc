//! When, and on which slot?
//!
//! One loop leases messages for the slots that are free, and hands each to the pipeline; another renews the leases of what
//! runs; a third sweeps expired results. Draining stops the first and waits for what runs.
//!
//! Which tenant's message comes next is decided by what each has used (see `accounts`).
//!
//! A message that was leased waits for two things before it begins: for its turn, if its task has a rate limit (see `rate`;
//! until then it is back in the store), and for a slot (see `begin`). Meanwhile it can be revoked, and it is given back when
//! this host is told to drain or to rest, or when it was taken ahead and no slot has become free for it.

mod accounts;
mod begin;
mod rate;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lovage_model::{TaskName, TenantId, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify, Semaphore, watch};

use crate::clock;
use crate::pipeline::{Delivery, Pipeline, TaskType};
use crate::store::{Ask, Lease, Shares, StoreError};
use accounts::Accounts;
use rate::{Limits, Rates, Turn};

/// What the operator wants of the scheduler.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The most attempts at once, whatever is ordered.
    pub concurrency: usize,
    /// How long a lease holds without being renewed.
    pub lease: Duration,
}

/// How long what was taken ahead waits for its slots, unless a test wants it otherwise: ten times what it was thought to.
const PATIENCE: Duration = Duration::from_secs(1);
/// At most so many messages are taken before a slot is free for them, and only while tasks end that fast.
const MAX_AHEAD: usize = 1024;
/// Of how long ago ends are counted for that: who ended long before says nothing of how fast slots become free.
const AHEAD_FOR: Duration = Duration::from_millis(100);
/// Where tenants share the host: what is taken ahead of one of them is what another has to wait behind.
const MAX_AHEAD_SHARED: usize = 32;
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
    /// How long what was taken ahead waits for its slots.
    patience: Duration,
    /// Where attempts run: apart from everything that must answer quickly.
    guests: Handle,
    slots: Arc<Semaphore>,
    /// Attempts that were handed over and still need, or have, a slot.
    handed: AtomicUsize,
    /// Attempts that have ended since the last lease: how fast slots become free.
    ended: AtomicUsize,
    /// No more than so many are taken ahead.
    ahead: AtomicUsize,
    /// Held while messages are leased, until all that came are listed: before that a host is not idle. When that was last begun.
    leasing: Mutex<Instant>,
    slot_freed: Notify,
    /// Rings when a tenant that may run only so many tasks at once may run another.
    tenant_freed: Notify,
    /// Whether a tenant may have had all that it may have when messages were last leased: each end may be what it waits for.
    is_any_full: AtomicBool,
    accounts: Accounts,
    /// When leases were last renewed, in microseconds since 1970.
    renewed: AtomicI64,
    draining: watch::Sender<bool>,
    /// Held while messages are given back for it, so that none is on its way when a limit changes.
    rates: Mutex<Rates>,
    /// When the store had nothing more to give, in microseconds since 1970.
    emptied: AtomicI64,
}

impl Scheduler {
    /// A scheduler that is not running yet.
    pub fn new(pipeline: Arc<Pipeline>, settings: Settings, guests: Handle) -> Arc<Self> {
        let (handed, ended, ahead) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(MAX_AHEAD));
        let (slot_freed, tenant_freed, draining) = (Notify::new(), Notify::new(), watch::Sender::new(false));
        let (is_any_full, accounts) = (AtomicBool::new(false), Accounts::default());
        let slots = Arc::new(Semaphore::new(slots_of(&pipeline, &settings)));
        let renewed = AtomicI64::new(clock::now().as_micros());
        let (rates, leasing) = (Mutex::default(), Mutex::new(clock::instant()));
        Arc::new(Self {
            pipeline,
            settings,
            patience: PATIENCE,
            guests,
            slots,
            handed,
            ended,
            ahead,
            leasing,
            slot_freed,
            tenant_freed,
            is_any_full,
            accounts,
            renewed,
            draining,
            rates,
            emptied: AtomicI64::new(0),
        })
    }

    /// Runs until it is drained.
    pub async fn run(self: &Arc<Self>) {
        tokio::join!(self.lease_loop(), self.renew_loop(), self.sweep_loop(), self.rate_loop(), self.slot_loop());
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

    /// Returns once nothing is leased any more, or about to be: a call to the store that was given up would leave its messages leased
    /// to nobody.
    async fn idle(&self) {
        drop(self.leasing.lock().await);
        self.pipeline.running.wait_until_empty().await;
    }

    async fn lease_loop(self: &Arc<Self>) {
        let mut draining = self.draining.subscribe();
        let (mut resting, mut share) = (self.pipeline.standing.resting(), self.pipeline.standing.share());
        while !*draining.borrow_and_update() {
            let pause = if *resting.borrow_and_update() { Pause::Order } else { self.lease_once().await };
            // Only a pause is cut short, never a call; see `idle`.
            tokio::select! {
                biased;
                _ = draining.changed() => {}
                _ = resting.changed() => {}
                _ = share.changed() => {}
                () = self.rest(pause) => {}
            }
        }
    }

    /// Leases as much as there is room for; returns what to wait for before the next time.
    async fn lease_once(self: &Arc<Self>) -> Pause {
        let mut leasing = self.leasing.lock().await;
        if self.is_draining() {
            return Pause::Order;
        }
        let now = clock::instant();
        let max = self.room(now.saturating_duration_since(std::mem::replace(&mut *leasing, now)));
        if max == 0 {
            return Pause::Slot;
        }
        match self.lease(max).await {
            Ok((got, _)) if got == max => Pause::None,
            Ok((_, None)) if self.pipeline.access.is_any_fuel_spent() => {
                // Of some another day may come, or another limit.
                Pause::Message(Some(clock::now().after(LOOK_AT_CLOCK)))
            }
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
            Pause::Order => std::future::pending().await,
            Pause::Slot => self.slot_freed.notified().await,
            Pause::Message(None) => self.more().await,
            Pause::Message(Some(due)) => {
                // Whichever comes first: the message that is due, or a new one.
                let wait = due.since(clock::now()).min(LOOK_AT_CLOCK);
                let _ = tokio::time::timeout(wait, self.more()).await;
            }
            Pause::Store => tokio::time::sleep(STORE_PAUSE).await,
        }
    }

    /// Waits until there may be messages that could not be had before.
    async fn more(&self) {
        tokio::select! {
            () = self.pipeline.store.ready() => {}
            () = self.tenant_freed.notified() => {}
        }
    }

    /// Free slots, and as many as have become free lately, if the last look was so long ago: short tasks are taken ahead, long ones are
    /// not.
    fn room(&self, since: Duration) -> usize {
        let most = if self.pipeline.access.is_shared() { MAX_AHEAD_SHARED } else { MAX_AHEAD };
        let lately = AHEAD_FOR.as_secs_f64() / since.max(AHEAD_FOR).as_secs_f64();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let ended = (self.ended.swap(0, Ordering::Relaxed) as f64 * lately) as usize;
        let ahead = ended.min(most).min(self.ahead.load(Ordering::Relaxed));
        (slots_of(&self.pipeline, &self.settings) + ahead).saturating_sub(self.handed.load(Ordering::Acquire))
    }

    async fn lease(self: &Arc<Self>, max: usize) -> Result<(usize, Option<Timestamp>), StoreError> {
        if clock::now().since(self.renewed()) > self.settings.lease / 2 {
            // The clock was set forward, the store was away, or everything stood still: what runs here must not lapse for that.
            self.renew().await?;
        }
        // Before the shares are read: an end between that and the store's answer is not to be missed.
        self.is_any_full.store(true, Ordering::Release);
        let now = clock::now();
        self.pipeline.access.look_at_fuel(now).await?;
        let shares = self.shares();
        let ask = Ask {
            worker: self.pipeline.hostname.clone(),
            queues: self.pipeline.standing.share().borrow().queues.clone(),
            max,
            shares: shares.clone(),
            now,
            until: now.after(self.settings.lease),
        };
        let leased = self.pipeline.store.lease(ask).await?;
        let got = leased.leases.len();
        self.handed.fetch_add(got, Ordering::AcqRel);
        let mut given = BTreeMap::new();
        for Lease { tenant, .. } in &leased.leases {
            self.accounts.begin(tenant, self.weight(tenant));
            *given.entry(tenant.clone()).or_default() += 1;
        }
        // Who could have had more has nothing that waits: what comes is told of.
        self.is_any_full.store(shares.is_any_full(&given), Ordering::Release);
        let next_due = leased.next_due;
        if got < max && next_due.is_none_or(|due| due > now) {
            self.emptied.store(now.as_micros(), Ordering::Relaxed);
        }
        // All are listed, then begun in their order: their leases are renewed while they wait for a slot.
        let deliveries: Vec<_> = leased.leases.into_iter().map(|lease| self.pipeline.list(lease)).collect();
        let deliveries = self.take_turns(deliveries).await;
        self.pipeline.announce_received(&deliveries);
        let this = Arc::clone(self);
        // From a thread of the guests: to wake those once for each attempt would cost more than some attempts do.
        match self.guests.spawn(async move { this.begin(deliveries).await }).await {
            Ok(true) => Ok((got, next_due)),
            // What was given back is due.
            Ok(false) => Ok((got, Some(now))),
            Err(_) => {
                tracing::error!("the threads of the guests are gone; the leases of {got} messages will lapse");
                Ok((got, next_due))
            }
        }
    }

    /// The messages whose turn it is; those that a rate limit keeps are given back until it is.
    async fn take_turns(&self, deliveries: Vec<Delivery>) -> Vec<Delivery> {
        if self.pipeline.eager.is_some() {
            return deliveries;
        }
        let mut rates = self.rates.lock().await;
        let (now, mut begin, mut wait) = (clock::now(), Vec::with_capacity(deliveries.len()), Vec::new());
        for delivery in deliveries {
            let (tenant, task) = delivery.task();
            let turn = self.pipeline.rate_limit(&delivery).map(|message| {
                let limits = Limits { message, task: self.pipeline.rate_limit_of(tenant, task) };
                rates.turn(tenant, task, delivery.number(), limits, now)
            });
            match turn {
                None | Some(Turn::Now) => begin.push(delivery),
                Some(Turn::At(at)) => wait.push((delivery, Some(at))),
            }
        }
        self.put_back(wait).await;
        begin
    }

    async fn put_back(&self, deliveries: Vec<(Delivery, Option<Timestamp>)>) {
        let count = deliveries.len();
        deliveries.iter().for_each(|(delivery, _)| self.account(delivery.task().0, None));
        // Together: the store takes many for the price of one.
        join_all(deliveries.into_iter().map(|(delivery, until)| self.pipeline.put_back(delivery, until))).await;
        self.handed.fetch_sub(count, Ordering::AcqRel);
    }

    /// What each tenant may have of what is leased next.
    fn shares(&self) -> Shares {
        let access = &self.pipeline.access;
        let limited = access.limited();
        let limited = limited.iter().map(|tenant| (tenant, access.fuel_left(&tenant.name) == Some(0)));
        self.accounts.shares(limited, access.is_shared(), slots_of(&self.pipeline, &self.settings))
    }

    fn weight(&self, tenant: &TenantId) -> u32 {
        self.pipeline.access.policy(tenant).weight()
    }

    /// Corrects what a tenant was charged for a message that is here no more.
    fn account(&self, tenant: &TenantId, used: Option<Duration>) {
        let policy = self.pipeline.access.policy(tenant);
        self.accounts.end(tenant, policy.weight(), used);
        if self.is_any_full.load(Ordering::Acquire) {
            self.tenant_freed.notify_one();
        }
    }

    async fn rate_loop(&self) {
        let mut draining = self.draining.subscribe();
        loop {
            tokio::select! {
                changed = self.pipeline.standing.changed_rate() => self.change_rate(changed).await,
                () = self.drained(&mut draining) => return,
            }
        }
    }

    /// What was promised to messages that are gone, or by a limit that was declared before, keeps no others waiting.
    async fn look_at_rates(&self) {
        let emptied = Timestamp::from_micros(self.emptied.load(Ordering::Relaxed));
        let limit = |tenant: &TenantId, task: &TaskName| self.pipeline.rate_limit_of(tenant, task);
        let stale = self.rates.lock().await.stale(emptied, clock::now(), limit);
        for task in stale {
            self.change_rate(task).await;
        }
    }

    /// A new limit holds for those that wait for their turn by the old one, too.
    async fn change_rate(&self, (tenant, task): TaskType) {
        // The time is read once nobody else can start: by an earlier one the next would come too close to who started meanwhile.
        let (mut rates, now) = (self.rates.lock().await, clock::now());
        match self.pipeline.store.hasten(rates.not_due(&tenant, &task, now), now).await {
            Ok(_) => rates.void(&tenant, &task, self.pipeline.rate_limit_of(&tenant, &task), now),
            // Their line is as it was, so that the next sweep finds it.
            Err(error) => {
                tracing::error!(%task, %error, "messages wait for their turn by a rate limit that was changed");
            }
        }
    }

    /// Keeps as many slots as are ordered. Those to be taken away are, as they become free.
    async fn slot_loop(&self) {
        let (mut share, mut draining) = (self.pipeline.standing.share(), self.draining.subscribe());
        let mut there = slots_of(&self.pipeline, &self.settings);
        loop {
            let wanted = share.borrow_and_update().slots.min(self.settings.concurrency);
            if there < wanted {
                self.slots.add_permits(wanted - there);
                there = wanted;
            }
            tokio::select! {
                () = self.drained(&mut draining) => return,
                _ = share.changed() => {}
                slot = self.slots.acquire(), if there > wanted => {
                    // The semaphore is never closed.
                    if let Ok(slot) = slot {
                        slot.forget();
                        there -= 1;
                    }
                }
            }
        }
    }

    async fn renew_loop(&self) {
        let mut draining = self.draining.subscribe();
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.settings.lease / 3) => {
                    if let Err(error) = self.renew().await {
                        tracing::error!(%error, "leases could not be renewed");
                    }
                }
                () = self.drained(&mut draining) => return,
            }
        }
    }

    fn renewed(&self) -> Timestamp {
        Timestamp::from_micros(self.renewed.load(Ordering::Relaxed))
    }

    async fn renew(&self) -> Result<(), StoreError> {
        let now = clock::now();
        let leases = self.pipeline.running.leases();
        let mut lost = Vec::new();
        if !leases.is_empty() {
            lost = self.pipeline.store.renew(leases, now.after(self.settings.lease)).await?;
        }
        // Not before it is known: what could not be renewed is renewed before anything is leased.
        self.renewed.store(now.as_micros(), Ordering::Relaxed);
        if lost.is_empty() {
            return Ok(());
        }
        // Those that ended, or were given back, while the store was asked are not lost.
        let count = self.pipeline.running.stop_leases(&lost);
        if count > 0 {
            tracing::warn!(count, "leases were lost; their attempts are stopped");
        }
        Ok(())
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
        self.look_at_rates().await;
    }

    async fn drained(&self, draining: &mut watch::Receiver<bool>) {
        // Closed only together with this scheduler, which is borrowed here.
        let _ = draining.wait_for(|draining| *draining).await;
        self.idle().await;
    }
}

/// Attempts at once: as ordered, and no more than there is room for.
fn slots_of(pipeline: &Pipeline, settings: &Settings) -> usize {
    pipeline.standing.share().borrow().slots.min(settings.concurrency)
}

/// What the lease loop waits for.
enum Pause {
    /// Nothing: there may be more.
    None,
    /// An order to take messages again.
    Order,
    /// An attempt to end.
    Slot,
    /// A message, at the latest until one is due.
    Message(Option<Timestamp>),
    /// The store to recover.
    Store,
}

#[cfg(test)]
mod tests;
