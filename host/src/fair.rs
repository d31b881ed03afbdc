//! Who is next, where tenants share something that one of them could have for itself?
//!
//! Each tenant has a line of its own. Next is the first of the line whose tenant has used least, by what it really used: start-time
//! fair queueing (Goyal, Vin and Cheng 1996), as in `store/sharing.rs`.
//!
//! Invariant: who comes with an empty line begins where the one was that was next last, or was served without a line, or before it
//! by its credit at the most. So nobody saves up more turns than that, and nobody is in debt for having been alone.

use std::collections::{BTreeSet, HashMap, VecDeque};

use lovage_model::TenantId;

/// What waits, in a line for each tenant.
#[derive(Debug)]
pub struct Fair<T> {
    /// What the tenant that was next, or served, last had used before it.
    floor: u64,
    /// How much a tenant may have saved while it used less than its share.
    credit: u64,
    lines: HashMap<TenantId, Line<T>>,
    /// Those in which something waits, by what their tenants have used.
    order: BTreeSet<(u64, TenantId)>,
    /// Lines that were kept when they were looked through last.
    kept_at_last_look: usize,
}

#[derive(Debug)]
struct Line<T> {
    used: u64,
    waiting: VecDeque<T>,
}

/// So many more than twice the lines that were kept, and they are looked through.
const LOOK_AFTER: usize = 256;

impl<T> Default for Fair<T> {
    fn default() -> Self {
        Self::with_credit(0)
    }
}

