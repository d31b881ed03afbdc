//! Who has used how much of this host's processors?
//!
//! Each tenant has an account, in nanoseconds of processor time divided by its weight. A message that is taken is charged what
//! the tenant's messages used of late, and its end corrects that to what it really used. Who has used least comes first; see
//! `store/sharing.rs`.
//!
//! Invariant: who had nothing to do begins where the message was that was taken last. So nobody saves up turns, nobody is in debt
//! for having been alone, and who has messages that wait is never overtaken: it has used less than what is taken before it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lovage_model::{TenantId, TenantPolicy, TenantView};

use crate::store::{Share, Shares};

/// What every attempt uses at least, in nanoseconds: also what does not run costs something.
const LEAST: u64 = 20_000;
/// What a message is thought to use of which nothing is known, in nanoseconds.
const GUESS: u64 = 1_000_000;
/// Where tenants share the host, one may have so many times as many slots as it leaves free: an empty slot is there for who comes
/// next, and each further tenant that takes all it may leaves some still (dynamic thresholds: Choudhury and Hahne 1998).
const TIMES_FREE: usize = 3;
/// Of fewer slots none is kept free.
const FEW_SLOTS: usize = 8;
/// One in so many parts of what is expected comes from the latest end.
const MEMORY: u64 = 8;

#[derive(Debug, Default)]
pub(super) struct Accounts(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    /// What the tenant of the message that was taken last had used before it.
    floor: u64,
    of: HashMap<TenantId, Account>,
}

#[derive(Debug, Clone, Copy)]
struct Account {
    /// What was used, and what is charged for the messages held.
    used: u64,
    /// The part of it that is charged: an end takes its share out, whatever is expected by then.
    charged: u64,
    /// What a message probably uses, in nanoseconds, whatever the weight.
    expected: u64,
    /// Messages that this host has, running or waiting for a slot.
    held: usize,
}

impl Accounts {
    /// How the next lease call is shared, on a host with so many slots: with the tenants that do not share as all others do, each with
    /// whether it may run nothing now. Of all others those alone are looked at that have used something.
    pub(super) fn shares<'a>(
        &self,
        limited: impl Iterator<Item = (&'a TenantView, bool)>,
        is_shared: bool,
        slots: usize,
    ) -> Shares {
        let mut book = self.book();
        book.forget();
        let (mut shares, floor) = (Shares::default(), book.floor);
        let free = slots.saturating_sub(book.of.values().map(|account| account.held).sum());
        let leaves = |held: usize| match !is_shared || slots < FEW_SLOTS {
            true => usize::MAX,
            // With the first so many of them held + n = TIMES_FREE * (free - n).
            false => ((TIMES_FREE * free).saturating_sub(held) / (TIMES_FREE + 1)).max(usize::from(held == 0)),
        };
        let share = |account: Option<&Account>, policy: &TenantPolicy| {
            let held = account.map_or(0, |account| account.held);
            let most = policy.running_tasks.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
            Share {
                used: account.map_or(floor, |account| account.used.max(floor)),
                step: account.map_or(GUESS, |account| account.expected) / u64::from(policy.weight()),
                max: most.saturating_sub(held).min(leaves(held)),
            }
        };
        let unlimited = TenantPolicy::default();
        shares.of.extend(book.of.iter().map(|(tenant, account)| (tenant.clone(), share(Some(account), &unlimited))));
        for (TenantView { name, policy, .. }, is_barred) in limited {
            let share = share(book.of.get(name), policy);
            let max = if is_barred { 0 } else { share.max };
            shares.of.insert(name.clone(), Share { max, ..share });
        }
        shares.others = share(None, &unlimited);
        shares
    }

    /// A message was taken.
    pub(super) fn begin(&self, tenant: &TenantId, weight: u32) {
        let mut book = self.book();
        let floor = book.floor;
        let new = || Account { used: floor, charged: 0, expected: GUESS, held: 0 };
        let account = book.of.entry(tenant.clone()).or_insert_with(new);
        let before = account.used.max(floor);
        let charge = account.expected / u64::from(weight);
        account.used = before.saturating_add(charge);
        account.charged = account.charged.saturating_add(charge);
        account.held += 1;
        book.floor = before;
    }

