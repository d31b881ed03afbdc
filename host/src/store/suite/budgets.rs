//! Budgets: what is stored whole or not at all, how much may be stored, and how much is kept.

use lovage_model::{State, Then};

use super::plans::*;
use super::*;
use crate::store::Redone;

for_each_backend!(
    a_plan_is_stored_whole_or_not_at_all,
    a_plan_needs_room_for_all_its_tasks,
    what_a_commit_publishes_needs_its_ids,
    what_a_commit_publishes_needs_room,
    what_waits_for_its_time_needs_room_of_its_own,
    what_runs_again_needs_room,
    descendants_of_a_call_are_counted,
    the_newest_logs_and_children_are_kept,
    an_ignored_error_is_dropped,
    a_lease_call_reads_a_bounded_amount,
);

async fn what_runs_again_needs_room(bench: Bench) {
    bench.run_to("a", success("1"), at(0)).await;
    bench.submit(["b", "c"].map(message).to_vec(), at(1)).await;
    let room = |queued_tasks| Room { queued_tasks, ..Room::UNLIMITED };
    let again = async |bench: &Bench, room| bench.store.resubmit(&tenant(), &id("a"), at(2), room).await.unwrap();
    assert_eq!(again(&bench, room(2)).await, Redone::Full(Quota::QueuedTasks));
    assert_eq!(bench.task("a").await.status, State::Success);
    assert_eq!(again(&bench, room(3)).await, Redone::Done);
}

async fn a_plan_is_stored_whole_or_not_at_all(mut bench: Bench) {
    let submit = async |bench: &Bench, plans: Vec<Plan>| {
        bench.store.submit(&tenant(), plans, at(0), Room::UNLIMITED).await.unwrap()
    };
    let first = chord("g", &["a", "b"], "body");
    assert_eq!(submit(&bench, vec![first.clone(), first.clone()]).await, [Submitted::Stored, Submitted::Exists]);
    bench.restart().await;
    let taken = |name: &str| Submitted::Taken(id(name));
    let twice = Plan { joins: vec![join("h", 1), join("h", 1)], ..Plan::of(part("x", "h", 0)) };
    let plans = vec![chain(&["x", "b", "a"]), chain(&["x", "y", "x"]), header("g", &["x"], Then::Next), twice];
    assert_eq!(submit(&bench, plans).await, [taken("b"), taken("x"), taken("g"), taken("h")]);
    assert_eq!(bench.store.task(&tenant(), &id("x")).await.unwrap(), None);
    assert_eq!(bench.followers("x").await, [""; 0]);
    assert_eq!(
        submit(&bench, vec![header("h", &["x"], Then::Next), first]).await,
        [Submitted::Stored, Submitted::Exists]
    );
    assert_eq!(ids(&bench.lease(9, at(1)).await), ["a", "b", "x"]);
}

async fn a_plan_needs_room_for_all_its_tasks(mut bench: Bench) {
    let submit = async |bench: &Bench, plan: Plan, queued_tasks| {
        let room = Room { queued_tasks, descendants: 0, ..Room::UNLIMITED };
        bench.store.submit(&tenant(), vec![plan], at(0), room).await.unwrap().remove(0)
    };
    let full = Submitted::Full(Quota::QueuedTasks);
    assert_eq!(submit(&bench, chain(&["a", "b", "c"]), 2).await, full);
    assert_eq!(submit(&bench, chord("g", &["a", "b"], "body"), 2).await, full);
    assert_eq!(submit(&bench, chain(&["a", "b", "c"]), 3).await, Submitted::Stored);
    bench.restart().await;
    assert_eq!(submit(&bench, chain(&["d"]), 3).await, full, "what waits for others counts");
    bench.run_next("a", "1", at(1)).await;
    assert_eq!(submit(&bench, chain(&["d"]), 3).await, Submitted::Stored);
    bench.store.revoke(&tenant(), &id("c"), at(2)).await.unwrap();
    assert_eq!(submit(&bench, chain(&["e", "f"]), 3).await, full);
    assert_eq!(submit(&bench, chain(&["e"]), 3).await, Submitted::Stored);
}

/// Commits a success that publishes.
async fn publishing(bench: &Bench, key: LeaseKey, publish: Plan, room: Room) -> Fenced {
    bench.store.commit(key, Settlement { publish, room, ..settlement(success("1"), at(1)) }).await.unwrap()
}

