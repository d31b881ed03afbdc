//! What clients of Celery's put on lists, and what they and its workers read.

use std::time::Duration;

use futures_util::FutureExt;
use lovage_model::{Arrival, Exception, Planned, State, Then};
use serde_json::json;

use super::*;
use crate::store::{Fanout, Fenced, Groups, Orders, Results, Revoked, Store, Values};

#[tokio::test]
async fn queues_of_clients_take_turns() {
    let bench = Bench::new().await;
    for (queue, count) in [("celery", 8), ("emails", 4)] {
        for number in 0..count {
            bench.ask::<u64>("LPUSH", queue, &[&plain(&format!("{queue}-{number}"))]).await;
        }
    }
    let queues = ["celery", "emails"].map(|queue| queue.parse().unwrap());
    for max in [4, 1, 1, 1, 1] {
        let ask = Ask { queues: Some(queues.clone().into()), ..ask(&bench.store, max, at(1)) };
        let leases = bench.store.lease(ask).await.unwrap().leases;
        let emails = leases.iter().filter(|lease| lease.message.queue.as_str() == "emails").count();
        assert!(max == 1 || emails == 2, "{emails} of {max}");
    }
    let left = |queue| bench.ask::<u64>("LLEN", queue, &[]);
    assert_eq!((left("celery").await, left("emails").await), (4, 0));
}

#[tokio::test]
async fn four_lists_tell_four_priorities_apart() {
    let bench = Bench::new().await;
    let of = |(name, priority): (&str, u8)| Message { priority, ..message(name) };
    let sent = [("i", 9), ("h", 8), ("f", 4), ("g", 3), ("b", 2), ("a", 0), ("c", 1)];
    bench.submit(sent.map(of).to_vec()).await;
    assert_eq!(bench.ask::<u64>("LLEN", "celery\u{6}\u{16}3", &[]).await, 2);
    let leases = bench.lease(9, at(1)).await;
    let ids: Vec<_> = leases.iter().map(|lease| lease.message.id.as_str()).collect();
    assert_eq!(ids, ["b", "a", "c", "f", "g", "h", "i"], "by age within a list");
}

#[tokio::test]
async fn a_clients_message_runs_and_its_result_is_celerys() {
    let bench = Bench::new().await;
    bench.ask::<u64>("LPUSH", "celery", &[&plain("a-1")]).await;
    let lease = bench.lease_one(at(1)).await;
    assert_eq!((lease.message.id.as_str(), lease.message.task.as_str()), ("a-1", "tour.add"));
    assert_eq!((lease.message.args.as_str(), lease.message.queue.as_str()), ("[2,3]", "celery"));
    assert_eq!((lease.deliveries, lease.message.embed.is_some()), (1, true));
    let index: Vec<String> = bench.ask("ZRANGE", "unacked_index", &["0", "-1"]).await;
    assert!(index.len() == 1 && index[0].starts_with("lovage-"), "{index:?}");
    assert_eq!(bench.ask::<u64>("HEXISTS", "unacked", &[&index[0]]).await, 1);
    let shown = bench.store.task(&tenant(), &lease.message.id).await.unwrap().unwrap();
    assert_eq!((shown.status, shown.args.as_str()), (State::Started, "[2,3]"));
    assert_eq!(bench.commit(lease.key, success("5", at(2))).await, Fenced::Applied);
    let meta = bench.meta("a-1").await;
    assert_eq!(meta["status"], "SUCCESS");
    assert_eq!((&meta["result"], &meta["traceback"], &meta["children"]), (&json!(5), &json!(null), &json!([])));
    assert_eq!((&meta["task_id"], &meta["name"], &meta["retries"]), (&json!("a-1"), &json!("tour.add"), &json!(0)));
    assert_eq!(meta["date_done"], "2027-01-15T08:00:02.000000+00:00");
    for (key, command) in [("celery", "LLEN"), ("unacked", "HLEN"), ("unacked_index", "ZCARD")] {
        assert_eq!(bench.ask::<u64>(command, key, &[]).await, 0, "{key}");
    }
    let lifetime: i64 = bench.ask("TTL", "celery-task-meta-a-1", &[]).await;
    assert!((1..=86_400).contains(&lifetime));
}

