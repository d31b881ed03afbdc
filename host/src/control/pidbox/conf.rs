//! Which settings does this host show to Celery's `inspect conf` and `inspect report`?

use serde_json::{Map, Value, json};

use crate::control::Control;

/// The settings of this host under their own names, and those that Celery's tools look for under Celery's.
pub(super) fn conf(shown: &Value, control: &Control) -> Map<String, Value> {
    let entries = shown.as_array().into_iter().flatten();
    let own = entries.filter_map(|entry| Some((entry.get("name")?.as_str()?.to_owned(), entry.get("value")?.clone())));
    let mut all: Map<String, Value> = own.collect();
    let of = |name: &str| all.get(name).cloned().unwrap_or(Value::Null);
    let (store, queues) = (of("store.url"), of("worker.queues"));
    let (extended, started) = (of("results.extended") == "yes", of("results.track_started") == "yes");
    let celery = json!({
        "broker_url": store,
        "result_backend": store,
        "accept_content": ["json", "msgpack"],
        "result_accept_content": null,
        "task_serializer": "json",
        "result_serializer": "json",
        "result_extended": extended,
        "result_expires": of("results.expires_seconds"),
        "enable_utc": true,
        "timezone": "UTC",
        "broker_heartbeat": null,
        "deprecated_settings": null,
        "include": [],
        "task_default_queue": "celery",
        "task_queues": queues,
        "task_track_started": started,
        "worker_concurrency": control.host.concurrency,
        "worker_hijack_root_logger": false,
        "worker_log_color": false,
    });
    all.extend(celery.as_object().cloned().unwrap_or_default());
    all
}

/// What this host is, as a text for people. Celery's tools look for its first words.
pub(super) fn report(shown: &Value, control: &Control) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!(
        "\nsoftware -> celery: none, lovage:{version} speaks its protocol\nplatform -> system:{} arch:{}\nhost -> {}\n\n",
        std::env::consts::OS,
        std::env::consts::ARCH,
        control.host.hostname
    );
    for (name, value) in conf(shown, control) {
        text.push_str(&format!("{name}: {value}\n"));
    }
    text
}
