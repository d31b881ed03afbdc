//! Many tasks: joins, counts, groups that are saved, watches that are cut off.

use std::time::Duration;

use lovage_client::model::{Json, State, TaskId};
use lovage_client::{AnyResult, Error, GetOptions, GroupResult, ResultSet, Seen, group, s};

use crate::scripted::{Answer, Daemon, ended, meta, problem, watched};

const RAISED: &str = r#"{"exc_type":"KeyError","exc_message":["k"],"exc_module":"builtins"}"#;

fn task(name: &str) -> TaskId {
    TaskId::new(name).unwrap()
}

/// The group g of a, a group h of b and c, and d.
fn nested(daemon: &Daemon) -> GroupResult {
    let tuple =
        r#"[["g",null],[[["a",null],null],[["h",null],[[["b",null],null],[["c",null],null]]],[["d",null],null]]]"#;
    daemon.client().result_from_tuple(serde_json::from_str(tuple).unwrap()).into_group().unwrap()
}

fn end(left: usize) -> String {
    format!("event: end\ndata: {{\"left\":{left}}}\n\n")
}

fn succeeded(ids: &[(&str, &str)]) -> String {
    ids.iter().map(|(id, value)| ended(id, "SUCCESS", value)).collect()
}

fn all() -> String {
    succeeded(&[("d", "4"), ("c", "3"), ("a", "1"), ("b", "2")]) + &end(0)
}

fn texts(values: &[Json]) -> Vec<&str> {
    values.iter().map(Json::as_str).collect()
}

