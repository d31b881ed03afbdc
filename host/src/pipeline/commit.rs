//! The end of the main path: commit > announce.
//!
//! Settlements are recorded by one loop that takes all that have come since its last commit: the busier the host, the
//! more of them share one transaction, one answer and one fsync. Nobody is told of an outcome that is not recorded.

use std::sync::Arc;
use std::time::Duration;

use lovage_model::Settlement;
use tokio::sync::mpsc;

use super::Listed;
use crate::events::Hub;
use crate::store::{Fenced, Lease, Store, StoreError};

/// Settlements that may wait; then those who bring more wait, and no more messages are leased.
const WAITING: usize = 4096;
/// The most in one transaction.
const BATCH: usize = 1024;
/// How long to wait for a full disk to have room again.
const FULL_STORE_PAUSE: Duration = Duration::from_secs(1);

/// An attempt that has been settled, not yet recorded.
pub(super) struct Settled {
    pub(super) lease: Lease,
    pub(super) settlement: Settlement,
    pub(super) listed: Listed,
}

/// The way to the committer.
#[derive(Clone)]
pub struct Outcomes(mpsc::Sender<Settled>);

impl Outcomes {
    pub(super) async fn send(&self, settled: Settled) {
        if self.0.send(settled).await.is_err() {
            // The house is closing: the message is delivered again when it opens.
            tracing::warn!("an outcome came after the end, and is not recorded");
        }
    }
}

/// The loop that records settlements.
pub struct Committer {
    inbox: mpsc::Receiver<Settled>,
    store: Arc<dyn Store>,
    hub: Arc<Hub>,
}

/// What is told apart from its settlement, which the store takes by reference.
type Rest = (Lease, Listed);

impl Committer {
    /// A committer, and the way to it.
    pub fn new(store: Arc<dyn Store>, hub: Arc<Hub>) -> (Outcomes, Self) {
        let (outcomes, inbox) = mpsc::channel(WAITING);
        (Outcomes(outcomes), Self { inbox, store, hub })
    }

    /// Records settlements until nobody can send any more.
    pub async fn run(mut self) {
        let mut came = Vec::with_capacity(BATCH);
        while self.inbox.recv_many(&mut came, BATCH).await > 0 {
            self.record(came.drain(..)).await;
        }
    }

    async fn record(&self, came: impl Iterator<Item = Settled>) {
        let mut batch = Vec::new();
        let mut rest: Vec<Rest> = Vec::new();
        for Settled { lease, settlement, listed } in came {
            batch.push((lease.key, settlement));
            rest.push((lease, listed));
        }
        let answers = match self.store.commit_all(&batch).await {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            Err(_) => self.one_by_one(&batch, &rest).await,
        };
        for ((answer, (_, settlement)), (lease, _listed)) in answers.into_iter().zip(&batch).zip(&rest) {
            self.announce(lease, settlement, answer);
        }
    }

    /// So that one settlement that cannot be stored does not take others with it.
    async fn one_by_one(
        &self,
        batch: &[(crate::store::LeaseKey, Settlement)],
        rest: &[Rest],
    ) -> Vec<Result<Fenced, StoreError>> {
        let mut answers = Vec::with_capacity(batch.len());
        for ((key, settlement), (lease, listed)) in batch.iter().zip(rest) {
            let answer = loop {
                match self.store.commit(*key, settlement.clone()).await {
                    // The outcome is kept, and its lease renewed, until there is room again.
                    Err(StoreError::Full(why)) if !listed.is_void() => {
                        tracing::warn!(task_id = %lease.message.id, why, "the store is full; trying again");
                        tokio::time::sleep(FULL_STORE_PAUSE).await;
                    }
                    answer => break answer,
                }
            };
            answers.push(answer);
        }
        answers
    }

    fn announce(&self, lease: &Lease, settlement: &Settlement, answer: Result<Fenced, StoreError>) {
        let task_id = &lease.message.id;
        match answer {
            Ok(Fenced::Applied) => self.hub.announce(&lease.tenant, &settlement.events),
            Ok(Fenced::Refused) => tracing::warn!(%task_id, "an outcome came too late: its lease was lost"),
            // The lease lapses, and the message is delivered again: to a host with a working store.
            Err(error) => tracing::error!(%task_id, %error, "an outcome could not be recorded"),
        }
    }
}
