//! Chains: tasks that wait for one another.

use futures_util::FutureExt;
use lovage_model::{Seconds, State};

use super::plans::*;
use super::*;
use crate::store::{Completed, FollowUp, Redone, Revoked};

for_each_backend!(
    a_step_waits_for_the_one_before_it,
    a_released_step_waits_for_its_eta,
    a_released_step_stands_last_in_its_line,
    a_failure_is_kept_for_those_that_wait,
    what_needs_thought_is_kept,
    several_that_wait_are_dealt_with_step_by_step,
    those_that_wait_no_more_are_passed_over,
    an_end_that_nobody_waits_for_is_not_kept,
    an_order_ends_a_step_that_waits,
    a_purge_spares_what_waits_for_others,
    a_replacement_may_wait_itself,
    a_step_that_settles_lets_the_next_one_run,
    a_step_that_cannot_publish_changes_nothing,
    ends_are_told_and_survive,
    tenants_do_not_meet,
    what_never_got_its_value_cannot_be_run_again,
);

async fn a_step_waits_for_the_one_before_it(mut bench: Bench) {
    let mut plan = chain(&["a", "b", "c"]);
    plan.tasks[2].message.immutable = true;
    bench.plan(plan, at(0)).await;
    bench.restart().await;
    let b = bench.task("b").await;
    assert_eq!((b.status, b.waiting_for.as_deref(), b.deliveries), (State::Pending, Some("task a"), 0));
    assert_eq!((bench.followers("a").await, bench.followers("b").await), (vec!["b".to_owned()], vec!["c".to_owned()]));
    assert_eq!(ids(&bench.lease(9, at(1)).await), ["a"]);
    bench.restart().await;
    bench.run_next("a", "7", at(2)).await;
    bench.restart().await;
    assert_eq!(bench.waiting_for("b").await.as_deref(), Some("a free slot"));
    assert_eq!(bench.task("b").await.args.as_str(), "[7,1, 2]");
    bench.run_next("b", "8", at(3)).await;
    let c = bench.lease_one(at(4)).await;
    assert_eq!(c.message.args, message("c").args, "it is immutable");
    bench.commit(c.key, success("9"), at(5)).await;
    assert!(bench.ended().await.is_empty() && bench.followers("a").await.is_empty());
}

async fn a_released_step_waits_for_its_eta(mut bench: Bench) {
    let seconds = |n: f64| Some(Seconds::new(n).unwrap());
    let eta = Message { eta: Some(at(20)), then: Some(lovage_model::Then::Next), ..message("eta") };
    let tasks = vec![
        Planned { message: next("a"), awaits: None },
        planned(eta, "a"),
        planned(Message { countdown: seconds(10.0), expires_in: seconds(15.0), ..message("countdown") }, "eta"),
    ];
    bench.plan(Plan { tasks, joins: vec![] }, at(0)).await;
    assert_eq!(bench.waiting_for("eta").await.as_deref(), Some("task a"), "whatever its ETA");
    bench.run_next("a", "1", at(5)).await;
    bench.restart().await;
    assert_eq!(bench.waiting_for("eta").await.as_deref(), Some("eta"));
    assert_eq!(bench.store.lease(ask(9, at(19))).await.unwrap().next_due, Some(at(20)));
    bench.run_next("eta", "2", at(20)).await;
    bench.restart().await;
    assert!(bench.lease(9, at(29)).await.is_empty());
    assert_eq!(bench.task("countdown").await.eta, Some(at(30)));
    assert_eq!(bench.lease_one(at(30)).await.message.expires, Some(at(35)));
}

async fn a_released_step_stands_last_in_its_line(bench: Bench) {
    bench.plan(chain(&["a", "b"]), at(0)).await;
    bench.submit(vec![message("c")], at(1)).await;
    let key = bench.lease_one(at(2)).await.key;
    let publish = Plan::of(message("d"));
    let end = Settlement { publish, ..arriving(success("1"), value("1"), at(3)) };
    assert_eq!(bench.store.commit(key, end).await.unwrap(), Fenced::Applied);
    assert_eq!(ids(&bench.lease(9, at(3)).await), ["c", "d", "b"]);
}

