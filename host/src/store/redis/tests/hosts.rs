//! Several hosts on one server, some of which are lost.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use lovage_model::Digest;

use super::*;
use crate::store::{Fenced, Joins, Modules, Orders, Results, StoreError, Upload};

#[tokio::test]
async fn what_a_lost_host_had_is_back_within_its_lease() {
    let bench = Bench::new().await;
    let other = bench.host("host-2").await;
    bench.submit(vec![message("ours")]).await;
    bench.ask::<u64>("LPUSH", "celery", &[&plain("theirs")]).await;
    let held = bench.lease(9, at(0)).await;
    assert_eq!(held.len(), 2);
    assert!(lease(&other, 9, at(9)).await.leases.is_empty());
    let again = lease(&other, 9, at(10)).await.leases;
    let mut seen: Vec<_> = again.iter().map(|it| (it.message.id.as_str(), it.deliveries)).collect();
    seen.sort_unstable();
    assert_eq!(seen, [("ours", 2), ("theirs", 2)]);
    for old in &held {
        assert_eq!(bench.commit(old.key, success("1", at(11))).await, Fenced::Refused);
        assert_eq!(bench.store.renew(vec![old.key], at(99)).await.unwrap(), [old.key]);
    }
    let first = again.iter().find(|it| it.message.id.as_str() == "theirs").unwrap();
    assert_eq!(other.commit(first.key, success("2", at(11))).await.unwrap(), Fenced::Applied);
    assert_eq!(bench.meta("theirs").await["result"], 2);
    assert_eq!(
        bench.store.task(&tenant(), &"ours".parse().unwrap()).await.unwrap().unwrap().worker.as_deref(),
        Some("host-2")
    );
}

#[tokio::test]
async fn who_is_back_first_takes_nothing_from_who_lives() {
    let bench = Bench::new().await;
    let other = bench.host("host-2").await;
    bench.submit(vec![message("a")]).await;
    bench.lease_one(at(0)).await;
    assert!(lease(&other, 1, at(1)).await.leases.is_empty());
    other.turn.lock().await.missed();
    let spared = lease(&other, 1, at(15)).await;
    assert!(spared.leases.is_empty() && spared.next_due > Some(at(15)), "{:?}", spared.next_due);
    assert_eq!(lease(&other, 1, at(25)).await.leases.len(), 1, "nobody has renewed it");
}

#[tokio::test]
async fn a_host_that_comes_back_has_its_own_at_once() {
    let bench = Bench::new().await;
    let other = bench.host("host-2").await;
    bench.submit(vec![message("a"), message("b")]).await;
    bench.lease_one(at(0)).await;
    assert_eq!(lease(&other, 1, at(0)).await.leases.len(), 1);
    let Bench { store, options, .. } = bench;
    drop(store);
    let back = RedisStore::open(options, at(1)).await.unwrap();
    let leases = lease(&back, 9, at(1)).await.leases;
    assert_eq!(leases.len(), 1, "the other host's stays");
    assert_eq!((leases[0].message.id.as_str(), leases[0].deliveries), ("a", 2));
}