async fn what_a_commit_publishes_needs_its_ids(bench: Bench) {
    bench.submit(vec![message("a")], at(0)).await;
    bench.plan(header("g", &["p"], Then::Next), at(0)).await;
    let key = bench.lease_one(at(0)).await.key;
    let room = Room { queued_tasks: 0, descendants: 0, ..Room::UNLIMITED };
    for (plan, name) in [
        (chain(&["x", "p"]), "p"),
        (chain(&["x", "a"]), "a"),
        (chain(&["x", "x"]), "x"),
        (header("g", &["x"], Then::Next), "g"),
    ] {
        assert_eq!(publishing(&bench, key, plan, room).await, Fenced::Taken(id(name)), "taken comes before full");
        assert_eq!(bench.task("a").await.status, State::Started);
        assert_eq!(bench.store.task(&tenant(), &id("x")).await.unwrap(), None);
    }
    assert_eq!(publishing(&bench, key, chain(&["x"]), Room::UNLIMITED).await, Fenced::Applied);
}

async fn what_a_commit_publishes_needs_room(mut bench: Bench) {
    bench.submit(vec![message("a"), message("b")], at(0)).await;
    let key = bench.lease_one(at(0)).await.key;
    let room = |queued_tasks| Room { queued_tasks, descendants: 9, ..Room::UNLIMITED };
    let full = Fenced::Full(Quota::QueuedTasks);
    assert_eq!(publishing(&bench, key, chain(&["x", "y"]), room(2)).await, full);
    assert_eq!(bench.task("a").await.status, State::Started);
    assert!(bench.store.renew(vec![key], at(20)).await.unwrap().is_empty(), "the lease holds");
    // A task's own next message has its place.
    let again = Settlement { room: room(0), ..settlement(retry(Message { retries: 1, ..message("a") }), at(1)) };
    assert_eq!(bench.store.commit(key, again).await.unwrap(), Fenced::Applied);
    bench.restart().await;
    let leases = bench.lease(9, at(1)).await;
    assert_eq!(ids(&leases), ["b", "a"]);
    let by = Verdict::Replaced { by: Box::new(planned(message("a"), "x")) };
    let publish = Plan::of(next("x"));
    let replaced = Settlement { publish, room: room(1), ..settlement(by, at(2)) };
    assert_eq!(bench.store.commit(leases[1].key, replaced).await.unwrap(), Fenced::Applied);
    assert_eq!(
        publishing(&bench, leases[0].key, Plan::default(), room(0)).await,
        Fenced::Applied,
        "nothing needs none"
    );
}

async fn what_waits_for_its_time_needs_room_of_its_own(mut bench: Bench) {
    let room = |scheduled_tasks| Room { scheduled_tasks, ..Room::UNLIMITED };
    let later = |name: &str, eta| Message { eta: Some(at(eta)), ..message(name) };
    let submit = async |bench: &Bench, message: Message, scheduled_tasks| {
        let plans = vec![Plan::of(message)];
        bench.store.submit(&tenant(), plans, at(0), room(scheduled_tasks)).await.unwrap().remove(0)
    };
    let full = Submitted::Full(Quota::ScheduledTasks);
    assert_eq!(submit(&bench, later("a", 10), 1).await, Submitted::Stored);
    assert_eq!(submit(&bench, later("b", 20), 1).await, full);
    assert_eq!(submit(&bench, message("c"), 1).await, Submitted::Stored, "it can run at once");
    let mut after = chain(&["d", "e"]);
    after.tasks[1].message.eta = Some(at(30));
    assert_eq!(bench.store.submit(&tenant(), vec![after], at(0), room(1)).await.unwrap(), [Submitted::Stored]);
    assert_eq!(submit(&bench, later("b", 20), 2).await, Submitted::Stored);
    bench.restart().await;
    assert_eq!(submit(&bench, later("f", 40), 2).await, full, "a restart changes nothing");

    // What a task sends is counted as well; what it waits for itself is not refused.
    let c = bench.lease_one(at(1)).await;
    assert_eq!(c.message.id, id("c"));
    let publish = || Plan::of(later("f", 40));
    let at_once = Settlement { publish: publish(), room: room(2), ..settlement(success("1"), at(1)) };
    assert_eq!(bench.store.commit(c.key, at_once.clone()).await.unwrap(), Fenced::Full(Quota::ScheduledTasks));
    let again = retry(Message { retries: 1, ..later("c", 50) });
    let again = Settlement { room: room(0), ..settlement(again, at(1)) };
    assert_eq!(bench.store.commit(c.key, again).await.unwrap(), Fenced::Applied);
    assert_eq!(submit(&bench, later("f", 40), 3).await, full, "but it takes room");

    // One leaves in each way there is: it is due, is sent at once, is revoked.
    let d = bench.lease_one(at(1)).await;
    assert_eq!(d.message.id, id("d"));
    let due = bench.lease_one(at(10)).await;
    assert_eq!(due.message.id, id("a"));
    assert_eq!(
        bench.store.commit(due.key, Settlement { at: at(10), ..at_once }).await.unwrap(),
        Fenced::Full(Quota::ScheduledTasks)
    );
    let three = Settlement { publish: publish(), room: room(3), ..settlement(success("1"), at(10)) };
    assert_eq!(bench.store.commit(due.key, three).await.unwrap(), Fenced::Applied);
    bench.store.revoke(&tenant(), &id("f"), at(10)).await.unwrap();
    assert_eq!(submit(&bench, later("g", 40), 2).await, full);
    assert_eq!(submit(&bench, later("g", 40), 3).await, Submitted::Stored);
    bench.store.purge(&tenant(), &message("a").queue, at(10)).await.unwrap();
    assert_eq!(submit(&bench, later("h", 40), 1).await, Submitted::Stored);
    assert_eq!(submit(&bench, later("i", 40), 1).await, full);
}

