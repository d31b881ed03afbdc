//! Chords in Celery's own form, whose parts come from both sides.

use lovage_model::{Arrival, Inline, Part, ResultTuple, Sender, State, WireSignature};
use serde_json::json;

use super::*;
use crate::store::{ChordEnd, Completed, Ended, Fenced, FollowUp, Joins, Orders, Revoked};

fn body() -> WireSignature {
    let text = r#"{"task":"tour.sum","args":[],"kwargs":{},"options":{"task_id":"body"},"subtask_type":null,"immutable":false}"#;
    serde_json::from_str(text).unwrap()
}

fn part_of(id: &str, index: u64) -> String {
    let body = json!([[2, 3], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": body()}]);
    envelope(id, &json!({"group": "g", "group_index": index}), &body)
}

fn ends(lease: &Lease, state: State, result: &str) -> Settlement {
    let result = Json::parse(result.to_owned()).unwrap();
    let message = &lease.message;
    let part = Part {
        group: "g".parse().unwrap(),
        index: message.group_index.map(u64::from),
        id: message.id.clone(),
        state,
        result: result.clone(),
        chord: message.embed.as_ref().unwrap().chord.clone().unwrap(),
        sender: Sender::of(message),
    };
    let inline = Inline { parts: vec![part], ..Inline::default() };
    Settlement { inline, ..Settlement::of(Verdict::Success { result }, at(1)) }
}

/// As a Python worker counts a part.
async fn returned_by_python(bench: &Bench, id: &str, index: &str, result: &str) {
    let member = format!("[1, \"{id}\", \"SUCCESS\", {result}]");
    bench.ask::<u64>("ZADD", "celery-taskset-meta-g.j", &[index, &member]).await;
    bench.ask::<u64>("SADD", "celery-taskset-meta-g.d", &[&format!("{id}:{index}")]).await;
}

async fn the_end(bench: &Bench) -> (i64, ChordEnd) {
    let mut ended = bench.store.ended(9).await.unwrap();
    assert_eq!(ended.len(), 1);
    let Ended { key, id, outcome: Completed::Chord(chord), .. } = ended.remove(0) else { panic!("no chord has ended") };
    assert_eq!(id.as_str(), "g");
    (key, *chord)
}

/// Sends and leases the first part of a chord of so many.
async fn first_part(bench: &Bench, size: &str) -> Lease {
    bench.ask::<()>("SET", "celery-taskset-meta-g.s", &[size]).await;
    bench.ask::<u64>("LPUSH", "celery", &[&part_of("a", 0)]).await;
    bench.lease_one(at(0)).await
}

fn value(text: &str) -> Arrival {
    Arrival::Value(Json::parse(text.to_owned()).unwrap())
}

#[tokio::test]
async fn a_part_that_nobody_can_read_has_failed_and_stops_nothing() {
    let bench = Bench::new().await;
    let lease = first_part(&bench, "2").await;
    bench.ask::<u64>("ZADD", "celery-taskset-meta-g.j", &["1", "no part"]).await;
    assert_eq!(bench.commit(lease.key, ends(&lease, State::Success, "10")).await, Fenced::Applied);
    let (_, chord) = the_end(&bench).await;
    assert_eq!(chord.parts[0].1, value("10"));
    assert!(
        matches!(&chord.parts[1].1, Arrival::Failed { exception, .. } if exception.message().contains("cannot be read"))
    );
}

#[tokio::test]
async fn parts_of_both_sides_come_together() {
    let bench = Bench::new().await;
    bench.ask::<()>("SET", "celery-taskset-meta-g.s", &["3"]).await;
    bench.ask::<u64>("LPUSH", "celery", &[&part_of("a", 0), &part_of("c", 2)]).await;
    let leases = bench.lease(9, at(0)).await;
    assert_eq!(bench.commit(leases[1].key, ends(&leases[1], State::Success, "30")).await, Fenced::Applied);
    returned_by_python(&bench, "b", "1", "20").await;
    assert!(bench.store.ended(9).await.unwrap().is_empty());
    assert_eq!(bench.commit(leases[0].key, ends(&leases[0], State::Success, "10")).await, Fenced::Applied);
    bench.store.any_ended().await;
    let (key, chord) = the_end(&bench).await;
    let parts: Vec<_> = chord.parts.iter().map(|(id, arrival)| (id.as_str(), arrival.clone())).collect();
    assert_eq!(parts, [("a", value("10")), ("b", value("20")), ("c", value("30"))]);
    assert_eq!((chord.body, chord.nested, chord.sender.id.as_str()), (body(), None, "a"));
    let claimed: String = bench.ask("GET", "celery-taskset-meta-g.c", &[]).await;
    assert!(claimed.starts_with("lovage-"), "no Python worker sends the body as well");
    let sent = Message { embed: Some(Box::default()), ..message("body") };
    let inline = Inline { messages: vec![sent], ..Inline::default() };
    let step = FollowUp { inline, ..FollowUp::last(vec![]) };
    assert_eq!(bench.store.follow(key, step.clone(), at(2)).await.unwrap(), Fenced::Applied);
    assert_eq!(bench.store.follow(key, step, at(2)).await.unwrap(), Fenced::Refused, "the body is sent once");
    for suffix in ["j", "s", "t", "d"] {
        assert_eq!(bench.ask::<u64>("EXISTS", &format!("celery-taskset-meta-g.{suffix}"), &[]).await, 0);
    }
    assert_eq!(bench.ask::<String>("GET", "celery-taskset-meta-g.c", &[]).await, "done");
    let next = bench.lease(9, at(3)).await;
    assert_eq!((next.len(), next[0].message.id.as_str(), next[0].message.embed.is_some()), (1, "body", true));
}

#[tokio::test]
async fn a_chord_that_python_completes_is_pythons() {
    let bench = Bench::new().await;
    let lease = first_part(&bench, "2").await;
    bench.commit(lease.key, ends(&lease, State::Success, "10")).await;
    returned_by_python(&bench, "b", "1", "20").await;
    bench.ask::<()>("SET", "celery-taskset-meta-g.c", &["their-token"]).await;
    // The same part once more counts nothing, and the chord is taken.
    bench.ask::<u64>("LPUSH", "celery", &[&part_of("a", 0)]).await;
    let again = bench.lease_one(at(2)).await;
    bench.commit(again.key, ends(&again, State::Success, "11")).await;
    assert!(bench.store.ended(9).await.unwrap().is_empty());
    assert_eq!(bench.ask::<u64>("ZCARD", "celery-taskset-meta-g.j", &[]).await, 2);
}

#[tokio::test]
async fn nested_results_come_with_their_leaves() {
    let bench = Bench::new().await;
    let tuple = r#"{"result": [["g", null], [[["a", null], null], [["inner", null], [[["x", null], null]]]]]}"#;
    bench.ask::<()>("SET", "celery-taskset-meta-g", &[tuple]).await;
    let meta = r#"{"status": "SUCCESS", "result": 7, "traceback": null, "children": [], "task_id": "x"}"#;
    bench.ask::<()>("SET", "celery-task-meta-x", &[meta]).await;
    let lease = first_part(&bench, "1").await;
    bench.commit(lease.key, ends(&lease, State::Success, "10")).await;
    let (_, chord) = the_end(&bench).await;
    assert_eq!(chord.parts[1], ("x".parse().unwrap(), value("7")));
    assert_eq!(chord.nested.unwrap().children.unwrap()[1].id.as_str(), "inner");
}

/// Whether a chord is told to have more than fits into memory, and nothing else.
fn is_too_large(chord: &ChordEnd) -> bool {
    let [(_, Arrival::Failed { exception, .. })] = chord.parts.as_slice() else { return false };
    exception.message().contains("return less") && chord.nested.is_none()
}

#[tokio::test]
async fn a_chord_of_more_than_fits_into_memory_fails() {
    let server = Server::start(&[]);
    let bench = Bench::on(&server).await;
    let lease = first_part(&bench, "18").await;
    for part in 1..=17 {
        let script = "redis.call('ZADD', KEYS[1], ARGV[1], string.rep('x', 4194304) .. ARGV[1])";
        bench.eval(script, &["celery-taskset-meta-g.j"], part).await;
    }
    bench.commit(lease.key, ends(&lease, State::Success, "10")).await;
    let (_, chord) = the_end(&bench).await;
    assert!(is_too_large(&chord), "{} parts", chord.parts.len());
}

#[tokio::test]
async fn what_a_nested_result_names_is_read_once_and_only_if_it_fits_into_memory() {
    let leaf = r#"[["x", null], null]"#;
    let tuple = |leaves: usize| {
        format!(r#"{{"result": [["g", null], [[["a", null], null], {}]]}}"#, vec![leaf; leaves].join(", "))
    };
    let large = format!(r#""{}""#, "x".repeat(1 << 20));
    for (text, result, fits) in [(tuple(2), "7", true), (tuple(65), large.as_str(), false)] {
        let bench = Bench::new().await;
        bench.ask::<()>("SET", "celery-taskset-meta-g", &[&text]).await;
        let meta = format!(
            r#"{{"status": "SUCCESS", "result": {result}, "traceback": null, "children": [], "task_id": "x"}}"#
        );
        bench.ask::<()>("SET", "celery-task-meta-x", &[&meta]).await;
        let lease = first_part(&bench, "1").await;
        bench.commit(lease.key, ends(&lease, State::Success, "10")).await;
        let (_, chord) = the_end(&bench).await;
        let known: Vec<&str> = chord.parts.iter().map(|(id, _)| id.as_str()).collect();
        assert!(if fits { known == ["a", "x"] } else { is_too_large(&chord) }, "{known:?}");
    }
    let bench = Bench::new().await;
    bench.ask::<u64>("SETRANGE", "celery-taskset-meta-g", &[&(17 << 20).to_string(), "x"]).await;
    let lease = first_part(&bench, "1").await;
    bench.commit(lease.key, ends(&lease, State::Success, "10")).await;
    assert!(is_too_large(&the_end(&bench).await.1), "how it is nested is more than is read");
}

/// The claim of a chord lapses, and what a host has kept of it does not.
#[tokio::test]
async fn the_body_of_a_chord_that_somebody_else_has_sent_is_not_sent_again() {
    for (claim, parts_are_gone) in [(Some("done"), true), (Some("their-token"), false), (None, true)] {
        let bench = Bench::new().await;
        let lease = first_part(&bench, "1").await;
        bench.commit(lease.key, ends(&lease, State::Success, "10")).await;
        let (key, _) = the_end(&bench).await;
        match claim {
            Some(claim) => bench.ask::<()>("SET", "celery-taskset-meta-g.c", &[claim]).await,
            None => _ = bench.ask::<u64>("DEL", "celery-taskset-meta-g.c", &[]).await,
        }
        if parts_are_gone {
            bench.ask::<u64>("DEL", "celery-taskset-meta-g.j", &[]).await;
        }
        let sent = Message { embed: Some(Box::default()), ..message("body") };
        let inline = Inline { messages: vec![sent], ..Inline::default() };
        let step = FollowUp { inline, ..FollowUp::last(vec![]) };
        assert_eq!(bench.store.follow(key, step, at(2)).await.unwrap(), Fenced::Refused, "{claim:?}");
        assert!(bench.lease(9, at(3)).await.is_empty(), "{claim:?}");
        assert!(bench.store.ended(9).await.unwrap().is_empty(), "{claim:?}");
    }
}

#[tokio::test]
async fn a_part_that_is_revoked_while_it_waits_counts() {
    let bench = Bench::new().await;
    let lease = first_part(&bench, "1").await;
    bench.store.release(lease.key, false).await.unwrap();
    let found = bench.store.revoke(&tenant(), &lease.message.id, at(1)).await.unwrap();
    assert_eq!(found, Revoked::Waiting);
    assert_eq!(bench.meta("a").await["status"], "REVOKED");
    let (_, chord) = the_end(&bench).await;
    assert!(matches!(&chord.parts[0].1, Arrival::Failed { exception, .. } if exception.exc_type == "TaskRevokedError"));
    assert!(bench.lease(9, at(2)).await.is_empty(), "its element is of no worth");
}

#[tokio::test]
async fn a_part_that_is_revoked_by_its_stamp_counts() {
    let bench = Bench::new().await;
    bench.ask::<()>("SET", "celery-taskset-meta-g.s", &["1"]).await;
    let body = json!([[2, 3], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": body()}]);
    let headers = json!({"group": "g", "group_index": 0, "stamped_headers": ["batch"], "stamps": {"batch": "b1"}});
    bench.ask::<u64>("LPUSH", "celery", &[&envelope("a", &headers, &body)]).await;
    let lease = bench.lease_one(at(0)).await;
    bench.store.release(lease.key, false).await.unwrap();
    let stamp = [Json::of("b1").unwrap()];
    let found = bench.store.revoke_stamped(&TenantId::default(), "batch", &stamp, at(1)).await.unwrap();
    assert_eq!(found, [("a".parse().unwrap(), Revoked::Waiting)]);
    let (_, chord) = the_end(&bench).await;
    assert!(matches!(chord.parts.as_slice(), [(_, Arrival::Failed { .. })]), "{:?}", chord.parts);
}

#[tokio::test]
async fn what_follows_is_on_celerys_keys() {
    let bench = Bench::new().await;
    bench.ask::<u64>("LPUSH", "celery", &[&plain("a")]).await;
    let lease = bench.lease_one(at(0)).await;
    let group = ResultTuple {
        children: Some(vec![ResultTuple::of("m".parse().unwrap())]),
        ..ResultTuple::of("h".parse().unwrap())
    };
    let end = lovage_model::InlineEnd {
        id: "never".parse().unwrap(),
        state: State::Failure,
        exception: lovage_model::Exception::new("builtins", "ValueError", "x"),
        traceback: None,
        children: vec![],
        group: None,
        parent_id: Some("a".parse().unwrap()),
    };
    bench.ask::<()>("SET", "celery-taskset-meta-h.c", &["done"]).await;
    let sent = Message { priority: 6, embed: Some(Box::default()), ..message("m") };
    let inline = Inline {
        groups: vec![group],
        sizes: vec![("h".parse().unwrap(), 1)],
        grown: vec!["h".parse().unwrap()],
        messages: vec![sent],
        ends: vec![end],
        ..Inline::default()
    };
    assert_eq!(bench.commit(lease.key, Settlement { inline, ..success("1", at(1)) }).await, Fenced::Applied);
    assert_eq!(bench.ask::<String>("GET", "celery-taskset-meta-h.s", &[]).await, "1");
    assert_eq!(bench.ask::<String>("GET", "celery-taskset-meta-h.t", &[]).await, "1");
    assert_eq!(bench.ask::<u64>("EXISTS", "celery-taskset-meta-h.c", &[]).await, 0);
    let saved: String = bench.ask("GET", "celery-taskset-meta-h", &[]).await;
    assert_eq!(saved, r#"{"result": [["h", null], [[["m", null], null]]]}"#);
    let elements: Vec<String> = bench.ask("LRANGE", "celery\u{6}\u{16}6", &["0", "-1"]).await;
    assert!(elements.len() == 1 && elements[0].starts_with("{\"body\": "), "as a client would have sent it");
    assert_eq!(bench.meta("never").await["status"], "FAILURE");
}

#[tokio::test]
async fn what_is_handed_on_is_whoevers_takes_it() {
    let bench = Bench::new().await;
    bench.ask::<u64>("LPUSH", "celery", &[&plain("a")]).await;
    let lease = bench.lease_one(at(0)).await;
    let sent = Message { args: Json::parse("[9]".to_owned()).unwrap(), embed: Some(Box::default()), ..message("a") };
    let inline = Inline { messages: vec![sent], ..Inline::default() };
    let verdict = Verdict::HandedOn { to: "tour.add".parse().unwrap() };
    let end = Settlement { inline, ..Settlement::of(verdict, at(1)) };
    assert_eq!(bench.commit(lease.key, end).await, Fenced::Applied);
    assert_eq!(bench.ask::<u64>("EXISTS", "celery-task-meta-a", &[]).await, 0);
    let next = bench.lease_one(at(2)).await;
    assert_eq!((next.message.id.as_str(), next.message.args.as_str(), next.deliveries), ("a", "[9]", 1));
    assert_eq!(bench.commit(next.key, success("5", at(3))).await, Fenced::Applied);
    assert_eq!(bench.meta("a").await["result"], 5);
}

/// A chain in the header of a chord: its last step is the part.
fn chain_of(first: &str, args: &Value) -> String {
    let last = json!({"task": "tour.add", "args": [1], "kwargs": {}, "subtask_type": null, "immutable": false,
        "options": {"task_id": "last", "group_id": "g", "group_index": 0, "chord": body()}});
    envelope(
        first,
        &json!({}),
        &json!([args, {}, {"callbacks": null, "errbacks": null, "chain": [last], "chord": null}]),
    )
}

#[tokio::test]
async fn a_chain_that_is_part_of_a_chord_is_counted_though_its_first_step_never_runs() {
    for is_poison in [true, false] {
        let bench = Bench::new().await;
        bench.ask::<()>("SET", "celery-taskset-meta-g.s", &["1"]).await;
        let args = if is_poison { json!("no list") } else { json!([2, 3]) };
        bench.ask::<u64>("LPUSH", "celery", &[&chain_of("a", &args)]).await;
        let leases = bench.lease(9, at(0)).await;
        if !is_poison {
            bench.store.release(leases[0].key, false).await.unwrap();
            assert_eq!(bench.store.revoke(&tenant(), &"a".parse().unwrap(), at(1)).await.unwrap(), Revoked::Waiting);
        }
        let expected = if is_poison { "FAILURE" } else { "REVOKED" };
        assert_eq!(
            (bench.meta("a").await["status"].as_str(), bench.meta("last").await["status"].as_str()),
            (Some(expected), Some(expected))
        );
        let (_, chord) = the_end(&bench).await;
        assert!(
            matches!(chord.parts.as_slice(), [(id, Arrival::Failed { .. })] if id.as_str() == "last"),
            "{:?}",
            chord.parts
        );
    }
}

#[tokio::test]
async fn a_body_that_nobody_can_read_stops_no_other_chord() {
    let bench = Bench::new().await;
    let lease = first_part(&bench, "1").await;
    bench.store.commit(lease.key, ends(&lease, State::Success, "1")).await.unwrap();
    let kept: Vec<(String, Vec<u8>)> = bench.ask("HGETALL", "lovage:ending", &[]).await;
    let (key, text) = &kept[0];
    let at_brace = text.windows(7).position(|seven| seven == b"{\"task\"").unwrap();
    let mut broken = text.clone();
    broken[at_brace + 1] = b'\'';
    let mut set = redis::cmd("HSET");
    set.arg(bench.key("lovage:ending")).arg(key).arg(broken);
    set.query_async::<u64>(&mut bench.client.clone()).await.unwrap();
    let ended = bench.store.ended(9).await.unwrap();
    assert!(matches!(&ended[0].outcome, Completed::Join { parts, .. } if parts.is_empty()), "{ended:?}");
    assert_eq!(bench.store.follow(ended[0].key, FollowUp::last(vec![]), at(2)).await.unwrap(), Fenced::Applied);
    assert!(bench.store.ended(9).await.unwrap().is_empty());
}
