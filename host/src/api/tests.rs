//! Every route and every kind of problem, through the router.

mod bounds;
mod door;
mod fake;
mod groups;
mod hosts;
mod identities;
mod problems;
mod streams;
mod watching;

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use lovage_model::{
    Digest, Event, EventKind, ModuleVersion, Parameter, State, TaskDefinition, TaskId, TenantId, Timestamp,
};
use serde_json::{Value, json};
use tower::ServiceExt;

use self::fake::Fake;
use super::*;
use crate::attempt::Stop;
use crate::pipeline::Share;
use crate::queue::Rules;
use crate::sandbox::Sandbox;
use crate::store::{Lease, LeaseKey};

/// A daemon's API over a store that the test holds.
struct Site {
    router: Router,
    store: Arc<Fake>,
    hub: Arc<Hub>,
    running: Arc<Running>,
    standing: Arc<Standing>,
    beat: Arc<Beat>,
    draining: watch::Sender<bool>,
}

/// A sandbox that has nothing to run.
fn sandbox() -> Arc<Sandbox> {
    let cache = tempfile::tempdir().unwrap();
    let settings = crate::sandbox::Settings {
        concurrency: 1,
        memory_bytes: 1 << 20,
        cache: cache.path().join("cache"),
        compiler: crate::sandbox::Compiler::InProcess,
        executors: None,
    };
    Arc::new(Sandbox::new(settings).unwrap())
}

fn version(module: &str, version: u32, active: bool, tasks: &[&str]) -> ModuleVersion {
    let task = |name: &&str| TaskDefinition {
        name: name.parse().unwrap(),
        doc: String::new(),
        parameters: ["x", "y"].map(|name| Parameter::one(name, false)).to_vec(),
        options: Default::default(),
        handlers: vec![],
    };
    ModuleVersion {
        name: module.parse().unwrap(),
        version,
        digest: Digest::from_bytes(&[version as u8; 32]),
        size_bytes: 1,
        pushed_at: Timestamp::from_micros(0),
        active,
        tasks: tasks.iter().map(task).collect(),
    }
}

/// Small ones, so that a test can reach them.
const LIMITS: queue::Limits = queue::Limits {
    rules: Rules { message_bytes: 200, canvas_tasks: 10, lineage_depth: 5, replacements: 5 },
    room: lovage_model::Room { queued_tasks: 5, ..lovage_model::Room::UNLIMITED },
};

async fn site() -> Site {
    let versions = vec![
        version("tour", 2, true, &["tour.add", "tour.twice"]),
        version("tour", 1, false, &["tour.add"]),
        version("other", 2, true, &["other.twice"]),
        version("other", 1, false, &["tour.add"]),
        version("young", 1, true, &[]),
    ];
    let store = Arc::new(Fake::with(versions));
    let (draining, drained) = watch::channel(false);
    let api = api(Arc::clone(&store) as Arc<dyn Store>, false, drained).await;
    let (hub, running, beat) = (Arc::clone(&api.hub), Arc::clone(&api.running), Arc::clone(&api.beat));
    let standing = Arc::clone(&api.standing);
    Site { router: router(api), store, hub, running, standing, beat, draining }
}

/// What the routes stand on, over a store.
async fn api(store: Arc<dyn Store>, tokens: bool, draining: watch::Receiver<bool>) -> Api {
    let access = Arc::new(Access::open(Arc::clone(&store), tokens).await.unwrap());
    let modules = Arc::new(Modules::open(Arc::clone(&store), sandbox(), Arc::clone(&access)).await.unwrap());
    let hub = Arc::new(Hub::new(Timestamp::from_micros(1000)));
    let beat = Beat::new(Arc::clone(&store), Arc::clone(&modules), Arc::clone(&hub), Arc::clone(&access), LIMITS);
    let outside = Arc::new(Outside::new(Arc::clone(&store), 70_000));
    Api {
        store,
        modules,
        access,
        beat: Arc::new(beat),
        outside,
        running: Arc::new(Running::default()),
        hub,
        limits: LIMITS,
        streams: 16,
        waits: 2,
        bodies: Bodies { module_bytes: 1000, batch_bytes: 100_000 },
        standing: Arc::new(Standing::of(Share { queues: None, slots: 4 })),
        clock: Arc::default(),
        host: Host {
            hostname: "lovage@test".to_owned(),
            concurrency: 4,
            since: Timestamp::from_micros(0),
            timeouts: [std::time::Duration::from_secs(1), std::time::Duration::from_secs(2)],
            result_expires: std::time::Duration::from_secs(60),
        },
        conf: json!([{"name": "log.level", "value": "info"}]),
        draining,
    }
}

