//! Messages: submit, order, leases, fencing, orders.

use futures_util::FutureExt;
use lovage_model::{Message, State, TenantId, Timestamp};

use super::*;
use crate::store::{Leased, Redone, Revoked, StoreError};

for_each_backend!(
    a_submitted_message_is_leased_as_it_came,
    an_id_is_stored_once_for_each_tenant,
    a_full_queue_refuses_and_counts_exactly,
    priority_then_age_decides,
    a_filter_leases_from_its_queues_only,
    a_merge_of_many_queues_keeps_the_order,
    an_eta_is_waited_for,
    a_lapsed_lease_goes_back_to_its_old_place,
    a_restart_gives_leased_messages_back,
    tokens_are_never_given_twice,
    an_old_token_changes_nothing,
    a_renewed_lease_does_not_lapse,
    a_report_shows_until_the_lease_ends,
    a_release_counts_if_the_attempt_had_begun,
    revoke_ends_what_waits_only,
    purge_revokes_one_queue,
    queues_are_counted,
    the_bell_rings_for_new_messages,
    a_closed_store_refuses,
);

async fn a_submitted_message_is_leased_as_it_came(mut bench: Bench) {
    bench.submit(vec![message("a")], at(0)).await;
    let waiting = bench.task("a").await;
    assert_eq!((waiting.status, waiting.waiting_for.as_deref()), (State::Pending, Some("a free slot")));
    assert_eq!((waiting.submitted_at, waiting.deliveries, waiting.date_done), (at(0), 0, None));
    assert_eq!(waiting.result.as_str(), "null");
    bench.restart().await;
    let lease = bench.lease_one(at(1)).await;
    assert_eq!((lease.message, lease.deliveries, lease.tenant), (message("a"), 1, tenant()));
    let running = bench.task("a").await;
    assert_eq!((running.status, running.waiting_for, running.deliveries), (State::Started, None, 1));
    assert_eq!(running.worker.as_deref(), Some("host-1"));
    assert!(bench.lease(9, at(2)).await.is_empty(), "it was leased already");
}

async fn an_id_is_stored_once_for_each_tenant(bench: Bench) {
    let twice = vec![message("a"), Message { priority: 1, ..message("a") }];
    let answers = bench.offer(&tenant(), twice, at(0), 9).await;
    assert_eq!(answers, [Submitted::Stored, Submitted::Exists]);
    let other = TenantId::new("other").unwrap();
    assert_eq!(bench.offer(&other, vec![message("a")], at(1), 9).await, [Submitted::Stored]);
    let leases = bench.lease(9, at(2)).await;
    assert_eq!(leases.iter().map(|lease| lease.tenant.as_str()).collect::<Vec<_>>(), ["default", "other"]);
    bench.commit(leases[0].key, success("1"), at(3)).await;
    assert_eq!(bench.store.task(&other, &id("a")).await.unwrap().unwrap().status, State::Started);
    let stranger = TenantId::new("stranger").unwrap();
    assert_eq!(bench.store.task(&stranger, &id("a")).await.unwrap(), None);
    assert_eq!(bench.store.revoke(&stranger, &id("a"), at(4)).await.unwrap(), Revoked::Unknown);
}