    /// It has ended here, and has used so much; none: it was given back without having begun.
    pub(super) fn end(&self, tenant: &TenantId, weight: u32, used: Option<Duration>) {
        let mut book = self.book();
        let Some(account) = book.of.get_mut(tenant) else { return };
        let charge = account.charged / account.held.max(1) as u64;
        account.charged -= charge;
        account.held = account.held.saturating_sub(1);
        let real = used.map(|used| u64::try_from(used.as_nanos()).unwrap_or(u64::MAX).max(LEAST));
        let real_share = real.unwrap_or(0) / u64::from(weight);
        account.used = account.used.saturating_sub(charge).saturating_add(real_share);
        if let Some(real) = real {
            account.expected = (account.expected - account.expected / MEMORY).saturating_add(real / MEMORY);
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Forgets those of which nothing is left to know.
    fn forget(&mut self) {
        let floor = self.floor;
        self.of.retain(|_, account| account.held > 0 || account.used > floor);
    }
}

#[cfg(test)]
mod tests {
    use lovage_model::Timestamp;

    use super::*;

    fn of(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    fn added(name: &str, policy: TenantPolicy) -> TenantView {
        TenantView { name: of(name), created_at: Timestamp::from_micros(0), policy }
    }

    /// With these tenants beside the default one, of whom none has spent its fuel.
    fn shares(accounts: &Accounts, added: &[TenantView], slots: usize) -> Shares {
        accounts.shares(added.iter().map(|tenant| (tenant, false)), !added.is_empty(), slots)
    }

    /// Runs messages one by one, always of who has used least, each as long as its tenant's take; how often each ran.
    fn run(accounts: &Accounts, tenants: &[(&str, u32, u64)], times: usize) -> Vec<usize> {
        let mut ran = vec![0; tenants.len()];
        for _ in 0..times {
            let now = shares(accounts, &[], 256);
            let next = (0..tenants.len()).min_by_key(|&it| now.get(&of(tenants[it].0)).used).unwrap();
            let (name, weight, micros) = tenants[next];
            accounts.begin(&of(name), weight);
            accounts.end(&of(name), weight, Some(Duration::from_micros(micros)));
            ran[next] += 1;
        }
        ran
    }

    #[test]
    fn equal_tenants_get_equal_time_however_long_their_tasks_are() {
        let ran = run(&Accounts::default(), &[("a", 1, 100), ("b", 1, 1000)], 1100);
        assert!((95..=105).contains(&ran[1]), "{ran:?}");
    }

    #[test]
    fn many_at_once_cost_what_they_used_however_wrong_the_guess_was() {
        for micros in [50, 50_000] {
            let accounts = Accounts::default();
            (0..256).for_each(|_| accounts.begin(&of("a"), 1));
            (0..256).for_each(|_| accounts.end(&of("a"), 1, Some(Duration::from_micros(micros))));
            let account = accounts.book().of[&of("a")];
            assert_eq!((account.used, account.charged, account.held), (256 * micros * 1000, 0, 0));
        }
    }

    #[test]
    fn what_is_used_beyond_all_bounds_is_no_overflow() {
        let accounts = Accounts::default();
        for _ in 0..20 {
            accounts.begin(&of("a"), 1);
            accounts.begin(&of("a"), 1);
            accounts.end(&of("a"), 1, Some(Duration::MAX));
        }
        assert_eq!(shares(&accounts, &[], 256).get(&of("a")).used, u64::MAX);
    }

    #[test]
    fn a_weight_is_a_share() {
        let ran = run(&Accounts::default(), &[("a", 3, 500), ("b", 1, 500)], 4000);
        assert!((2950..=3050).contains(&ran[0]), "{ran:?}");
    }

    #[test]
    fn who_was_idle_has_saved_nothing_and_who_was_alone_owes_nothing() {
        let accounts = Accounts::default();
        for _ in 0..1000 {
            accounts.begin(&of("a"), 1);
            shares(&accounts, &[], 256);
            accounts.end(&of("a"), 1, Some(Duration::from_millis(50)));
        }
        let next = shares(&accounts, &[], 256);
        assert!(next.get(&of("new")).used < next.get(&of("a")).used, "it comes next");
        let ran = run(&accounts, &[("a", 1, 1000), ("new", 1, 1000)], 100);
        assert!((25..=50).contains(&ran[0]), "at most one of the old long ones is made up for: {ran:?}");
    }

    #[test]
    fn who_waits_is_not_overtaken_by_who_has_older_messages() {
        let accounts = Accounts::default();
        // One place: whoever has it is gone before the next lease call.
        let ran = run(&accounts, &[("a", 1, 1000)], 50);
        assert_eq!(ran, [50]);
        let ran = run(&accounts, &[("a", 1, 1000), ("b", 1, 1000)], 50);
        assert!((24..=26).contains(&ran[1]), "{ran:?}");
    }

    #[test]
    fn a_cap_counts_what_is_held() {
        let accounts = Accounts::default();
        let two = [added("a", TenantPolicy { running_tasks: Some(2), ..TenantPolicy::default() })];
        assert_eq!(shares(&accounts, &two, 256).get(&of("a")).max, 2);
        accounts.begin(&of("a"), 1);
        accounts.begin(&of("a"), 1);
        assert_eq!(shares(&accounts, &two, 256).get(&of("a")).max, 0);
        accounts.end(&of("a"), 1, None);
        assert_eq!(shares(&accounts, &two, 256).get(&of("a")).max, 1);
        assert_eq!(shares(&accounts, &[], 256).get(&of("b")).max, usize::MAX);
    }

    #[test]
    fn whoever_comes_next_finds_an_empty_slot() {
        let (accounts, added) = (Accounts::default(), [added("a", TenantPolicy::default())]);
        let take_all = |name: &str| {
            let most = shares(&accounts, &added, 256).get(&of(name)).max;
            (0..most).for_each(|_| accounts.begin(&of(name), 1));
            // What it may have, it has got.
            assert_eq!(shares(&accounts, &added, 256).get(&of(name)).max, 0);
            most
        };
        assert_eq!(["a", "b", "c"].map(take_all), [192, 48, 12]);
        assert_eq!(shares(&accounts, &added, 256).get(&of("d")).max, 3);
        // On a small host, or one that is not shared, nothing is kept free.
        for (added, slots) in [(&added[..], 4), (&[], 256)] {
            assert_eq!(shares(&Accounts::default(), added, slots).get(&of("a")).max, usize::MAX);
        }
    }

    #[test]
    fn of_those_that_share_as_others_do_only_those_that_have_used_something_are_told_apart() {
        let accounts = Accounts::default();
        let heavy = added("heavy", TenantPolicy { weight: Some(4), ..TenantPolicy::default() });
        accounts.begin(&of("a"), 1);
        let all = accounts.shares([(&heavy, false)].into_iter(), true, 256);
        assert_eq!(all.of.keys().map(TenantId::as_str).collect::<Vec<_>>(), ["a", "heavy"]);
        assert_eq!(all.get(&of("new")), all.others);
        assert_eq!(accounts.shares([(&heavy, true)].into_iter(), true, 256).get(&of("heavy")).max, 0);
    }
}