fn json_request(method: &str, path: &str, body: &Value) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
    request.body(Body::from(body.to_string())).unwrap()
}

fn empty(method: &str, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
}

impl Site {
    async fn ask(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// Status and body of a request without a body.
    async fn call(&self, method: &str, path: &str) -> (u16, Value) {
        answer(self.ask(empty(method, path)).await).await
    }

    async fn send(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        answer(self.ask(json_request(method, path, &body)).await).await
    }

    /// Submits a call under an id.
    async fn put(&self, id: &str) {
        let (status, reply) = self.send("PUT", &format!("/v1/tasks/{id}"), json!({"task": "add", "args": [1]})).await;
        assert_eq!(status, 202, "{reply}");
    }

    /// Declares a periodic task as the configuration does.
    async fn declare(&self, name: &str) {
        let entry = serde_json::from_str(r#"{"task": "add", "args": [1], "every": 3600}"#).unwrap();
        self.beat.declare(&[(name.parse().unwrap(), entry)].into(), None, Timestamp::from_micros(0)).await.unwrap();
    }

    fn end(&self, id: &str) {
        self.store.set(&task(id), State::Success, "2");
        self.tell(id, EventKind::Succeeded { result: "2".to_owned(), repr: String::new(), runtime: 0.5 });
    }

    fn tell(&self, id: &str, kind: EventKind) {
        let name = "tour.add".parse().unwrap();
        let event = Event::new(task(id), name, Timestamp::from_micros(0), kind);
        self.hub.announce(&TenantId::default(), &[event]);
    }
}

fn task(id: &str) -> TaskId {
    id.parse().unwrap()
}

fn lease(id: &str) -> Lease {
    let message = lovage_model::Message::new(task(id), "tour.add".parse().unwrap());
    Lease { key: LeaseKey { task: 1, token: 1 }, tenant: TenantId::default(), message, deliveries: 1 }
}

async fn answer(response: Response<Body>) -> (u16, Value) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() })
}

#[tokio::test]
async fn a_submit_is_answered_with_its_address() {
    let site = site().await;
    let response = site.ask(json_request("POST", "/v1/tasks", &json!({"task": "add", "args": [1, 2]}))).await;
    let location = response.headers()[header::LOCATION].to_str().unwrap().to_owned();
    let (status, reply) = answer(response).await;
    assert_eq!((status, &reply["state"]), (202, &json!("PENDING")));
    assert_eq!(reply["result_tuple"], json!([[reply["id"], null], null]));
    assert_eq!(location, format!("/v1/tasks/{}", reply["id"].as_str().unwrap()));
    let (status, meta) = site.call("GET", &location).await;
    assert_eq!((status, &meta["name"], &meta["args"]), (200, &json!("tour.add"), &json!([1, 2])));
}

#[tokio::test]
async fn the_same_submit_again_is_the_same_task() {
    let site = site().await;
    site.put("a").await;
    site.end("a");
    let (status, again) = site.send("PUT", "/v1/tasks/a", json!({"task": "tour.add", "args": [ 1 ]})).await;
    assert_eq!((status, &again["state"]), (200, &json!("SUCCESS")));
    let (status, problem) = site.send("PUT", "/v1/tasks/a", json!({"task": "add", "args": [2]})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("id_taken")));
    let signature = json!({"signature": {"task": "add", "args": [1], "options": {"task_id": "a"}}});
    assert_eq!(site.send("POST", "/v1/tasks", signature.clone()).await.0, 200);
    assert_eq!(site.send("PUT", "/v1/tasks/b", signature).await.1["code"], "invalid_request");
}

#[tokio::test]
async fn an_idempotency_key_makes_a_submit_safe_to_repeat() {
    let site = site().await;
    let keyed = |args: Value| {
        let mut request = json_request("POST", "/v1/tasks", &json!({"task": "add", "args": args}));
        request.headers_mut().insert("Idempotency-Key", "k1".parse().unwrap());
        site.ask(request)
    };
    let (first, again) = (answer(keyed(json!([1])).await).await, answer(keyed(json!([1])).await).await);
    assert_eq!((first.0, again.0, &first.1["id"]), (202, 200, &again.1["id"]));
    assert_eq!(answer(keyed(json!([2])).await).await.0, 409);
}

