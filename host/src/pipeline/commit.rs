//! The end of the main path: commit > announce.
//!
//! Settlements are recorded by one loop that takes those that have come since its last commit: the busier the host, the
//! more of them share one transaction, one answer and one fsync. Nobody is told of an outcome that is not recorded.

use std::sync::Arc;
use std::time::Duration;

use lovage_model::{Event, EventKind, Settlement, Verdict};

use super::outcomes::{self, Inbox, Outcomes, Settled};
use super::{Listed, Running};
use crate::attempt::Stop;
use crate::clock;
use crate::events::Hub;
use crate::store::{Fenced, Lease, LeaseKey, Quota, Revoked, Store, StoreError};
use crate::trace::{self, Unsent};

/// How long to wait for a full disk to have room again, or for a store to be back.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// How often a task is looked for that is leased and does not run here yet, and an outcome told to a store that is well and does not
/// take it.
const TRIES: usize = 5;

/// The loop that records settlements.
pub struct Committer {
    inbox: Inbox,
    store: Arc<dyn Store>,
    hub: Arc<Hub>,
}

/// Whether the task is not at its end with this.
fn goes_on(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Retry { .. } | Verdict::Replaced { .. } | Verdict::Requeued | Verdict::HandedOn { .. })
}

/// What is told of a settlement once it is recorded.
pub(super) fn told(settlement: &Settlement) -> Vec<Event> {
    let messages = settlement.publish.tasks.iter().map(|one| &one.message).chain(&settlement.inline.messages);
    let sent = messages.map(|message| Event::sent(message, settlement.at));
    settlement.events.iter().cloned().chain(sent).collect()
}

/// Why what an attempt sent was not stored, if that is the answer.
fn unsent(answer: &Result<Fenced, StoreError>) -> Option<Unsent> {
    match answer {
        Ok(Fenced::Full(Quota::QueuedTasks)) => Some(Unsent::QueuedTasks),
        Ok(Fenced::Full(Quota::ScheduledTasks)) => Some(Unsent::ScheduledTasks),
        Ok(Fenced::Full(Quota::Descendants)) => Some(Unsent::Descendants),
        Ok(Fenced::Taken(id)) => Some(Unsent::Taken(id.clone())),
        Ok(Fenced::Applied | Fenced::Refused) | Err(_) => None,
    }
}

/// Makes of a settlement of which nothing can be sent what is recorded instead.
type Refused<'a> = dyn Fn(&Lease, Settlement, &Unsent) -> Settlement + Send + Sync + 'a;

/// What is told apart from its settlement, which the store takes by reference.
type Rest = (Lease, Listed);

impl Committer {
    /// A committer, and the way to it.
    pub fn new(store: Arc<dyn Store>, hub: Arc<Hub>) -> (Outcomes, Self) {
        let (outcomes, inbox) = outcomes::inbox();
        (outcomes, Self { inbox, store, hub })
    }

    /// Records settlements until nobody can send any more. `refused` makes of one of which nothing can be sent what is
    /// recorded instead.
    pub async fn run(mut self, refused: impl Fn(&Lease, Settlement, &Unsent) -> Settlement + Send + Sync) {
        while let Some(mut together) = self.inbox.next().await {
            self.record(together.settled.drain(..), &refused).await;
        }
    }

    async fn record(&self, came: impl Iterator<Item = Settled>, refused: &Refused<'_>) {
        let mut batch = Vec::new();
        let mut rest: Vec<Rest> = Vec::new();
        for Settled { lease, settlement, listed, .. } in came {
            batch.push((lease.key, settlement));
            rest.push((lease, listed));
        }
        let answers: Vec<_> = match self.store.commit_all(&batch).await {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            Err(_) => self.one_by_one(&batch, &rest).await,
        };
        for ((answer, (_, mut settlement)), (lease, listed)) in answers.into_iter().zip(batch).zip(rest) {
            let answer = match unsent(&answer) {
                Some(why) => {
                    settlement = refused(&lease, settlement, &why);
                    self.commit_alone(&lease, &listed, &mut settlement).await
                }
                None => answer,
            };
            let settlement = &settlement;
            let runs_again = match &answer {
                Ok(Fenced::Applied) => goes_on(&settlement.verdict),
                // Its lease was lost: it is delivered once more, and who ordered it to stop was told that it would.
                Ok(Fenced::Refused) => true,
                Ok(Fenced::Full(_) | Fenced::Taken(_)) | Err(_) => false,
            };
            self.announce(&lease, settlement, answer);
            unlist(&*self.store, &self.hub, &lease, listed, runs_again).await;
        }
    }

    /// So that one settlement that cannot be stored does not take others with it.
    async fn one_by_one(&self, batch: &[(LeaseKey, Settlement)], rest: &[Rest]) -> Vec<Result<Fenced, StoreError>> {
        let mut answers = Vec::with_capacity(batch.len());
        for ((_, settlement), (lease, listed)) in batch.iter().zip(rest) {
            answers.push(self.commit(lease, listed, settlement).await);
        }
        answers
    }