async fn a_full_queue_refuses_and_counts_exactly(mut bench: Bench) {
    let submit = async |bench: &Bench, name: &str, now| {
        let eta = Some(at(100));
        let messages = vec![message(name), Message { eta, ..message(&format!("{name}-later")) }];
        bench.offer(&tenant(), messages, now, 3).await
    };
    assert_eq!(submit(&bench, "a", at(0)).await, [Submitted::Stored, Submitted::Stored]);
    assert_eq!(submit(&bench, "b", at(0)).await, [Submitted::Stored, Submitted::Full(Quota::QueuedTasks)]);
    assert_eq!(
        submit(&bench, "b", at(0)).await,
        [Submitted::Exists, Submitted::Full(Quota::QueuedTasks)],
        "known comes before full"
    );
    let lease = bench.lease_one(at(1)).await;
    assert_eq!(
        submit(&bench, "c", at(1)).await,
        [Submitted::Stored, Submitted::Full(Quota::QueuedTasks)],
        "a lease makes room"
    );
    bench.store.release(lease.key, false).await.unwrap();
    assert_eq!(
        submit(&bench, "d", at(1)).await,
        [Submitted::Full(Quota::QueuedTasks), Submitted::Full(Quota::QueuedTasks)],
        "a release takes it"
    );
    bench.restart().await;
    assert_eq!(bench.store.purge(&tenant(), &QueueName::default(), at(2)).await.unwrap(), 4);
    assert_eq!(submit(&bench, "e", at(2)).await, [Submitted::Stored, Submitted::Stored]);
    bench.store.revoke(&tenant(), &id("e"), at(3)).await.unwrap();
    assert_eq!(submit(&bench, "f", at(3)).await, [Submitted::Stored, Submitted::Stored]);
    assert_eq!(
        submit(&bench, "g", at(3)).await,
        [Submitted::Full(Quota::QueuedTasks), Submitted::Full(Quota::QueuedTasks)]
    );
    let other = TenantId::new("other").unwrap();
    assert_eq!(bench.offer(&other, vec![message("a")], at(3), 1).await, [Submitted::Stored]);
}

async fn priority_then_age_decides(mut bench: Bench) {
    let of = |name: &str, priority| Message { priority, ..message(name) };
    bench.submit(vec![of("last", 9), of("b", 4), of("first", 0), of("c", 4)], at(0)).await;
    bench.restart().await;
    assert_eq!(ids(&bench.lease(2, at(1)).await), ["first", "b"]);
    assert_eq!(ids(&bench.lease(9, at(1)).await), ["c", "last"]);
}

async fn a_filter_leases_from_its_queues_only(bench: Bench) {
    bench.submit(vec![in_queue("a", "x"), in_queue("b", "y"), in_queue("c", "z"), in_queue("d", "x")], at(0)).await;
    let leased = bench.store.lease(ask_of(&["z", "x", "none"], 2, at(1))).await.unwrap();
    assert_eq!(ids(&leased.leases), ["a", "c"]);
    assert!(bench.store.lease(ask_of(&[], 9, at(1))).await.unwrap().leases.is_empty());
    assert_eq!(ids(&bench.lease(9, at(1)).await), ["b", "d"]);
}

async fn a_merge_of_many_queues_keeps_the_order(bench: Bench) {
    // Lines of uneven length, so that some must be read on while others are done.
    let of =
        |n: u8| Message { priority: n % 3, ..in_queue(&format!("t{n:02}"), if n < 30 { "long" } else { "short" }) };
    bench.submit((0..40).rev().map(of).collect(), at(0)).await;
    bench.offer(&TenantId::new("other").unwrap(), (40..45).map(of).collect(), at(0), 99).await;
    let mut expected: Vec<Message> = (0..40).rev().chain(40..45).map(of).collect();
    expected.sort_by_key(|message| message.priority);
    let mut got = Vec::new();
    for max in [1, 7, 13, 2, 50] {
        got.extend(bench.lease(max, at(1)).await.into_iter().map(|lease| lease.message));
    }
    assert_eq!(got, expected);
}

async fn an_eta_is_waited_for(mut bench: Bench) {
    let later = |name: &str, eta| Message { eta: Some(at(eta)), ..message(name) };
    bench.submit(vec![later("b", 60), later("a", 50), later("past", -5)], at(0)).await;
    let waiting = bench.task("a").await;
    assert_eq!((waiting.waiting_for.as_deref(), waiting.eta), (Some("eta"), Some(at(50))));
    let leased = bench.store.lease(ask(1, at(49))).await.unwrap();
    assert_eq!((ids(&leased.leases), leased.next_due), (vec!["past"], Some(at(50))), "the ETA comes before the lapse");
    bench.commit(leased.leases[0].key, success("1"), at(49)).await;
    bench.restart().await;
    let leased = bench.store.lease(ask(9, at(50))).await.unwrap();
    assert_eq!((ids(&leased.leases), leased.next_due), (vec!["a"], Some(at(60))));
    let leased = bench.store.lease(ask(9, at(59))).await.unwrap();
    assert_eq!((ids(&leased.leases), leased.next_due), (vec![], Some(at(60))));
    bench.commit(LeaseKey { ..bench.lease_one(at(60)).await.key }, success("1"), at(60)).await;
    assert_eq!(bench.task("b").await.waiting_for, None);
}

