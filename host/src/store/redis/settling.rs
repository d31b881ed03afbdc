//! How does an attempt end? One step for a batch, each of it whole or not at all.

use lovage_model::{Arrival, Exception, Message, Settlement, TaskId, TenantId, Then, Timestamp, Verdict, exc_module};
use serde::{Deserialize, Serialize};

use super::RedisStore;
use super::broker::{Answer, Answers};
use super::draft::Draft;
use super::leases::Taken;
use super::script::Script;
use super::settle::{Attempt, Ending, Follower, Of};
use super::taking::Granted;
use super::wire::Blob;
use crate::store::advance::{Advance, Following, MAX_FOLLOWER, advance};
use crate::store::{Fenced, LeaseKey, Result};

/// A message that waits for another, as it was found.
#[derive(Debug, Deserialize)]
pub(super) struct Waiter {
    pub(super) id: String,
    pub(super) n: String,
    pub(super) m: Blob,
}

#[derive(Serialize)]
struct Awaited<'a> {
    tenant: &'a TenantId,
    id: &'a TaskId,
}

impl RedisStore {
    pub(super) async fn settle(&self, batch: &[(LeaseKey, Settlement)]) -> Result<Vec<Fenced>> {
        let (mut answers, mut places, mut attempts) = (vec![Fenced::Refused; batch.len()], Vec::new(), Vec::new());
        for (place, (key, settlement)) in batch.iter().enumerate() {
            let Some(taken) = self.leases.get(*key) else { continue };
            let of = Of { message: Some(&taken.message), id: &taken.message.id, extended: self.extended };
            let ending = Ending::of(settlement, of)?;
            attempts.push(self.attempt(*key, &taken, ending));
            places.push((place, *key, taken));
        }
        if attempts.is_empty() {
            return Ok(answers);
        }
        self.find_followers(batch, &places, &mut attempts).await?;
        let done = self.link.call::<Answers<Answer>>(Script::Settle, &Batch { batch: attempts }).await;
        let done = match done {
            Ok(done) => done,
            Err(error) => {
                places.iter().for_each(|(_, key, _)| self.leases.doubt(*key));
                return Err(error);
            }
        };
        self.ring(done.rings);
        for (answer, (place, key, _)) in done.answers.into_iter().zip(places) {
            answers[place] = answer.fenced();
            if matches!(answers[place], Fenced::Applied | Fenced::Refused) {
                self.leases.remove(key);
            }
        }
        Ok(answers)
    }

    fn attempt(&self, key: LeaseKey, taken: &Taken, ending: Ending) -> Attempt {
        let (tenant, id, tag) = (taken.tenant.clone(), taken.message.id.clone(), taken.tag.clone());
        Attempt { tenant, id, tag, doubtful: self.leases.is_doubtful(key), ending }
    }

    /// Finds the tasks that get a value in the same step: those that alone wait for one.
    async fn find_followers(
        &self,
        batch: &[(LeaseKey, Settlement)],
        places: &[(usize, LeaseKey, Taken)],
        attempts: &mut [Attempt],
    ) -> Result<()> {
        let mut asked = Vec::new();
        for (at, (place, _, taken)) in places.iter().enumerate() {
            let (_, settlement) = &batch[*place];
            if let (Some(arrival @ Arrival::Value(_)), Some(Then::Next)) = (&settlement.arrival, &taken.message.then) {
                asked.push((at, taken, arrival, settlement.at));
            }
        }
        if asked.is_empty() {
            return Ok(());
        }
        let awaited: Vec<_> = asked.iter().map(|(_, taken, ..)| (&taken.tenant, &taken.message.id)).collect();
        let found = self.only_waiters(&awaited).await?;
        for ((at, _, arrival, now), waiters) in asked.into_iter().zip(found) {
            if let Some(follower) = follower(arrival, waiters, now)? {
                attempts[at].ending.hand_to(follower);
            }
        }
        Ok(())
    }

    /// Who waits for each of some tasks, if that is one with a short message: it may get the value in the same step. Others are
    /// dealt with when it is their turn.
    pub(super) async fn only_waiters(&self, awaited: &[(&TenantId, &TaskId)]) -> Result<Vec<Vec<Waiter>>> {
        self.waiting(awaited, None, Some(MAX_FOLLOWER)).await
    }

    /// The first of those who wait for a task or a join, as many as fit into memory.
    pub(super) async fn waiters(&self, tenant: &TenantId, awaited: &TaskId, max: usize) -> Result<Vec<Waiter>> {
        let found = self.waiting(&[(tenant, awaited)], Some(max), None).await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The first so many; or the one, if it is alone and its message has so few bytes.
    async fn waiting(
        &self,
        awaited: &[(&TenantId, &TaskId)],
        max: Option<usize>,
        brief: Option<usize>,
    ) -> Result<Vec<Vec<Waiter>>> {
        #[derive(Serialize)]
        struct Args<'a> {
            awaited: Vec<Awaited<'a>>,
            max: Option<usize>,
            brief: Option<usize>,
        }
        #[derive(Deserialize)]
        struct Found {
            answers: Vec<Vec<Waiter>>,
        }
        let awaited = awaited.iter().map(|&(tenant, id)| Awaited { tenant, id }).collect();
        let found: Found = self.link.call(Script::Followers, &Args { awaited, max, brief }).await?;
        Ok(found.answers)
    }

    /// Ends a task whose message cannot be read: to deliver it again would not help. The others of its batch do not wait
    /// for it: if that fails, it comes again when its lease lapses.
    pub(super) async fn condemn(&self, granted: Granted, why: &str, now: Timestamp) {
        let Ok(id) = TaskId::new(&granted.id) else { return };
        let text = format!("the stored message of this task cannot be read: {why}");
        let exception = Exception::new(exc_module::LOVAGE, "StoreCorrupt", text);
        let arrival = Some(Arrival::Failed { task: id.clone(), exception: exception.clone() });
        let verdict = Verdict::Failure { exception, traceback: None, fault: Some("store-corrupt".to_owned()) };
        let settlement = Settlement { arrival, ..Settlement::of(verdict, now) };
        let Ok(name) = "celery.unreadable".parse() else { return };
        let key = self.known(&granted, Message::new(id, name)).key;
        if let Err(error) = self.settle(&[(key, settlement)]).await {
            tracing::error!(task_id = %granted.id, %error, "a task whose message cannot be read could not be ended");
        }
    }
}

#[derive(Serialize)]
struct Batch {
    batch: Vec<Attempt>,
}

/// The one that gets a value in the same step, if it is one that can.
pub(super) fn follower(arrival: &Arrival, waiters: Vec<Waiter>, now: Timestamp) -> Result<Option<Follower>> {
    let [one] = &waiters[..] else { return Ok(None) };
    let Ok(message) = serde_json::from_slice::<Message>(&one.m.0) else { return Ok(None) };
    match advance(arrival.clone(), Following::One(Box::new(message)), now) {
        Advance::Release(message) => {
            Ok(Some(Follower { id: one.id.clone(), n: one.n.clone(), d: Draft::free(&message, now)? }))
        }
        Advance::Nothing | Advance::Keep(_) => Ok(None),
    }
}
