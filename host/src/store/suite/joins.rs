//! Joins: the headers of chords, whose values come together.

use lovage_model::{Arrival, State, Then};

use super::plans::*;
use super::*;
use crate::store::{Completed, FollowUp, Redone};

for_each_backend!(
    a_join_gathers_by_place,
    a_failure_is_a_part_as_well,
    an_order_counts_as_a_part,
    a_task_counts_once,
    of_parts_that_do_not_fit_into_memory_that_alone_is_told,
    as_many_ends_are_read_as_fit_into_memory,
    a_join_can_grow,
    what_comes_after_the_last_part_is_passed_over,
    a_join_may_be_a_part_itself,
    a_body_may_be_a_group,
    a_join_of_no_parts_is_complete,
    a_replacement_may_wait_for_a_join,
    an_open_join_survives,
);

async fn a_join_gathers_by_place(mut bench: Bench) {
    bench.plan(chord("g", &["a", "b", "c"], "body"), at(0)).await;
    bench.restart().await;
    let body = bench.task("body").await;
    assert_eq!((body.status, body.waiting_for.as_deref()), (State::Pending, Some("group g")));
    let leases = bench.lease(9, at(1)).await;
    assert_eq!(ids(&leases), ["a", "b", "c"]);
    for (at_place, result) in [(2, "30"), (0, "10")] {
        let end = arriving(success(result), value(result), at(2));
        bench.store.commit(leases[at_place].key, end).await.unwrap();
    }
    assert!(bench.ended().await.is_empty(), "one part is missing");
    bench.store.commit(leases[1].key, arriving(success("20"), value("20"), at(3))).await.unwrap();
    bench.restart().await;
    let ended = bench.ended_one().await;
    let complete = Completed::Join { parts: vec![value("10"), value("20"), value("30")], then: Then::Next };
    assert_eq!((&ended.id, &ended.outcome), (&id("g"), &complete));
    assert_eq!(bench.followers("g").await, ["body"]);
    bench.follow(ended.key, last(vec![(id("body"), released(message("body")))]), at(4)).await;
    bench.restart().await;
    assert!(bench.ended().await.is_empty() && bench.followers("g").await.is_empty());
    assert_eq!(ids(&bench.lease(9, at(5)).await), ["body"]);
    // The join is gone, so that its id is free.
    bench.plan(header("g", &["other"], Then::Next), at(6)).await;
}

async fn a_failure_is_a_part_as_well(bench: Bench) {
    bench.plan(chord("g", &["a", "b"], "body"), at(0)).await;
    bench.fail_next("a", at(1)).await;
    assert!(bench.ended().await.is_empty(), "the others are waited for");
    bench.run_next("b", "2", at(2)).await;
    assert_eq!(parts(&bench.ended_one().await), [failed("a"), value("2")]);
}

async fn an_order_counts_as_a_part(bench: Bench) {
    let mut plan = chord("g", &["a", "b"], "body");
    plan.tasks.insert(0, Planned { message: next("first"), awaits: None });
    plan.tasks[1].awaits = Some(id("first"));
    plan.tasks[2].message.eta = Some(at(50));
    bench.plan(plan, at(0)).await;
    assert_eq!(bench.store.purge(&tenant(), &QueueName::default(), at(1)).await.unwrap(), 2);
    let first = bench.ended_one().await;
    assert_eq!(first.id, id("first"));
    bench.store.revoke(&tenant(), &id("a"), at(2)).await.unwrap();
    bench.follow(first.key, last(vec![]), at(2)).await;
    assert_eq!(parts(&bench.ended_one().await), [revoked("a"), revoked("b")]);
}

async fn a_task_counts_once(mut bench: Bench) {
    bench.plan(chord("g", &["a", "b"], "body"), at(0)).await;
    bench.fail_next("a", at(1)).await;
    assert_eq!(bench.store.resubmit(&tenant(), &id("a"), at(2), Room::UNLIMITED).await.unwrap(), Redone::Done);
    let leases = bench.lease(9, at(2)).await;
    assert_eq!(ids(&leases), ["b", "a"]);
    bench.store.commit(leases[1].key, arriving(success("1"), value("1"), at(3))).await.unwrap();
    bench.restart().await;
    assert!(bench.ended().await.is_empty());
    bench.run_next("b", "2", at(4)).await;
    assert_eq!(parts(&bench.ended_one().await), [failed("a"), value("2")], "what came first counts");
}

