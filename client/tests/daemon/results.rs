//! One task: who raises what, what is asked once, what comes of what.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lovage_client::model::{Exception, Json, State, TaskId, TaskName};
use lovage_client::{AnyResult, EagerResult, Error, GetOptions, RevokeOptions};
use serde_json::json;

use crate::id;
use crate::scripted::{Answer, Daemon, ended, large, meta, meta_of, problem, watched};

const RAISED: &str = r#"{"exc_type":"KeyError","exc_message":["k",7],"exc_module":"builtins"}"#;

fn task(name: &str) -> TaskId {
    TaskId::new(name).unwrap()
}

/// A task after others in its chain.
fn chained(daemon: &Daemon) -> AnyResult {
    let tuple = r#"[["t-1",[["before",[["g",null],[[["a",null],null],[["b",null],null]]]],null]],null]"#;
    daemon.client().result_from_tuple(serde_json::from_str(tuple).unwrap())
}

#[tokio::test]
async fn every_shape_of_a_result_tuple_becomes_a_handle_and_back() {
    let daemon = Daemon::start([]);
    let client = daemon.client();
    for text in [
        r#"[["a",null],null]"#,
        r#"[["c",[["b",[["a",null],null]],null]],null]"#,
        r#"[["g",[["a",null],null]],[[["b",null],null],[["h",null],[[["c",null],null]]]]]"#,
        r#"[["g",null],[]]"#,
    ] {
        let result = client.result_from_tuple(serde_json::from_str(text).unwrap());
        assert_eq!(serde_json::to_string(&result.as_tuple()).unwrap(), text);
    }
    let old = client.result_from_tuple(serde_json::from_str("\"a\"").unwrap()).into_task().unwrap();
    assert_eq!((old.id(), old.task_id(), old.to_string().as_str(), old.parent()), (&task("a"), &task("a"), "a", None));
    let last = chained(&daemon).into_task().unwrap();
    assert_eq!(last.as_list(), ["t-1", "before", "g"].map(task));
    assert!(last == client.async_result(id()), "equal if their ids are");
    assert!(daemon.seen().is_empty(), "nothing of it is asked");
}

