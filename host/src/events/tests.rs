//! Who is told what: followers, losses, resuming.

use proptest::prelude::*;

use super::*;

fn hub() -> Arc<Hub> {
    Arc::new(Hub::new(Timestamp::from_micros(1000)))
}

fn event(id: &str, kind: EventKind) -> Event {
    Event::new(id.parse().unwrap(), "t".parse().unwrap(), Timestamp::from_micros(0), kind)
}

fn id(text: &str) -> TaskId {
    text.parse().unwrap()
}

fn sequence(notice: Notice) -> Option<u64> {
    match notice {
        Notice::Event(numbered) => numbered.sequence,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_follower_hears_of_its_task_only() {
    let (hub, tenant) = (hub(), TenantId::default());
    let mut one = hub.follow(&tenant, &id("a"), None);
    let mut all = hub.listen(&tenant, None);
    let other = TenantId::new("other").unwrap();
    hub.announce(&other, &[event("a", EventKind::Started)]);
    hub.announce(&tenant, &[event("b", EventKind::Started), event("a", EventKind::Ignored)]);
    assert_eq!(sequence(one.next().await), Some(1002));
    assert_eq!((sequence(all.next().await), sequence(all.next().await)), (Some(1001), Some(1002)));
}

#[tokio::test]
async fn a_slow_listener_is_told_what_it_lost() {
    let (hub, tenant) = (hub(), TenantId::default());
    let mut slow = hub.follow(&tenant, &id("a"), None);
    for _ in 0..TASK_BACKLOG + 5 {
        hub.announce(&tenant, &[event("a", EventKind::Started)]);
    }
    assert_eq!(slow.next().await, Notice::Lagged(5));
    assert_eq!(sequence(slow.next().await), Some(1006));
}

#[tokio::test]
async fn who_resumes_gets_what_is_kept_and_learns_what_is_not() {
    let (hub, tenant) = (hub(), TenantId::default());
    drop(hub.listen(&tenant, None));
    for _ in 0..10 {
        hub.announce(&tenant, &[event("a", EventKind::Started), event("b", EventKind::Started)]);
    }
    let mut resumed = hub.follow(&tenant, &id("a"), Some(1017));
    assert!(resumed.complete());
    assert_eq!(sequence(resumed.next().await), Some(1019));
    hub.announce(&tenant, &[event("a", EventKind::Ignored)]);
    assert_eq!(sequence(resumed.next().await), Some(1021));
    for _ in 0..KEPT {
        hub.announce(&tenant, &[event("c", EventKind::Started)]);
    }
    assert!(hub.follow(&tenant, &id("a"), Some(1021)).complete());
    assert!(!hub.follow(&tenant, &id("a"), Some(1020)).complete(), "no longer kept");
    assert!(!hub.follow(&tenant, &id("a"), Some(999)).complete(), "of an earlier run");
    assert!(!hub.follow(&tenant, &id("a"), Some(9_999)).complete(), "never given");
}

#[tokio::test]
async fn pieces_of_a_log_are_for_followers_only() {
    let (hub, tenant) = (hub(), TenantId::default());
    assert!(!hub.watched(&tenant, &id("a")));
    let mut all = hub.listen(&tenant, None);
    let mut follower = hub.follow(&tenant, &id("a"), None);
    assert!(hub.watched(&tenant, &id("a")) && !hub.watched(&tenant, &id("b")));
    let log = EventKind::Log { stream: "stdout".to_owned(), text: "hi".to_owned() };
    hub.announce(&tenant, &[event("a", log), event("a", EventKind::Ignored)]);
    assert_eq!(sequence(follower.next().await), None);
    assert_eq!(sequence(all.next().await), Some(1001), "the log is not here");
    drop(follower);
    assert!(!hub.watched(&tenant, &id("a")));
}

#[tokio::test]
async fn a_purge_makes_followers_look() {
    let (hub, tenant) = (hub(), TenantId::default());
    let mut follower = hub.follow(&tenant, &id("a"), None);
    hub.recheck(&tenant);
    assert_eq!(follower.next().await, Notice::Recheck);
}

#[tokio::test]
async fn what_nobody_can_hear_is_not_made() {
    let (hub, tenant) = (hub(), TenantId::default());
    let made = |hub: &Hub| {
        let mut made = false;
        hub.announce_with(&tenant, || {
            made = true;
            vec![event("a", EventKind::Started)]
        });
        made
    };
    assert!(!made(&hub), "nobody ever listened");
    let listener = hub.listen(&tenant, None);
    assert!(made(&hub));
    drop(listener);
    assert!((0..KEPT).all(|_| made(&hub)), "it may come back");
    assert!(hub.listen(&tenant, Some(1001)).complete());
    assert!((0..KEPT).all(|_| made(&hub)), "it may come back once more");
    assert!(!made(&hub) && !made(&hub), "now it is too late");
    let late = hub.listen(&tenant, Some(1001 + 2 * KEPT as u64));
    assert!(!late.complete() && !late.has_missed(), "it must be told of the loss");
}

#[tokio::test]
async fn a_host_signs_what_happens_there() {
    let hub = Arc::new(Hub::new(Timestamp::from_micros(0)).of_host("w@here"));
    let mut all = hub.listen(&TenantId::default(), None);
    hub.announce(&TenantId::default(), &[event("a", EventKind::Sent { call: None }), event("a", EventKind::Started)]);
    for expected in [None, Some("w@here")] {
        let Notice::Event(told) = all.next().await else { panic!("an event") };
        assert_eq!(told.event.hostname.as_deref(), expected);
    }
}

/// The way a waiter works: subscribe, look, wait. Whatever the threads do, it sees the end.
fn no_waiter_misses_the_end(tasks: usize, waiters: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    runtime.block_on(async {
        let (hub, ended) = (hub(), Arc::new(Mutex::new(std::collections::HashSet::new())));
        let mut all = tokio::task::JoinSet::new();
        for task in 0..tasks {
            for _ in 0..waiters {
                let (hub, ended) = (Arc::clone(&hub), Arc::clone(&ended));
                all.spawn(async move {
                    let mut following = hub.follow(&TenantId::default(), &id(&task.to_string()), None);
                    while !ended.lock().unwrap().contains(&task) {
                        following.next().await;
                    }
                });
            }
            let (hub, ended) = (Arc::clone(&hub), Arc::clone(&ended));
            all.spawn(async move {
                ended.lock().unwrap().insert(task);
                hub.announce(&TenantId::default(), &[event(&task.to_string(), EventKind::Ignored)]);
            });
        }
        all.join_all().await;
        assert!(hub.lock().tenants.values().all(|channel| channel.tasks.is_empty()), "nothing is left behind");
        assert_eq!(hub.followed.load(Ordering::Acquire), 0);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]
    #[test]
    fn waiters_and_announcements_in_any_order(tasks in 1_usize..60, waiters in 1_usize..6) {
        no_waiter_misses_the_end(tasks, waiters);
    }
}