#[tokio::test]
async fn each_of_a_batch_is_answered_on_its_own() {
    let site = site().await;
    let tasks = json!([{"task": "add"}, {"task": "nobody"}, {"task": "add", "options": {"priority": "x"}},
        {"task": "add"}, {"taks": "add"}]);
    let (status, reply) = site.send("POST", "/v1/tasks:batch", json!({ "tasks": tasks })).await;
    assert_eq!(status, 200);
    let results = reply["results"].as_array().unwrap();
    let codes: Vec<_> = results.iter().map(|item| item["code"].as_str().unwrap_or("stored")).collect();
    assert_eq!(codes, ["stored", "unknown_task", "invalid_request", "stored", "invalid_request"]);
    let many: Vec<_> = (0..1001).map(|_| json!({"task": "add"})).collect();
    assert_eq!(site.send("POST", "/v1/tasks:batch", json!({ "tasks": many })).await.0, 422);
    let (_, reply) = site.send("POST", "/v1/tasks:batch", json!({ "tasks": many[..10] })).await;
    assert_eq!((&reply["results"][2]["id"].is_string(), &reply["results"][3]["code"]), (&true, &json!("queue_full")));
}

#[tokio::test]
async fn a_small_batch_does_not_become_any_number_of_messages() {
    let site = site().await;
    let member = json!({"task": "add", "args": [], "kwargs": {}, "options": {}});
    let group = json!({"task": "celery.group", "args": [], "kwargs": {"tasks": vec![member; 10]}, "options": {},
        "subtask_type": "group"});
    let mut tasks = vec![json!({ "signature": group }); 150];
    tasks.push(json!({"task": "nobody"}));
    let (status, reply) = site.send("POST", "/v1/tasks:batch", json!({ "tasks": tasks })).await;
    assert_eq!(status, 200, "{reply}");
    let codes: Vec<_> = reply["results"].as_array().unwrap().iter().map(|item| item["code"].as_str()).collect();
    assert!(codes[0] != Some("body_too_large") && codes[149] == Some("body_too_large"), "{codes:?}");
    assert_eq!(codes[150], Some("body_too_large"), "what comes after it is not even looked at");
}

