//! Results of groups: kept, found, dropped, expired.

use super::*;
use crate::store::values::written_group;
use crate::store::{Place, Unkept, VALUE_OVERHEAD_BYTES};

for_each_backend!(
    a_saved_group_is_found_by_its_id,
    groups_expire_by_when_they_were_saved,
    groups_take_of_what_a_tenant_may_keep,
    groups_are_dropped_with_all_that_a_tenant_keeps,
);

fn group(name: &str, members: &[&str]) -> ResultTuple {
    let parent = Some(Box::new(ResultTuple::of(id("before"))));
    let children = Some(members.iter().map(|member| ResultTuple::of(id(member))).collect());
    ResultTuple { parent, children, ..ResultTuple::of(id(name)) }
}

async fn save(bench: &Bench, name: &str, members: &[&str], now: Timestamp) {
    let group = group(name, members);
    assert!(bench.store.save_group(&tenant(), &id(name), &group, u64::MAX, now).await.unwrap());
}

async fn found(bench: &Bench, name: &str) -> Option<ResultTuple> {
    bench.store.group(&tenant(), &id(name)).await.unwrap()
}

async fn a_saved_group_is_found_by_its_id(mut bench: Bench) {
    assert_eq!(found(&bench, "g").await, None);
    save(&bench, "g", &["a", "b"], at(0)).await;
    save(&bench, "h", &[], at(0)).await;
    assert_eq!(found(&bench, "g").await, Some(group("g", &["a", "b"])));
    let stranger = TenantId::new("other").unwrap();
    assert_eq!(bench.store.group(&stranger, &id("g")).await.unwrap(), None);
    assert!(!bench.store.delete_group(&stranger, &id("g")).await.unwrap());
    save(&bench, "g", &["c"], at(1)).await;
    bench.restart().await;
    assert_eq!(found(&bench, "g").await, Some(group("g", &["c"])), "the last one counts");
    assert!(bench.store.delete_group(&tenant(), &id("g")).await.unwrap());
    assert!(!bench.store.delete_group(&tenant(), &id("g")).await.unwrap());
    bench.restart().await;
    assert_eq!(found(&bench, "g").await, None);
    assert_eq!(found(&bench, "h").await, Some(group("h", &[])));
}

async fn groups_expire_by_when_they_were_saved(bench: Bench) {
    for (name, saved) in [("c", 30), ("a", 10), ("b", 20), ("a", 40)] {
        save(&bench, name, &[name], at(saved)).await;
    }
    assert_eq!(bench.store.expire_groups(at(20), 9).await.unwrap(), 0, "what was saved at the time itself stays");
    assert_eq!(bench.store.expire_groups(at(99), 1).await.unwrap(), 1);
    assert!(found(&bench, "b").await.is_none() && found(&bench, "c").await.is_some());
    assert_eq!(bench.store.expire_groups(at(40), 9).await.unwrap(), 1);
    assert_eq!(found(&bench, "a").await, Some(group("a", &["a"])), "saved again, later");
}

async fn groups_take_of_what_a_tenant_may_keep(mut bench: Bench) {
    let (small, large) = (group("g", &["a"]), group("g", &["a", "b"]));
    let size = |group: &ResultTuple| written_group(&group.id, group).unwrap().1;
    // One of them, and a value of two bytes.
    let most = size(&small) + VALUE_OVERHEAD_BYTES + 2;
    let keep = async |bench: &Bench, group: &ResultTuple, now: Timestamp| {
        bench.store.save_group(&tenant(), &group.id, group, most, now).await.unwrap()
    };
    let value = async |bench: &Bench, key: &str| {
        let place = Place { tenant: tenant(), bucket: "b".to_owned(), key: key.to_owned() };
        bench.store.keep_value(place, Default::default(), most).await.unwrap()
    };
    assert!(keep(&bench, &small, at(0)).await);
    assert_eq!(value(&bench, "k").await, Ok(()));
    assert!(!keep(&bench, &large, at(1)).await, "there is no room for it");
    assert!(!keep(&bench, &group("h", &[]), at(1)).await);
    bench.restart().await;
    assert_eq!(found(&bench, "g").await, Some(small.clone()), "what was there is there");
    assert!(keep(&bench, &small, at(2)).await, "it takes no more than before");
    assert_eq!(value(&bench, "l").await, Err(Unkept::Full));
    // What is dropped, or has expired, makes room.
    assert!(bench.store.delete_group(&tenant(), &id("g")).await.unwrap());
    assert!(keep(&bench, &small, at(3)).await);
    assert_eq!(bench.store.expire_groups(at(4), 9).await.unwrap(), 1);
    assert_eq!(value(&bench, "l").await, Ok(()));
    assert!(!keep(&bench, &small, at(5)).await);
}

async fn groups_are_dropped_with_all_that_a_tenant_keeps(mut bench: Bench) {
    let other = TenantId::new("other").unwrap();
    assert!(bench.store.save_group(&other, &id("g"), &group("g", &[]), u64::MAX, at(0)).await.unwrap());
    for name in ["g", "h"] {
        save(&bench, name, &["a"], at(0)).await;
    }
    bench.store.drop_values(tenant()).await.unwrap();
    bench.restart().await;
    assert_eq!((found(&bench, "g").await, found(&bench, "h").await), (None, None));
    assert!(bench.store.group(&other, &id("g")).await.unwrap().is_some());
    assert_eq!(bench.store.expire_groups(at(9), 9).await.unwrap(), 1, "that of the other");
    let (_, size) = written_group(&id("g"), &group("g", &[])).unwrap();
    assert!(bench.store.save_group(&tenant(), &id("g"), &group("g", &[]), size, at(9)).await.unwrap(), "all is free");
}