/// An application may give its broker one prefix, and its results another or none.
#[tokio::test]
async fn results_are_where_the_backend_of_celery_looks_for_them() {
    let options = Server::of_all().options();
    let results = format!("results-of-{}", options.global_keyprefix);
    let bench = Bench::with(Options { result_keyprefix: results.clone(), ..options }).await;
    bench.ask::<u64>("LPUSH", "celery", &[&plain("a")]).await;
    let lease = bench.lease_one(at(1)).await;
    assert_eq!(bench.commit(lease.key, success("5", at(2))).await, Fenced::Applied);
    let (acme, saved) = (TenantId::new("acme").unwrap(), lovage_model::ResultTuple::of("g".parse().unwrap()));
    assert!(bench.store.save_group(&acme, &saved.id, &saved, u64::MAX, at(2)).await.unwrap());
    bench.store.revoke_unseen(&["b".parse().unwrap()], at(3)).await.unwrap();
    for key in ["celery-task-meta-a", "lovage:{acme}:celery-taskset-meta-g", "celery-task-meta-b"] {
        assert_eq!(bench.ask::<u64>("EXISTS", key, &[]).await, 0, "{key}");
        let mut exists = redis::cmd("EXISTS");
        exists.arg(format!("{results}{key}"));
        assert_eq!(exists.query_async::<u64>(&mut bench.client.clone()).await.unwrap(), 1, "{key}");
    }
    let shown = bench.store.task(&tenant(), &lease.message.id).await.unwrap().unwrap();
    assert_eq!(shown.result.as_str(), "5");
    assert_eq!(bench.store.group(&acme, &saved.id).await.unwrap(), Some(saved));
}

#[tokio::test]
async fn groups_of_a_version_that_did_not_count_them_go_with_their_tenant() {
    let bench = Bench::new().await;
    let (acme, other) = (TenantId::new("acme").unwrap(), TenantId::new("acme2").unwrap());
    let saved = lovage_model::ResultTuple::of("g".parse().unwrap());
    for tenant in [&acme, &other] {
        assert!(bench.store.save_group(tenant, &saved.id, &saved, u64::MAX, at(2)).await.unwrap());
    }
    for key in ["group-sizes", "value-room"] {
        assert_eq!(bench.ask::<u64>("DEL", &format!("lovage:of:{{acme}}:{key}"), &[]).await, 1, "{key}");
    }
    bench.store.drop_values(acme.clone()).await.unwrap();
    assert_eq!(bench.store.group(&acme, &saved.id).await.unwrap(), None);
    assert_eq!(bench.store.group(&other, &saved.id).await.unwrap(), Some(saved));
}

#[tokio::test]
async fn ids_of_pythons_own_are_answered_under_their_text() {
    let bench = Bench::new().await;
    let uuid = json!({"__type__": "uuid", "__value__": {"hex": "0123456789abcdef0123456789abcdef"}});
    let (written, blank) = ("01234567-89ab-cdef-0123-456789abcdef", "my own id");
    let sent = envelope("u", &json!({"id": uuid, "root_id": uuid}), &plain_body());
    bench.ask::<u64>("LPUSH", "celery", &[&sent, &plain(blank)]).await;
    let lease = bench.lease_one(at(1)).await;
    assert_eq!((lease.message.id.as_str(), lease.message.root_id.as_str()), (written, written));
    assert_eq!(bench.commit(lease.key, success("5", at(2))).await, Fenced::Applied);
    assert_eq!(bench.meta(written).await["result"], 5);
    assert!(bench.lease(9, at(3)).await.is_empty());
    let meta = bench.meta(blank).await;
    assert_eq!((&meta["status"], &meta["task_id"]), (&json!("FAILURE"), &json!(blank)));
    assert!(meta["result"]["exc_message"][0].as_str().unwrap().contains("no spaces"), "{meta}");
    assert_eq!(bench.ask::<u64>("HLEN", "unacked", &[]).await, 0);
}