async fn descendants_of_a_call_are_counted(mut bench: Bench) {
    let child = |name: &str| Message { root_id: id("root"), ..message(name) };
    let tree = |names: &[&str]| Plan {
        tasks: names.iter().map(|name| Planned { message: child(name), awaits: None }).collect(),
        joins: vec![],
    };
    let room = |descendants| Room { queued_tasks: 99, descendants, ..Room::UNLIMITED };
    let full = Fenced::Full(Quota::Descendants);
    bench.submit(vec![message("root"), message("other")], at(0)).await;
    let leases = bench.lease(2, at(0)).await;
    assert_eq!(publishing(&bench, leases[0].key, tree(&["a", "b", "c"]), room(2)).await, full);
    assert_eq!(publishing(&bench, leases[0].key, tree(&["a", "b"]), room(2)).await, Fenced::Applied);
    assert_eq!(
        publishing(&bench, leases[1].key, Plan::of(message("o")), room(1)).await,
        Fenced::Applied,
        "its own root"
    );
    bench.restart().await;
    let leases = bench.lease(9, at(1)).await;
    assert_eq!(ids(&leases), ["a", "b", "o"]);
    let both = Room { queued_tasks: 0, descendants: 2, ..Room::UNLIMITED };
    assert_eq!(publishing(&bench, leases[0].key, tree(&["d"]), both).await, full, "no room would help");
    assert_eq!(publishing(&bench, leases[0].key, tree(&["d"]), room(3)).await, Fenced::Applied);
    assert_eq!(publishing(&bench, leases[1].key, Plan::default(), room(0)).await, Fenced::Applied);
    // What is forgotten is not counted any more; neither is what has expired.
    assert_eq!(bench.store.forget(&tenant(), &id("root")).await.unwrap(), Redone::Done);
    let d = bench.lease_one(at(2)).await;
    bench.submit(vec![message("root")], at(2)).await;
    assert_eq!(publishing(&bench, d.key, tree(&["e", "f"]), room(2)).await, Fenced::Applied);
    let leases = bench.lease(9, at(3)).await;
    for lease in leases.iter().filter(|lease| lease.message.id == id("root")) {
        bench.commit(lease.key, success("1"), at(3)).await;
    }
    assert_eq!(bench.store.expire(at(4), 99).await.unwrap(), 5, "other, a, b, d and the new root");
    let e = leases.iter().find(|lease| lease.message.id == id("e")).unwrap();
    assert_eq!(publishing(&bench, e.key, tree(&["g", "h"]), room(2)).await, Fenced::Applied);
}

