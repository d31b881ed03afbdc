//! What waits for others: the steps of chains, the bodies of chords.

use async_trait::async_trait;
use lovage_model::{
    Arrival, Followed, Inline, Message, ResultTuple, Sender, TaskId, TenantId, Then, Timestamp, WireSignature,
};

use super::{Fenced, Result};

/// Something that ended, with tasks that wait for it or a join that it completes.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// The store's number for it. Its followers are dealt with once, whoever does it.
    pub key: i64,
    /// Whose it is.
    pub tenant: TenantId,
    /// The task, or the group.
    pub id: TaskId,
    /// What its followers get.
    pub outcome: Completed,
}

/// What ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Completed {
    /// A task.
    Task(Arrival),
    /// All parts of a join, by their place in the list, the older first within one place. Where they are more than fits into memory
    /// one failure stands for all of them.
    Join {
        /// What they ended with.
        parts: Vec<Arrival>,
        /// What the list of them is for.
        then: Then,
    },
    /// All parts of a chord in Celery's own form: see [`ChordEnd`].
    Chord(Box<ChordEnd>),
}

/// A chord whose parts have all ended. Only a store that speaks Celery's wire has any.
#[derive(Debug, Clone, PartialEq)]
pub struct ChordEnd {
    /// What gets the list of their results.
    pub body: WireSignature,
    /// The parts, by their place.
    pub parts: Vec<(TaskId, Arrival)>,
    /// How their results are nested; none: they are a plain list. A task of it that is no part comes with the parts, last.
    pub nested: Option<ResultTuple>,
    /// By whose end it became complete: the parent of the body.
    pub sender: Sender,
}

/// One step of dealing with the followers of something that ended.
#[derive(Debug, Clone, PartialEq)]
pub struct FollowUp {
    /// Tasks that waited for it, and what becomes of each. Those that wait no more (revoked) are passed over.
    pub followed: Vec<(TaskId, Followed)>,
    /// What the completed join is as a part of another one.
    pub part: Option<Arrival>,
    /// What follows a chord in Celery's own form.
    pub inline: Inline,
    /// Whether this was the last step: what ended is dropped, with the parts of its join, unless somebody waits for it still.
    pub done: bool,
}

impl FollowUp {
    /// The last step with tasks that waited.
    pub fn last(followed: Vec<(TaskId, Followed)>) -> Self {
        Self { followed, part: None, inline: Inline::default(), done: true }
    }
}

/// What waits for others: the steps of chains, the bodies of chords.
///
/// A commit (or revoke, purge) that ends a task whose message says [`Then::Next`] releases the one task that waits for it in
/// the same step, if it succeeded and there is one; else the end is kept as [`Ended`], like a join whose last part has come.
/// Nothing of it is lost in a crash: who opens the store finds it in [`Joins::ended`]. An end that nobody waits for is not
/// kept.
///
/// A join counts each task, and each join within it, once, however often that ends; it has a place in the list for each
/// part that comes until it is complete. Then it takes nothing more and grows no more. One of no parts is complete at once.
#[async_trait]
pub trait Joins: Send + Sync {
    /// What has ended and whose followers have not been dealt with, the oldest first: no more than fits into memory, so whoever has
    /// dealt with some asks again.
    async fn ended(&self, max: usize) -> Result<Vec<Ended>>;

    /// Returns when something may have ended since the last call returned.
    async fn any_ended(&self);

    /// Messages that wait for a task or a join, in the order in which they were stored.
    async fn followers(&self, tenant: &TenantId, awaited: &TaskId, max: usize) -> Result<Vec<Message>>;

    /// Applies one step whole or not at all, in order; refused if somebody has dealt with it already. What its settlements
    /// publish is counted, but needs no room.
    async fn follow(&self, key: i64, step: FollowUp, now: Timestamp) -> Result<Fenced>;
}
