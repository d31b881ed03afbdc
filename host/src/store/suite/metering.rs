//! What tenants have used: counted once for each attempt, by day, and there after a restart.

use super::*;

for_each_backend!(
    what_is_used_adds_up_by_day_and_tenant,
    an_attempt_that_is_not_recorded_is_not_counted,
    what_was_counted_is_kept_when_its_task_and_its_tenant_are_gone,
    what_was_counted_survives_a_restart,
    the_fuel_of_a_day_is_read_of_many_at_once
);

const DAY_SECONDS: i64 = 86_400;

fn ended(now: Timestamp, fuel: u64) -> Settlement {
    let usage = Usage {
        fuel: Some(fuel),
        peak_memory_bytes: 1 << 30,
        cpu_seconds: 0.25,
        wall_seconds: 2.0,
        instantiate_seconds: 0.0,
    };
    Settlement { usage, ..settlement(success("1"), now) }
}

/// Runs a task to an end, and tries to end it once more.
async fn run(bench: &Bench, name: &str, now: Timestamp, fuel: u64) {
    bench.submit(vec![message(name)], now).await;
    let lease = bench.lease_one(now).await;
    assert_eq!(bench.store.commit(lease.key, ended(now, fuel)).await.unwrap(), Fenced::Applied);
    assert_eq!(bench.store.commit(lease.key, ended(now, fuel)).await.unwrap(), Fenced::Refused);
}

async fn used(bench: &Bench, since: Timestamp) -> Vec<(u64, u64, f64, f64)> {
    let days = bench.store.metered(&tenant(), since).await.unwrap();
    days.iter().map(|day| (day.attempts, day.fuel, day.cpu_seconds, day.memory_gib_seconds)).collect()
}

async fn what_is_used_adds_up_by_day_and_tenant(bench: Bench) {
    assert_eq!(used(&bench, at(0)).await, []);
    run(&bench, "a", at(1), 5).await;
    run(&bench, "b", at(2), 7).await;
    run(&bench, "c", at(DAY_SECONDS + 1), 1 << 53).await;
    let (first, second) = ((2, 12, 0.5, 4.0), (1, 1 << 53, 0.25, 2.0));
    assert_eq!(used(&bench, at(0)).await, [second, first]);
    assert_eq!(used(&bench, at(DAY_SECONDS)).await, [second]);
    let days = bench.store.metered(&tenant(), at(0)).await.unwrap();
    assert!(days[0].day > days[1].day && days[0].day.len() == 10, "{days:?}");
    assert_eq!(bench.store.metered(&TenantId::new("other").unwrap(), at(0)).await.unwrap(), []);
}

async fn an_attempt_that_is_not_recorded_is_not_counted(bench: Bench) {
    bench.submit(vec![message("a"), message("b")], at(1)).await;
    let lease = bench.lease_one(at(1)).await;
    bench.store.release(lease.key, true).await.unwrap();
    assert_eq!(bench.store.commit(lease.key, ended(at(2), 5)).await.unwrap(), Fenced::Refused);
    // Nobody ran it.
    bench.store.revoke(&tenant(), &id("b"), at(2)).await.unwrap();
    assert_eq!(used(&bench, at(0)).await, []);
}

async fn what_was_counted_is_kept_when_its_task_and_its_tenant_are_gone(bench: Bench) {
    run(&bench, "a", at(1), 5).await;
    let before = used(&bench, at(0)).await;
    bench.store.forget(&tenant(), &id("a")).await.unwrap();
    bench.store.unregister(&tenant()).await.unwrap();
    assert_eq!((used(&bench, at(0)).await, before.len()), (before, 1));
}

async fn what_was_counted_survives_a_restart(mut bench: Bench) {
    run(&bench, "a", at(1), 5).await;
    bench.restart().await;
    run(&bench, "b", at(1), 5).await;
    assert_eq!(used(&bench, at(0)).await, [(2, 10, 0.5, 4.0)]);
}

async fn the_fuel_of_a_day_is_read_of_many_at_once(mut bench: Bench) {
    let [nobody, other] = ["nobody", "other"].map(|name| TenantId::new(name).unwrap());
    let tenants = [nobody, tenant(), other.clone()];
    let fuel = async |bench: &Bench, on| bench.store.fuel_used(&tenants, on).await.unwrap();
    assert_eq!(fuel(&bench, at(0)).await, [0, 0, 0]);
    run(&bench, "a", at(1), 5).await;
    run(&bench, "b", at(2), 7).await;
    let next_day = at(DAY_SECONDS + 1);
    run(&bench, "c", next_day, 1 << 53).await;
    bench.offer(&other, vec![message("d")], next_day, u64::MAX).await;
    let lease = bench.lease_one(next_day).await;
    assert_eq!(bench.store.commit(lease.key, ended(next_day, 3)).await.unwrap(), Fenced::Applied);
    bench.restart().await;
    assert_eq!(fuel(&bench, at(9)).await, [0, 12, 0]);
    assert_eq!(fuel(&bench, at(DAY_SECONDS)).await, [0, 1 << 53, 3]);
    assert!(bench.store.fuel_used(&[], at(0)).await.unwrap().is_empty());
}
