//! Several tenants: whose message comes next.

use super::*;
use crate::store::{Share, Shares};

for_each_backend!(
    who_has_used_least_comes_first,
    a_share_is_by_what_each_message_uses,
    nobody_gets_more_than_it_may,
    who_has_used_the_same_comes_by_priority_and_age,
);

fn of(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

/// Submits messages named after their tenant, a number and a priority each.
async fn fill(bench: &Bench, tenant: &str, priorities: &[u8]) {
    for (number, &priority) in priorities.iter().enumerate() {
        let message = Message { priority, ..in_queue(&format!("{tenant}{number}"), "celery") };
        let plans = vec![Plan::of(message)];
        let stored = bench.store.submit(&of(tenant), plans, at(1), Room::UNLIMITED).await.unwrap();
        assert_eq!(stored, [Submitted::Stored]);
    }
}

async fn lease(bench: &Bench, max: usize, shares: &[(&str, Share)]) -> Vec<String> {
    let of = shares.iter().map(|(tenant, share)| (of(tenant), *share)).collect();
    let shares = Shares { of, ..Shares::default() };
    let leases = bench.store.lease(Ask { shares, ..ask(max, at(2)) }).await.unwrap().leases;
    ids(&leases).into_iter().map(str::to_owned).collect()
}

fn share(used: u64, step: u64) -> Share {
    Share { used, step, max: usize::MAX }
}

async fn who_has_used_least_comes_first(bench: Bench) {
    fill(&bench, "a", &[0, 0, 0]).await;
    fill(&bench, "b", &[9, 9, 9]).await;
    let shares = [("a", share(100, 10)), ("b", share(80, 10))];
    assert_eq!(lease(&bench, 4, &shares).await, ["b0", "b1", "a0", "b2"]);
    // One that nobody knows has used nothing.
    fill(&bench, "c", &[9]).await;
    assert_eq!(lease(&bench, 9, &shares).await, ["c0", "a1", "a2"]);
}

async fn a_share_is_by_what_each_message_uses(bench: Bench) {
    fill(&bench, "a", &[0; 8]).await;
    fill(&bench, "b", &[0; 8]).await;
    let taken = lease(&bench, 8, &[("a", share(0, 10)), ("b", share(0, 30))]).await;
    assert_eq!(taken, ["a0", "b0", "a1", "a2", "a3", "b1", "a4", "a5"]);
}

async fn nobody_gets_more_than_it_may(bench: Bench) {
    fill(&bench, "a", &[0, 0, 0]).await;
    let two = Share { max: 2, ..share(0, 1) };
    assert_eq!(lease(&bench, 9, &[("a", Share { max: 0, ..two })]).await, [""; 0]);
    assert_eq!(lease(&bench, 9, &[("a", two)]).await, ["a0", "a1"]);
    fill(&bench, "b", &[0, 0, 0]).await;
    assert_eq!(lease(&bench, 9, &[("a", Share { max: 0, ..two }), ("b", two)]).await, ["b0", "b1"]);
    assert_eq!(lease(&bench, 9, &[]).await, ["a2", "b2"]);
}

async fn who_has_used_the_same_comes_by_priority_and_age(bench: Bench) {
    fill(&bench, "a", &[5, 1]).await;
    fill(&bench, "b", &[5, 0]).await;
    assert_eq!(lease(&bench, 9, &[]).await, ["b1", "a1", "a0", "b0"]);
}
