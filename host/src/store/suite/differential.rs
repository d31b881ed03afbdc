//! Does every store do what the reference does? Random histories, with restarts, are told to both; every answer and every
//! list must be the same.

mod kept;
mod pair;
mod steps;

use lovage_model::{Digest, State};
use pair::Pair;
use proptest::prelude::*;
use proptest::sample::Index;
use steps::{Step, queue_of, step};

use super::*;
use crate::store::Filter;
use crate::store::file::check;

fn filters() -> Vec<Filter> {
    let all = Filter { limit: 99, ..Filter::default() };
    let states = ["PENDING", "STARTED", "PROGRESS", "RETRY", "SUCCESS", "FAILURE", "REVOKED", "IGNORED"];
    let by_state = states.map(|name| Filter { state: Some(State::from_name(name)), ..all.clone() });
    let by_queue = Filter { queue: Some(queue_of(1)), ..all.clone() };
    [all.clone(), Filter { limit: 3, before: Some(7), ..all }, by_queue].into_iter().chain(by_state).collect()
}

async fn live(other: Bench, steps: &[Step]) {
    let mut pair = Pair::with(other);
    for step in steps {
        pair.take(step).await;
        pair.compare_tasks(0, Filter { limit: 99, ..Filter::default() }).await;
    }
    pair.compare().await;
    if let Kind::File(dir) = &pair.other.kind {
        let report = check(dir.path()).unwrap();
        assert!(report.is_sound(), "{report:?}");
    }
    pair.memory.restart().await;
    pair.other.restart().await;
    pair.compare().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_end_the_same(steps in prop::collection::vec(step(), 1..80)) {
        properties::block_on(live(Bench::file(), &steps));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_end_the_same_in_redis(steps in prop::collection::vec(step(), 1..80)) {
        properties::block_on(async { live(Bench::redis().await, &steps).await });
    }
}
