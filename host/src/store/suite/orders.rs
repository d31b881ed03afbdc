//! Orders about messages: postponing, pausing, revoking by stamp.

use futures_util::FutureExt;
use futures_util::future::join_all;
use lovage_model::{State, Then};

use super::plans::*;
use super::*;
use crate::store::{Filter, MOST_PAUSED, Paused, Revoked};

for_each_backend!(
    a_postponed_message_was_not_delivered,
    nothing_is_leased_from_a_paused_queue,
    a_paused_queue_is_listed,
    of_those_who_pause_at_once_only_so_many_do,
    a_stamp_finds_what_has_not_ended,
    a_stamp_follows_its_message,
    a_revoke_by_stamp_is_told_to_those_that_wait,
    an_untracked_task_shows_as_pending,
);

async fn a_postponed_message_was_not_delivered(mut bench: Bench) {
    bench.submit(vec![message("a"), message("b")], at(0)).await;
    let key = bench.lease_one(at(1)).await.key;
    assert_eq!(bench.store.postpone(key, at(30)).await.unwrap(), Fenced::Applied);
    assert_eq!(bench.store.postpone(key, at(40)).await.unwrap(), Fenced::Refused);
    bench.restart().await;
    let a = bench.task("a").await;
    assert_eq!((a.status, a.deliveries, a.worker, a.eta), (State::Pending, 0, None, None));
    assert_eq!(a.waiting_for.as_deref(), Some("rate limit"));
    let views = bench.store.queues(&tenant(), at(2)).await.unwrap();
    assert_eq!((views[0].ready, views[0].scheduled, views[0].leased), (1, 1, 0));
    let leased = bench.store.lease(ask_of(&["none"], 9, at(29))).await.unwrap();
    assert_eq!((leased.leases.len(), leased.next_due), (0, Some(at(30))));
    let leases = bench.lease(9, at(30)).await;
    assert_eq!(ids(&leases), ["a", "b"], "it has its old place");
    assert_eq!((leases[0].deliveries, &leases[0].message), (1, &message("a")));
    // What waits so can be revoked.
    assert_eq!(bench.store.postpone(leases[0].key, at(60)).await.unwrap(), Fenced::Applied);
    assert_eq!(bench.store.revoke(&tenant(), &id("a"), at(31)).await.unwrap(), Revoked::Waiting);
    assert_eq!(bench.store.postpone(leases[1].key, at(60)).await.unwrap(), Fenced::Applied);
    assert_eq!(bench.store.purge(&tenant(), &QueueName::default(), at(31)).await.unwrap(), 1);
    assert!(bench.lease(9, at(99)).await.is_empty());
}

async fn nothing_is_leased_from_a_paused_queue(mut bench: Bench) {
    let other = TenantId::new("other").unwrap();
    bench.submit(vec![in_queue("a", "x"), in_queue("b", "y")], at(0)).await;
    bench.offer(&other, vec![in_queue("o", "x")], at(0), 9).await;
    let pause = async |bench: &Bench, paused| bench.store.pause(&tenant(), &queue("x"), paused).await.unwrap();
    assert_eq!(pause(&bench, true).await, Paused::Changed);
    assert_eq!(pause(&bench, true).await, Paused::AsBefore);
    bench.restart().await;
    for (of, name, paused) in [(tenant(), "x", true), (tenant(), "y", false), (other.clone(), "x", false)] {
        assert_eq!(bench.store.is_paused(&of, &queue(name)).await.unwrap(), paused, "{of} {name}");
    }
    assert_eq!(ids(&bench.lease(9, at(1)).await), ["b", "o"], "another tenant's queue goes on");
    assert!(bench.store.lease(ask_of(&["x"], 9, at(1))).await.unwrap().leases.is_empty());
    bench.submit(vec![in_queue("c", "x")], at(2)).await;
    assert!(bench.lease(9, at(2)).await.is_empty(), "what comes later waits too");
    let _ = bench.store.ready().now_or_never();
    assert_eq!(pause(&bench, false).await, Paused::Changed);
    assert!(!bench.store.is_paused(&tenant(), &queue("x")).await.unwrap());
    bench.store.ready().await;
    assert_eq!(pause(&bench, false).await, Paused::AsBefore);
    assert_eq!(ids(&bench.lease(9, at(3)).await), ["a", "c"]);
}