#[tokio::test]
async fn who_waits_for_an_id_of_pythons_own_hears_of_a_purge() {
    let bench = Bench::new().await;
    let uuid = json!({"__type__": "uuid", "__value__": {"hex": "0123456789abcdef0123456789abcdef"}});
    let odd = json!({"__type__": "uuid", "__value__": {"hex": "0123"}});
    let sent = |id: &Value| envelope("u", &json!({ "id": id }), &plain_body());
    bench.ask::<u64>("LPUSH", "celery", &[&sent(&uuid), &sent(&odd), &plain("a")]).await;
    assert_eq!(bench.store.purge(&tenant(), &"celery".parse().unwrap(), at(1)).await.unwrap(), 3);
    for id in ["01234567-89ab-cdef-0123-456789abcdef", "a"] {
        let meta = bench.meta(id).await;
        assert_eq!((&meta["status"], &meta["task_id"]), (&json!("REVOKED"), &json!(id)));
    }
}

#[tokio::test]
async fn clients_see_that_a_task_runs_where_it_is_wanted() {
    for told in [false, true] {
        let bench = Bench::with(Options { track_started: told, ..Server::of_all().options() }).await;
        bench.ask::<u64>("LPUSH", "celery", &[&plain("a")]).await;
        let lease = bench.lease_one(at(1)).await;
        assert_eq!(bench.ask::<u64>("EXISTS", "celery-task-meta-a", &[]).await, 0, "it may wait for a slot");
        bench.store.begun(lease.key).await;
        assert_eq!(bench.ask::<u64>("EXISTS", "celery-task-meta-a", &[]).await, u64::from(told));
        if told {
            let meta = bench.meta("a").await;
            assert_eq!((&meta["status"], &meta["result"]["hostname"]), (&json!("STARTED"), &json!("host-1")));
        }
        let shown = bench.store.task(&tenant(), &lease.message.id).await.unwrap().unwrap();
        assert_eq!(shown.status, State::Started);
        assert_eq!(bench.commit(lease.key, success("5", at(2))).await, Fenced::Applied);
        assert_eq!(bench.meta("a").await["status"], "SUCCESS");
    }
}

#[tokio::test]
async fn a_message_wakes_who_waits() {
    let bench = Bench::new().await;
    assert!(bench.lease(1, at(0)).await.is_empty());
    let _ = bench.store.ready().now_or_never();
    let waits = bench.store.ready();
    tokio::pin!(waits);
    assert!(waits.as_mut().now_or_never().is_none());
    bench.ask::<u64>("LPUSH", "celery", &[&plain("a")]).await;
    tokio::time::timeout(Duration::from_secs(20), waits).await.expect("nobody looked");
    assert_eq!(bench.lease(9, at(1)).await.len(), 1);
}

#[tokio::test]
async fn what_kombu_restores_is_the_same_message() {
    let bench = Bench::new().await;
    bench.submit(vec![message("ours")]).await;
    bench.ask::<u64>("LPUSH", "celery", &[&plain("theirs")]).await;
    let leases = bench.lease(2, at(0)).await;
    let held: Vec<String> = bench.ask("HVALS", "unacked", &[]).await;
    assert_eq!(held.len(), 2);
    // As kombu does it: out of unacked, marked, back on the list.
    for text in held {
        let raw = text.strip_prefix('[').unwrap().strip_suffix(", \"\", \"celery\"]").unwrap();
        let marked = raw.replacen("\"delivery_info\": {", "\"delivery_info\": {\"redelivered\": true, ", 1);
        assert_ne!(raw, marked);
        bench.ask::<u64>("RPUSH", "celery", &[&marked]).await;
    }
    bench.ask::<u64>("DEL", "unacked", &[]).await;
    let again = bench.lease(9, at(1)).await;
    let mut seen: Vec<_> = again.iter().map(|lease| (lease.message.id.as_str(), lease.deliveries)).collect();
    seen.sort_unstable();
    assert_eq!(seen, [("ours", 2), ("theirs", 2)]);
    for old in leases {
        assert_eq!(bench.commit(old.key, success("1", at(2))).await, Fenced::Refused);
    }
    for new in again {
        assert_eq!(bench.commit(new.key, success("2", at(2))).await, Fenced::Applied);
    }
    assert_eq!(bench.meta("ours").await["result"], 2);
    assert!(bench.lease(9, at(99)).await.is_empty());
}

