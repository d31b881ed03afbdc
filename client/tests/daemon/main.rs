//! The client against a daemon of a few lines, on a free port: what it sends, how it waits, what it makes of refusals,
//! silence and cut connections.

mod results;
mod scripted;
mod sets;

use std::time::Duration;

use lovage_client::model::{EventKind, ModuleName, State, TaskId};
use lovage_client::{Client, Error, Signature, TaskFilter, s};
use serde_json::{Value, json};

use scripted::{Answer, Daemon, meta};

fn id() -> TaskId {
    TaskId::new("t-1").unwrap()
}

#[tokio::test]
async fn a_call_is_sent_with_its_token_and_its_id_becomes_the_handle() {
    let daemon =
        Daemon::start([Answer::json(202, r#"{"id":"t-1","state":"PENDING","result_tuple":[["t-1",null],null]}"#)]);
    let client = daemon.client().with_token("secret");
    let result = client.apply_async(s("tour.add", (2, 3))).await.unwrap();
    assert_eq!(result.id(), &id());
    let seen = daemon.seen();
    assert_eq!((seen[0].method.as_str(), seen[0].path.as_str()), ("POST", "/v1/tasks"));
    assert_eq!(seen[0].header("authorization"), "Bearer secret");
    let sent: Value = serde_json::from_slice(&seen[0].body).unwrap();
    assert_eq!((&sent["signature"]["task"], &sent["signature"]["args"]), (&json!("tour.add"), &json!([2, 3])));
}

#[tokio::test]
async fn a_call_with_an_id_of_its_own_is_put_there() {
    let daemon =
        Daemon::start([Answer::json(202, r#"{"id":"t-1","state":"PENDING","result_tuple":[["t-1",null],null]}"#)]);
    daemon.client().apply_async(Signature::of("tour.add").task_id(id())).await.unwrap();
    assert_eq!((daemon.seen()[0].method.as_str(), daemon.seen()[0].path.as_str()), ("PUT", "/v1/tasks/t-1"));
}

#[tokio::test]
async fn a_submit_that_gets_no_answer_is_sent_again_as_the_same_task() {
    let reply = r#"{"id":"t-1","state":"SUCCESS","result_tuple":[["t-1",null],null]}"#;
    let daemon = Daemon::start([
        Answer::cut("{"),
        Answer::json(503, &scripted::problem(503, "draining", true)),
        Answer::json(200, reply),
        Answer::json(202, reply),
        Answer::json(429, &scripted::problem(429, "queue_full", true)),
    ]);
    let client = daemon.client();
    let call = || s("tour.add", (2, 3)).build().unwrap();
    assert!(client.send_request(&call()).await.unwrap().is_new, "it was this call that is there already");
    client.send_request(&call()).await.unwrap();
    assert_eq!(
        client.send_request(&call()).await.unwrap_err().code(),
        Some("queue_full"),
        "whose refusal is an answer"
    );
    let ids = daemon.seen().iter().map(sent_id).collect::<Vec<_>>();
    assert!(ids[0].is_some() && ids[0] == ids[1] && ids[1] == ids[2] && ids[2] != ids[3], "{ids:?}");
}

#[tokio::test]
async fn a_call_whose_answer_was_lost_and_that_is_another_by_now_was_taken() {
    let taken = || Answer::json(409, &scripted::problem(409, "id_taken", false));
    let daemon = Daemon::start([
        Answer::cut("{"),
        taken(),
        Answer::json(200, &meta("RETRY", "null")),
        Answer::cut("{"),
        taken(),
        taken(),
    ]);
    let client = daemon.client();
    let receipt = client.send_request(&s("tour.add", (2, 3)).build().unwrap()).await.unwrap();
    assert!(receipt.is_new && receipt.reply.state == State::Retry);
    let seen = daemon.seen();
    assert_eq!(sent_id(&seen[0]).as_deref(), Some(receipt.reply.id.as_str()));
    assert_eq!(seen[2].path, format!("/v1/tasks/{}", receipt.reply.id));
    let canvas = (s("tour.add", (2, 3)) | s("tour.add", (1,))).build().unwrap();
    let error = client.send_request(&canvas).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "only the daemon knows its ids: {error}");
    let error = client.send_request(&s("tour.add", (2, 3)).build().unwrap()).await.unwrap_err();
    assert_eq!(error.code(), Some("id_taken"), "that is an answer");
}

#[tokio::test]
async fn a_call_with_an_id_is_not_said_to_have_been_there_before_where_an_answer_was_lost() {
    let reply = r#"{"id":"t-1","state":"PENDING","result_tuple":[["t-1",null],null]}"#;
    let daemon = Daemon::start([Answer::cut("{"), Answer::json(200, reply), Answer::json(200, reply)]);
    let call = Signature::of("tour.add").task_id(id()).build().unwrap();
    let (client, mut said) = (daemon.client(), Vec::new());
    for _ in 0..2 {
        said.push(client.send_request(&call).await.unwrap().is_new);
    }
    assert_eq!(said, [true, false]);
}

#[tokio::test]
async fn a_canvas_whose_parts_have_ids_is_sent_as_it_is_and_once() {
    let reply = r#"{"id":"t-1","state":"PENDING","result_tuple":[["t-1",null],null]}"#;
    let daemon = Daemon::start([Answer::json(202, reply), Answer::json(202, reply), Answer::cut("{")]);
    let (client, part) = (daemon.client(), || s("tour.add", (1,)).task_id(id()));
    client.apply_async(s("tour.add", (2, 3)) | s("tour.add", (1,))).await.unwrap();
    client.apply_async(s("tour.add", ("task_id", "\"task_id\""))).await.unwrap();
    let error = client.apply_async(s("tour.add", (2, 3)) | part()).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    let ids = daemon.seen().iter().map(sent_id).collect::<Vec<_>>();
    assert!(ids[0].is_some() && ids[1].is_some() && ids[2].is_none(), "{ids:?}");
}

/// The id that a signature was sent with.
fn sent_id(seen: &scripted::Seen) -> Option<String> {
    let body: Value = serde_json::from_slice(&seen.body).unwrap();
    body["signature"]["options"]["task_id"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn waiting_asks_again_until_the_task_has_ended() {
    let daemon = Daemon::start([
        Answer::json(202, &meta("STARTED", "null")),
        Answer::json(200, &meta("SUCCESS", "123456789012345678901234567890")),
    ]);
    let value = daemon.client().async_result(id()).get_json(None).await.unwrap();
    assert_eq!(value.as_str(), "123456789012345678901234567890");
    assert_eq!(daemon.seen()[0].path, "/v1/tasks/t-1/result?wait=30");
    assert_eq!(daemon.seen().len(), 2);
}

#[tokio::test]
async fn a_wait_survives_a_broken_connection_and_a_daemon_that_is_not_ready() {
    let daemon = Daemon::start([
        Answer::json(202, &meta("STARTED", "null")),
        Answer::cut(&meta("SUCCESS", "1")[..20]),
        Answer::json(503, &scripted::problem(503, "starting", true)),
        Answer::json(200, &meta("SUCCESS", "1")),
    ]);
    assert_eq!(daemon.client().async_result(id()).get::<u8>(None).await.unwrap(), 1);
}

#[tokio::test]
async fn a_failure_is_raised_with_its_exception_and_traceback() {
    let raised = r#"{"exc_type":"ValueError","exc_message":["no"],"exc_module":"builtins"}"#;
    let daemon = Daemon::start([Answer::json(200, &meta("FAILURE", raised))]);
    let error = daemon.client().async_result(id()).get::<u8>(None).await.unwrap_err();
    assert_eq!(error.to_string(), "task t-1 (tour.add) failed: ValueError: no");
    let Error::Task(failure) = error else { panic!("{error:?}") };
    assert_eq!(failure.state, State::Failure);
    assert_eq!(failure.traceback.as_deref(), Some("at tour::add"));
    assert_eq!(failure.fault.as_deref(), Some("trap"));
}

#[tokio::test]
async fn a_value_of_another_type_is_no_fault_of_the_call() {
    let daemon = Daemon::start([Answer::json(200, &meta("SUCCESS", r#""five""#))]);
    let result = daemon.client().async_result(id());
    let error = result.get::<u8>(None).await.unwrap_err();
    assert!(matches!(&error, Error::Decode { what, .. } if what == "result of t-1"), "{error:?}");
    assert_eq!(result.get_json(None).await.unwrap().as_str(), r#""five""#);
}

#[tokio::test]
async fn a_wait_that_is_over_says_what_the_task_was_doing() {
    let daemon = Daemon::start([Answer::json(202, &meta("PROGRESS", "{}"))]);
    let error = daemon.client().async_result(id()).wait(Some(Duration::ZERO)).await.unwrap_err();
    assert!(matches!(&error, Error::Timeout { state: State::Custom(name), .. } if name == "PROGRESS"), "{error:?}");
    assert_eq!(daemon.seen()[0].path, "/v1/tasks/t-1/result?wait=0");
}

#[tokio::test]
async fn a_daemon_that_never_answers_does_not_outlast_the_wait() {
    let daemon = Daemon::start([Answer::Silence]);
    tokio::time::pause();
    let error = daemon.client().async_result(id()).wait(Some(Duration::from_secs(1))).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
}

#[tokio::test]
async fn refusals_are_problems_and_anything_else_is_no_lovage() {
    let daemon = Daemon::start([
        Answer::json(404, &scripted::problem(404, "unknown_task_id", false)),
        Answer::json(502, "<html>Bad Gateway</html>"),
        Answer::json(200, "{}"),
    ]);
    let client = daemon.client();
    match client.task(&id()).await.unwrap_err() {
        Error::Problem(problem) => assert_eq!((problem.code.as_str(), problem.status), ("unknown_task_id", 404)),
        other => panic!("{other:?}"),
    }
    let error = client.task(&id()).await.unwrap_err();
    assert!(matches!(&error, Error::Protocol { why, .. } if why.contains("Bad Gateway")), "{error}");
    assert!(matches!(client.task(&id()).await.unwrap_err(), Error::Protocol { .. }));
}

#[tokio::test]
async fn nobody_at_the_address_is_told_at_once() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let client = Client::new(format!("http://127.0.0.1:{port}")).unwrap();
    let error = client.async_result(id()).wait(None).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("lovage serve"), "{error}");
    assert!(matches!(client.events(&id()).next().await, Err(Error::Unreachable { .. })));
}

#[tokio::test]
async fn a_cut_event_stream_goes_on_after_the_last_whole_event() {
    let event = |seq: u8, kind: &str, more: &str| {
        let data =
            format!(r#"{{"uuid":"t-1","name":"tour.add","timestamp":"2026-11-21T00:00:00Z","type":"{kind}"{more}}}"#);
        format!("event: {kind}\nid: {seq}\ndata: {data}\n\n")
    };
    let progress = event(5, "task-progress", r#","state":"PROGRESS","meta":{"current":1,"total":2}"#);
    let done = event(6, "task-succeeded", r#","runtime":0.5"#);
    let daemon = Daemon::start([
        Answer::cut(&format!(": heartbeat\n\n{}{}", event(4, "task-started", ""), &progress[..40])),
        Answer::sse(&format!("{progress}{done}")),
    ]);
    let mut events = daemon.client().events(&id());
    let mut kinds = Vec::new();
    while let Some(event) = events.next().await.unwrap() {
        kinds.push(event.kind);
    }
    assert_eq!(kinds[0], EventKind::Started);
    assert!(matches!(&kinds[1], EventKind::Progress { meta, .. } if meta["total"] == 2));
    assert_eq!(kinds[2], EventKind::Succeeded { result: String::new(), repr: String::new(), runtime: 0.5 });
    assert_eq!(kinds.len(), 3);
    assert_eq!(daemon.seen()[0].header("last-event-id"), "");
    assert_eq!(daemon.seen()[1].header("last-event-id"), "4");
}

#[tokio::test]
async fn an_event_stream_that_was_quiet_is_cut_off_as_often_as_it_may_be() {
    let event = r#"{"uuid":"t-1","name":"tour.add","timestamp":"2026-11-21T00:00:00Z","type":"task-started"}"#;
    let started = format!("event: task-started\ndata: {event}\n\n");
    let daemon = Daemon::start([Answer::sse(""), Answer::sse(""), Answer::sse(""), Answer::sse(&started)]);
    let mut events = daemon.client().with_patience(Duration::from_nanos(1)).all_events();
    assert_eq!(events.next().await.unwrap().map(|event| event.kind), Some(EventKind::Started));
}

#[tokio::test]
async fn the_events_of_a_task_that_has_ended_before_are_none() {
    let daemon = Daemon::start([Answer::sse(": hello\n\n"), Answer::json(200, &meta("SUCCESS", "1"))]);
    assert_eq!(daemon.client().events(&id()).next().await.unwrap(), None);
}

#[tokio::test]
async fn a_push_carries_the_digest_of_what_it_pushes() {
    let version = r#"{"name":"m","version":1,"digest":"9f64a747e1b97f131fabb6b447296c9b6f0201e79fb3c5356e6c77e89b6a806a",
        "size_bytes":4,"pushed_at":"2026-11-21T00:00:00Z","active":true,"tasks":[]}"#;
    let daemon = Daemon::start([Answer::json(201, version), Answer::json(200, version)]);
    let (client, name) = (daemon.client(), ModuleName::new("m").unwrap());
    let component: &'static [u8] = &[1, 2, 3, 4];
    assert!(client.push_module(&name, component.into(), false).await.unwrap().is_new);
    assert!(!client.push_module(&name, component.into(), true).await.unwrap().is_new);
    let seen = daemon.seen();
    assert_eq!(seen[0].header("content-digest"), "sha-256=:n2SnR+G5fxMfq7a0Rylsm28CAeefs8U1bmx36JtqgGo=:");
    assert_eq!(seen[1].path, "/v1/modules/m?dry_run=true");
}

#[tokio::test]
async fn filters_become_the_query() {
    let daemon = Daemon::start([Answer::json(200, r#"{"tasks":[],"next":"abc"}"#)]);
    let filter = TaskFilter { state: Some(State::Failure), limit: Some(5), ..TaskFilter::default() };
    assert_eq!(daemon.client().tasks(&filter).await.unwrap().next.as_deref(), Some("abc"));
    assert_eq!(daemon.seen()[0].path, "/v1/tasks?state=FAILURE&limit=5");
}

#[tokio::test]
async fn a_group_is_saved_as_soon_as_the_daemon_says_it_may_be() {
    let group: lovage_model::ResultTuple = serde_json::from_str(r#"[["g", null], [[["a", null], null]]]"#).unwrap();
    let daemon = Daemon::start([Answer::Later(0), Answer::Later(0), Answer::json(204, "")]);
    daemon.client().save_group(&group).await.unwrap();
    let paths: Vec<_> = daemon.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/v1/groups/g"; 3]);
    let full = Daemon::start([Answer::Later(3600)]);
    assert_eq!(full.client().save_group(&group).await.unwrap_err().code(), Some("rate_exceeded"), "not for an hour");
}