async fn a_paused_queue_is_listed(mut bench: Bench) {
    let mut plan = chain(&["a", "b"]);
    for one in &mut plan.tasks {
        one.message.queue = queue("x");
    }
    bench.plan(plan, at(0)).await;
    bench.submit(vec![in_queue("c", "y")], at(0)).await;
    bench.store.pause(&tenant(), &queue("x"), true).await.unwrap();
    bench.store.pause(&tenant(), &queue("empty"), true).await.unwrap();
    bench.restart().await;
    let views = bench.store.queues(&tenant(), at(5)).await.unwrap();
    let seen: Vec<_> = views.iter().map(|it| (it.name.as_str(), it.ready, it.blocked, it.paused)).collect();
    assert_eq!(seen, [("empty", 0, 0, true), ("x", 1, 1, true), ("y", 1, 0, false)]);
    bench.store.pause(&tenant(), &queue("empty"), false).await.unwrap();
    assert_eq!(bench.store.queues(&tenant(), at(5)).await.unwrap().len(), 2);
    let stranger = TenantId::new("stranger").unwrap();
    let paused = bench.store.pause(&stranger, &queue("x"), true).await.unwrap();
    assert_eq!(paused, Paused::Changed, "nobody needs to have been here");
    assert_eq!(bench.store.queues(&stranger, at(5)).await.unwrap().len(), 1);
}

async fn of_those_who_pause_at_once_only_so_many_do(bench: Bench) {
    let store = &bench.store;
    let pause = |name: String| async move { store.pause(&tenant(), &queue(&name), true).await.unwrap() };
    let found = join_all((0..MOST_PAUSED + 9).map(|n| pause(format!("q{n}")))).await;
    assert_eq!(found.iter().filter(|it| **it == Paused::Changed).count(), MOST_PAUSED);
    assert_eq!(found.iter().filter(|it| **it == Paused::Full).count(), 9);
    let views = bench.store.queues(&tenant(), at(1)).await.unwrap();
    assert_eq!(views.len(), MOST_PAUSED);
    let name: QueueName = views[0].name.parse().unwrap();
    assert_eq!(bench.store.pause(&tenant(), &name, true).await.unwrap(), Paused::AsBefore);
    // Those of a tenant whose name begins as its own does are another's.
    let other = TenantId::new("default2").unwrap();
    assert_eq!(bench.store.pause(&other, &name, true).await.unwrap(), Paused::Changed);
    assert_eq!(bench.store.pause(&tenant(), &name, false).await.unwrap(), Paused::Changed);
    assert_eq!(pause("more".to_owned()).await, Paused::Changed);
}

fn stamped(name: &str, stamp: &str, value: &str) -> Message {
    Message { stamps: [(stamp.to_owned(), json(value))].into(), ..message(name) }
}