async fn a_lapsed_lease_goes_back_to_its_old_place(bench: Bench) {
    bench.submit(vec![message("a"), message("b")], at(0)).await;
    let first = bench.lease_one(at(0)).await;
    let Leased { leases, next_due } = bench.store.lease(ask(0, at(9))).await.unwrap();
    assert_eq!((leases.len(), next_due), (0, Some(at(10))));
    assert_eq!(bench.task("a").await.status, State::Started, "it has not lapsed yet");
    let again = bench.lease(2, at(10)).await;
    assert_eq!((ids(&again), again[0].deliveries, again[1].deliveries), (vec!["a", "b"], 2, 1));
    assert_eq!(bench.store.commit(first.key, settlement(success("1"), at(11))).await.unwrap(), Fenced::Refused);
    bench.commit(again[0].key, success("2"), at(11)).await;
    assert_eq!(bench.task("a").await.result.as_str(), "2");
}

async fn a_restart_gives_leased_messages_back(mut bench: Bench) {
    bench.submit(vec![message("a"), message("b"), message("c")], at(0)).await;
    let leases = bench.lease(2, at(0)).await;
    bench.store.report(leases[0].key, "PROGRESS".to_owned(), json("{}")).await.unwrap();
    bench.restart().await;
    let back = bench.task("a").await;
    assert_eq!((back.status, back.waiting_for.as_deref(), back.deliveries), (State::Pending, Some("a free slot"), 1));
    assert_eq!((back.worker.as_deref(), back.result.as_str()), (Some("host-1"), "null"));
    assert_eq!(bench.store.commit(leases[0].key, settlement(success("1"), at(1))).await.unwrap(), Fenced::Refused);
    assert_eq!(bench.store.renew(vec![leases[1].key], at(99)).await.unwrap(), [leases[1].key]);
    let again = bench.lease(9, at(1)).await;
    assert_eq!(ids(&again), ["a", "b", "c"]);
    assert_eq!(again.iter().map(|lease| lease.deliveries).collect::<Vec<_>>(), [2, 2, 1]);
}

async fn tokens_are_never_given_twice(mut bench: Bench) {
    bench.submit(vec![message("a")], at(0)).await;
    let mut seen = BTreeSet::new();
    for round in 0..6 {
        let lease = bench.lease_one(at(round)).await;
        assert!(seen.insert(lease.key.token), "token {} of round {round}", lease.key.token);
        if round % 2 == 0 {
            bench.restart().await;
        } else {
            bench.store.release(lease.key, false).await.unwrap();
        }
    }
}

async fn an_old_token_changes_nothing(bench: Bench) {
    bench.submit(vec![message("a")], at(0)).await;
    let old = bench.lease_one(at(0)).await.key;
    let new = bench.lease_one(at(20)).await.key;
    assert_ne!(old, new);
    let before = bench.task("a").await;
    let store = &bench.store;
    let with_child = Settlement { publish: Plan::of(message("child")), ..settlement(success("1"), at(21)) };
    assert_eq!(store.commit(old, with_child).await.unwrap(), Fenced::Refused);
    assert_eq!(store.report(old, "PROGRESS".to_owned(), json("1")).await.unwrap(), Fenced::Refused);
    assert_eq!(store.release(old, false).await.unwrap(), Fenced::Refused);
    assert_eq!(store.renew(vec![old, new], at(40)).await.unwrap(), [old]);
    let nobody = LeaseKey { task: 4711, token: new.token };
    assert_eq!(store.release(nobody, false).await.unwrap(), Fenced::Refused);
    assert_eq!(bench.task("a").await, before);
    assert_eq!(store.task(&tenant(), &id("child")).await.unwrap(), None);
    assert!(bench.lease(9, at(39)).await.is_empty());
}