#[tokio::test]
async fn what_is_known_of_a_task_that_has_ended_is_asked_once() {
    let daemon = Daemon::start([
        Answer::json(200, &meta("STARTED", "null")),
        Answer::json(200, &meta("SUCCESS", "5")),
        Answer::json(200, r#"{"id":"t-1","state":"SUCCESS","outcome":"gone"}"#),
        Answer::json(404, &problem(404, "unknown_id", false)),
    ]);
    let result = daemon.client().async_result(id());
    assert!(!result.ready().await.unwrap());
    assert!(result.ready().await.unwrap() && result.successful().await.unwrap() && result.is_done().await.unwrap());
    assert!(!result.failed().await.unwrap());
    assert_eq!((result.status().await.unwrap(), result.info().await.unwrap().as_str()), (State::Success, "5"));
    assert_eq!(result.name().await.unwrap(), TaskName::new("tour.add").unwrap());
    assert_eq!((result.args().await.unwrap().as_str(), result.kwargs().await.unwrap().as_str()), ("[1]", "{}"));
    assert_eq!((result.worker().await.unwrap(), result.retries().await.unwrap()), (None, 0));
    assert_eq!((result.queue().await.unwrap().as_str(), result.date_done().await.unwrap()), ("celery", None));
    assert_eq!(result.get::<u8>(None).await.unwrap(), 5);
    assert_eq!(daemon.seen().len(), 2);
    result.forget().await.unwrap();
    assert!(!result.exists().await.unwrap());
}

#[tokio::test]
async fn a_failure_is_raised_with_its_type_or_given_as_a_value() {
    let daemon = Daemon::start([Answer::json(200, &meta("FAILURE", RAISED))]);
    let result = daemon.client().async_result(id());
    let error = result.get::<u8>(Duration::from_secs(5)).await.unwrap_err();
    assert!(error.is("KeyError") && error.is("builtins.KeyError") && error.is("Exception") && !error.is("ValueError"));
    let failure = error.task().unwrap();
    assert_eq!(failure.downcast::<(String, i64)>("KeyError"), Some(("k".to_owned(), 7)));
    assert_eq!(failure.downcast::<(String, i64)>("ValueError"), None);
    assert_eq!(failure.downcast::<(i64,)>("KeyError"), None);
    let mut called = Vec::new();
    let options = GetOptions::new().propagate(false).callback(|id, value| called.push((id.clone(), value.clone())));
    let exception: Exception = result.get(options).await.unwrap();
    assert_eq!(exception.exc_type, "KeyError");
    assert_eq!(called, [(id(), Json::of(&exception).unwrap())]);
    assert!(matches!(result.maybe_throw(None).await, Err(Error::Task(_))));
    assert_eq!(result.maybe_reraise(GetOptions::new().propagate(false)).await.unwrap().as_str(), RAISED);
}

#[tokio::test]
async fn a_result_that_is_ignored_is_null_at_once() {
    let reply = r#"{"id":"t-1","state":"PENDING","result_tuple":[["t-1",null],null]}"#;
    let daemon = Daemon::start([Answer::json(202, reply)]);
    let result = daemon.client().apply_async(lovage_client::s("m.f", ()).ignore_result()).await.unwrap();
    assert!(result.ignored());
    result.get::<()>(None).await.unwrap();
    assert_eq!(daemon.seen().len(), 1);
}

#[tokio::test]
async fn the_failure_of_what_came_before_is_raised_as_soon_as_it_is_known() {
    let events = [ended("a", "SUCCESS", "1"), ended("b", "FAILURE", RAISED)].concat();
    let daemon = Daemon::start([Answer::sse(&events)]);
    let error = chained(&daemon).get::<u8>(None).await.unwrap_err();
    assert_eq!(error.task().unwrap().id, task("b"));
    assert_eq!(watched(&daemon.seen()[0]), ["a", "b", "before", "t-1"], "the first first");
    let events = [ended("a", "FAILURE", RAISED), ended("t-1", "SUCCESS", "1")].concat();
    let daemon = Daemon::start([Answer::json(200, &meta("SUCCESS", "2")), Answer::sse(&events)]);
    assert_eq!(chained(&daemon).get::<u8>(GetOptions::new().follow_parents(false)).await.unwrap(), 2);
}

#[tokio::test]
async fn what_came_before_and_is_gone_keeps_nobody_from_waiting() {
    let unknown = |id: &str| format!("event: unknown\ndata: {{\"task_id\":\"{id}\"}}\n\n");
    let events = [unknown("a"), unknown("b"), ended("before", "SUCCESS", "1"), large("t-1")].concat();
    let daemon = Daemon::start([Answer::sse(&events), Answer::json(200, &meta("SUCCESS", "7"))]);
    assert_eq!(chained(&daemon).get::<u8>(None).await.unwrap(), 7);
    assert_eq!(daemon.seen()[1].path, "/v1/tasks/t-1", "a large one is read by itself");
    let late =
        Daemon::start([Answer::sse("event: end\ndata: {\"left\":4}\n\n"), Answer::json(200, &meta("STARTED", "1"))]);
    let error = chained(&late).get::<u8>(Duration::from_secs(3)).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { state: State::Started, .. }), "{error:?}");
}

#[tokio::test]
async fn callbacks_of_then_are_called_at_the_end() {
    let daemon = Daemon::start([Answer::json(200, &meta("SUCCESS", "5")), Answer::json(200, &meta("FAILURE", RAISED))]);
    let told = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..2 {
        let (good, bad) = (told.clone(), told.clone());
        let then = daemon.client().async_result(id()).then(
            move |result, value| good.lock().unwrap().push(format!("{result}={value}")),
            move |result, error| bad.lock().unwrap().push(format!("{result}:{}", error.is("KeyError"))),
        );
        then.await.unwrap();
    }
    assert_eq!(*told.lock().unwrap(), ["t-1=5", "t-1:true"]);
}