/// Of schema 1, what was ours of a tenant was below its clients' keys.
#[tokio::test]
async fn what_an_older_version_left_is_found() {
    use crate::store::{Access as _, Place, Store as _, Values as _};
    use lovage_model::{TenantPolicy, TenantView};
    let bench = Bench::new().await;
    let acme = TenantId::new("acme").unwrap();
    bench
        .store
        .register(TenantView { name: acme.clone(), created_at: at(0), policy: TenantPolicy::default() })
        .await
        .unwrap();
    bench.store.submit(&acme, vec![Plan::of(message("a"))], at(0), Room::UNLIMITED).await.unwrap();
    let place = Place { tenant: acme.clone(), bucket: "tasks:b".to_owned(), key: "k".to_owned() };
    bench.store.keep_value(place.clone(), "v".into(), u64::MAX).await.unwrap().unwrap();
    let old = |key: &str| key.replace("lovage:of:{acme}:", "lovage:{acme}:lovage:");
    let keys: Vec<String> = bench.ask("KEYS", "lovage:of:{acme}:*", &[]).await;
    assert!(keys.len() >= 5, "{keys:?}");
    for key in &keys {
        let key = key.strip_prefix(&bench.options.global_keyprefix).unwrap();
        bench.ask::<()>("RENAME", key, &[&bench.key(&old(key))]).await;
    }
    bench.ask::<i64>("DECRBY", "lovage:{acme}:lovage:value-room", &["7"]).await;
    bench.ask::<u64>("HSET", "lovage:counters", &["schema", "1"]).await;
    let Bench { store, options, client, .. } = bench;
    store.close().await.unwrap();
    let store = RedisStore::open(options, at(1)).await.unwrap();
    let room = 64 + 7 + 1 + 1;
    let full = store.keep_value(place.clone(), "vv".into(), room).await.unwrap();
    assert_eq!(full, Err(crate::store::Unkept::Full), "the name of its bucket counts");
    assert!(store.value(place).await.unwrap().is_some());
    let leases = lease(&store, 9, at(1)).await.leases;
    assert_eq!(leases.iter().map(|lease| lease.message.id.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(store.commit(leases[0].key, success("1", at(2))).await.unwrap(), Fenced::Applied);
    let mut client = client.clone();
    let left: Vec<String> = redis::cmd("KEYS").arg("*lovage:{acme}:lovage:*").query_async(&mut client).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn two_hosts_of_one_name_are_refused() {
    let bench = Bench::new().await;
    let twin = RedisStore::open(bench.options.clone(), at(0)).await;
    assert!(matches!(twin, Err(StoreError::Busy(what)) if what.contains("host-1")));
    bench.host("host-2").await;
}

/// A name is whatever a client says.
#[tokio::test]
async fn who_is_another_user_keeps_no_host_from_its_name() {
    let server = Server::start(&[]);
    let bench = Bench::on(&server).await;
    let mut client = bench.client.clone();
    let user = ["SETUSER", "acme", "on", ">secret", "+@all", "-client", "+client|setname"];
    redis::cmd("ACL").arg(&user).query_async::<()>(&mut client).await.unwrap();
    redis::cmd("AUTH").arg("acme").arg("secret").query_async::<()>(&mut client).await.unwrap();
    let name = bench.store.link.name().replace("host-1", "host-2");
    redis::cmd("CLIENT").arg("SETNAME").arg(&name).query_async::<()>(&mut client).await.unwrap();
    bench.host("host-2").await;
    redis::cmd("AUTH").arg("default").arg("").query_async::<()>(&mut client).await.unwrap();
    let twin = RedisStore::open(Options { hostname: "host-2".to_owned(), ..bench.options.clone() }, at(0)).await;
    assert!(matches!(twin, Err(StoreError::Busy(_))), "it is the same user's now");
}

#[tokio::test]
async fn a_broken_connection_is_made_again_and_rings() {
    let server = Server::start(&[]);
    let bench = Bench::on(&server).await;
    bench.submit(vec![message("a")]).await;
    let _ = bench.store.ready().now_or_never();
    let _ = bench.store.any_ended().now_or_never();
    redis::cmd("CLIENT")
        .arg("KILL")
        .arg("TYPE")
        .arg("pubsub")
        .query_async::<u64>(&mut bench.client.clone())
        .await
        .unwrap();
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, bench.store.ready()).await.expect("it rings after that");
    tokio::time::timeout(patience, bench.store.any_ended()).await.expect("it rings after that");
    redis::cmd("CLIENT")
        .arg("KILL")
        .arg("SKIPME")
        .arg("yes")
        .query_async::<u64>(&mut bench.client.clone())
        .await
        .unwrap();
    // The first call may notice; the next one has another connection.
    let _ = bench.store.task(&tenant(), &"a".parse().unwrap()).await;
    assert_eq!(bench.lease(9, at(1)).await.len(), 1);
}

#[tokio::test]
async fn what_was_granted_and_never_heard_of_comes_again() {
    let bench = Bench::new().await;
    bench.submit(vec![message("a"), message("b")]).await;
    let heard = bench.lease_one(at(0)).await;
    let from = bench.store.tokens.load(std::sync::atomic::Ordering::Relaxed);
    let unheard = bench.lease_one(at(0)).await;
    // As if the answer had been lost.
    bench.store.unheard.store(from, std::sync::atomic::Ordering::Relaxed);
    let again = bench.lease_one(at(1)).await;
    assert_eq!((&again.message.id, again.deliveries), (&unheard.message.id, 2));
    assert_eq!(bench.commit(unheard.key, success("1", at(1))).await, Fenced::Refused);
    assert_eq!(bench.commit(heard.key, success("1", at(1))).await, Fenced::Applied);
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_known_again() {
    let bench = Bench::new().await;
    bench.submit(vec![message("a")]).await;
    let lease = bench.lease_one(at(0)).await;
    let taken = bench.store.leases.get(lease.key).unwrap();
    assert_eq!(bench.commit(lease.key, success("1", at(1))).await, Fenced::Applied);
    bench.store.leases.add(lease.key, taken.clone());
    assert_eq!(bench.commit(lease.key, success("1", at(1))).await, Fenced::Refused, "nobody doubted it");
    bench.store.leases.add(lease.key, taken);
    bench.store.leases.doubt(lease.key);
    assert_eq!(bench.commit(lease.key, success("1", at(1))).await, Fenced::Applied);
}

#[tokio::test]
async fn a_host_hears_of_what_others_did() {
    let bench = Bench::new().await;
    let other = bench.host("host-2").await;
    for _ in 0..2 {
        let _ = other.ready().now_or_never();
        let _ = other.modules_changed().now_or_never();
    }
    bench.submit(vec![Message { eta: Some(at(5)), ..message("a") }]).await;
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, other.ready()).await.expect("an earlier ETA");
    let digest = Digest::from_bytes(&[7; 32]);
    let upload = Upload { name: "tour".parse().unwrap(), digest, component: Bytes::from_static(b"x"), tasks: vec![] };
    bench.store.push(&tenant(), upload, at(0)).await.unwrap();
    tokio::time::timeout(patience, other.modules_changed()).await.expect("a module");
    assert_eq!(other.active(&tenant()).await.unwrap().len(), 1);
    let queue = "q".parse().unwrap();
    assert_eq!(bench.store.pause(&tenant(), &queue, true).await.unwrap(), crate::store::Paused::Changed);
    bench.submit(vec![Message { queue: queue.clone(), ..message("b") }]).await;
    assert!(lease(&other, 9, at(1)).await.leases.is_empty());
    bench.store.pause(&tenant(), &queue, false).await.unwrap();
    tokio::time::timeout(patience, other.ready()).await.expect("it goes on");
    assert_eq!(lease(&other, 9, at(1)).await.leases.len(), 1);
}