async fn a_failure_is_kept_for_those_that_wait(mut bench: Bench) {
    bench.plan(chain(&["a", "b", "c"]), at(0)).await;
    bench.fail_next("a", at(1)).await;
    bench.restart().await;
    let ended = bench.ended_one().await;
    assert_eq!((&ended.tenant, &ended.id, &ended.outcome), (&tenant(), &id("a"), &Completed::Task(failed("a"))));
    let step = last(vec![(id("b"), fails_with(Some(failed("a")), at(2)))]);
    bench.follow(ended.key, step.clone(), at(2)).await;
    bench.restart().await;
    assert_eq!(bench.store.follow(ended.key, step, at(3)).await.unwrap(), Fenced::Refused);
    let b = bench.task("b").await;
    assert_eq!((b.status, b.date_done, b.deliveries), (State::Failure, Some(at(2)), 0));
    assert_eq!((b.worker, b.usage, b.waiting_for), (None, None, None), "it never ran");
    assert_eq!(b.result.read::<Exception>().unwrap(), value_error());
    let ended = bench.ended_one().await;
    assert_eq!((&ended.id, &ended.outcome), (&id("b"), &Completed::Task(failed("a"))));
    bench.follow(ended.key, last(vec![(id("c"), fails_with(None, at(3)))]), at(3)).await;
    assert_eq!(bench.task("c").await.status, State::Failure);
    assert!(bench.ended().await.is_empty() && bench.lease(9, at(99)).await.is_empty());
}

async fn what_needs_thought_is_kept(bench: Bench) {
    let builtin = Message { task: TaskName::new("celery.accumulate").unwrap(), ..message("b") };
    let long = format!("\"{}\"", "x".repeat(64 * 1024));
    let deep = format!("{}{}", "[".repeat(127), "]".repeat(127));
    for (body, result) in [(builtin, "1"), (message("b"), long.as_str()), (message("b"), deep.as_str())] {
        let tasks = vec![Planned { message: next("a"), awaits: None }, planned(body.clone(), "a")];
        bench.plan(Plan { tasks, joins: vec![] }, at(0)).await;
        bench.run_next("a", result, at(1)).await;
        let ended = bench.ended_one().await;
        assert_eq!(ended.outcome, Completed::Task(value(result)));
        assert_eq!(bench.waiting_for("b").await.as_deref(), Some("task a"));
        bench.follow(ended.key, last(vec![(id("b"), released(body))]), at(2)).await;
        let key = bench.lease_one(at(2)).await.key;
        bench.commit(key, success("1"), at(3)).await;
        for name in ["a", "b"] {
            assert_eq!(bench.store.forget(&tenant(), &id(name)).await.unwrap(), Redone::Done);
        }
    }
}

async fn several_that_wait_are_dealt_with_step_by_step(mut bench: Bench) {
    let mut plan = Plan::of(next("a"));
    plan.tasks.extend(["z", "b", "y"].map(|name| planned(message(name), "a")));
    bench.plan(plan, at(0)).await;
    assert_eq!(bench.store.followers(&tenant(), &id("a"), 2).await.unwrap(), [message("z"), message("b")]);
    bench.run_next("a", "1", at(1)).await;
    let key = bench.ended_one().await.key;
    let given = |name: &str| (id(name), released(Message { args: json("[1]"), ..message(name) }));
    let first = FollowUp { done: false, ..FollowUp::last(vec![given("z"), given("b")]) };
    bench.follow(key, first.clone(), at(2)).await;
    bench.restart().await;
    assert_eq!((bench.ended_one().await.key, bench.followers("a").await), (key, vec!["y".to_owned()]));
    bench.follow(key, last(vec![]), at(3)).await;
    assert_eq!(bench.ended_one().await.key, key, "it is not over while somebody waits");
    bench.store.any_ended().await;
    bench.follow(key, FollowUp { followed: vec![given("b"), given("y"), given("y")], ..first }, at(3)).await;
    bench.follow(key, last(vec![]), at(3)).await;
    assert!(bench.ended().await.is_empty());
    let leases = bench.lease(9, at(3)).await;
    assert_eq!(ids(&leases), ["z", "b", "y"]);
    assert!(leases.iter().all(|lease| lease.message.args.as_str() == "[1]"));
}

async fn those_that_wait_no_more_are_passed_over(bench: Bench) {
    let mut plan = Plan::of(next("a"));
    plan.append(Plan::of(next("o")));
    plan.tasks.extend(["b", "c"].map(|name| planned(message(name), "a")));
    plan.tasks.extend(["d", "e"].map(|name| planned(message(name), "o")));
    bench.plan(plan, at(0)).await;
    bench.run_next("a", "1", at(1)).await;
    assert_eq!(bench.store.revoke(&tenant(), &id("b"), at(2)).await.unwrap(), Revoked::Waiting);
    let key = bench.ended_one().await.key;
    let all = ["b", "c", "d", "unknown"].map(|name| (id(name), fails_with(None, at(3)))).to_vec();
    bench.follow(key, last(all), at(3)).await;
    let statuses = [bench.task("b").await.status, bench.task("c").await.status, bench.task("d").await.status];
    assert_eq!(statuses, [State::Revoked, State::Failure, State::Pending], "d waits for another");
}

