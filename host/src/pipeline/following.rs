//! What becomes of those that waited for what has ended?
//!
//! One loop takes what has ended, the oldest first, and deals with one page of the followers of each at a time: so that
//! what has many does not keep others waiting, and no step is large. What becomes of a follower is decided purely; the
//! store applies a page whole or not at all, and only then is anybody told.
//!
//! Invariant: what has ended stays in the store until its last page is applied. Whatever fails is tried again, later and
//! later, while others go on; a crash loses nothing.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lovage_model::{Arrival, Event, Followed, Inline, Message, Plan, TaskId, TenantId, Then};

use super::commit::told;
use crate::canvas;
use crate::clock;
use crate::events::Hub;
use crate::store::{ChordEnd, Completed, Ended, Fenced, FollowUp, Joins, Result, StoreError};

/// Ended things that are dealt with at once: they share the store's transactions.
const AT_ONCE: usize = 32;
/// The most followers in one step.
const PAGE: usize = 256;
/// About the most bytes that arrive in one step, for all its followers together.
const PAGE_BYTES: usize = 8 << 20;
/// When so many cannot be dealt with it is the store that fails: no more are tried for now.
const MOST_STUCK: usize = 256;
/// How long to wait before what failed is tried again: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What has arrived for a page of followers.
#[derive(Debug, Clone, Copy)]
pub struct Arrived<'a> {
    /// Whose they are.
    pub tenant: &'a TenantId,
    /// What arrived.
    pub arrival: &'a Arrival,
    /// Whether it comes from a group: its followers are the body of a chord.
    pub of_group: bool,
    /// Whether more than one task follows.
    pub many: bool,
}

/// The loop that deals with followers.
pub struct Following<S: ?Sized, F, C> {
    /// Where it is known what has ended.
    pub store: Arc<S>,
    /// Who must be told.
    pub hub: Arc<Hub>,
    /// What becomes of one follower; pure.
    pub decide: F,
    /// What follows a chord in Celery's own form; pure.
    pub complete: C,
    /// The largest list of results that is passed on, in bytes.
    pub message_bytes: usize,
}

