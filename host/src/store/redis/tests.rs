//! What does Redis ask of a store that the suite does not?

mod bounds;
mod chords;
mod clients;
mod faults;
mod hosts;
mod moved;
pub(in crate::store) mod server;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lovage_model::{Json, Message, Plan, Room, Settlement, TenantId, Timestamp, Verdict};
use serde_json::{Value, json};

use super::{Options, RedisStore};
use crate::store::{Ask, Broker, Lease, LeaseKey, Leased};
use server::Server;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000 + seconds * 1_000_000)
}

fn tenant() -> TenantId {
    TenantId::default()
}

fn message(name: &str) -> Message {
    Message::new(name.parse().unwrap(), "tour.add".parse().unwrap())
}

fn success(result: &str, now: Timestamp) -> Settlement {
    let result = Json::parse(result.to_owned()).unwrap();
    Settlement { worker: "host-1".to_owned(), ..Settlement::of(Verdict::Success { result }, now) }
}

/// A store with keys of its own, and what a client of Celery's has of it.
struct Bench {
    store: Arc<RedisStore>,
    options: Options,
    client: redis::aio::MultiplexedConnection,
}

impl Bench {
    async fn new() -> Self {
        Self::on(Server::of_all()).await
    }

    async fn on(server: &Server) -> Self {
        Self::with(server.options()).await
    }

    async fn with(options: Options) -> Self {
        let store = Arc::new(RedisStore::open(options.clone(), at(0)).await.unwrap());
        let client = redis::Client::open(options.url.as_str()).unwrap();
        let client = client.get_multiplexed_async_connection().await.unwrap();
        Self { store, options, client }
    }

    /// Another host on the same server.
    async fn host(&self, name: &str) -> RedisStore {
        RedisStore::open(Options { hostname: name.to_owned(), ..self.options.clone() }, at(0)).await.unwrap()
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.options.global_keyprefix)
    }

    /// A command of the client's, with the prefix before the first argument.
    async fn ask<R: redis::FromRedisValue>(&self, command: &str, key: &str, args: &[&str]) -> R {
        let mut asked = redis::cmd(command);
        asked.arg(self.key(key)).arg(args);
        asked.query_async(&mut self.client.clone()).await.unwrap()
    }

    /// Runs a script of the test's own, with the prefix before each key.
    async fn eval(&self, script: &str, keys: &[&str], arg: usize) {
        let keys: Vec<String> = keys.iter().map(|key| self.key(key)).collect();
        let mut asked = redis::cmd("EVAL");
        asked.arg(script).arg(keys.len()).arg(keys).arg(arg);
        asked.query_async::<()>(&mut self.client.clone()).await.unwrap();
    }

    async fn submit(&self, messages: Vec<Message>) {
        let plans = messages.into_iter().map(Plan::of).collect();
        self.store.submit(&tenant(), plans, at(0), Room::UNLIMITED).await.unwrap();
    }

    async fn lease(&self, max: usize, now: Timestamp) -> Vec<Lease> {
        lease(&self.store, max, now).await.leases
    }

    async fn lease_one(&self, now: Timestamp) -> Lease {
        let mut leases = self.lease(1, now).await;
        assert_eq!(leases.len(), 1);
        leases.remove(0)
    }

    async fn commit(&self, key: LeaseKey, settlement: Settlement) -> crate::store::Fenced {
        self.store.commit(key, settlement).await.unwrap()
    }

    /// A result as Celery's clients read it.
    async fn meta(&self, id: &str) -> Value {
        let text: Option<String> = self.ask("GET", &format!("celery-task-meta-{id}"), &[]).await;
        serde_json::from_str(&text.unwrap_or_else(|| panic!("no result of {id}"))).unwrap()
    }
}

/// Asks for messages, which are held for ten seconds.
fn ask(store: &RedisStore, max: usize, now: Timestamp) -> Ask {
    let until = Timestamp::from_micros(now.as_micros() + 10_000_000);
    Ask { worker: store.hostname.clone(), queues: None, max, shares: crate::store::Shares::default(), now, until }
}

async fn lease(store: &RedisStore, max: usize, now: Timestamp) -> Leased {
    store.lease(ask(store, max, now)).await.unwrap()
}

impl RedisStore {
    /// The lists of which it is told when they change.
    fn watched(&self) -> Arc<Vec<String>> {
        self.bell.lists()
    }
}

/// A message as a client sends it.
fn envelope(id: &str, headers: &Value, body: &Value) -> String {
    let mut all = json!({
        "lang": "py", "task": "tour.add", "id": id, "shadow": null, "eta": null, "expires": null, "group": null,
        "group_index": null, "retries": 0, "timelimit": [null, null], "root_id": id, "parent_id": null,
        "argsrepr": "(2, 3)", "kwargsrepr": "{}", "origin": "gen16887@vm", "ignore_result": false,
        "replaced_task_nesting": 0, "stamped_headers": null, "stamps": {}
    });
    for (name, value) in headers.as_object().unwrap() {
        all[name] = value.clone();
    }
    let envelope = json!({
        "body": STANDARD.encode(body.to_string()),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": all,
        "properties": {
            "correlation_id": id, "reply_to": "206d4ce7-8028-3bb1-9a58-258370aa1403", "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "celery"}, "priority": 0, "body_encoding": "base64",
            "delivery_tag": format!("tag-of-{id}")
        }
    });
    pythonic(&envelope.to_string())
}

/// As Python's JSON writes it: with blanks. (No text in these tests has a colon or a comma before a quote.)
fn pythonic(text: &str) -> String {
    text.replace("\":", "\": ").replace(",\"", ", \"")
}

fn plain_body() -> Value {
    json!([[2, 3], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}])
}

fn plain(id: &str) -> String {
    envelope(id, &json!({}), &plain_body())
}