async fn an_end_that_nobody_waits_for_is_not_kept(bench: Bench) {
    bench.plan(chain(&["a", "b"]), at(0)).await;
    bench.store.revoke(&tenant(), &id("b"), at(1)).await.unwrap();
    bench.fail_next("a", at(2)).await;
    assert!(bench.ended().await.is_empty());
    // It is ordered to run again, and so is the one that waited, which waits no more.
    assert_eq!(bench.store.resubmit(&tenant(), &id("a"), at(3), Room::UNLIMITED).await.unwrap(), Redone::Done);
    assert_eq!(bench.store.resubmit(&tenant(), &id("b"), at(3), Room::UNLIMITED).await.unwrap(), Redone::Done);
    assert_eq!(ids(&bench.lease(9, at(3)).await), ["a", "b"]);
}

async fn an_order_ends_a_step_that_waits(mut bench: Bench) {
    bench.plan(chain(&["a", "b", "c"]), at(0)).await;
    assert_eq!(bench.store.revoke(&tenant(), &id("b"), at(1)).await.unwrap(), Revoked::Waiting);
    bench.restart().await;
    let b = bench.task("b").await;
    assert_eq!((b.status, b.date_done, b.waiting_for), (State::Revoked, Some(at(1)), None));
    let ended = bench.ended_one().await;
    assert_eq!((&ended.id, &ended.outcome), (&id("b"), &Completed::Task(revoked("b"))));
    bench.follow(ended.key, last(vec![(id("c"), fails_with(None, at(2)))]), at(2)).await;
    bench.run_next("a", "1", at(3)).await;
    assert!(bench.ended().await.is_empty() && bench.lease(9, at(3)).await.is_empty());
}

async fn a_purge_spares_what_waits_for_others(bench: Bench) {
    bench.plan(chain(&["a", "b"]), at(0)).await;
    let purged = bench.store.purge(&tenant(), &QueueName::default(), at(1)).await.unwrap();
    assert_eq!((purged, bench.task("a").await.status), (1, State::Revoked));
    assert_eq!(bench.waiting_for("b").await.as_deref(), Some("task a"));
    assert_eq!(bench.ended_one().await.outcome, Completed::Task(revoked("a")));
}

async fn a_replacement_may_wait_itself(mut bench: Bench) {
    bench.plan(chain(&["a", "after"]), at(0)).await;
    let key = bench.lease_one(at(0)).await.key;
    let by = Verdict::Replaced { by: Box::new(planned(Message { args: json("[9]"), ..next("a") }, "first")) };
    let publish = Plan::of(Message { then: Some(lovage_model::Then::Next), ..message("first") });
    bench.store.commit(key, Settlement { publish, ..settlement(by, at(1)) }).await.unwrap();
    bench.restart().await;
    let a = bench.task("a").await;
    assert_eq!((a.status, a.waiting_for.as_deref(), a.deliveries), (State::Pending, Some("task first"), 1));
    bench.run_next("first", "8", at(2)).await;
    let lease = bench.lease_one(at(3)).await;
    assert_eq!((lease.message.id.as_str(), lease.message.args.as_str(), lease.deliveries), ("a", "[8,9]", 2));
    bench.store.commit(lease.key, arriving(success("5"), value("5"), at(4))).await.unwrap();
    assert_eq!(bench.lease_one(at(5)).await.message.args.as_str(), "[5,1, 2]");
}