#[tokio::test]
async fn a_success_is_never_overwritten() {
    let bench = Bench::new().await;
    bench.ask::<u64>("LPUSH", "celery", &[&plain("a")]).await;
    let lease = bench.lease_one(at(0)).await;
    let theirs = r#"{"status": "SUCCESS", "result": 7, "traceback": null, "children": [], "task_id": "a"}"#;
    bench.ask::<()>("SET", "celery-task-meta-a", &[theirs]).await;
    let exception = Exception::new("builtins", "ValueError", "late");
    let verdict = Verdict::Failure { exception, traceback: None, fault: None };
    assert_eq!(bench.commit(lease.key, Settlement::of(verdict, at(1))).await, Fenced::Applied);
    assert_eq!(bench.meta("a").await["result"], 7);
}

#[tokio::test]
async fn a_second_message_of_a_task_is_not_run_beside_the_first() {
    let bench = Bench::new().await;
    bench.ask::<u64>("LPUSH", "celery", &[&plain("a"), &plain("a")]).await;
    let lease = bench.lease(9, at(0)).await;
    assert_eq!(lease.len(), 1);
    bench.ask::<u64>("LPUSH", "celery", &[&plain("a")]).await;
    assert!(bench.lease(9, at(1)).await.is_empty(), "it runs");
    bench.commit(lease[0].key, success("1", at(2))).await;
    // Whoever sends it again once it has ended means it.
    bench.ask::<u64>("LPUSH", "celery", &[&plain("a")]).await;
    let again = bench.lease_one(at(3)).await;
    assert_eq!((again.key.task, again.deliveries), (lease[0].key.task, 1));
    bench.commit(again.key, success("2", at(4))).await;
    assert_eq!(bench.meta("a").await["result"], 1, "a success stays");
}

