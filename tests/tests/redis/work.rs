//! Work for hosts, and what must come of it.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use lovage_client::Client;
use lovage_model::{ResultMeta, State, TaskId};
use lovage_tests::daemon::Daemon;
use lovage_tests::guests;

/// Short, so that what a lost host had is soon back; long enough for a busy machine to renew it.
pub(crate) const BRIEF: &str = "[worker]\nconcurrency = 4\nlease_seconds = 3\n";

/// A host that finds the tour compiled.
pub(crate) fn host(store: &str, name: &str) -> Daemon {
    Daemon::host(store, name, &[guests::tour()], BRIEF)
}

/// Sends tasks that sleep, under ids of their own, and returns these. Each is acknowledged.
pub(crate) async fn send(client: &Client, of: &str, count: usize, seconds: f64) -> Vec<TaskId> {
    let ids: Vec<TaskId> = (0..count).map(|number| format!("{of}-{number}").parse().expect("an id")).collect();
    for id in &ids {
        submit(client, id, "tour.sleepy", serde_json::json!([seconds])).await;
    }
    ids
}

pub(crate) async fn submit(client: &Client, id: &TaskId, task: &str, args: serde_json::Value) {
    let body = serde_json::json!({ "task": task, "args": args, "options": { "task_id": id } });
    let body = serde_json::from_value(body).expect("a call");
    client.send_request(&body).await.expect("it is acknowledged");
}

/// What became of tasks, each at its end.
pub(crate) async fn ended(client: &Client, ids: &[TaskId]) -> Vec<ResultMeta> {
    let one = |id: &TaskId| {
        let task = client.async_result(id.clone());
        async move { task.wait(None).await.expect("it ends") }
    };
    join_all(ids.iter().map(one)).await
}

/// All have succeeded; which hosts they were on, and how often.
pub(crate) fn succeeded(metas: &[ResultMeta]) -> BTreeMap<String, usize> {
    let mut hosts = BTreeMap::new();
    for meta in metas {
        assert_eq!(meta.status, State::Success, "{meta:?}");
        *hosts.entry(meta.worker.clone().expect("a host ran it")).or_default() += 1;
    }
    hosts
}