async fn a_step_that_settles_lets_the_next_one_run(bench: Bench) {
    let accumulate = Message { task: TaskName::new("celery.accumulate").unwrap(), ..next("b") };
    let tasks = vec![
        Planned { message: next("a"), awaits: None },
        planned(accumulate, "a"),
        planned(Message { priority: 4, ..message("c") }, "b"),
    ];
    bench.plan(Plan { tasks, joins: vec![] }, at(0)).await;
    bench.run_next("a", "[1]", at(1)).await;
    let key = bench.ended_one().await.key;
    let settled = Settlement {
        arrival: Some(value("[1]")),
        publish: Plan::of(message("link")),
        children: vec![ResultTuple::of(id("link"))],
        ..Settlement::of(success("[1]"), at(2))
    };
    let step = last(vec![(id("b"), lovage_model::Followed::Settled(Box::new(settled)))]);
    bench.follow(key, step, at(2)).await;
    let b = bench.task("b").await;
    assert_eq!((b.status, b.result.as_str(), b.children), (State::Success, "[1]", vec![ResultTuple::of(id("link"))]));
    assert_eq!(ids(&bench.lease(9, at(3)).await), ["link", "c"]);
    assert!(bench.ended().await.is_empty());
}

async fn a_step_that_cannot_publish_changes_nothing(bench: Bench) {
    let mut plan = Plan::of(next("a"));
    plan.tasks.extend(["b", "c"].map(|name| planned(message(name), "a")));
    bench.plan(plan, at(0)).await;
    bench.fail_next("a", at(1)).await;
    let key = bench.ended_one().await.key;
    let with = |name: &str| {
        let publish = Plan::of(message(name));
        let settled = Settlement { publish, ..Settlement::of(failure(), at(2)) };
        lovage_model::Followed::Settled(Box::new(settled))
    };
    for (one, other, taken) in [("free", "c", "c"), ("twice", "twice", "twice")] {
        let step = last(vec![(id("b"), with(one)), (id("c"), with(other))]);
        assert_eq!(bench.store.follow(key, step, at(2)).await.unwrap(), Fenced::Taken(id(taken)));
        assert_eq!((bench.ended_one().await.key, bench.followers("a").await), (key, vec!["b".into(), "c".into()]));
        assert_eq!(bench.store.task(&tenant(), &id(one)).await.unwrap(), None);
    }
}

async fn ends_are_told_and_survive(mut bench: Bench) {
    assert!(bench.store.any_ended().now_or_never().is_none(), "nothing has ended");
    for (first, second) in [("a", "b"), ("c", "d"), ("e", "f")] {
        bench.plan(chain(&[first, second]), at(0)).await;
    }
    bench.run_next("a", "1", at(1)).await;
    assert!(bench.store.any_ended().now_or_never().is_none(), "it was dealt with at once");
    bench.fail_next("c", at(2)).await;
    bench.fail_next("e", at(2)).await;
    bench.store.any_ended().await;
    assert!(bench.store.any_ended().now_or_never().is_none(), "it is told once");
    bench.restart().await;
    bench.store.any_ended().await;
    let ended = bench.store.ended(1).await.unwrap();
    assert_eq!((ended.len(), &ended[0].id), (1, &id("c")), "the oldest first");
    bench.follow(ended[0].key, last(vec![(id("d"), fails_with(None, at(3)))]), at(3)).await;
    assert_eq!(bench.ended_one().await.id, id("e"));
    assert_eq!(bench.store.follow(4711, last(vec![]), at(3)).await.unwrap(), Fenced::Refused);
}

async fn tenants_do_not_meet(bench: Bench) {
    let other = TenantId::new("other").unwrap();
    bench.plan(chain(&["a", "b"]), at(0)).await;
    let answers = bench.store.submit(&other, vec![chain(&["a", "b"])], at(0), Room::UNLIMITED).await.unwrap();
    assert_eq!(answers, [Submitted::Stored]);
    bench.fail_next("a", at(1)).await;
    let ended = bench.ended_one().await;
    assert_eq!(ended.tenant, tenant());
    bench.follow(ended.key, last(vec![(id("b"), fails_with(None, at(2)))]), at(2)).await;
    let others = bench.store.task(&other, &id("b")).await.unwrap().unwrap();
    assert_eq!(others.waiting_for.as_deref(), Some("task a"));
    assert_eq!(bench.lease_one(at(2)).await.tenant, other);
}

async fn what_never_got_its_value_cannot_be_run_again(bench: Bench) {
    let mut plan = chain(&["a", "b"]);
    plan.tasks[1].message.unreleased = true;
    bench.plan(plan, at(0)).await;
    assert_eq!(bench.store.revoke(&tenant(), &id("b"), at(1)).await.unwrap(), Revoked::Waiting);
    let refused = bench.store.resubmit(&tenant(), &id("b"), at(2), Room::UNLIMITED).await.unwrap();
    assert_eq!(refused, Redone::Unreleased(State::Revoked));
    assert_eq!(ids(&bench.lease(9, at(3)).await), ["a"]);
}
