//! Whose turn is it? What a lease call takes is shared between tenants: next comes the one that has used least, with its next
//! message by priority, then age. Tenants that have used the same are told apart by that, too.
//!
//! This is start-time fair queueing (Goyal, Vin and Cheng 1996) with what was really used instead of lengths: the same as a
//! weighted deficit round robin in the long run, without rounds.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};

use lovage_model::TenantId;

/// What a tenant has used, and what it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// What it has used, divided by its weight, in any unit that is the same for all.
    pub used: u64,
    /// What each message will probably use, in the same unit.
    pub step: u64,
    /// At most so many messages.
    pub max: usize,
}

/// How tenants share what a lease call takes. By default nobody has used anything, and the oldest comes first, whosever it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shares {
    /// Of those that are known.
    pub of: BTreeMap<TenantId, Share>,
    /// Of all others.
    pub others: Share,
}

impl Default for Shares {
    fn default() -> Self {
        Self { of: BTreeMap::new(), others: Share { used: 0, step: 0, max: usize::MAX } }
    }
}

impl Shares {
    /// A tenant's.
    pub fn get(&self, tenant: &TenantId) -> Share {
        self.of.get(tenant).copied().unwrap_or(self.others)
    }

    /// Whether any tenant may have no more once each was given so many messages.
    pub fn is_any_full(&self, given: &BTreeMap<TenantId, usize>) -> bool {
        let has_all = |tenant, share: &Share| given.get(tenant).is_some_and(|given| *given >= share.max);
        self.others.max == 0
            || self.of.values().any(|share| share.max == 0)
            || given.keys().any(|tenant| has_all(tenant, &self.get(tenant)))
    }
}

/// The order of a message: its priority, then its age; the less, the earlier.
pub(super) type Order = (u8, i64);

/// The tenants that have messages, by whose turn it is.
#[derive(Debug)]
pub(super) struct Turns<L>(BinaryHeap<Reverse<Turn<L>>>);

/// A tenant, with the order of its next message, and where that comes from.
#[derive(Debug)]
pub(super) struct Turn<L> {
    share: Share,
    next: Order,
    pub(super) line: L,
}

impl<L> Default for Turns<L> {
    fn default() -> Self {
        Self(BinaryHeap::new())
    }
}

impl<L> Turns<L> {
    /// Adds a tenant that has a message.
    pub(super) fn add(&mut self, share: Share, next: Order, line: L) {
        if share.max > 0 {
            self.0.push(Reverse(Turn { share, next, line }));
        }
    }

    /// Whose turn it is.
    pub(super) fn pop(&mut self) -> Option<Turn<L>> {
        self.0.pop().map(|Reverse(turn)| turn)
    }

    /// Adds a tenant again that got a message and has another one.
    pub(super) fn again(&mut self, Turn { share, line, .. }: Turn<L>, next: Order) {
        let Share { used, step, max } = share;
        self.add(Share { used: used.saturating_add(step), step, max: max - 1 }, next, line);
    }
}

impl<L> Turn<L> {
    fn key(&self) -> (u64, Order) {
        (self.share.used, self.next)
    }
}

impl<L> PartialEq for Turn<L> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<L> Eq for Turn<L> {}

impl<L> PartialOrd for Turn<L> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<L> Ord for Turn<L> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}
