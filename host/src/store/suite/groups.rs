//! Results of groups: kept, found, dropped, expired.

use super::*;

for_each_backend!(a_saved_group_is_found_by_its_id, groups_expire_by_when_they_were_saved);

fn group(name: &str, members: &[&str]) -> ResultTuple {
    let parent = Some(Box::new(ResultTuple::of(id("before"))));
    let children = Some(members.iter().map(|member| ResultTuple::of(id(member))).collect());
    ResultTuple { parent, children, ..ResultTuple::of(id(name)) }
}

async fn save(bench: &Bench, name: &str, members: &[&str], now: Timestamp) {
    bench.store.save_group(&tenant(), &id(name), &group(name, members), now).await.unwrap();
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