async fn of_parts_that_do_not_fit_into_memory_that_alone_is_told(mut bench: Bench) {
    bench.plan(chord("g", &["a", "b", "c", "d"], "body"), at(0)).await;
    bench.plan(header("small", &["e"], Then::Next), at(0)).await;
    let large = value(&format!("\"{}\"", "x".repeat(25 << 20)));
    let leases = bench.lease(9, at(1)).await;
    assert_eq!(ids(&leases), ["a", "b", "c", "d", "e"]);
    for lease in &leases {
        let arrival = if lease.message.id == id("e") { value("5") } else { large.clone() };
        bench.store.commit(lease.key, arriving(success("1"), arrival, at(1))).await.unwrap();
    }
    bench.restart().await;
    let ended = bench.ended().await;
    let told = |arrival: &Arrival| matches!(arrival, Arrival::Failed { exception, task } if exception.message().contains("return less") && *task == id("g"));
    assert!(matches!(parts(&ended[0]), [one] if told(one)), "it is told, and no part with it");
    assert_eq!(parts(&ended[1]), [value("5")], "it keeps no other from being followed");
    bench.follow(ended[0].key, last(vec![(id("body"), fails_with(None, at(2)))]), at(2)).await;
    assert_eq!(bench.ended_one().await.id, id("small"));
}

async fn as_many_ends_are_read_as_fit_into_memory(bench: Bench) {
    let large = value(&format!("\"{}\"", "x".repeat(40 << 20)));
    for (group, name) in [("g", "a"), ("h", "b")] {
        bench.plan(header(group, &[name], Then::Next), at(0)).await;
        let key = bench.lease_one(at(1)).await.key;
        bench.store.commit(key, arriving(success("1"), large.clone(), at(1))).await.unwrap();
    }
    for group in ["g", "h"] {
        let ended = bench.ended_one().await;
        assert_eq!((&ended.id, parts(&ended).len()), (&id(group), 1));
        bench.follow(ended.key, last(vec![]), at(2)).await;
    }
}

async fn a_join_can_grow(mut bench: Bench) {
    bench.plan(chord("g", &["a", "b"], "body"), at(0)).await;
    let key = bench.lease_one(at(1)).await.key;
    let mut publish = Plan::of(part("a2", "g", 0));
    publish.append(Plan::of(part("a1", "g", 0)));
    let grown = vec![(id("g"), 2), (id("gone"), 5)];
    let end = Settlement { publish, grown, ..arriving(success("1"), value("1"), at(1)) };
    assert_eq!(bench.store.commit(key, end).await.unwrap(), Fenced::Applied);
    bench.restart().await;
    bench.run_next("b", "4", at(2)).await;
    assert!(bench.ended().await.is_empty());
    bench.run_next("a2", "2", at(3)).await;
    bench.run_next("a1", "3", at(4)).await;
    let all = [value("1"), value("2"), value("3"), value("4")];
    assert_eq!(parts(&bench.ended_one().await), all, "in one place they are in the order in which they came");
}

async fn what_comes_after_the_last_part_is_passed_over(mut bench: Bench) {
    bench.plan(chord("g", &["a"], "body"), at(0)).await;
    bench.run_next("a", "1", at(1)).await;
    assert_eq!(bench.store.resubmit(&tenant(), &id("a"), at(2), Room::UNLIMITED).await.unwrap(), Redone::Done);
    let key = bench.lease_one(at(3)).await.key;
    let publish = Plan::of(part("late", "g", 0));
    let end = Settlement { publish, grown: vec![(id("g"), 1)], ..arriving(success("2"), value("2"), at(3)) };
    assert_eq!(bench.store.commit(key, end).await.unwrap(), Fenced::Applied);
    bench.run_next("late", "3", at(4)).await;
    bench.restart().await;
    let ended = bench.ended_one().await;
    assert_eq!(parts(&ended), [value("1")], "it was complete");
    bench.follow(ended.key, last(vec![(id("body"), fails_with(None, at(5)))]), at(5)).await;
    bench.store.resubmit(&tenant(), &id("a"), at(6), Room::UNLIMITED).await.unwrap();
    bench.run_next("a", "1", at(7)).await;
    assert!(bench.ended().await.is_empty(), "it is gone");
}