/// (Redis drops it by its own clock.)
#[tokio::test]
async fn what_is_counted_of_a_call_goes_when_nothing_comes_of_it_any_more() {
    for bench in [Bench::memory(), Bench::file()] {
        let child = |name: &str| Message { root_id: id("root"), ..message(name) };
        let ends = async |key, publish, descendants, now| {
            let room = Room { descendants, ..Room::UNLIMITED };
            bench.store.commit(key, Settlement { publish, room, ..settlement(success("1"), now) }).await.unwrap()
        };
        bench.submit(vec![message("root")], at(0)).await;
        assert_eq!(ends(bench.lease_one(at(0)).await.key, Plan::of(child("a")), 1, at(1)).await, Fenced::Applied);
        assert_eq!(bench.store.expire(at(2), 9).await.unwrap(), 1, "the task that was submitted");
        assert_eq!(ends(bench.lease_one(at(2)).await.key, Plan::of(child("b")), 1, at(5)).await, Fenced::Applied);
        assert_eq!(bench.store.expire(at(4), 9).await.unwrap(), 0);
        let b = bench.lease_one(at(6)).await.key;
        let full = Fenced::Full(Quota::Descendants);
        assert_eq!(ends(b, Plan::of(child("c")), 1, at(6)).await, full, "what came last is counted");
        assert_eq!(ends(b, Plan::default(), 1, at(6)).await, Fenced::Applied);
        assert_eq!(bench.store.expire(at(9), 9).await.unwrap(), 2);
        bench.submit(vec![child("x")], at(10)).await;
        assert_eq!(ends(bench.lease_one(at(10)).await.key, Plan::of(child("y")), 1, at(11)).await, Fenced::Applied);
    }
}

async fn the_newest_logs_and_children_are_kept(mut bench: Bench) {
    bench.submit(vec![message("a")], at(0)).await;
    let sent = |from: usize, to: usize| (from..to).map(|n| ResultTuple::of(id(&n.to_string()))).collect::<Vec<_>>();
    for n in 0..23_u32 {
        let key = bench.lease_one(at(0)).await.key;
        let log = AttemptLog { retries: n, stdout: "x".to_owned(), ..AttemptLog::default() };
        let children = if n == 21 { sent(0, 9_999) } else { sent(20_000, 20_001) };
        let again = retry(Message { retries: n + 1, ..message("a") });
        bench.store.commit(key, Settlement { log, children, ..settlement(again, at(0)) }).await.unwrap();
    }
    bench.restart().await;
    let logs = bench.store.logs(&tenant(), &id("a")).await.unwrap().unwrap();
    assert_eq!(logs.iter().map(|log| log.retries).collect::<Vec<_>>(), (3..23).collect::<Vec<_>>());
    let children = bench.task("a").await.children;
    assert_eq!((children.len(), &children[0].id), (10_000, &id("0")));
    assert_eq!(children[9_999].id, id("20000"));
}

async fn an_ignored_error_is_dropped(bench: Bench) {
    let again = Message { retries: 1, ..message("retried") };
    let ends = [
        ("failed", failure(), State::Failure, false),
        ("retried", retry(again), State::Retry, false),
        ("revoked", Verdict::Revoked { reason: "terminated" }, State::Revoked, true),
        ("returned", success("7"), State::Success, true),
    ];
    for (name, verdict, state, kept) in ends {
        bench.submit(vec![Message { priority: 0, ..message(name) }], at(0)).await;
        let key = bench.lease_one(at(0)).await.key;
        let end = Settlement { ignore_errors: true, ..settlement(verdict, at(1)) };
        bench.store.commit(key, end).await.unwrap();
        let task = bench.task(name).await;
        assert_eq!((task.status, task.result.as_str() != "null", task.traceback), (state, kept, None), "{name}");
        if name == "retried" {
            bench.store.revoke(&tenant(), &id(name), at(1)).await.unwrap();
        }
    }
    assert_eq!(bench.task("failed").await.fault.as_deref(), Some("panic"), "what stopped it is no secret of its own");
}

async fn a_lease_call_reads_a_bounded_amount(bench: Bench) {
    let large = Json::parse(format!("[\"{}\"]", "x".repeat(25 * 1024 * 1024))).unwrap();
    for name in ["a", "b", "c"] {
        bench.submit(vec![Message { args: large.clone(), ..message(name) }], at(0)).await;
    }
    let huge = Json::parse(format!("[\"{}\"]", "x".repeat(65 * 1024 * 1024))).unwrap();
    bench.submit(vec![Message { args: huge, ..message("d") }, message("e")], at(0)).await;
    for (expected, next_due) in [(vec!["a", "b"], at(1)), (vec!["c"], at(1)), (vec!["d"], at(1)), (vec!["e"], at(11))] {
        let leased = bench.store.lease(ask(9, at(1))).await.unwrap();
        assert_eq!((ids(&leased.leases), leased.next_due), (expected, Some(next_due)));
    }
}