#[tokio::test]
async fn an_eta_is_waited_for_in_redis() {
    let bench = Bench::new().await;
    let eta = envelope("a", &json!({"eta": at(60).to_string()}), &plain_body());
    bench.ask::<u64>("LPUSH", "celery", &[&eta]).await;
    let first = lease(&bench.store, 9, at(0)).await;
    assert_eq!((first.leases.len(), first.next_due), (0, Some(at(0))), "there may be more");
    assert_eq!(lease(&bench.store, 9, at(1)).await.next_due, Some(at(60)));
    for (command, key) in [("LLEN", "celery"), ("HLEN", "unacked")] {
        assert_eq!(bench.ask::<u64>(command, key, &[]).await, 0);
    }
    let shown = bench.store.task(&tenant(), &"a".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((shown.waiting_for.as_deref(), shown.deliveries), (Some("eta"), 0));
    let due = bench.lease_one(at(60)).await;
    assert_eq!((due.message.id.as_str(), due.message.args.as_str(), due.deliveries), ("a", "[2,3]", 1));
    assert_eq!(bench.commit(due.key, success("5", at(61))).await, Fenced::Applied);
}

#[tokio::test]
async fn a_clients_message_waits_for_as_long_as_it_must() {
    let bench = Bench::new().await;
    bench.ask::<u64>("LPUSH", "celery", &[&envelope("a", &json!({}), &plain_body())]).await;
    let lease = bench.lease_one(at(0)).await;
    bench.store.release(lease.key, true).await.unwrap();
    // Results of that time expire; it has none yet.
    bench.store.expire(Timestamp::from_micros(i64::MAX / 4), 9).await.unwrap();
    let again = bench.lease_one(at(1)).await;
    assert_eq!((again.message.id.as_str(), again.deliveries), ("a", 2));
    assert_eq!(bench.commit(again.key, success("5", at(2))).await, Fenced::Applied);
}

/// It would be asked again and again for what it may not have.
#[tokio::test]
async fn who_has_its_share_is_not_woken_for_what_it_left() {
    use crate::store::{Share, Shares};
    let bench = Bench::new().await;
    bench.submit(vec![message("a"), message("b")]).await;
    let lease = async |max| {
        let others = Share { used: 0, step: 0, max };
        let shares = Shares { others, ..Shares::default() };
        let ask = Ask { worker: "w".to_owned(), queues: None, max: 9, shares, now: at(0), until: at(9) };
        bench.store.lease(ask).await.unwrap().leases.len()
    };
    assert_eq!((lease(1).await, bench.store.watched().len()), (1, 0));
    assert_eq!((lease(2).await, bench.store.watched().len()), (1, 4), "every step of the queue");
}

#[tokio::test]
async fn what_nobody_can_run_is_answered_and_kept() {
    let bench = Bench::new().await;
    let bad = envelope("bad", &json!({"group": "g", "group_index": 0}), &json!(["no", "triple"]));
    let other = plain("other").replace("application/json", "application/x-python-serialize");
    bench.ask::<u64>("LPUSH", "celery", &["no JSON at all", &bad, &other, "{}", &plain("good")]).await;
    let mut leases = Vec::new();
    for round in 0..6 {
        leases.extend(bench.lease(9, at(round)).await);
    }
    assert_eq!(leases.len(), 1, "the others are not in its way");
    assert_eq!(leases[0].message.id.as_str(), "good");
    for (id, why) in [("bad", "ValueError"), ("other", "ContentDisallowed")] {
        let meta = bench.meta(id).await;
        assert_eq!((&meta["status"], &meta["result"]["exc_type"]), (&json!("FAILURE"), &json!(why)));
        let shown = bench.store.task(&tenant(), &id.parse().unwrap()).await.unwrap().unwrap();
        assert_eq!((shown.status, shown.fault.as_deref()), (State::Failure, Some("unreadable")), "{id}");
    }
    let dead: Vec<String> = bench.ask("LRANGE", "lovage:dead", &["0", "-1"]).await;
    let expected = ["{}", &other, &bad, "no JSON at all"];
    assert_eq!(dead, expected);
    assert_eq!(bench.ask::<u64>("HLEN", "unacked", &[]).await, 1);
}

#[tokio::test]
async fn a_message_of_the_first_protocol_runs() {
    let bench = Bench::new().await;
    let body = json!({"task": "tour.add", "id": "old", "args": [2, 3], "kwargs": {}, "retries": 0, "eta": null});
    let mut whole: Value = serde_json::from_str(&envelope("old", &json!({}), &body)).unwrap();
    whole["headers"] = json!({});
    bench.ask::<u64>("LPUSH", "celery", &[&pythonic(&whole.to_string())]).await;
    let lease = bench.lease_one(at(0)).await;
    assert_eq!((lease.message.id.as_str(), lease.message.args.as_str()), ("old", "[2,3]"));
    assert_eq!(bench.commit(lease.key, success("5", at(1))).await, Fenced::Applied);
    assert_eq!(bench.meta("old").await["result"], 5);
    assert_eq!(bench.ask::<u64>("HLEN", "unacked", &[]).await, 0);
}

/// Where it must be read to know what it is, it is first taken under a tag without an id.
#[tokio::test]
async fn an_eta_that_no_script_can_read_leaves_no_lease_behind() {
    let bench = Bench::new().await;
    let eta = at(60).to_string();
    let body = json!({"task": "tour.add", "id": "old", "args": [2, 3], "kwargs": {}, "retries": 0, "eta": eta});
    let mut whole: Value = serde_json::from_str(&envelope("old", &json!({}), &body)).unwrap();
    whole["headers"] = json!({});
    bench.ask::<u64>("LPUSH", "celery", &[&pythonic(&whole.to_string())]).await;
    assert!(bench.lease(9, at(0)).await.is_empty());
    for (key, command) in [("lovage:leases", "ZCARD"), ("unacked_index", "ZCARD"), ("unacked", "HLEN")] {
        assert_eq!(bench.ask::<u64>(command, key, &[]).await, 0, "{key}");
    }
    assert_eq!(bench.lease_one(at(60)).await.message.id.as_str(), "old");
}

#[tokio::test]
async fn a_clients_message_that_lapses_and_is_taken_at_once_has_not_ended() {
    let bench = Bench::new().await;
    bench.ask::<u64>("LPUSH", "celery", &[&plain("a")]).await;
    bench.lease_one(at(0)).await;
    assert_eq!(bench.lease_one(at(60)).await.deliveries, 2);
    assert_eq!(bench.ask::<u64>("ZCARD", "lovage:ended", &[]).await, 0);
}

/// A message in the words and in the order that Celery has them, with more behind its last header.
fn as_celery_writes(id: &str, more: &str) -> String {
    let headers = format!(
        r#""lang": "py", "task": "tour.add", "id": "{id}", "shadow": null, "eta": null, "expires": null, "group": null, "group_index": null, "retries": 2, "timelimit": [null, null], "root_id": "{id}", "parent_id": null, "argsrepr": "(2, 3)", "kwargsrepr": "{{}}", "origin": "gen8564@recorder", "ignore_result": false, "replaced_task_nesting": 0, "stamped_headers": null, "stamps": {{}}{more}"#
    );
    let properties = r#""correlation_id": "x", "reply_to": "8fb0e688-567f-30f6-acab-d42b44d52a12", "delivery_mode": 2, "delivery_info": {"exchange": "", "routing_key": "celery"}, "priority": 0, "body_encoding": "base64", "delivery_tag": "bbb1c51f-9724-40ea-af0d-f1ef1895741c""#;
    let other: Value = serde_json::from_str(&plain(id)).unwrap();
    let body = other["body"].as_str().unwrap();
    format!(
        r#"{{"body": "{body}", "content-encoding": "utf-8", "content-type": "application/json", "headers": {{{headers}}}, "properties": {{{properties}}}}}"#
    )
}

/// A glance is enough for most of them, and must not tell another task than who reads the whole.
#[tokio::test]
async fn a_message_as_celery_writes_it_is_of_the_task_that_it_names() {
    let bench = Bench::new().await;
    for (id, more) in [("a", ""), ("b", r#", "id": "c""#), ("d", r#", "\u0069d": "e""#)] {
        bench.ask::<u64>("LPUSH", "celery", &[&as_celery_writes(id, more)]).await;
    }
    let leases = bench.lease(9, at(0)).await;
    assert_eq!(leases.iter().map(|lease| lease.message.id.as_str()).collect::<Vec<_>>(), ["a", "c", "e"]);
    for lease in leases {
        let row: Vec<String> = bench.ask("HMGET", &format!("lovage:task:{}", lease.message.id), &["na", "rt"]).await;
        assert_eq!(row, ["tour.add", "2"]);
        assert_eq!(bench.commit(lease.key, success("5", at(1))).await, Fenced::Applied);
    }
}

#[tokio::test]
async fn what_a_task_waited_for_is_forgotten_when_it_waits_no_more() {
    let bench = Bench::new().await;
    let first = Planned { message: Message { then: Some(Then::Next), ..message("a") }, awaits: None };
    let second = Planned { message: message("b"), awaits: Some("a".parse().unwrap()) };
    let plan = Plan { tasks: vec![first, second], joins: vec![] };
    bench.store.submit(&tenant(), vec![plan], at(0), Room::UNLIMITED).await.unwrap();
    let arrival = Some(Arrival::Value(Json::parse("1".to_owned()).unwrap()));
    let lease = bench.lease_one(at(0)).await;
    assert_eq!(bench.commit(lease.key, Settlement { arrival, ..success("1", at(1)) }).await, Fenced::Applied);
    let row: Vec<Option<String>> = bench.ask("HMGET", "lovage:task:b", &["pl", "aw", "ag"]).await;
    assert_eq!(row, [Some("r".to_owned()), None, None]);
}

#[tokio::test]
async fn stamps_of_a_clients_message_are_found() {
    let bench = Bench::new().await;
    let stamped = envelope("a", &json!({"stamped_headers": ["job"], "stamps": {"job": ["x"]}}), &plain_body());
    bench.ask::<u64>("LPUSH", "celery", &[&stamped]).await;
    let lease = bench.lease_one(at(0)).await;
    let values = [Json::parse("\"x\"".to_owned()).unwrap()];
    let found = bench.store.revoke_stamped(&tenant(), "job", &values, at(1)).await.unwrap();
    assert_eq!(found, [("a".parse().unwrap(), Revoked::Running(lease.key))]);
}

#[tokio::test]
async fn what_a_celery_worker_lost_is_put_back() {
    let bench = Bench::new().await;
    let held = format!("[{}, \"\", \"celery\"]", plain("lost"));
    bench.ask::<u64>("HSET", "unacked", &["their-tag", &held]).await;
    bench.ask::<u64>("ZADD", "unacked_index", &["5", "their-tag"]).await;
    assert_eq!(bench.lease_one(at(0)).await.message.id.as_str(), "lost");
    assert_eq!(bench.ask::<u64>("ZCARD", "unacked_index", &[]).await, 1, "ours");
}

#[tokio::test]
async fn what_was_lost_goes_to_the_list_of_its_priority_wherever_that_stands() {
    let bench = Bench::new().await;
    let usual = plain("usual").replace("\"priority\": 0", "\"priority\": 6");
    let filler = "x".repeat(2_000);
    let odd = format!(r#"{{"properties": {{"priority": 6, "delivery_info": {{}}}}, "headers": {{"x": "{filler}"}}}}"#);
    for (tag, raw) in [("usual", usual), ("odd", odd)] {
        bench.ask::<u64>("HSET", "unacked", &[tag, &format!("[{raw}, \"\", \"celery\"]")]).await;
        bench.ask::<u64>("ZADD", "unacked_index", &["5", tag]).await;
    }
    lease(&bench.store, 0, at(0)).await;
    assert_eq!(bench.ask::<u64>("LLEN", "celery\u{6}\u{16}6", &[]).await, 2);
}

#[tokio::test]
async fn what_was_lost_goes_to_the_queues_of_its_exchange() {
    let bench = Bench::new().await;
    bench.ask::<u64>("SADD", "_kombu.binding.feeds", &["import\u{6}\u{16}\u{6}\u{16}celery"]).await;
    for (tag, key) in [("bound", "import"), ("by-pattern", "import.all")] {
        let held = format!("[{}, \"feeds\", \"{key}\"]", plain(tag));
        bench.ask::<u64>("HSET", "unacked", &[tag, &held]).await;
        bench.ask::<u64>("ZADD", "unacked_index", &["5", tag]).await;
    }
    assert_eq!(bench.lease_one(at(0)).await.message.id.as_str(), "bound");
    assert_eq!(bench.ask::<u64>("HEXISTS", "unacked", &["by-pattern"]).await, 1, "kombu knows where to");
}

/// It is one option of kombu's for both, and any text.
#[tokio::test]
async fn bindings_are_written_and_read_with_the_separator_of_the_priorities() {
    for sep in [":", "[", "%"] {
        let options = Options { sep: sep.to_owned(), ..Server::of_all().options() };
        let bench = Bench::with(options).await;
        let bound = ["import", "", "celery"].join(sep);
        bench.ask::<u64>("SADD", "_kombu.binding.feeds", &[&bound]).await;
        let held = format!("[{}, \"feeds\", \"import\"]", plain("lost"));
        bench.ask::<u64>("HSET", "unacked", &["tag", &held]).await;
        bench.ask::<u64>("ZADD", "unacked_index", &["5", "tag"]).await;
        assert_eq!(bench.lease_one(at(0)).await.message.id.as_str(), "lost", "{sep}");
        bench.store.fanout().unwrap().expect_answers("an-asker").await.unwrap();
        let answers: Vec<String> = bench.ask("SMEMBERS", "_kombu.binding.reply.celery.pidbox", &[]).await;
        let read: Vec<&str> = answers[0].split(sep).collect();
        assert!(
            matches!(read[..], ["an-asker", "", queue] if queue.ends_with("reply.celery.pidbox")),
            "{sep}: {read:?}"
        );
    }
}

#[tokio::test]
async fn what_is_given_back_is_a_message_still() {
    let bench = Bench::new().await;
    bench.submit(vec![message("a \"quoted\"".replace(' ', "-").as_str())]).await;
    bench.ask::<u64>("LPUSH", "celery", &[&plain("theirs")]).await;
    for lease in bench.lease(2, at(0)).await {
        bench.store.release(lease.key, true).await.unwrap();
    }
    let elements: Vec<String> = bench.ask("LRANGE", "celery", &["0", "-1"]).await;
    assert_eq!(elements.len(), 2);
    for element in elements {
        let read: Value = serde_json::from_str(&element).unwrap();
        assert_eq!(read["properties"]["delivery_info"]["redelivered"], true, "{element}");
        assert!(read["lovage"].is_string() && read["body"].is_string());
    }
    assert_eq!(bench.lease(9, at(1)).await.len(), 2);
}