#[tokio::test]
async fn values_are_in_the_order_of_the_members_and_groups_are_lists() {
    let daemon = Daemon::start([Answer::sse(&all())]);
    let group = nested(&daemon);
    let values = group.join(Duration::from_secs(9)).await.unwrap();
    assert_eq!(texts(&values), ["1", "[2,3]", "4"]);
    assert_eq!(group.join_native(None).await.unwrap(), values);
    assert_eq!(group.get::<serde_json::Value>(None).await.unwrap()[1], serde_json::json!([2, 3]));
    assert!(group.ready().await.unwrap() && group.successful().await.unwrap() && !group.waiting().await.unwrap());
    assert_eq!((group.completed_count().await.unwrap(), group.len()), (3, 3));
    assert!(group.supports_native_join());
    assert_eq!(daemon.seen().len(), 1, "one request, and no more once all is known");
    assert_eq!(watched(&daemon.seen()[0]), ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn callbacks_take_the_place_of_the_list() {
    for (native, expected) in [(true, ["d=4", "a=1", "h=[2,3]"]), (false, ["a=1", "h=[2,3]", "d=4"])] {
        let daemon = Daemon::start([Answer::sse(&all())]);
        let (group, mut called) = (nested(&daemon), Vec::new());
        let options = GetOptions::new().callback(|id, value| called.push(format!("{id}={value}")));
        let values = if native { group.join_native(options).await } else { group.join(options).await };
        assert!(values.unwrap().is_empty());
        assert_eq!(called, expected);
    }
}

#[tokio::test]
async fn a_join_raises_the_first_failure_in_order_and_a_native_one_the_first_that_arrives() {
    let events = [ended("d", "FAILURE", RAISED), ended("b", "REVOKED", RAISED), ended("a", "SUCCESS", "1")].concat();
    let failed = async |native: bool| {
        let daemon = Daemon::start([Answer::sse(&(events.clone() + &ended("c", "SUCCESS", "3") + &end(0)))]);
        let group = nested(&daemon);
        let joined = if native { group.join_native(None).await } else { group.join(None).await };
        joined.unwrap_err().task().unwrap().id.clone()
    };
    assert_eq!(failed(true).await, task("d"));
    assert_eq!(failed(false).await, task("b"), "though it came later, and though c had not ended");
    let daemon = Daemon::start([Answer::sse(&(events.clone() + &ended("c", "SUCCESS", "3") + &end(0)))]);
    let group = nested(&daemon);
    let values = group.join(GetOptions::new().propagate(false)).await.unwrap();
    assert!(values[2].as_str().contains("KeyError"), "{values:?}");
    assert!(group.failed().await.unwrap() && !group.successful().await.unwrap());
    assert_eq!(group.completed_count().await.unwrap(), 1, "the group in it has not succeeded as a whole");
    assert!(group.maybe_throw(None).await.unwrap_err().is("KeyError"));
    let mut called = Vec::new();
    group.maybe_reraise(GetOptions::new().propagate(false).callback(|id, _| called.push(id.clone()))).await.unwrap();
    assert_eq!(called, ["a", "b", "c", "d"].map(task));
}

#[tokio::test]
async fn the_time_of_a_join_is_for_all_together() {
    for native in [true, false] {
        let events = succeeded(&[("a", "1"), ("b", "2")]) + &end(2);
        let daemon = Daemon::start([Answer::sse(&events), Answer::json(200, &meta("STARTED", "null"))]);
        let group = nested(&daemon);
        let timeout = Duration::from_secs(5);
        let joined = if native { group.join_native(timeout).await } else { group.join(timeout).await };
        match joined.unwrap_err() {
            Error::Timeout { id, state, seconds } => assert_eq!((id, state, seconds), (task("c"), State::Started, 5.0)),
            other => panic!("{other:?}"),
        }
        let wait: serde_json::Value = serde_json::from_slice(&daemon.seen()[0].body).unwrap();
        assert!((4.0..=5.0).contains(&wait["wait"].as_f64().unwrap()), "{wait}");
    }
}

#[tokio::test]
async fn each_is_told_as_it_ends() {
    let daemon = Daemon::start([Answer::sse(&all())]);
    let group = nested(&daemon);
    let (mut each, mut order) = (group.iter_native(None), Vec::new());
    while let Some((id, meta)) = each.next().await.unwrap() {
        order.push(format!("{id}={}", meta.result));
    }
    assert_eq!(order, ["d=4", "c=3", "a=1", "b=2"]);
}

#[tokio::test]
async fn counting_asks_once_what_has_ended_and_waits_for_nothing() {
    let daemon = Daemon::start([
        Answer::sse(&(succeeded(&[("a", "1"), ("b", "2")]) + &end(2))),
        Answer::sse(&(ended("c", "SUCCESS", "3") + &end(1))),
    ]);
    let group = nested(&daemon);
    assert!(group.waiting().await.unwrap());
    assert_eq!(group.completed_count().await.unwrap(), 2);
    assert_eq!(watched(&daemon.seen()[1]), ["c", "d"], "only what is not known yet");
    assert!(daemon.seen().iter().all(|seen| seen.body.ends_with(br#","wait":0.0}"#)), "{:?}", daemon.seen());
}

#[tokio::test]
async fn a_task_that_there_is_not_is_an_error() {
    let unknown = "event: unknown\ndata: {\"task_id\":\"a\"}\n\n";
    let daemon = Daemon::start([Answer::sse(unknown), Answer::json(404, &problem(404, "unknown_id", false))]);
    assert_eq!(nested(&daemon).join_native(None).await.unwrap_err().code(), Some("unknown_id"));
}

#[tokio::test]
async fn a_watch_that_is_cut_off_asks_again_for_what_is_left() {
    let daemon = Daemon::start([
        Answer::cut(&(succeeded(&[("d", "4")]) + &ended("c", "SUCCESS", "3")[..40])),
        Answer::json(503, &problem(503, "starting", true)),
        // Told again, and ended by a daemon that goes down.
        Answer::sse(&succeeded(&[("d", "4"), ("c", "3")])),
        Answer::sse(&(format!("event: problem\ndata: {}\n\n", problem(500, "store_failed", true)))),
        Answer::sse(&(": still here\n\n".to_owned() + &succeeded(&[("b", "2"), ("a", "1")]) + &end(0))),
    ]);
    assert_eq!(texts(&nested(&daemon).join(None).await.unwrap()), ["1", "[2,3]", "4"]);
    let asked: Vec<_> = daemon.seen().iter().map(watched).collect();
    assert_eq!(asked[1], ["a", "b", "c"]);
    assert_eq!(asked[3], ["a", "b"]);
}

/// The least there is: once it has run, what is lost twice without a sign of life in between is given up.
const NO_PATIENCE: Duration = Duration::from_nanos(1);

#[tokio::test]
async fn a_watch_is_cut_off_as_often_as_it_may_be_while_the_daemon_is_there() {
    let daemon = Daemon::start([
        Answer::cut(": still here\n\n"),
        Answer::cut(": still here\n\n"),
        // By a daemon that goes down, and has nothing to tell.
        Answer::sse(""),
        Answer::sse(""),
        Answer::sse(&all()),
    ]);
    let client = daemon.client().with_patience(NO_PATIENCE);
    let mut watch = client.watch(["a", "b", "c", "d"].map(task), None);
    let mut ended = 0;
    while watch.next().await.unwrap().is_some() {
        ended += 1;
    }
    assert_eq!((ended, daemon.seen().len()), (4, 5));
}

#[tokio::test]
async fn a_store_that_fails_is_not_waited_for_without_end() {
    let failed = || Answer::sse(&format!("event: problem\ndata: {}\n\n", problem(500, "store_failed", true)));
    let daemon = Daemon::start([failed(), failed()]);
    let mut watch = daemon.client().with_patience(NO_PATIENCE).watch([task("a")], None);
    assert_eq!(watch.next().await.unwrap_err().code(), Some("store_failed"));
}

#[tokio::test]
async fn who_finds_every_stream_taken_asks_now_and_then_what_has_ended() {
    let crowded = || Answer::json(429, &problem(429, "quota_exceeded", false));
    let daemon = Daemon::start([
        crowded(),
        Answer::sse(&(succeeded(&[("d", "4")]) + &end(3))),
        crowded(),
        Answer::sse(&(succeeded(&[("c", "3"), ("a", "1")]) + &end(1))),
        Answer::sse(&(succeeded(&[("b", "2")]) + &end(0))),
    ]);
    assert_eq!(texts(&nested(&daemon).join(None).await.unwrap()), ["1", "[2,3]", "4"]);
    let asked = daemon.seen().into_iter().map(|seen| {
        let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
        (body["wait"].as_f64(), watched(&seen).len())
    });
    let expected = [(None, 4), (Some(0.0), 4), (None, 3), (Some(0.0), 3), (None, 1)];
    assert_eq!(asked.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_watch_that_the_daemon_refuses_ends_with_its_problem() {
    let refused = Daemon::start([Answer::json(422, &problem(422, "invalid_request", false))]);
    let mut watch = refused.client().watch([task("a")], None);
    assert_eq!(watch.next().await.unwrap_err().code(), Some("invalid_request"));
    assert!(watch.next().await.unwrap().is_none());
    let broken = Daemon::start([Answer::sse(&format!("event: problem\ndata: {}\n\n", problem(500, "x", false)))]);
    assert_eq!(broken.client().watch([task("a")], None).next().await.unwrap_err().code(), Some("x"));
    let mut none = broken.client().watch([], None);
    assert!(none.next().await.unwrap().is_none());
}

#[tokio::test]
async fn more_than_one_request_can_watch_are_watched_by_several() {
    let ids: Vec<TaskId> = (0..10_001).map(|n| task(&n.to_string())).collect();
    let both = succeeded(&[("0", "1"), ("10000", "2")]) + &end(9_999);
    let daemon = Daemon::start([Answer::sse(&both), Answer::sse(&both)]);
    let mut watch = daemon.client().watch(ids, Some(Duration::from_secs(5)));
    let mut seen = Vec::new();
    while let Some(one) = watch.next().await.unwrap() {
        match one {
            Seen::Ended(meta) => seen.push(meta.task_id.to_string()),
            Seen::Unknown(id) => panic!("{id}"),
        }
    }
    seen.sort();
    assert_eq!(seen, ["0", "10000"], "each by the request that asked for it");
    let mut sizes: Vec<_> = daemon.seen().iter().map(|seen| watched(seen).len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 10_000]);
}

#[tokio::test]
async fn a_set_holds_each_result_once() {
    let daemon = Daemon::start([]);
    let client = daemon.client();
    let [a, b] = ["a", "b"].map(|id| client.async_result(task(id)));
    let mut set: ResultSet = client.result_set([a.clone(), b.clone(), a.clone()]);
    set.add(nested(&daemon));
    assert_eq!((set.len(), set[1].id()), (3, &task("b")));
    let a = AnyResult::from(a);
    assert!(set.remove(&a) && !set.remove(&a));
    set.discard(&a);
    set.update([a]);
    assert_eq!(set.results()[2].id(), &task("a"));
    set.clear();
    assert!(set.is_empty());
    assert!(set.ready().await.unwrap() && set.join(None).await.unwrap().is_empty());
}

#[tokio::test]
async fn all_are_revoked_by_one_request_and_forgotten_one_by_one() {
    let reply = r#"{"results":[{"id":"a","state":"REVOKED","outcome":"x"}]}"#;
    let gone = Answer::json(200, r#"{"id":"a","state":"SUCCESS","outcome":"gone"}"#);
    let unknown = || Answer::json(404, &problem(404, "unknown_id", false));
    let daemon = Daemon::start([Answer::json(200, reply), gone, unknown(), unknown(), unknown()]);
    let group = nested(&daemon);
    group.revoke(true).await.unwrap();
    assert_eq!(daemon.seen()[0].path, "/v1/tasks:revoke");
    assert_eq!(daemon.seen()[0].body.as_ref(), br#"{"ids":["a","b","c","d"],"terminate":true}"#);
    group.forget().await.unwrap();
    assert_eq!(daemon.seen().len(), 5);
}

#[tokio::test]
async fn tasks_are_revoked_by_their_stamps() {
    let daemon = Daemon::start([Answer::json(200, r#"{"results":[{"id":"a","state":"REVOKED","outcome":"x"}]}"#)]);
    let headers = [("build".to_owned(), Json::of(&[12, 13]).unwrap())].into();
    assert_eq!(daemon.client().revoke_by_stamped_headers(headers, true).await.unwrap().results.len(), 1);
    assert_eq!(daemon.seen()[0].body.as_ref(), br#"{"stamped_headers":{"build":[12,13]},"terminate":true}"#);
}

#[tokio::test]
async fn a_group_is_what_a_group_that_is_sent_comes_to() {
    let reply = r#"{"id":"g","state":"PENDING","result_tuple":[["g",[["a",null],null]],[[["b",null],null]]]}"#;
    let daemon = Daemon::start([Answer::json(202, reply), Answer::json(202, reply)]);
    let canvas = || s("m.f", ()) | group([s("m.g", (1,))]);
    let sent = daemon.client().submit(canvas()).await.unwrap();
    assert_eq!((sent.id(), sent.parent().unwrap().id()), (&task("g"), &task("a")));
    assert_eq!(sent.into_group().unwrap().children()[0].id(), &task("b"));
    let error = daemon.client().apply_async(canvas()).await.unwrap_err();
    assert!(error.to_string().contains("was sent") && error.to_string().contains("use submit"), "{error}");
    let Error::EndsInGroup(group) = error else { panic!("{error:?}") };
    assert_eq!((group.id(), group.children()[0].id()), (&task("g"), &task("b")), "what was sent is not lost");
}

#[tokio::test]
async fn a_group_is_saved_restored_and_deleted() {
    let tuple = r#"[["g",null],[[["a",null],null]]]"#;
    let unknown = || Answer::json(404, &problem(404, "unknown_group", false));
    let daemon = Daemon::start([
        Answer::json(204, ""),
        Answer::json(200, tuple),
        Answer::json(204, ""),
        unknown(),
        unknown(),
        Answer::json(500, &problem(500, "store_failed", true)),
    ]);
    let client = daemon.client();
    let group = client.result_from_tuple(serde_json::from_str(tuple).unwrap()).into_group().unwrap();
    group.save().await.unwrap();
    assert_eq!((daemon.seen()[0].method.as_str(), daemon.seen()[0].path.as_str()), ("PUT", "/v1/groups/g"));
    assert_eq!(daemon.seen()[0].body.as_ref(), tuple.as_bytes());
    assert_eq!(GroupResult::restore(&client, &task("g")).await.unwrap(), Some(group.clone()));
    assert!(group.delete().await.unwrap() && !group.delete().await.unwrap());
    assert_eq!(client.restore_group(&task("g")).await.unwrap(), None);
    assert_eq!(client.restore_group(&task("g")).await.unwrap_err().code(), Some("store_failed"));
}

#[tokio::test]
async fn callbacks_of_then_are_called_when_all_have_ended() {
    let failing = succeeded(&[("a", "1")]) + &ended("b", "FAILURE", RAISED);
    let daemon = Daemon::start([Answer::sse(&all()), Answer::sse(&failing)]);
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..2 {
        let (good, bad) = (tell.clone(), tell.clone());
        let then = nested(&daemon).then(
            move |_, values| good.send(format!("{}", values.len())).unwrap(),
            move |_, error| bad.send(error.task().unwrap().id.to_string()).unwrap(),
        );
        then.await.unwrap();
    }
    assert_eq!((told.recv().await.unwrap().as_str(), told.recv().await.unwrap().as_str()), ("3", "b"));
}