async fn a_stamp_finds_what_has_not_ended(mut bench: Bench) {
    let later = Message { eta: Some(at(50)), ..stamped("later", "job", r#"["x", "y"]"#) };
    let all = [
        stamped("running", "job", r#""x""#),
        stamped("done", "job", r#""x""#),
        stamped("ready", "job", r#" "\u0078" "#),
        stamped("number", "job", "7"),
        stamped("other", "job", r#""z""#),
        stamped("elsewhere", "task", r#""x""#),
        later,
    ];
    let stranger = TenantId::new("stranger").unwrap();
    bench.offer(&stranger, vec![Message { priority: 9, ..stamped("theirs", "job", r#""x""#) }], at(0), 9).await;
    bench.submit(all.to_vec(), at(0)).await;
    let leases = bench.lease(2, at(0)).await;
    bench.commit(leases[1].key, success("1"), at(1)).await;
    bench
        .plan(Plan { tasks: vec![planned(stamped("blocked", "job", r#"["y"]"#), "running")], joins: vec![] }, at(1))
        .await;
    bench.restart().await;
    let key = bench.lease_one(at(2)).await.key;
    let values = [json(r#""x""#), json("7"), json(r#""y""#), json(r#""none""#)];
    let found = bench.store.revoke_stamped(&tenant(), "job", &values, at(3)).await.unwrap();
    let waiting = |name: &str| (id(name), Revoked::Waiting);
    let running = (id("running"), Revoked::Running(key));
    assert_eq!(found, [running.clone(), waiting("ready"), waiting("number"), waiting("later"), waiting("blocked")]);
    for name in ["ready", "later", "blocked"] {
        assert_eq!(bench.task(name).await.status, State::Revoked, "{name}");
    }
    assert_eq!(bench.store.revoke_stamped(&tenant(), "job", &values, at(4)).await.unwrap(), [running]);
    assert!(bench.store.revoke_stamped(&tenant(), "job", &[], at(4)).await.unwrap().is_empty());
    assert_eq!(ids(&bench.lease(9, at(4)).await), ["other", "elsewhere", "theirs"]);
}

async fn a_stamp_follows_its_message(bench: Bench) {
    let revoke = async |value: &str| bench.store.revoke_stamped(&tenant(), "job", &[json(value)], at(5)).await.unwrap();
    bench.submit(vec![stamped("a", "job", "1")], at(0)).await;
    let key = bench.lease_one(at(0)).await.key;
    bench.commit(key, retry(Message { retries: 1, ..stamped("a", "job", "2") }), at(1)).await;
    assert!(revoke("1").await.is_empty());
    assert_eq!(revoke("2").await, [(id("a"), Revoked::Waiting)]);
    // It runs again by an order, and is found again.
    bench.store.resubmit(&tenant(), &id("a"), at(6), Room::UNLIMITED).await.unwrap();
    assert_eq!(revoke("2").await, [(id("a"), Revoked::Waiting)]);
    // What waited is given another message when it is released.
    let tasks = vec![Planned { message: next("x"), awaits: None }, planned(stamped("y", "job", "3"), "x")];
    bench.plan(Plan { tasks, joins: vec![] }, at(7)).await;
    bench.run_next("x", "1", at(8)).await;
    assert_eq!(revoke("3").await, [(id("y"), Revoked::Waiting)]);
    bench.store.forget(&tenant(), &id("y")).await.unwrap();
    bench.submit(vec![message("y")], at(9)).await;
    assert!(revoke("3").await.is_empty());
}

async fn a_revoke_by_stamp_is_told_to_those_that_wait(bench: Bench) {
    let mut plan = chain(&["a", "b", "c"]);
    plan.append(header("g", &["p"], Then::Next));
    for one in plan.tasks.iter_mut().filter(|one| one.message.id != id("c")) {
        one.message.stamps = [("job".to_owned(), json("1"))].into();
    }
    bench.plan(plan, at(0)).await;
    let found = bench.store.revoke_stamped(&tenant(), "job", &[json("1")], at(1)).await.unwrap();
    assert_eq!(found, ["a", "b", "p"].map(|name| (id(name), Revoked::Waiting)));
    let mut ended: Vec<String> = bench.ended().await.into_iter().map(|one| one.id.to_string()).collect();
    ended.sort_unstable();
    assert_eq!(ended, ["a", "b", "g"], "b still waited for a when that was revoked");
}

async fn an_untracked_task_shows_as_pending(bench: Bench) {
    let untracked = Message { untracked: true, ..message("a") };
    bench.submit(vec![untracked.clone(), message("b")], at(0)).await;
    let leases = bench.lease(2, at(0)).await;
    let of_state = async |state: State| {
        let filter = Filter { state: Some(state), limit: 9, ..Filter::default() };
        let page = bench.store.list(&tenant(), filter).await.unwrap();
        page.tasks.into_iter().map(|task| task.task_id.to_string()).collect::<Vec<_>>()
    };
    let a = bench.task("a").await;
    assert_eq!((a.status, a.worker.as_deref(), a.waiting_for), (State::Pending, Some("host-1"), None));
    assert_eq!((of_state(State::Pending).await, of_state(State::Started).await), (vec!["a".into()], vec!["b".into()]));
    let busy = bench.store.forget(&tenant(), &id("a")).await.unwrap();
    assert_eq!(busy, crate::store::Redone::Busy(State::Pending));
    bench.store.report(leases[0].key, "PROGRESS".to_owned(), json("1")).await.unwrap();
    assert_eq!(of_state(State::from_name("PROGRESS")).await, ["a"]);
    assert!(of_state(State::Pending).await.is_empty());
    bench.commit(leases[0].key, retry(Message { retries: 1, ..untracked }), at(1)).await;
    assert_eq!(of_state(State::Retry).await, ["a"]);
    bench.lease_one(at(1)).await;
    assert_eq!((of_state(State::Pending).await, of_state(State::Retry).await), (vec!["a".into()], vec![]));
}