async fn a_join_may_be_a_part_itself(mut bench: Bench) {
    let mut plan = chord("outer", &["a"], "body");
    plan.joins[0].size = 2;
    plan.append(header("inner", &["b", "c"], Then::Part { group: id("outer"), index: 1 }));
    bench.plan(plan, at(0)).await;
    for (name, result) in [("a", "1"), ("b", "2"), ("c", "3")] {
        bench.run_next(name, result, at(1)).await;
    }
    let inner = bench.ended_one().await;
    let then = Then::Part { group: id("outer"), index: 1 };
    assert_eq!(inner.outcome, Completed::Join { parts: vec![value("2"), value("3")], then });
    let step = FollowUp { part: Some(value("[2,3]")), done: false, ..FollowUp::last(vec![]) };
    bench.follow(inner.key, step.clone(), at(2)).await;
    bench.restart().await;
    bench.follow(inner.key, FollowUp { done: true, ..step }, at(2)).await;
    let outer = bench.ended_one().await;
    assert_eq!((&outer.id, parts(&outer)), (&id("outer"), &[value("1"), value("[2,3]")][..]), "it counted once");
    bench.follow(outer.key, last(vec![(id("body"), released(message("body")))]), at(3)).await;
    assert_eq!(ids(&bench.lease(9, at(3)).await), ["body"]);
}

async fn a_body_may_be_a_group(bench: Bench) {
    let mut plan = chord("g", &["a"], "one");
    plan.tasks.push(planned(message("two"), "g"));
    bench.plan(plan, at(0)).await;
    bench.run_next("a", "1", at(1)).await;
    let key = bench.ended_one().await.key;
    let all = ["one", "two"].map(|name| (id(name), released(message(name)))).to_vec();
    bench.follow(key, last(all), at(2)).await;
    assert_eq!(ids(&bench.lease(9, at(2)).await), ["one", "two"]);
}

async fn a_join_of_no_parts_is_complete(mut bench: Bench) {
    bench.plan(chord("g", &[], "body"), at(0)).await;
    bench.restart().await;
    let ended = bench.ended_one().await;
    assert_eq!((&ended.id, parts(&ended).len()), (&id("g"), 0));
    bench.store.any_ended().await;
    bench.follow(ended.key, last(vec![(id("body"), released(message("body")))]), at(1)).await;
    assert_eq!(ids(&bench.lease(9, at(1)).await), ["body"]);
}

async fn a_replacement_may_wait_for_a_join(mut bench: Bench) {
    bench.submit(vec![message("a")], at(0)).await;
    let key = bench.lease_one(at(0)).await.key;
    let by = Verdict::Replaced { by: Box::new(planned(message("a"), "g")) };
    let publish = header("g", &["x", "y"], Then::Next);
    bench.store.commit(key, Settlement { publish, ..settlement(by, at(1)) }).await.unwrap();
    bench.restart().await;
    assert_eq!(bench.waiting_for("a").await.as_deref(), Some("group g"));
    bench.run_next("x", "1", at(2)).await;
    bench.run_next("y", "2", at(2)).await;
    assert_eq!(parts(&bench.ended_one().await), [value("1"), value("2")]);
}

async fn an_open_join_survives(mut bench: Bench) {
    let names: Vec<String> = (0..40).map(|n| format!("t{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    bench.plan(chord("g", &names, "body"), at(0)).await;
    for (count, name) in names.iter().enumerate() {
        bench.run_next(name, &count.to_string(), at(1)).await;
        if count % 10 == 3 {
            bench.restart().await;
        }
    }
    let expected: Vec<_> = (0..40).map(|n| value(&n.to_string())).collect();
    assert_eq!(parts(&bench.ended_one().await), expected);
}
