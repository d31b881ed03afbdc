//! What becomes of those that waited for what has ended?
//!
//! One loop takes what has ended, the oldest first, and of the oldest 64 a few of each tenant before many of one, and deals with
//! one page of the followers of each at a time: so that what has many does not keep others waiting, and no step is large. What
//! becomes of a follower is decided purely; the store applies a page whole or not at all, and only then is anybody told.
//!
//! Invariants:
//! - What has ended stays in the store until its last page is applied. Whatever fails is tried again, later and later, while
//!   others go on; a crash loses nothing.
//! - A page ends after so many followers, and after so many bytes that are written for them. What was decided and is not
//!   applied yet is bounded for all together.

mod stuck;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_util::future::join_all;
use lovage_model::{Arrival, Event, Followed, Inline, Message, Plan, TaskId, TenantId, Then};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::commit::told;
use super::outcomes::{of_followed, of_inline};
use crate::canvas;
use crate::clock;
use crate::events::Hub;
use crate::store::{ChordEnd, Completed, Ended, Fenced, FollowUp, Joins, Result, StoreError};
pub(super) use stuck::Stuck;

/// Ended things that are dealt with at once: they share the store's transactions.
const AT_ONCE: usize = 32;
/// They are taken out of so many, and so many of each tenant come first. (To look at one is to read all that it has come to.)
const LOOK: usize = 64;
const OF_ONE_TENANT: usize = 8;
/// The most followers in one step.
const PAGE: usize = 256;
/// About the most bytes that arrive in one step, for all its followers together, and that are written for them. One follower
/// may take more.
const PAGE_BYTES: usize = 8 << 20;
/// So many steps are read and decided at once: one whose followers the store is slow to tell keeps few others.
const DECIDING: usize = 8;
/// And so much of what was decided may wait for the store, in KiB, unless it is one step alone.
const UNDONE_KIB: u32 = 64 << 10;
/// So many that cannot be dealt with are looked past.
const MOST_STUCK: usize = 1024;

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

    /// Takes a step with some of what has ended. Whether there were any: then there may be more, since the store tells of as
    /// much as fits into memory, and may have rung for the last time.
    pub(super) async fn pass(&self, stuck: &mut Stuck) -> Result<bool> {
        let now = clock::instant();
        if !stuck.may_look(now) {
            return Ok(false);
        }
        let ended = self.store.ended(LOOK + stuck.len().min(MOST_STUCK)).await?;
        stuck.was_answered(&ended);
        let mut awake: Vec<_> = ended.into_iter().filter(|one| !stuck.has(one.key, now)).collect();
        // What has failed before takes nobody's place.
        awake.sort_by_key(|one| stuck.knows(one.key));
        let undone = Undone::default();
        let steps = join_all(chosen(awake).into_iter().map(|one| self.step(one, &undone))).await;
        let any = !steps.is_empty();
        for (key, step) in steps {
            match step {
                Ok(()) => stuck.remove(key),
                Err(error) => {
                    tracing::error!(%error, "those that wait for a task could not be told that it ended; trying again");
                    stuck.add(key, clock::instant());
                }
            }
        }
        Ok(any)
    }

    async fn rest(&self, stuck: &Stuck) {
        tokio::select! {
            () = self.store.any_ended() => {}
            () = stuck.wait() => {}
        }
    }

    async fn step(&self, ended: Ended, undone: &Undone) -> (i64, Result<()>) {
        (ended.key, self.page(ended, undone).await)
    }

    /// Deals with one page of followers.
    async fn page(&self, Ended { key, tenant, id, outcome }: Ended, undone: &Undone) -> Result<()> {
        let (of_group, arrival) = match outcome {
            Completed::Task(arrival) => (false, arrival),
            Completed::Join { parts, then } => {
                let arrival = canvas::gathered(parts, &id, self.message_bytes);
                if let Then::Part { .. } = then {
                    let step = FollowUp { part: Some(arrival), ..FollowUp::last(Vec::new()) };
                    return self.apply(key, &tenant, step).await;
                }
                (true, arrival)
            }
            Completed::Chord(end) => {
                let turn = undone.turn().await;
                let inline = decided(|| (self.complete)(&tenant, &id, *end))?;
                let _held = undone.hold(of_inline(&inline)).await;
                drop(turn);
                let step = FollowUp { inline, ..FollowUp::last(Vec::new()) };
                return self.apply(key, &tenant, step).await;
            }
        };
        // Given up once there is room for what was decided: until then nothing more is.
        let turn = undone.turn().await;
        let page = self.followers(&tenant, &id, &arrival).await?;
        let arrived = Arrived { tenant: &tenant, arrival: &arrival, of_group, many: page.many };
        let Decided { followed, bytes, done } = self.decide_page(page, arrived)?;
        let _held = undone.hold(bytes).await;
        drop(turn);
        self.apply(key, &tenant, FollowUp { done, ..FollowUp::last(followed) }).await
    }

    /// The next followers. There are never less than two left for the next page: else its one follower would look like the
    /// only one.
    async fn followers(&self, tenant: &TenantId, id: &TaskId, arrival: &Arrival) -> Result<Page> {
        let size = page_size(arrival);
        let mut followers = self.store.followers(tenant, id, size + 2).await?;
        let (many, last) = (followers.len() > 1, followers.len() < size + 2);
        if !last {
            followers.truncate(size);
        }
        Ok(Page { followers, many, last })
    }

    /// Decides about the followers of a page, one by one, until what is written for them is as much as one step takes: what
    /// each of them sends may be large. Again two are left at least, or none.
    fn decide_page(&self, Page { followers, last, .. }: Page, arrived: Arrived<'_>) -> Result<Decided> {
        let mut left = followers.len() + if last { 0 } else { 2 };
        let (mut followed, mut bytes) = (Vec::with_capacity(followers.len()), 0);
        for message in followers {
            let one = decided(|| (self.decide)(&message, arrived))?;
            bytes += of_followed(&one);
            followed.push((message.id, one));
            left -= 1;
            if bytes >= PAGE_BYTES && left > 1 {
                break;
            }
        }
        Ok(Decided { followed, bytes, done: left == 0 })
    }

    async fn apply(&self, key: i64, tenant: &TenantId, mut step: FollowUp) -> Result<()> {
        while sends_any(&step) {
            // Kept, since it may have to be told with less.
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
                answer @ (Fenced::Taken(_) | Fenced::Full(_)) => return Err(unasked(&answer)),
            }
        }
        // Nothing can stand against it any more: all that is kept of it is what is told.
        let events = taken_events(&mut step);
        match self.store.follow(key, step, clock::now()).await? {
            Fenced::Applied => self.hub.announce_with(tenant, || events),
            Fenced::Refused => {}
            answer @ (Fenced::Taken(_) | Fenced::Full(_)) => return Err(unasked(&answer)),
        }
        Ok(())
    }
}