    /// Records a failure, without its errbacks if there is no room for those either.
    async fn commit_alone(
        &self,
        lease: &Lease,
        listed: &Listed,
        settlement: &mut Settlement,
    ) -> Result<Fenced, StoreError> {
        let answer = self.commit(lease, listed, settlement).await;
        let Some(why) = unsent(&answer) else { return answer };
        *settlement = trace::unsent(&lease.message, settlement.clone(), &why);
        self.commit(lease, listed, settlement).await
    }

    async fn commit(&self, lease: &Lease, listed: &Listed, settlement: &Settlement) -> Result<Fenced, StoreError> {
        let (task_id, mut refused) = (&lease.message.id, 0);
        loop {
            match self.store.commit(lease.key, settlement.clone()).await {
                // The outcome is kept, and its lease renewed, until there is room again.
                Err(StoreError::Full(why)) if !listed.is_void() => {
                    tracing::warn!(%task_id, why, "the store is full; trying again");
                    tokio::time::sleep(STORE_PAUSE).await;
                }
                // As long as the store is away for everything. One that is well, and takes this outcome none of so many times, never
                // will.
                Err(StoreError::Away(why)) if !listed.is_void() && refused < TRIES => {
                    tracing::warn!(%task_id, why, "an outcome is kept until the store is back");
                    tokio::time::sleep(STORE_PAUSE).await;
                    refused += usize::from(self.store.healthy().await.is_ok());
                }
                answer => return answer,
            }
        }
    }

    fn announce(&self, lease: &Lease, settlement: &Settlement, answer: Result<Fenced, StoreError>) {
        let task_id = &lease.message.id;
        match answer {
            Ok(Fenced::Applied) => self.hub.announce_with(&lease.tenant, || told(settlement)),
            // It published nothing: the store broke its word, and the message is delivered again.
            Ok(Fenced::Full(_) | Fenced::Taken(_)) => tracing::error!(%task_id, "an outcome found no room"),
            Ok(Fenced::Refused) => tracing::warn!(%task_id, "an outcome came too late: its lease was lost"),
            // The lease lapses, and the message is delivered again: to a host with a working store.
            Err(error) => tracing::error!(%task_id, %error, "an outcome could not be recorded"),
        }
    }
}

/// Ends the listing of what has been recorded, or given back. From then on whoever revokes it finds it in the store; who did so
/// before found it here, and was told that it would not run.
pub(super) async fn unlist(store: &dyn Store, hub: &Hub, lease: &Lease, listed: Listed, runs_again: bool) {
    let running = Arc::clone(listed.running());
    let is_revoked = listed.end() == Some(Stop::Revoked);
    if is_revoked && runs_again {
        revoke_next(store, hub, &running, lease).await;
    }
}

/// The order to stop came when the attempt had ended already, or its message was given back: what is to be run next must not be
/// run either.
async fn revoke_next(store: &dyn Store, hub: &Hub, running: &Running, Lease { tenant, message, .. }: &Lease) {
    for _ in 0..TRIES {
        let now = clock::now();
        match store.revoke(tenant, &message.id, now).await {
            Ok(Revoked::Waiting) => {
                let kind = EventKind::Revoked { terminated: false, expired: false };
                return hub.announce(tenant, &[Event::of(message, now, kind)]);
            }
            Ok(Revoked::Running(_)) if running.stop(tenant, &message.id, Stop::Revoked) => return,
            // Leased again, and not listed yet: look again.
            Ok(Revoked::Running(_)) => tokio::task::yield_now().await,
            Ok(Revoked::Ended(_) | Revoked::Unknown) => return,
            Err(error) => return tracing::error!(task_id = %message.id, %error, "a task could not be revoked"),
        }
    }
    // Another host has it by now.
    if let Some(fanout) = store.fanout()
        && fanout.stop_elsewhere(tenant, std::slice::from_ref(&message.id)).await.is_ok()
    {
        return;
    }
    tracing::error!(task_id = %message.id, "a task was to be stopped and was not found: revoke it again");
}

#[cfg(test)]
mod tests {
    use lovage_model::{Exception, Message, Plan, Room, State, TenantId, Timestamp};

    use super::*;
    use crate::clock;
    use crate::store::memory::MemoryStore;
    use crate::store::{Ask, Broker, Results};

    fn retry(message: &Message) -> Settlement {
        let again = Box::new(Message { retries: 1, ..message.clone() });
        Settlement::of(Verdict::Retry { exception: Exception::revoked("x"), traceback: None, again }, clock::now())
    }