async fn a_renewed_lease_does_not_lapse(bench: Bench) {
    bench.submit(vec![message("a")], at(0)).await;
    let key = bench.lease_one(at(0)).await.key;
    assert!(bench.store.renew(vec![key], at(30)).await.unwrap().is_empty());
    let leased = bench.store.lease(ask(1, at(29))).await.unwrap();
    assert_eq!((leased.leases.len(), leased.next_due), (0, Some(at(30))));
    bench.commit(key, success("1"), at(29)).await;
    assert_eq!(bench.store.lease(ask(1, at(99))).await.unwrap().next_due, None);
    assert_eq!(bench.store.renew(vec![key], at(120)).await.unwrap(), [key], "it has ended");
}

async fn a_report_shows_until_the_lease_ends(bench: Bench) {
    bench.submit(vec![message("a")], at(0)).await;
    let key = bench.lease_one(at(0)).await.key;
    for done in ["1", "2"] {
        let meta = json(&format!(r#"{{"done": {done}}}"#));
        assert_eq!(bench.store.report(key, "PROGRESS".to_owned(), meta.clone()).await.unwrap(), Fenced::Applied);
        let task = bench.task("a").await;
        assert_eq!((task.status, task.result), (State::Custom("PROGRESS".to_owned()), meta));
    }
    for end in ["SUCCESS", "FAILURE", "REVOKED", "IGNORED"] {
        let refused = bench.store.report(key, end.to_owned(), json("1")).await;
        assert!(matches!(refused, Err(StoreError::Failed(why)) if why.contains(end)), "{end}");
    }
    let again = bench.lease_one(at(10)).await;
    assert_eq!(bench.task("a").await.status, State::Started, "another attempt has not reported");
    bench.commit(again.key, success("3"), at(11)).await;
    assert_eq!(bench.task("a").await.result.as_str(), "3");
}

async fn a_release_counts_if_the_attempt_had_begun(bench: Bench) {
    bench.submit(vec![message("a"), message("b")], at(0)).await;
    let key = bench.lease_one(at(0)).await.key;
    assert_eq!(bench.store.release(key, false).await.unwrap(), Fenced::Applied);
    let task = bench.task("a").await;
    assert_eq!((task.status, task.deliveries, task.worker), (State::Pending, 0, None));
    assert_eq!(bench.store.release(key, false).await.unwrap(), Fenced::Refused);
    let lease = bench.lease_one(at(0)).await;
    assert_eq!((&lease.message.id, lease.deliveries), (&id("a"), 1));
    assert_eq!(bench.store.release(lease.key, true).await.unwrap(), Fenced::Applied);
    assert_eq!(bench.lease_one(at(0)).await.deliveries, 2);
}

async fn revoke_ends_what_waits_only(mut bench: Bench) {
    let later = Message { eta: Some(at(50)), ..message("later") };
    bench.submit(vec![message("run"), message("wait"), later], at(0)).await;
    let key = bench.lease_one(at(0)).await.key;
    let revoke = async |bench: &Bench, name: &str| bench.store.revoke(&tenant(), &id(name), at(2)).await.unwrap();
    assert_eq!(revoke(&bench, "run").await, Revoked::Running(key));
    assert_eq!(revoke(&bench, "wait").await, Revoked::Waiting);
    assert_eq!(revoke(&bench, "later").await, Revoked::Waiting);
    assert_eq!(revoke(&bench, "wait").await, Revoked::Ended(State::Revoked));
    assert_eq!(revoke(&bench, "nothing").await, Revoked::Unknown);
    bench.commit(key, success("1"), at(3)).await;
    assert_eq!(revoke(&bench, "run").await, Revoked::Ended(State::Success));
    bench.restart().await;
    let task = bench.task("later").await;
    assert_eq!((task.status, task.date_done, task.waiting_for), (State::Revoked, Some(at(2)), None));
    assert_eq!(task.result.read::<Exception>().unwrap(), Exception::revoked("revoked"));
    assert!(bench.lease(9, at(99)).await.is_empty());
}

async fn purge_revokes_one_queue(bench: Bench) {
    let later = Message { eta: Some(at(50)), ..in_queue("later", "x") };
    let many: Vec<Message> = (0..1500).map(|n| in_queue(&format!("x{n}"), "x")).collect();
    bench.submit(many, at(0)).await;
    bench.submit(vec![later, in_queue("y", "y")], at(0)).await;
    bench.offer(&TenantId::new("other").unwrap(), vec![in_queue("o", "x")], at(0), 9).await;
    let running = bench.lease_one(at(0)).await;
    assert_eq!(bench.store.purge(&tenant(), &queue("x"), at(1)).await.unwrap(), 1500);
    assert_eq!(bench.store.purge(&tenant(), &queue("x"), at(1)).await.unwrap(), 0);
    assert_eq!(bench.store.purge(&tenant(), &queue("none"), at(1)).await.unwrap(), 0);
    assert_eq!(bench.task("x1499").await.status, State::Revoked);
    assert_eq!(bench.task("later").await.status, State::Revoked);
    assert_eq!(bench.task(running.message.id.as_str()).await.status, State::Started);
    assert_eq!(ids(&bench.lease(9, at(60)).await).len(), 3, "y, the other tenant's, and the one that lapsed");
}

async fn queues_are_counted(mut bench: Bench) {
    let later = Message { eta: Some(at(50)), ..in_queue("c", "x") };
    bench.submit(vec![in_queue("a", "x")], at(0)).await;
    bench.submit(vec![Message { priority: 0, ..in_queue("b", "x") }, later, in_queue("d", "y")], at(4)).await;
    bench.lease_one(at(5)).await;
    let views = |bench: &Bench, now: Timestamp| {
        let store = bench.store.clone();
        async move {
            let views = store.queues(&tenant(), now).await.unwrap();
            let line = |it: lovage_model::api::QueueView| {
                format!("{} {} {} {} {:?}", it.name, it.ready, it.scheduled, it.leased, it.oldest_seconds)
            };
            views.into_iter().map(line).collect::<Vec<_>>()
        }
    };
    assert_eq!(views(&bench, at(10)).await, ["x 1 1 1 Some(10.0)", "y 1 0 0 Some(6.0)"]);
    bench.restart().await;
    assert_eq!(views(&bench, at(10)).await, ["x 2 1 0 Some(10.0)", "y 1 0 0 Some(6.0)"]);
    let stranger = TenantId::new("stranger").unwrap();
    assert!(bench.store.queues(&stranger, at(10)).await.unwrap().is_empty());
    for lease in bench.lease(9, at(60)).await {
        bench.commit(lease.key, success("1"), at(60)).await;
    }
    assert!(bench.store.queues(&tenant(), at(60)).await.unwrap().is_empty());
}

async fn the_bell_rings_for_new_messages(bench: Bench) {
    // A store rings when it opens, for what is in it.
    let _ = bench.store.ready().now_or_never();
    assert!(bench.store.ready().now_or_never().is_none(), "nothing is new");
    bench.submit(vec![message("a")], at(0)).await;
    bench.submit(vec![Message { eta: Some(at(9)), ..message("b") }], at(0)).await;
    bench.store.ready().await;
    assert!(bench.store.ready().now_or_never().is_none(), "it rings once for both");
    let key = bench.lease_one(at(0)).await.key;
    bench.commit(key, retry(Message { retries: 1, ..message("a") }), at(1)).await;
    bench.store.ready().await;
    let key = bench.lease_one(at(1)).await.key;
    bench.store.release(key, false).await.unwrap();
    bench.store.ready().await;
    let key = bench.lease_one(at(2)).await.key;
    bench.commit(key, success("1"), at(3)).await;
    assert_eq!(bench.store.resubmit(&tenant(), &id("a"), at(4), Room::UNLIMITED).await.unwrap(), Redone::Done);
    bench.store.ready().await;
}

async fn a_closed_store_refuses(bench: Bench) {
    bench.submit(vec![message("a")], at(0)).await;
    bench.store.healthy().await.unwrap();
    bench.store.close().await.unwrap();
    let is_closed = |error: StoreError| error.to_string().contains("closed");
    assert!(is_closed(bench.store.healthy().await.unwrap_err()));
    assert!(is_closed(bench.store.task(&tenant(), &id("a")).await.unwrap_err()));
    assert!(is_closed(bench.store.lease(ask(1, at(1))).await.unwrap_err()));
    bench.store.close().await.unwrap();
}