fn unasked(answer: &Fenced) -> StoreError {
    StoreError::Failed(format!("what publishes nothing was answered {answer:?}"))
}

/// Those that are dealt with now: a few of each tenant, then whichever come first.
fn chosen(ended: Vec<Ended>) -> Vec<Ended> {
    let mut found: HashMap<TenantId, usize> = HashMap::new();
    let (mut first, mut later) = (Vec::new(), Vec::new());
    for one in ended {
        let of_tenant = found.entry(one.tenant.clone()).or_default();
        *of_tenant += 1;
        if *of_tenant <= OF_ONE_TENANT { first.push(one) } else { later.push(one) }
    }
    first.extend(later);
    first.truncate(AT_ONCE);
    first
}

/// What is decided, and what was and is not applied yet, of all steps together: one may be large, and many may be due at once.
struct Undone {
    deciding: Semaphore,
    kib: Semaphore,
}

impl Default for Undone {
    fn default() -> Self {
        Self { deciding: Semaphore::new(DECIDING), kib: Semaphore::new(UNDONE_KIB as usize) }
    }
}

impl Undone {
    /// Waits until one more may read who follows, and decide. (Neither is ever closed.)
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.deciding.acquire().await.ok()
    }

    /// Waits until so much more may wait for the store.
    async fn hold(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        let kib = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX);
        self.kib.acquire_many(kib.min(UNDONE_KIB)).await.ok()
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
    /// Whether no more follow after it.
    last: bool,
}

/// What becomes of some followers.
struct Decided {
    followed: Vec<(TaskId, Followed)>,
    /// About how much is written for them.
    bytes: usize,
    /// Whether they are the last.
    done: bool,
}

/// So many followers that what arrives for all of them together stays bounded.
fn page_size(arrival: &Arrival) -> usize {
    (PAGE_BYTES / arrival.bytes().max(1)).clamp(1, PAGE)
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

/// Whether a step sends anything.
fn sends_any(step: &FollowUp) -> bool {
    let publishes = |followed: &Followed| match followed {
        Followed::Settled(settlement) => !settlement.publish.is_empty() || !settlement.inline.messages.is_empty(),
        Followed::Released(_) => false,
    };
    !step.inline.messages.is_empty() || step.followed.iter().any(|(_, followed)| publishes(followed))
}

fn events(step: &FollowUp) -> Vec<Event> {
    let settled = step.followed.iter().filter_map(|(_, followed)| match followed {
        Followed::Settled(settlement) => Some(told(settlement)),
        Followed::Released(_) => None,
    });
    let sent = step.inline.messages.iter().map(|message| Event::sent(message, clock::now()));
    settled.flatten().chain(sent).collect()
}

/// The same for a step that sends nothing, taken out of it: the store has no use for them.
fn taken_events(step: &mut FollowUp) -> Vec<Event> {
    let settled = step.followed.iter_mut().filter_map(|(_, followed)| match followed {
        Followed::Settled(settlement) => Some(std::mem::take(&mut settlement.events)),
        Followed::Released(_) => None,
    });
    settled.flatten().collect()
}

#[cfg(test)]
mod tests;
