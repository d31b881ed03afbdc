//! Periodic tasks: what is kept of them, and that each of their times counts once.

use lovage_model::{EntryName, PeriodicTask, Schedule};

use super::*;
use crate::store::{LastRun, Periodic};

for_each_backend!(
    entries_are_kept_by_tenant_and_name,
    a_time_counts_once,
    a_change_keeps_what_was_run,
    those_of_a_tenant_are_dropped_together,
    all_of_it_survives_a_restart,
);

fn entry(name: &str, of: &TenantId, every: f64) -> Periodic {
    let entry = PeriodicTask {
        task: TaskName::new("tour.add").unwrap(),
        args: json("[1, 2]"),
        kwargs: json(r#"{"z": 12345678901234567890123}"#),
        options: Default::default(),
        schedule: Schedule::Every(Seconds::new(every).unwrap()),
        enabled: true,
        catch_up: false,
    };
    let (tenant, name) = (of.clone(), EntryName::new(name).unwrap());
    Periodic {
        tenant,
        name,
        entry,
        of_config: true,
        declared_by: Default::default(),
        since: at(1),
        last_run: None,
        total_run_count: 0,
    }
}

/// One of the tenant's.
pub(in crate::store) fn periodic(name: &str) -> Periodic {
    entry(name, &tenant(), 30.0)
}

fn run(slot: i64) -> LastRun {
    LastRun { slot: at(slot), at: at(slot + 1) }
}

async fn only(bench: &Bench) -> Periodic {
    let mut all = bench.store.periodic(None).await.unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

async fn entries_are_kept_by_tenant_and_name(bench: Bench) {
    let other = TenantId::new("other").unwrap();
    let all = [entry("a", &tenant(), 30.0), entry("b", &tenant(), 1.5), entry("a", &other, 7.0)];
    for one in all.iter().rev() {
        bench.store.set_periodic(one.clone()).await.unwrap();
    }
    assert_eq!(bench.store.periodic(None).await.unwrap(), all);
    assert_eq!(bench.store.periodic(Some(&tenant())).await.unwrap(), all[..2]);
    assert_eq!(bench.store.periodic(Some(&other)).await.unwrap(), all[2..]);
    for one in &all {
        assert_eq!(bench.store.periodic_one(&one.tenant, &one.name).await.unwrap().as_ref(), Some(one));
    }
    let [a, b, _] = &all;
    for (tenant, name) in [(&other, &b.name), (&TenantId::new("nobody").unwrap(), &a.name)] {
        assert_eq!(bench.store.periodic_one(tenant, name).await.unwrap(), None);
    }
    assert!(bench.store.remove_periodic(&tenant(), &a.name).await.unwrap());
    assert!(!bench.store.remove_periodic(&tenant(), &a.name).await.unwrap());
    assert!(!bench.store.remove_periodic(&TenantId::new("nobody").unwrap(), &a.name).await.unwrap());
    assert_eq!(bench.store.periodic(None).await.unwrap(), all[1..]);
}

async fn a_time_counts_once(bench: Bench) {
    let new = entry("a", &tenant(), 10.0);
    bench.store.set_periodic(new.clone()).await.unwrap();
    for (slot, is_news) in [(20, true), (20, false), (10, false), (30, true)] {
        assert_eq!(bench.store.note_run(&tenant(), &new.name, run(slot)).await.unwrap(), is_news, "{slot}");
    }
    let kept = only(&bench).await;
    assert_eq!((kept.last_run, kept.total_run_count), (Some(run(30)), 2));
    // By a clock that was hours ahead: it counts no more once that is right.
    for (slot, is_news) in [(400_000_000, true), (30, true), (30, false)] {
        assert_eq!(bench.store.note_run(&tenant(), &new.name, run(slot)).await.unwrap(), is_news, "{slot}");
    }
    assert_eq!(only(&bench).await.last_run, Some(run(30)));
    let unknown = EntryName::new("unknown").unwrap();
    assert!(!bench.store.note_run(&tenant(), &unknown, run(40)).await.unwrap());
}

async fn a_change_keeps_what_was_run(bench: Bench) {
    let first = entry("a", &tenant(), 10.0);
    bench.store.set_periodic(first.clone()).await.unwrap();
    assert!(bench.store.note_run(&tenant(), &first.name, run(20)).await.unwrap());
    let changed = Periodic { since: at(25), of_config: false, ..entry("a", &tenant(), 60.0) };
    bench.store.set_periodic(changed.clone()).await.unwrap();
    let kept = Periodic { last_run: Some(run(20)), total_run_count: 1, ..changed };
    assert_eq!(bench.store.periodic_one(&tenant(), &first.name).await.unwrap().as_ref(), Some(&kept));
    assert_eq!(only(&bench).await, kept);
}

async fn those_of_a_tenant_are_dropped_together(bench: Bench) {
    let other = TenantId::new("other").unwrap();
    for one in [entry("a", &tenant(), 30.0), entry("b", &tenant(), 30.0), entry("a", &other, 7.0)] {
        bench.store.set_periodic(one.clone()).await.unwrap();
        bench.store.note_run(&one.tenant, &one.name, run(20)).await.unwrap();
    }
    let before = bench.store.periodic_version().await.unwrap();
    bench.store.drop_periodic(&TenantId::new("nobody").unwrap()).await.unwrap();
    bench.store.drop_periodic(&tenant()).await.unwrap();
    assert_ne!(bench.store.periodic_version().await.unwrap(), before);
    assert_eq!(only(&bench).await.tenant, other);
    bench.store.set_periodic(entry("a", &tenant(), 30.0)).await.unwrap();
    let new = bench.store.periodic(Some(&tenant())).await.unwrap();
    assert_eq!((new.len(), new[0].last_run), (1, None), "nothing is known of who had the name before");
}

async fn all_of_it_survives_a_restart(mut bench: Bench) {
    let new = entry("a", &tenant(), 10.0);
    bench.store.set_periodic(new.clone()).await.unwrap();
    assert!(bench.store.note_run(&tenant(), &new.name, run(20)).await.unwrap());
    bench.restart().await;
    assert_eq!(only(&bench).await, Periodic { last_run: Some(run(20)), total_run_count: 1, ..new });
}