#[tokio::test]
async fn who_sends_too_much_is_told_which_limit_it_is() {
    let site = site().await;
    let send = async |options: Value| site.send("POST", "/v1/tasks", json!({"task": "add", "options": options})).await;
    site.send("PUT", "/v1/tenants/default", json!({"scheduled_tasks": 1, "queued_tasks": 3})).await;
    assert_eq!(send(json!({"countdown": 60})).await.0, 202);
    let (status, problem) = send(json!({"countdown": 60})).await;
    let detail = problem["detail"].as_str().unwrap();
    assert_eq!((status, &problem["code"]), (429, &json!("queue_full")));
    assert!(detail.contains("1 tasks may wait for their eta") && detail.contains("limits.scheduled_tasks"), "{detail}");
    assert_eq!((send(json!({})).await.0, send(json!({})).await.0), (202, 202));
    let detail = send(json!({})).await.1["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("3 tasks may wait (queued_tasks"), "{detail}");
}

#[tokio::test]
async fn tasks_are_listed_page_by_page() {
    let site = site().await;
    for id in ["a", "b", "c"] {
        site.put(id).await;
    }
    let (status, page) = site.call("GET", "/v1/tasks?limit=2&state=PENDING").await;
    assert_eq!((status, page["tasks"].as_array().unwrap().len()), (200, 2));
    let next = page["next"].as_str().unwrap();
    let (_, page) = site.call("GET", &format!("/v1/tasks?limit=2&cursor={next}")).await;
    assert_eq!((&page["tasks"][0]["task_id"], &page["next"]), (&json!("c"), &Value::Null));
    for bad in ["limit=0", "limit=201", "limit=x", "cursor=1", "colour=red", "queue=a%20b"] {
        assert_eq!(site.call("GET", &format!("/v1/tasks?{bad}")).await.1["code"], "bad_query", "{bad}");
    }
}

#[tokio::test]
async fn logs_are_those_of_all_attempts() {
    let site = site().await;
    site.put("a").await;
    let listed = site.running.list(&lease("a"));
    listed.log.lock().unwrap().stdout.push_str("so far");
    let (status, logs) = site.call("GET", "/v1/tasks/a/logs").await;
    assert_eq!((status, &logs["attempts"][0]["stdout"]), (200, &json!("first")));
    assert_eq!(logs["running"]["stdout"], "so far");
    drop(listed);
    assert_eq!(site.call("GET", "/v1/tasks/a/logs").await.1["running"], Value::Null);
}

#[tokio::test]
async fn a_revoke_meets_a_task_where_it_is() {
    let site = site().await;
    site.put("a").await;
    let (status, reply) = site.call("POST", "/v1/tasks/a/revoke").await;
    assert_eq!((status, &reply["state"]), (200, &json!("REVOKED")));
    let (status, reply) = site.call("POST", "/v1/tasks/a/revoke").await;
    assert!(status == 200 && reply["outcome"].as_str().unwrap().contains("ended"), "{reply}");

    site.put("b").await;
    site.store.set(&task("b"), State::Started, "null");
    let (status, reply) = site.call("POST", "/v1/tasks/b/revoke").await;
    assert!(status == 200 && reply["outcome"].as_str().unwrap().contains("terminate"), "{reply}");
    let terminate = json!({"terminate": true});
    let (status, problem) = site.send("POST", "/v1/tasks/b/revoke", terminate.clone()).await;
    assert_eq!((status, &problem["code"]), (409, &json!("task_busy")), "it runs, but not here");
    let listed = site.running.list(&lease("b"));
    listed.begin(&"tour.add".parse().unwrap(), Timestamp::from_micros(0));
    let (status, reply) = site.send("POST", "/v1/tasks/b/revoke", terminate).await;
    assert!(status == 200 && reply["outcome"].as_str().unwrap().contains("being stopped"), "{reply}");
    assert_eq!(*listed.stopped.borrow(), Some(Stop::Revoked));
}

#[tokio::test]
async fn several_tasks_are_revoked_by_one_order() {
    let site = site().await;
    for id in ["a", "b"] {
        site.put(id).await;
    }
    site.end("b");
    let (status, reply) = site.send("POST", "/v1/tasks:revoke", json!({"ids": ["a", "nobody", "b"]})).await;
    assert_eq!((status, reply["results"].as_array().unwrap().len()), (200, 3));
    assert_eq!((&reply["results"][0]["id"], &reply["results"][0]["state"]), (&json!("a"), &json!("REVOKED")));
    assert_eq!(reply["results"][1]["code"], "unknown_id");
    assert_eq!(reply["results"][2]["state"], "SUCCESS");
    let many: Vec<String> = (0..10_001).map(|n| n.to_string()).collect();
    let (status, problem) = site.send("POST", "/v1/tasks:revoke", json!({"ids": many})).await;
    assert!(status == 422 && problem["detail"].as_str().unwrap().contains("the limit is 10000"), "{problem}");
}

#[tokio::test]
async fn modules_are_listed_rolled_back_and_removed() {
    let site = site().await;
    let (status, list) = site.call("GET", "/v1/modules").await;
    assert_eq!((status, list.as_array().unwrap().len()), (200, 3));
    let (status, versions) = site.call("GET", "/v1/modules/tour").await;
    assert_eq!((status, &versions[0]["version"], &versions[1]["version"]), (200, &json!(2), &json!(1)));
    assert_eq!(site.call("POST", "/v1/modules/tour/rollback").await.1["version"], 1);
    assert_eq!(site.call("DELETE", "/v1/modules/tour").await, (204, Value::Null));
    assert_eq!(site.call("GET", "/v1/modules/tour").await.1["code"], "unknown_module");
    assert_eq!(site.send("POST", "/v1/tasks", json!({"task": "tour.add"})).await.1["code"], "unknown_task");
}

#[tokio::test]
async fn the_document_lists_every_route_that_is_served() {
    let site = site().await;
    let (status, document) = site.call("GET", "/openapi.json").await;
    assert!(status == 200 && document["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths = document["paths"].as_object().unwrap();
    let methods = |item: &Value| item.as_object().unwrap().keys().map(|m| m.to_uppercase()).collect::<Vec<_>>();
    let listed: BTreeSet<_> =
        paths.iter().flat_map(|(path, item)| methods(item).into_iter().map(move |m| (m, path.clone()))).collect();
    let known = identities::routes().map(|(method, path)| (method.to_owned(), path.to_owned())).collect();
    assert_eq!(listed, known);
    for (path, item) in paths {
        let allowed =
            site.ask(empty("TRACE", &path.replace("{name}", "x").replace("{id}", "x").replace("{what}", "x"))).await;
        assert_eq!(allowed.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allow = allowed.headers()[header::ALLOW].to_str().unwrap().to_owned();
        let allow: BTreeSet<_> = allow.split(',').filter(|m| *m != "HEAD").map(str::to_owned).collect();
        assert_eq!(allow, methods(item).into_iter().collect(), "{path}");
    }
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    let document = serde_json::to_value(document()).unwrap();
    let text = document.to_string();
    let references = text.split("\"#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap());
    let names: BTreeSet<_> = references.collect();
    for name in &names {
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
    assert!(names.contains("ResultMeta") && names.contains("Problem"), "{names:?}");
}

fn pieces(parts: Vec<std::io::Result<Bytes>>) -> Body {
    Body::from_stream(futures_util::stream::iter(parts))
}
