//! What holds whatever happens? Random canvases are run by a driver that settles at random, loses leases, crashes, delivers
//! twice, revokes and orders to run again. At any time:
//!
//! - every change of a state is one of [`lovage_model::CHANGES`], and a SUCCESS stays as it is until it is ordered to run again;
//! - a task ends once for each time that it was sent or ordered to run again;
//! - a join gives each part once, in its place.
//!
//! In the end, when there is nothing to lease and nothing to follow, nothing waits, and no join is left.

mod driver;
mod expected;
mod trees;
mod watch;

use driver::Driver;
use proptest::prelude::*;
use proptest::sample::Index;
use trees::{Tree, tree};

use super::*;

#[derive(Debug, Clone)]
enum Act {
    Submit(Tree),
    Lease(usize),
    Report(Index),
    Finish(Index, End),
    Follow(Index, usize),
    Revoke(Index),
    Resubmit(Index),
    Purge,
    Lapse,
    Crash,
}

/// How an attempt ends.
#[derive(Debug, Clone)]
enum End {
    Returns,
    Publishes(Tree),
    Raises,
    Retries,
    Replaces(Tree),
    Grows,
    Stops,
    Ignores,
    Requeues,
    GivesBack,
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        12 => Just(End::Returns),
        2 => tree().prop_map(End::Publishes),
        2 => Just(End::Raises),
        2 => Just(End::Retries),
        2 => tree().prop_map(End::Replaces),
        3 => Just(End::Grows),
        1 => Just(End::Stops),
        1 => Just(End::Ignores),
        1 => Just(End::Requeues),
        1 => Just(End::GivesBack),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let index = any::<Index>;
    prop_oneof![
        3 => tree().prop_map(Act::Submit),
        8 => (1..5_usize).prop_map(Act::Lease),
        2 => index().prop_map(Act::Report),
        14 => (index(), end()).prop_map(|(lease, end)| Act::Finish(lease, end)),
        6 => (index(), 1..4_usize).prop_map(|(which, max)| Act::Follow(which, max)),
        1 => index().prop_map(Act::Revoke),
        2 => index().prop_map(Act::Resubmit),
        1 => Just(Act::Purge),
        1 => Just(Act::Lapse),
        1 => Just(Act::Crash),
    ]
}

async fn run(bench: Bench, acts: &[Act]) {
    let mut driver = Driver::new(bench);
    for act in acts {
        driver.take(act).await;
    }
    driver.finish().await;
}

fn histories() -> impl Strategy<Value = Vec<Act>> {
    (tree(), prop::collection::vec(act(), 1..120)).prop_map(|(first, mut acts)| {
        acts.insert(0, Act::Submit(first));
        acts
    })
}

pub(super) fn block_on(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn whatever_happens_everything_ends_once(acts in histories()) {
        block_on(run(Bench::memory(), &acts));
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn whatever_happens_everything_ends_once_on_disk(acts in histories()) {
        block_on(run(Bench::file(), &acts));
    }
}

proptest! {
    #![proptest_config(cases(16))]

    #[test]
    fn whatever_happens_everything_ends_once_in_redis(acts in histories()) {
        block_on(async { run(Bench::redis().await, &acts).await });
    }
}
