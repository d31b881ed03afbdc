//! Which is the first message of each line? So that a lease reads the lines that it takes from, and no others, however many there
//! are.
//!
//! Invariant: a line that is not stale has its first ready message here, under its tenant; or none, if it has none or is paused.

use std::collections::{BTreeSet, HashMap};

use crate::store::sharing::Order;

/// The first messages of all lines.
#[derive(Default)]
pub(super) struct Heads {
    by_line: HashMap<i64, (i64, Order)>,
    /// Of each tenant: the first message's priority and position, and the line.
    by_tenant: HashMap<i64, BTreeSet<(Order, i64)>>,
    /// The lines where messages came or went since somebody looked.
    stale: BTreeSet<i64>,
}

impl Heads {
    /// Notes that messages came to a line, or left it, or that it was paused or goes on.
    pub(super) fn touch(&mut self, line: i64) {
        self.stale.insert(line);
    }

    /// Drops a line.
    pub(super) fn forget(&mut self, line: i64) {
        self.stale.remove(&line);
        self.remove(line);
    }

    /// A line that must be looked at.
    pub(super) fn stale(&self) -> Option<i64> {
        self.stale.first().copied()
    }

    /// Notes what is first in a line of a tenant's, which is not stale any more.
    pub(super) fn set(&mut self, line: i64, tenant: i64, first: Option<Order>) {
        self.stale.remove(&line);
        self.remove(line);
        if let Some(first) = first {
            self.by_line.insert(line, (tenant, first));
            self.by_tenant.entry(tenant).or_default().insert((first, line));
        }
    }

    fn remove(&mut self, line: i64) {
        let Some((tenant, first)) = self.by_line.remove(&line) else { return };
        if let Some(lines) = self.by_tenant.get_mut(&tenant) {
            lines.remove(&(first, line));
            if lines.is_empty() {
                self.by_tenant.remove(&tenant);
            }
        }
    }

    /// What is first in a line, if anything is.
    pub(super) fn first(&self, line: i64) -> Option<Order> {
        self.by_line.get(&line).map(|(_, first)| *first)
    }

    /// The tenants that have ready messages, each with how many of its lines do, and these in the order of their first ones.
    pub(super) fn tenants(&self) -> impl Iterator<Item = (i64, usize, impl Iterator<Item = (Order, i64)>)> {
        self.by_tenant.iter().map(|(tenant, lines)| (*tenant, lines.len(), lines.iter().copied()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(heads: &Heads) -> Vec<(i64, Vec<(Order, i64)>)> {
        let mut all: Vec<_> = heads.tenants().map(|(tenant, _, lines)| (tenant, lines.collect())).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn lines_come_by_their_first_messages() {
        let mut heads = Heads::default();
        for (line, tenant, first) in [(1, 7, (3, 10)), (2, 7, (0, 20)), (3, 7, (3, 5)), (4, 8, (0, 1))] {
            heads.set(line, tenant, Some(first));
        }
        assert_eq!(all(&heads), [(7, vec![((0, 20), 2), ((3, 5), 3), ((3, 10), 1)]), (8, vec![((0, 1), 4)])]);
        heads.set(2, 7, Some((9, 20)));
        heads.set(4, 8, None);
        heads.forget(3);
        assert_eq!(all(&heads), [(7, vec![((3, 10), 1), ((9, 20), 2)])]);
    }

    #[test]
    fn a_line_is_looked_at_once_after_each_change() {
        let mut heads = Heads::default();
        heads.touch(1);
        heads.touch(1);
        heads.touch(2);
        heads.forget(2);
        assert_eq!(heads.stale(), Some(1));
        assert_eq!(heads.stale(), Some(1), "until it is known what is first");
        heads.set(1, 7, None);
        assert_eq!(heads.stale(), None);
    }
}
