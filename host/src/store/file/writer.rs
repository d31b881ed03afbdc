//! How do many calls share one fsync?
//!
//! One thread owns the database. It takes every job that waits, applies all in one transaction, and answers when that
//! is committed; meanwhile the next jobs gather. So the busier it is, the less each costs.
//!
//! Invariants:
//! - A job is answered `Ok` only after the commit that holds it, and that has been fsynced if any job of it asks for it.
//! - If a batch fails, its jobs are tried one by one, so that only the guilty one fails; unless the disk is at fault.
//! - After a failed fsync nothing is written any more: what the kernel has dropped is unknown.

use std::fs::File;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::checkpoint::Checkpoints;
use super::fault::{Faults, hits_all, lost_data};
use super::ledger::{Ledger, Rung};
use crate::store::{Result, StoreError};

/// Messages in one transaction, about; a job that writes none counts as one.
const BATCH: usize = 1024;

/// Jobs that may wait before callers do.
const WAITING: usize = 4096;

/// A job: one logical operation, to be applied once or, if its batch failed, again.
trait Job: Send {
    fn apply(&mut self, ledger: &mut Ledger) -> rusqlite::Result<()>;
    fn answer(self: Box<Self>, outcome: Result<()>);
}

struct Typed<T, F> {
    work: F,
    made: Option<T>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T: Send, F: FnMut(&mut Ledger) -> rusqlite::Result<T> + Send> Job for Typed<T, F> {
    fn apply(&mut self, ledger: &mut Ledger) -> rusqlite::Result<()> {
        self.made = Some((self.work)(ledger)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<()>) {
        let Self { made, reply, .. } = *self;
        // Who does not wait any more does not mind.
        let _ = reply.send(outcome.and_then(|()| made.ok_or_else(stopped)));
    }
}

enum Order {
    Do(Box<dyn Job>, Need),
    Close(oneshot::Sender<Result<()>>),
}

/// What a job needs of its transaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Need {
    /// Whether it must survive a power cut once it is answered.
    pub(super) durable: bool,
    /// How much it writes, in messages.
    pub(super) weight: usize,
}

impl Need {
    /// An order, or an outcome: must survive.
    pub(super) const DURABLE: Self = Self { durable: true, weight: 1 };
    /// A lease, or what dies with it: need not.
    pub(super) const BRIEF: Self = Self { durable: false, weight: 1 };
}

/// The way to the writer thread.
pub(super) struct Writer {
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. `lock` is let go when it has ended; `notify` is called after a commit that somebody waits for.
    pub(super) fn start(
        ledger: Ledger,
        checkpoints: Checkpoints,
        faults: Faults,
        lock: File,
        notify: impl Fn(Rung) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (orders, inbox) = mpsc::channel(WAITING);
        let desk = Desk { ledger, checkpoints, faults, notify, broken: None };
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || {
            let closing = desk.serve(inbox);
            drop(lock);
            if let Some((reply, outcome)) = closing {
                let _ = reply.send(outcome);
            }
        })?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Does a job and waits for the commit that holds it. It may be called twice; see the file's head.
    pub(super) async fn run<T, F>(&self, need: Need, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Ledger) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.send(Order::Do(Box::new(Typed { work, made: None, reply }), need)).await?;
        answer.await.map_err(|_| stopped())?
    }

    /// Writes everything out and ends the thread.
    pub(super) async fn close(&self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        if self.send(Order::Close(reply)).await.is_err() {
            return Ok(());
        }
        answer.await.map_err(|_| stopped())?
    }

    async fn send(&self, order: Order) -> Result<()> {
        let orders = self.orders.as_ref().ok_or_else(stopped)?;
        orders.send(order).await.map_err(|_| stopped())
    }
}

impl Drop for Writer {
    /// Waits for the thread, so that the directory can be opened again at once.
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What is said to calls that come too late.
pub(super) fn stopped() -> StoreError {
    StoreError::Failed("the store is closed".to_owned())
}

type Reply = oneshot::Sender<Result<()>>;

/// What goes into one transaction.
#[derive(Default)]
struct Batch {
    jobs: Vec<Box<dyn Job>>,
    durable: bool,
    weight: usize,
    /// Set if the store is to be closed after it.
    close: Option<Reply>,
}

struct Desk<N> {
    ledger: Ledger,
    checkpoints: Checkpoints,
    faults: Faults,
    notify: N,
    broken: Option<StoreError>,
}

impl<N: Fn(Rung)> Desk<N> {
    /// Works until told to close, or until nobody can send orders any more.
    fn serve(mut self, mut inbox: mpsc::Receiver<Order>) -> Option<(Reply, Result<()>)> {
        while let Some(first) = inbox.blocking_recv() {
            let batch = Batch::gather(first, &mut inbox);
            self.process(batch.jobs, batch.durable);
            self.checkpoint();
            if let Some(reply) = batch.close {
                let outcome = self.ledger.close().map_err(|error| self.faults.explain(&error));
                return Some((reply, outcome));
            }
        }
        None
    }

    fn process(&mut self, mut jobs: Vec<Box<dyn Job>>, durable: bool) {
        if let Some(broken) = &self.broken {
            return jobs.into_iter().for_each(|job| job.answer(Err(broken.clone())));
        }
        if jobs.is_empty() {
            return;
        }
        match self.attempt(&mut jobs, durable) {
            Ok(()) => jobs.into_iter().for_each(|job| job.answer(Ok(()))),
            Err(error) if jobs.len() == 1 || hits_all(&error) => {
                let error = self.judge(&error);
                jobs.into_iter().for_each(|job| job.answer(Err(error.clone())));
            }
            Err(_) => jobs.into_iter().for_each(|job| self.process(vec![job], durable)),
        }
    }

    /// Nobody waits for this; if the disk fails, the next call hears of it.
    fn checkpoint(&mut self) {
        if self.broken.is_none()
            && let Err(error) = self.checkpoints.look(&self.ledger.db)
        {
            let error = self.judge(&error);
            tracing::error!(%error, "what was written is in the store's log, and could not be moved into its main file");
        }
    }

    fn judge(&mut self, error: &rusqlite::Error) -> StoreError {
        let explained = self.faults.explain(error);
        if lost_data(error) {
            self.broken =
                Some(StoreError::Failed(format!("{explained}; nothing is written until lovage is restarted")));
        }
        explained
    }

    fn attempt(&mut self, jobs: &mut [Box<dyn Job>], durable: bool) -> rusqlite::Result<()> {
        self.ledger.begin(durable)?;
        match jobs.iter_mut().try_for_each(|job| job.apply(&mut self.ledger)).and_then(|()| self.ledger.commit()) {
            Ok(rung) => {
                (self.notify)(rung);
                Ok(())
            }
            Err(error) => {
                self.ledger.roll_back();
                Err(error)
            }
        }
    }
}

impl Batch {
    /// Everything that waits, up to a limit.
    fn gather(first: Order, inbox: &mut mpsc::Receiver<Order>) -> Self {
        let mut batch = Self::default();
        let mut next = Some(first);
        while let Some(order) = next {
            batch.add(order);
            let is_full = batch.weight >= BATCH || batch.close.is_some();
            next = if is_full { None } else { inbox.try_recv().ok() };
        }
        batch
    }

    fn add(&mut self, order: Order) {
        match order {
            Order::Close(reply) => self.close = Some(reply),
            Order::Do(job, need) => {
                self.jobs.push(job);
                self.durable |= need.durable;
                self.weight += need.weight.max(1);
            }
        }
    }
}
