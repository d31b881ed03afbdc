//! When does a message that was taken begin?
//!
//! Each when it has a slot, in their order. Some are taken ahead of their slots, as many as have become free of late. If that was too
//! many they go back to their queues before long: what else there is, for this host and for others, must not wait behind them. From
//! then on fewer are taken ahead, and more again as they begin in time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lovage_model::TenantId;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::{MAX_AHEAD, Scheduler, slots_of};
use crate::clock;
use crate::pipeline::Delivery;

impl Scheduler {
    /// Begins attempts, each when it has a slot; and without one those that are told to stop. When no more are to be begun, or what
    /// was taken ahead has waited for too long, the rest is given back. Whether nothing was.
    pub(super) async fn begin(self: &Arc<Self>, deliveries: Vec<Delivery>) -> bool {
        let (mut orders, mut resting) = (self.pipeline.running.orders(), self.pipeline.standing.resting());
        let mut draining = self.draining.subscribe();
        // An order may have come before anybody listened for it.
        orders.mark_changed();
        let late = Instant::from_std(clock::instant() + self.patience);
        let (were_ahead, mut are_late) = (self.are_ahead(), false);
        let mut waiting = VecDeque::from(deliveries);
        while !waiting.is_empty() {
            if are_late || *draining.borrow_and_update() || *resting.borrow_and_update() {
                self.give_back(waiting).await;
                return false;
            }
            if orders.has_changed().unwrap_or(false) {
                orders.borrow_and_update();
                let (stopped, rest): (VecDeque<_>, _) = waiting.into_iter().partition(Delivery::is_stopped);
                waiting = rest;
                stopped.into_iter().for_each(|delivery| self.spawn(delivery, None));
                continue;
            }
            let slot = match Arc::clone(&self.slots).try_acquire_owned() {
                Ok(slot) => Some(slot),
                Err(_) => tokio::select! {
                    biased;
                    _ = draining.changed() => None,
                    _ = resting.changed() => None,
                    _ = orders.changed() => {
                        orders.mark_changed();
                        None
                    }
                    // The semaphore is never closed.
                    slot = Arc::clone(&self.slots).acquire_owned() => slot.ok(),
                    () = tokio::time::sleep_until(late), if self.are_ahead() => {
                        are_late = true;
                        self.ahead.store(1, Ordering::Relaxed);
                        None
                    }
                },
            };
            if let Some(slot) = slot
                && let Some(delivery) = waiting.pop_front()
            {
                self.spawn(delivery, Some(slot));
            }
        }
        if were_ahead {
            // One after the other: each lease call waits for this.
            let ahead = self.ahead.load(Ordering::Relaxed);
            self.ahead.store((2 * ahead).min(MAX_AHEAD), Ordering::Relaxed);
        }
        true
    }

    /// Gives back what has not begun, to the places that it had; also in the lines of rate limits.
    async fn give_back(&self, waiting: VecDeque<Delivery>) {
        let (mut rates, now) = (self.rates.lock().await, clock::now());
        for delivery in waiting.iter().filter(|delivery| self.pipeline.rate_limit(delivery).is_some()) {
            let (tenant, task) = delivery.task();
            rates.unstarted(tenant, task, delivery.number(), now);
        }
        drop(rates);
        self.put_back(waiting.into_iter().map(|delivery| (delivery, None)).collect()).await;
    }

    /// Whether more was handed over than there are slots.
    fn are_ahead(&self) -> bool {
        self.handed.load(Ordering::Acquire) > slots_of(&self.pipeline, &self.settings)
    }

    fn spawn(self: &Arc<Self>, delivery: Delivery, slot: Option<OwnedSemaphorePermit>) {
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let place = Place(&this);
            let mut charge = Charge { scheduler: &this, tenant: delivery.task().0.clone(), used: Duration::ZERO };
            charge.used = this.pipeline.deliver(delivery, slot, place).await;
        });
    }
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

/// What an attempt has used of its tenant's share; accounted for when dropped, even by a panic.
struct Charge<'a> {
    scheduler: &'a Scheduler,
    tenant: TenantId,
    used: Duration,
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        self.scheduler.account(&self.tenant, Some(self.used));
    }
}