impl<T> Fair<T> {
    /// One in which who used less than its share goes before others until it has used so much more (borrowed virtual time: Duda
    /// and Cheriton 1999).
    pub fn with_credit(credit: u64) -> Self {
        Self { floor: 0, credit, lines: HashMap::new(), order: BTreeSet::new(), kept_at_last_look: 0 }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Waits at the end of its tenant's line.
    pub fn push(&mut self, tenant: &TenantId, what: T) {
        let line = self.line(tenant);
        let used = line.used;
        line.waiting.push_back(what);
        if line.waiting.len() == 1 {
            self.order.insert((used, tenant.clone()));
        }
    }

    /// What is next.
    pub fn peek(&self) -> Option<&T> {
        self.lines.get(&self.order.first()?.1)?.waiting.front()
    }

    /// What is next, and whose it is.
    pub fn pop(&mut self) -> Option<(TenantId, T)> {
        let (used, tenant) = self.order.pop_first()?;
        self.floor = self.floor.max(used);
        let line = self.lines.get_mut(&tenant)?;
        let what = line.waiting.pop_front()?;
        if !line.waiting.is_empty() {
            self.order.insert((used, tenant.clone()));
        }
        Some((tenant, what))
    }

    /// A tenant is served at once: nobody waits, and it does not have to.
    pub fn served(&mut self, tenant: &TenantId) {
        let used = self.line(tenant).used;
        self.floor = self.floor.max(used);
    }

    /// A tenant has used so much, divided by its weight.
    pub fn charge(&mut self, tenant: &TenantId, used: u64) {
        let line = self.line(tenant);
        let before = line.used;
        line.used = before.saturating_add(used);
        let (after, waits) = (line.used, !line.waiting.is_empty());
        if waits {
            let entry = (before, tenant.clone());
            self.order.remove(&entry);
            self.order.insert((after, entry.1));
        }
    }

    fn line(&mut self, tenant: &TenantId) -> &mut Line<T> {
        let least = self.floor.saturating_sub(self.credit);
        // Rarely: to look through all of them costs as much as there are.
        if self.lines.len() > self.kept_at_last_look * 2 + LOOK_AFTER {
            self.lines.retain(|_, line| !line.waiting.is_empty() || line.used > least);
            self.kept_at_last_look = self.lines.len();
        }
        if !self.lines.contains_key(tenant) {
            self.lines.insert(tenant.clone(), Line { used: least, waiting: VecDeque::new() });
        }
        let line = self.lines.get_mut(tenant).expect("it was put there");
        if line.waiting.is_empty() {
            line.used = line.used.max(least);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(n: usize) -> TenantId {
        TenantId::new(format!("tenant-{n}")).unwrap()
    }

    /// Serves so often, with lines that never run dry; what each used.
    fn served(costs: &[u64], times: usize) -> Vec<u64> {
        let mut fair = Fair::default();
        let mut used = vec![0; costs.len()];
        (0..costs.len()).for_each(|n| fair.push(&of(n), n));
        for _ in 0..times {
            let (tenant, n) = fair.pop().expect("somebody waits");
            fair.charge(&tenant, costs[n]);
            used[n] += costs[n];
            fair.push(&tenant, n);
        }
        used
    }

    /// One has been served alone for long; now as much of another one waits.
    fn one_was_alone(fair: &mut Fair<i32>) {
        for _ in 0..100 {
            fair.push(&of(0), 0);
            fair.pop();
            fair.charge(&of(0), 10);
        }
        (0..20).for_each(|n| {
            fair.push(&of(0), n);
            fair.push(&of(1), n);
        });
    }

    proptest! {
        #[test]
        fn nobody_gets_more_than_another_but_for_one_turn(costs in prop::collection::vec(1_u64..1000, 1..8)) {
            let used = served(&costs, 2000);
            let (least, most) = (used.iter().min().unwrap(), used.iter().max().unwrap());
            prop_assert!(most - least <= *costs.iter().max().unwrap(), "{used:?}");
        }
    }

    #[test]
    fn each_line_keeps_its_order_and_who_has_used_least_is_next() {
        let mut fair = Fair::default();
        assert_eq!(fair.peek(), None);
        (0..3).for_each(|n| fair.push(&of(0), n));
        fair.push(&of(1), 10);
        assert_eq!(fair.peek(), Some(&0));
        assert_eq!(fair.pop(), Some((of(0), 0)));
        fair.charge(&of(0), 5);
        assert_eq!([fair.pop(), fair.pop(), fair.pop()].map(|it| it.unwrap().1), [10, 1, 2]);
        assert!(fair.is_empty() && fair.pop().is_none());
    }

    #[test]
    fn who_was_away_has_saved_nothing_and_who_was_alone_owes_nothing() {
        let mut fair = Fair::default();
        one_was_alone(&mut fair);
        let mut served = [0_i32; 2];
        for _ in 0..20 {
            let (tenant, _) = fair.pop().unwrap();
            served[usize::from(tenant == of(1))] += 1;
            fair.charge(&tenant, 10);
        }
        assert!(served[0].abs_diff(served[1]) <= 2, "{served:?}");
    }

    #[test]
    fn who_was_served_without_waiting_owes_nothing() {
        let mut fair = Fair::with_credit(30);
        for _ in 0..100 {
            fair.served(&of(0));
            fair.charge(&of(0), 10);
        }
        fair.push(&of(0), 0);
        fair.push(&of(1), 1);
        assert_eq!(fair.pop(), Some((of(1), 1)), "it comes new, and has its credit");
        // That, and the one turn that the other had been ahead.
        fair.charge(&of(1), 41);
        fair.push(&of(1), 1);
        assert_eq!(fair.pop(), Some((of(0), 0)));
    }

    #[test]
    fn who_used_less_than_its_share_goes_first_until_its_credit_is_used_up() {
        let mut fair = Fair::with_credit(30);
        one_was_alone(&mut fair);
        let order: Vec<_> = std::iter::from_fn(|| {
            let (tenant, _) = fair.pop()?;
            fair.charge(&tenant, 10);
            Some(usize::from(tenant == of(1)))
        })
        .collect();
        // The credit, and the one turn that the other had been ahead.
        assert_eq!(order[..4], [1; 4]);
        assert!(order[4..20].iter().sum::<usize>().abs_diff(8) <= 1, "{order:?}");
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let mut fair = Fair::default();
        for n in 0..10_000 {
            fair.push(&of(n), n);
            fair.charge(&of(n), 1);
            fair.pop();
        }
        // At a look one is in line, and is kept.
        assert!(fair.lines.len() <= 2 + LOOK_AFTER + 1, "{}", fair.lines.len());
    }

    #[test]
    fn many_who_have_used_something_are_not_looked_through_at_each_call() {
        let mut fair = Fair::<()>::default();
        (0..1000).for_each(|n| fair.charge(&of(n), 1));
        // Of this one there is nothing to know: a look would forget it.
        fair.charge(&of(1000), 0);
        fair.charge(&of(0), 1);
        assert!(fair.lines.contains_key(&of(1000)), "all were looked through");
        (1000..10_000).for_each(|n| fair.charge(&of(n), 0));
        assert!(fair.lines.len() <= 2 * 1000 + LOOK_AFTER + 1, "{}", fair.lines.len());
    }
}