    /// A task that has been leased, in a store with nothing else.
    async fn leased() -> (Arc<MemoryStore>, Lease) {
        let store = Arc::new(MemoryStore::new());
        let message = Message::new("a".parse().unwrap(), "tour.flaky".parse().unwrap());
        let (tenant, now) = (TenantId::default(), clock::now());
        store.submit(&tenant, vec![Plan::of(message)], now, Room::UNLIMITED).await.unwrap();
        let until = now.after(Duration::from_secs(60));
        let ask = Ask {
            worker: "host-1".to_owned(),
            queues: None,
            max: 1,
            shares: crate::store::Shares::default(),
            now,
            until,
        };
        let lease = store.lease(ask).await.unwrap().leases.remove(0);
        (store, lease)
    }

    fn committer(store: &Arc<MemoryStore>) -> (Outcomes, Committer) {
        let hub = Arc::new(Hub::new(Timestamp::from_micros(1)));
        Committer::new(Arc::clone(store) as Arc<dyn Store>, hub)
    }

    async fn task(store: &MemoryStore, id: &str) -> Option<lovage_model::ResultMeta> {
        store.task(&TenantId::default(), &id.parse().unwrap()).await.unwrap()
    }

    /// The state of a task whose attempt asked for a retry, and was given an order before that was recorded.
    async fn state_after(order: Option<Stop>) -> State {
        let ((store, lease), running) = (leased().await, Arc::new(Running::default()));
        let (outcomes, committer) = committer(&store);
        let (message, listed) = (lease.message.clone(), running.list(&lease));
        outcomes.send(Settled { lease, weight: 1, settlement: retry(&message), listed }).await;
        drop(outcomes);
        if let Some(order) = order {
            let told = running.stop(&TenantId::default(), &message.id, order);
            assert!(told, "it is listed until its end is recorded");
        }
        committer.run(|lease, settlement, why| trace::unsent(&lease.message, settlement, why)).await;
        assert!(running.is_empty());
        task(&store, "a").await.unwrap().status
    }

    #[tokio::test]
    async fn an_order_that_comes_after_the_attempt_stops_its_retry() {
        assert_eq!(state_after(Some(Stop::Revoked)).await, State::Revoked);
        assert_eq!(state_after(Some(Stop::Interrupted)).await, State::Retry);
        assert_eq!(state_after(None).await, State::Retry);
    }

    #[tokio::test]
    async fn an_order_outlives_the_lease_of_the_attempt_that_got_it() {
        let ((store, lease), running) = (leased().await, Arc::new(Running::default()));
        let (outcomes, committer) = committer(&store);
        let listed = running.list(&lease);
        assert!(running.stop(&TenantId::default(), &lease.message.id, Stop::Revoked));
        // The lease is lost: the task waits in its queue again.
        store.release(lease.key, true).await.unwrap();
        let settlement = Settlement::of(Verdict::Success { result: lovage_model::Json::null() }, clock::now());
        outcomes.send(Settled { lease, weight: 1, settlement, listed }).await;
        drop(outcomes);
        committer.run(|lease, settlement, why| trace::unsent(&lease.message, settlement, why)).await;
        assert_eq!(task(&store, "a").await.unwrap().status, State::Revoked);
    }

    /// What became of a task that sent another one, where so much room is left.
    async fn sends(room: Room, verdict: &dyn Fn(&Message) -> Verdict) -> lovage_model::ResultMeta {
        let ((store, lease), running) = (leased().await, Arc::new(Running::default()));
        let (outcomes, committer) = committer(&store);
        let other = |id: &str| Plan::of(Message::new(id.parse().unwrap(), "tour.add".parse().unwrap()));
        let settlement =
            Settlement { publish: other("b"), room, ..Settlement::of(verdict(&lease.message), clock::now()) };
        let listed = running.list(&lease);
        outcomes.send(Settled { lease, weight: 1, settlement, listed }).await;
        drop(outcomes);
        // What is due when it fails does not fit either.
        let refused = |lease: &Lease, settlement, why: &Unsent| Settlement {
            publish: other("c"),
            ..trace::unsent(&lease.message, settlement, why)
        };
        committer.run(refused).await;
        assert_eq!(task(&store, "b").await.is_some(), room == Room::UNLIMITED);
        assert!(task(&store, "c").await.is_none());
        task(&store, "a").await.unwrap()
    }

    #[tokio::test]
    async fn what_cannot_be_sent_fails_its_task_and_leaves_nothing() {
        let success = |_: &Message| Verdict::Success { result: lovage_model::Json::null() };
        assert_eq!(sends(Room::UNLIMITED, &success).await.status, State::Success);
        for (room, limit) in [
            (Room { queued_tasks: 0, ..Room::UNLIMITED }, "limits.queued_tasks"),
            (Room { descendants: 0, ..Room::UNLIMITED }, "limits.lineage_tasks"),
        ] {
            for verdict in [&success as &dyn Fn(&Message) -> Verdict, &|message| retry(message).verdict] {
                let task = sends(room, verdict).await;
                assert_eq!(task.status, State::Failure);
                assert!(task.result.as_str().contains(limit), "{}", task.result);
            }
        }
    }
}
