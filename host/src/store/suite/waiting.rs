//! Messages that wait for their time.

use super::*;

for_each_backend!(those_that_wait_for_their_time_are_listed, what_was_postponed_can_be_hastened);

fn due(name: &str, seconds: i64) -> Message {
    Message { eta: Some(at(seconds)), ..message(name) }
}

async fn waiting(bench: &Bench, max: usize) -> Vec<(String, Timestamp)> {
    let all = bench.store.scheduled(&tenant(), max).await.unwrap();
    all.into_iter().map(|(until, message)| (message.id.to_string(), until)).collect()
}

async fn those_that_wait_for_their_time_are_listed(bench: Bench) {
    bench.submit(vec![due("late", 50), message("now"), due("soon", 20)], at(0)).await;
    let other = TenantId::new("other").unwrap();
    bench.offer(&other, vec![due("theirs", 10)], at(0), 10).await;
    assert_eq!(waiting(&bench, 9).await, [("soon".to_owned(), at(20)), ("late".to_owned(), at(50))]);
    assert_eq!(waiting(&bench, 1).await.len(), 1);
    let key = bench.lease_one(at(1)).await.key;
    assert_eq!(bench.store.postpone(key, at(30)).await.unwrap(), Fenced::Applied);
    assert_eq!(waiting(&bench, 9).await[1], ("now".to_owned(), at(30)));
    let all = bench.store.scheduled(&tenant(), 9).await.unwrap();
    assert_eq!(all[1].1, message("now"), "with its own message");
    assert_eq!(bench.task("now").await.waiting_for.as_deref(), Some("rate limit"));
    assert_eq!(bench.task("late").await.waiting_for.as_deref(), Some("eta"));
}

async fn what_was_postponed_can_be_hastened(bench: Bench) {
    bench.submit(vec![message("a"), message("b"), message("c"), message("d"), due("e", 60)], at(0)).await;
    let keys: Vec<_> = bench.lease(3, at(1)).await.iter().map(|lease| lease.key).collect();
    for key in &keys {
        assert_eq!(bench.store.postpone(*key, at(60)).await.unwrap(), Fenced::Applied);
    }
    // Revoked meanwhile; postponed to another time; and one that nobody postponed.
    bench.store.revoke(&tenant(), &id("b"), at(2)).await.unwrap();
    let wishes = [(keys[0], at(60)), (keys[1], at(60)), (keys[2], at(61))].map(|(key, until)| (key.task, until));
    assert_eq!(bench.store.hasten(wishes.to_vec(), at(3)).await.unwrap(), 1);
    let leases = bench.lease(9, at(3)).await;
    assert_eq!(ids(&leases), ["a", "d"], "it has its old place");
    assert_eq!((leases[0].deliveries, &leases[0].message), (1, &message("a")));
    let views = bench.store.queues(&tenant(), at(3)).await.unwrap();
    assert_eq!((views[0].ready, views[0].scheduled, views[0].leased), (0, 2, 2));
    assert_eq!(bench.store.hasten(wishes.to_vec(), at(4)).await.unwrap(), 0);
    // Those that were leased have lapsed by then.
    assert_eq!(ids(&bench.lease(9, at(60)).await), ["a", "c", "d", "e"]);
}