#[tokio::test]
async fn a_revoke_may_wait_for_the_end() {
    let reply = r#"{"id":"t-1","state":"STARTED","outcome":"it is being stopped"}"#;
    let daemon = Daemon::start([Answer::json(200, reply), Answer::json(200, &meta("REVOKED", RAISED))]);
    let options = RevokeOptions::new().terminate(true).wait(true).timeout(Duration::from_secs(9));
    assert_eq!(daemon.client().async_result(id()).revoke(options).await.unwrap().state, State::Revoked);
    assert_eq!(daemon.seen()[0].body.as_ref(), br#"{"terminate":true}"#);
}

#[tokio::test]
async fn forgetting_takes_what_came_before_with_it() {
    let gone = r#"{"id":"t-1","state":"SUCCESS","outcome":"gone"}"#;
    let unknown = problem(404, "unknown_id", false);
    let daemon = Daemon::start([200, 404, 200, 200].map(|status| match status {
        200 => Answer::json(200, gone),
        _ => Answer::json(404, &unknown),
    }));
    chained(&daemon).into_task().unwrap().forget().await.unwrap();
    let paths: Vec<_> = daemon.seen().iter().map(|seen| seen.path.clone()).collect();
    assert_eq!(paths, ["a", "b", "before", "t-1"].map(|id| format!("/v1/tasks/{id}")));
}

/// t-1 sent a, and a group of b and c; c sent d.
fn family() -> [String; 2] {
    let children = r#"[[["a",null],null],[["g",null],[[["b",null],null],[["c",null],null]]]]"#;
    let first = format!("event: result\ndata: {}\n\n", meta_of("t-1", "SUCCESS", "1", children));
    let c = format!("event: result\ndata: {}\n\n", meta_of("c", "SUCCESS", "4", r#"[[["d",null],null]]"#));
    [first, [ended("a", "SUCCESS", "2"), ended("b", "SUCCESS", "3"), c].concat()]
}

const END: &str = "event: end\ndata: {\"left\":1}\n\n";

#[tokio::test]
async fn a_graph_shows_what_came_of_what_level_by_level() {
    let [first, second] = family();
    let daemon = Daemon::start([
        Answer::sse(&(first + END)),
        Answer::sse(&(second + END)),
        Answer::sse(&(ended("d", "SUCCESS", "5") + END)),
    ]);
    let graph = daemon.client().async_result(id()).build_graph(false).await.unwrap();
    let ids: Vec<_> = graph.nodes().iter().map(|node| node.id().as_str()).collect();
    assert_eq!(ids, ["t-1", "a", "g", "b", "c", "d"]);
    assert_eq!(graph.edges(), [(0, 1), (0, 2), (2, 3), (2, 4), (4, 5)]);
    assert_eq!(daemon.seen().len(), 3, "one request for each level");
    let dot = graph.to_dot(|node| format!("\"{}\\", node.id()));
    assert!(dot.starts_with("digraph dependencies {\n") && dot.contains("    \"c\" -> \"d\";\n"), "{dot}");
    assert!(dot.contains(r#""a" [label="\"a\\"];"#), "{dot}");
}

#[tokio::test]
async fn what_has_not_ended_makes_a_graph_incomplete_unless_that_is_wanted() {
    let [first, _] = family();
    let script = || [Answer::sse(&(first.clone() + END)), Answer::sse(END)];
    let daemon = Daemon::start(script());
    let error = daemon.client().async_result(id()).build_graph(false).await.unwrap_err();
    assert!(matches!(&error, Error::IncompleteStream { id } if *id == task("a")), "{error:?}");
    let daemon = Daemon::start(script());
    let graph = daemon.client().async_result(id()).build_graph(true).await.unwrap();
    assert_eq!(graph.nodes().len(), 3, "a group that has not ended is one");
}

#[tokio::test]
async fn collect_waits_for_each_and_gives_its_value() {
    let children = r#"[[["a",null],null]]"#;
    let script = || {
        [
            Answer::json(200, &meta_of("t-1", "SUCCESS", "1", children)),
            Answer::json(200, &meta_of("a", "SUCCESS", "2", "[]")),
        ]
    };
    let daemon = Daemon::start(script());
    let mut all = daemon.client().async_result(id()).collect(false, None);
    let mut values = Vec::new();
    while let Some((node, value)) = all.next().await.unwrap() {
        values.push(format!("{}={value}", node.id()));
    }
    assert_eq!(values, ["t-1=1", "a=2"]);
    let daemon = Daemon::start(script());
    assert_eq!(daemon.client().async_result(id()).get_leaf().await.unwrap().as_str(), "2");
}

#[test]
fn an_eager_result_asks_nobody() {
    let (name, exception) = (TaskName::new("m.f").unwrap(), Exception::new("builtins", "KeyError", "k"));
    let good = EagerResult::success(id(), name.clone(), Json::from(json!(5)));
    assert_eq!((good.get::<u8>().unwrap(), good.wait::<u8>().unwrap()), (5, 5));
    assert!(good.ready() && good.successful() && !good.failed() && good.traceback().is_none());
    let mut bad = EagerResult::failure(id(), name, &exception, Some("at m::f".to_owned()));
    assert!(bad.get::<u8>().unwrap_err().is("KeyError") && bad.failed());
    assert_eq!(bad.get_json(false).unwrap().read::<Exception>().unwrap(), exception);
    let mut told = None;
    bad.then(|_, _| panic!("it failed"), |result, error| told = Some((result.id().clone(), error.is("KeyError"))));
    assert_eq!(told, Some((id(), true)));
    bad.forget();
    bad.revoke();
    assert!(bad.get::<u8>().unwrap_err().is("TaskRevokedError") && bad.traceback().is_none());
    assert_eq!((bad.state(), bad.successful(), bad.failed()), (&State::Revoked, false, false));
    let read: lovage_client::model::ResultMeta = serde_json::from_str(&meta("IGNORED", "7")).unwrap();
    assert_eq!(EagerResult::from(read).get_json(true).unwrap(), Json::null());
}