impl<S, F, C> Following<S, F, C>
where
    S: Joins + ?Sized,
    F: Fn(&Message, Arrived<'_>) -> Followed + Send + Sync,
    C: Fn(&TenantId, &TaskId, ChordEnd) -> Inline + Send + Sync,
{
    /// Runs for ever: it is dropped with the house.
    pub async fn run(self) {
        let mut stuck = Stuck::default();
        loop {
            match self.pass(&mut stuck).await {
                Ok(true) => {}
                Ok(false) => self.rest(&stuck).await,
                Err(error) => {
                    tracing::error!(%error, "the store does not say what has ended; trying again");
                    stuck.put_off(clock::instant());
                    stuck.wait().await;
                }
            }
        }
    }

    /// Takes a step with each of the oldest; whether there may be more to do at once.
    pub(super) async fn pass(&self, stuck: &mut Stuck) -> Result<bool> {
        stuck.wake(clock::instant());
        if stuck.keys.len() >= MOST_STUCK {
            return Ok(false);
        }
        let most = AT_ONCE + stuck.keys.len();
        let ended = self.store.ended(most).await?;
        let is_full = ended.len() == most;
        stuck.forget_all_but(&ended);
        let steps = ended.into_iter().filter(|one| !stuck.keys.contains(&one.key)).map(|one| self.step(one));
        let steps = join_all(steps).await;
        let goes_on = is_full && !steps.is_empty();
        Ok(steps.into_iter().fold(goes_on, |goes_on, (key, step)| match step {
            Ok(done) => goes_on || !done,
            Err(error) => {
                tracing::error!(%error, "those that wait for a task could not be told that it ended; trying again");
                stuck.add(key, clock::instant());
                goes_on
            }
        }))
    }

    async fn rest(&self, stuck: &Stuck) {
        tokio::select! {
            () = self.store.any_ended() => {}
            () = stuck.wait() => {}
        }
    }

    async fn step(&self, ended: Ended) -> (i64, Result<bool>) {
        (ended.key, self.page(ended).await)
    }

    /// Deals with one page of followers; whether it was the last.
    async fn page(&self, Ended { key, tenant, id, outcome }: Ended) -> Result<bool> {
        let (of_group, arrival) = match outcome {
            Completed::Task(arrival) => (false, arrival),
            Completed::Join { parts, then } => {
                let arrival = canvas::gathered(parts, &id, self.message_bytes);
                if let Then::Part { .. } = then {
                    let step = FollowUp { part: Some(arrival), ..FollowUp::last(Vec::new()) };
                    return self.apply(key, &tenant, step).await.map(|()| true);
                }
                (true, arrival)
            }
            Completed::Chord(end) => {
                let inline = decided(|| (self.complete)(&tenant, &id, *end))?;
                let step = FollowUp { inline, ..FollowUp::last(Vec::new()) };
                return self.apply(key, &tenant, step).await.map(|()| true);
            }
        };
        let Page { followers, many, done } = self.followers(&tenant, &id, &arrival).await?;
        let arrived = Arrived { tenant: &tenant, arrival: &arrival, of_group, many };
        let decide = |message: &Message| (message.id.clone(), (self.decide)(message, arrived));
        let followed = decided(|| followers.iter().map(decide).collect())?;
        let step = FollowUp { done, ..FollowUp::last(followed) };
        self.apply(key, &tenant, step).await.map(|()| done)
    }

    /// The next followers. There are never less than two left for the next page: else its one follower would look like the
    /// only one.
    async fn followers(&self, tenant: &TenantId, id: &TaskId, arrival: &Arrival) -> Result<Page> {
        let size = page_size(arrival);
        let mut followers = self.store.followers(tenant, id, size + 2).await?;
        let (many, done) = (followers.len() > 1, followers.len() < size + 2);
        if !done {
            followers.truncate(size);
        }
        Ok(Page { followers, many, done })
    }

    async fn apply(&self, key: i64, tenant: &TenantId, mut step: FollowUp) -> Result<()> {
        loop {
            match self.store.follow(key, step.clone(), clock::now()).await? {
                Fenced::Applied => {
                    self.hub.announce_with(tenant, || events(&step));
                    return Ok(());
                }
                // Somebody else has dealt with it.
                Fenced::Refused => return Ok(()),
                // An errback that cannot be sent must not keep a failure from those it concerns.
                Fenced::Taken(id) if withhold(&mut step, |plan| sends(plan, &id)) => {
                    tracing::warn!(task_id = %id, "an errback is not sent: a task of its id exists");
                }
                Fenced::Taken(_) | Fenced::Full(_) if withhold(&mut step, |plan| !plan.is_empty()) => {
                    tracing::warn!("the errbacks of tasks whose predecessor failed are not sent: there is no room");
                }
                answer @ (Fenced::Taken(_) | Fenced::Full(_)) => {
                    return Err(StoreError::Failed(format!("what publishes nothing was answered {answer:?}")));
                }
            }
        }
    }
}

/// A fault of ours in one decision must not end the loop, which decides for all tenants.
fn decided<T>(decide: impl FnOnce() -> T) -> Result<T> {
    let fault =
        |_| StoreError::Failed("what follows could not be decided: a fault of lovage's own, told above".to_owned());
    catch_unwind(AssertUnwindSafe(decide)).map_err(fault)
}

struct Page {
    followers: Vec<Message>,
    many: bool,
    done: bool,
}

/// So many followers that what arrives for all of them together stays bounded.
fn page_size(arrival: &Arrival) -> usize {
    let bytes = match arrival {
        Arrival::Value(value) => value.as_str().len(),
        Arrival::Failed { exception, .. } => exception.exc_message.as_str().len(),
    };
    (PAGE_BYTES / bytes.max(1)).clamp(1, PAGE)
}

/// Publishes nothing of the plans that are meant; whether there was one.
fn withhold(step: &mut FollowUp, meant: impl Fn(&Plan) -> bool) -> bool {
    let mut any = false;
    for (_, followed) in &mut step.followed {
        if let Followed::Settled(settlement) = followed
            && meant(&settlement.publish)
        {
            let unsent = std::mem::take(&mut settlement.publish);
            settlement.children.retain(|child| !sends(&unsent, &child.id));
            any = true;
        }
    }
    any
}

fn sends(plan: &Plan, id: &TaskId) -> bool {
    plan.tasks.iter().any(|task| task.message.id == *id) || plan.joins.iter().any(|join| join.group == *id)
}

fn events(step: &FollowUp) -> Vec<Event> {
    let settled = step.followed.iter().filter_map(|(_, followed)| match followed {
        Followed::Settled(settlement) => Some(told(settlement)),
        Followed::Released(_) => None,
    });
    let sent = step.inline.messages.iter().map(|message| Event::sent(message, clock::now()));
    settled.flatten().chain(sent).collect()
}

/// What failed, and when it is tried again.
#[derive(Default)]
pub(super) struct Stuck {
    keys: HashSet<i64>,
    pause: Duration,
    until: Option<Instant>,
}

impl Stuck {
    fn add(&mut self, key: i64, now: Instant) {
        self.keys.insert(key);
        self.put_off(now);
    }

    /// Everything is tried again after a pause, which grows until nothing is stuck any more.
    fn put_off(&mut self, now: Instant) {
        if self.until.is_none() {
            self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
            self.until = Some(now + self.pause);
        }
    }

    /// Lets everything be tried again if the pause is over.
    fn wake(&mut self, now: Instant) {
        match self.until {
            Some(until) if until <= now => {
                self.keys.clear();
                self.until = None;
            }
            Some(_) => {}
            None => self.pause = Duration::ZERO,
        }
    }

    fn forget_all_but(&mut self, ended: &[Ended]) {
        self.keys.retain(|key| ended.iter().any(|one| one.key == *key));
    }

    /// Returns when the pause is over; never, if there is none.
    async fn wait(&self) {
        match self.until {
            Some(until) => tokio::time::sleep_until(until.into()).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests;
