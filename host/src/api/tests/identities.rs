//! Whose may be reached by whom? Every route of the OpenAPI document, asked by each kind of caller.

use std::time::Duration;

use lovage_model::{ModuleName, NewToken, Scope, TenantPolicy};

use super::*;
use crate::clock;
use crate::store::Upload;
use crate::store::memory::MemoryStore;

/// What a route needs, what is sent to it, and what another tenant is answered that may do the same, and has nothing.
struct Expected(&'static str, &'static str, Option<Scope>, &'static str, u16);

const READ: Option<Scope> = Some(Scope::Read);
const SUBMIT: Option<Scope> = Some(Scope::Submit);
const DEPLOY: Option<Scope> = Some(Scope::Deploy);
const ADMIN: Option<Scope> = Some(Scope::Admin);
const CALL: &str = r#"{"task": "tour.add", "args": [1]}"#;
const BEAT: &str = r#"{"task": "tour.add", "every": 60}"#;
const GROUP: &str = r#"[["g", null], [[["a", null], null]]]"#;

const EXPECTED: &[Expected] = &[
    Expected("GET", "/livez", None, "", 200),
    Expected("GET", "/openapi.json", None, "", 200),
    Expected("GET", "/readyz", None, "", 200),
    Expected("GET", "/v1/beat", READ, "", 200),
    Expected("DELETE", "/v1/beat/{name}", DEPLOY, "", 404),
    Expected("GET", "/v1/beat/{name}", READ, "", 404),
    // It does not have the task that is named.
    Expected("PUT", "/v1/beat/{name}", DEPLOY, BEAT, 404),
    Expected("POST", "/v1/beat/{name}/run", SUBMIT, "", 404),
    Expected("POST", "/v1/control/cleanup", ADMIN, "", 403),
    Expected("POST", "/v1/control/rate_limit", DEPLOY, r#"{"task": "tour.add", "rate_limit": "1/s"}"#, 404),
    Expected("POST", "/v1/control/time_limit", DEPLOY, r#"{"task": "tour.add", "hard": 5}"#, 404),
    Expected("GET", "/v1/events", READ, "", 200),
    Expected("DELETE", "/v1/groups/{id}", SUBMIT, "", 404),
    Expected("GET", "/v1/groups/{id}", READ, "", 404),
    Expected("PUT", "/v1/groups/{id}", SUBMIT, GROUP, 204),
    Expected("GET", "/v1/inspect/{what}", READ, "", 200),
    Expected("GET", "/v1/modules", READ, "", 200),
    Expected("DELETE", "/v1/modules/{name}", DEPLOY, "", 404),
    Expected("GET", "/v1/modules/{name}", READ, "", 404),
    // Who may push is told that this is no component.
    Expected("PUT", "/v1/modules/{name}", DEPLOY, "bytes", 422),
    Expected("POST", "/v1/modules/{name}/rollback", DEPLOY, "", 404),
    Expected("DELETE", "/v1/modules/{name}/secrets/{secret}", DEPLOY, "", 404),
    Expected("PUT", "/v1/modules/{name}/secrets/{secret}", DEPLOY, "hush", 204),
    Expected("GET", "/v1/queues", READ, "", 200),
    Expected("POST", "/v1/queues/{name}/pause", DEPLOY, "", 200),
    Expected("POST", "/v1/queues/{name}/purge", DEPLOY, "", 200),
    Expected("POST", "/v1/queues/{name}/resume", DEPLOY, "", 200),
    Expected("GET", "/v1/tasks", READ, "", 200),
    Expected("POST", "/v1/tasks", SUBMIT, CALL, 404),
    Expected("DELETE", "/v1/tasks/{id}", SUBMIT, "", 404),
    Expected("GET", "/v1/tasks/{id}", READ, "", 404),
    Expected("PUT", "/v1/tasks/{id}", SUBMIT, CALL, 404),
    Expected("GET", "/v1/tasks/{id}/events", READ, "", 404),
    Expected("GET", "/v1/tasks/{id}/logs", READ, "", 404),
    Expected("GET", "/v1/tasks/{id}/result", READ, "", 404),
    Expected("POST", "/v1/tasks/{id}/retry", SUBMIT, "", 404),
    Expected("POST", "/v1/tasks/{id}/revoke", SUBMIT, "", 404),
    Expected("POST", "/v1/tasks:batch", SUBMIT, r#"{"tasks": [{"task": "tour.add"}]}"#, 200),
    Expected("POST", "/v1/tasks:revoke", SUBMIT, r#"{"ids": ["a"]}"#, 200),
    Expected("POST", "/v1/tasks:watch", READ, r#"{"ids": ["a"], "wait": 0}"#, 200),
    Expected("GET", "/v1/tenants", ADMIN, "", 403),
    Expected("DELETE", "/v1/tenants/{name}", ADMIN, "", 403),
    Expected("PUT", "/v1/tenants/{name}", ADMIN, "{}", 403),
    Expected("GET", "/v1/tenants/{name}/usage", ADMIN, "", 403),
    Expected("GET", "/v1/tokens", ADMIN, "", 403),
    Expected("POST", "/v1/tokens", ADMIN, r#"{"scopes": ["read"]}"#, 403),
    Expected("DELETE", "/v1/tokens/{id}", ADMIN, "", 403),
    Expected("GET", "/v1/usage", READ, "", 200),
    Expected("POST", "/v1/worker/drain", ADMIN, "", 403),
    Expected("GET", "/v1/workers", READ, "", 200),
];

/// The routes, as people know them. One that is served and not listed here, or not in the document, is found.
pub(super) fn routes() -> impl Iterator<Item = (&'static str, &'static str)> {
    EXPECTED.iter().map(|Expected(method, path, ..)| (*method, *path))
}

/// A daemon of two tenants, one of which has something of everything.
struct Shop {
    router: Router,
    store: Arc<MemoryStore>,
    hub: Arc<Hub>,
    own: String,
    other: String,
    reader: String,
    revoked: String,
    expired: String,
    admin: String,
    _draining: watch::Sender<bool>,
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

async fn shop() -> Shop {
    let store = Arc::new(MemoryStore::new());
    let (now, tasks) = (clock::now(), version("tour", 1, true, &["tour.add"]).tasks);
    let (name, digest) = (ModuleName::new("tour").unwrap(), Digest::from_bytes(&[1; 32]));
    let upload = Upload { name, digest, component: "bytes".into(), tasks };
    crate::store::Modules::push(&*store, &tenant("own"), upload, now).await.unwrap();
    let (draining, drained) = watch::channel(false);
    let api = api(Arc::clone(&store) as Arc<dyn Store>, true, drained).await;
    let (hub, access) = (Arc::clone(&api.hub), Arc::clone(&api.access));
    for name in ["own", "other"] {
        access.set_tenant(tenant(name), TenantPolicy::default(), now).await.unwrap();
    }
    let issue = async |of: &str, scopes: &[Scope], expires_seconds: Option<u64>, at: Timestamp| {
        let scopes = scopes.iter().copied().collect();
        let new = NewToken { tenant: tenant(of), scopes, note: String::new(), expires_seconds };
        access.issue(new, at).await.unwrap().token
    };
    let all = [Scope::Read, Scope::Submit, Scope::Deploy];
    let (own, other) = (issue("own", &all, None, now).await, issue("other", &all, None, now).await);
    let (reader, admin) =
        (issue("own", &[Scope::Read], None, now).await, issue("default", &[Scope::Admin], None, now).await);
    let expired = issue("own", &all, Some(1), now.before(Duration::from_secs(9))).await;
    let revoked = issue("own", &all, None, now).await;
    access.revoke(&id_of(&revoked).parse().unwrap(), now).await.unwrap();
    let shop =
        Shop { router: router(api), store, hub, own, other, reader, revoked, expired, admin, _draining: draining };
    for (method, path, body) in [
        ("PUT", "/v1/tasks/a", CALL),
        ("PUT", "/v1/groups/g", GROUP),
        ("PUT", "/v1/beat/b", BEAT),
        ("PUT", "/v1/modules/tour/secrets/s", "hush"),
        ("POST", "/v1/queues/slow/pause", ""),
    ] {
        let (status, said) = shop.ask(method, path, body, Some(&shop.own)).await;
        assert!(status < 300, "{method} {path}: {said}");
    }
    shop
}

fn id_of(token: &str) -> &str {
    token.split('_').nth(1).unwrap()
}

fn request(method: &str, path: &str, body: &str, token: Option<&str>) -> Request<Body> {
    let kind = if body == "bytes" { "application/wasm" } else { "application/json" };
    let mut request = Request::builder().method(method).uri(path);
    if !body.is_empty() {
        request = request.header(header::CONTENT_TYPE, kind);
    }
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    request.body(Body::from(body.to_owned())).unwrap()
}

impl Shop {
    /// Status and body of an answer; of one that does not end, the status.
    async fn ask(&self, method: &str, path: &str, body: &str, token: Option<&str>) -> (u16, String) {
        let response = self.router.clone().oneshot(request(method, path, body, token)).await.unwrap();
        let status = response.status().as_u16();
        if path.ends_with("/events") && status == 200 {
            return (status, String::new());
        }
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    /// A route with the name of something that there is: of the tenant `own`, if it is of a tenant.
    fn filled(&self, path: &str) -> String {
        let (id, name) = match path.split('/').nth(2).unwrap_or_default() {
            "groups" => ("g", ""),
            "tokens" => (id_of(&self.revoked), ""),
            "modules" => ("", "tour"),
            "queues" => ("", "celery"),
            "beat" => ("", "b"),
            "tenants" => ("", "other"),
            _ => ("a", ""),
        };
        path.replace("{id}", id).replace("{name}", name).replace("{what}", "active").replace("{secret}", "s")
    }
}

#[tokio::test]
async fn who_has_no_token_that_holds_gets_nowhere() {
    let shop = shop().await;
    for Expected(method, path, needs, body, _) in EXPECTED {
        for token in [None, Some(shop.revoked.as_str()), Some(&shop.expired), Some("lovage_x_y"), Some("")] {
            let (status, said) = shop.ask(method, &shop.filled(path), body, token).await;
            let expected = if needs.is_some() { 401 } else { 200 };
            assert_eq!(status, expected, "{method} {path} with {token:?}: {said}");
        }
    }
}

#[tokio::test]
async fn who_may_only_look_changes_nothing() {
    let shop = shop().await;
    for Expected(method, path, needs, body, _) in EXPECTED {
        let (status, said) = shop.ask(method, &shop.filled(path), body, Some(&shop.reader)).await;
        match needs {
            Some(Scope::Read) | None => assert!(status < 300, "{method} {path}: {status} {said}"),
            Some(_) => assert_eq!(status, 403, "{method} {path}: {said}"),
        }
    }
}

#[tokio::test]
async fn nobody_reaches_what_another_tenant_has() {
    let shop = shop().await;
    for Expected(method, path, _, body, other) in EXPECTED {
        let (status, said) = shop.ask(method, &shop.filled(path), body, Some(&shop.other)).await;
        assert_eq!(status, *other, "{method} {path}: {said}");
        for of_another in ["\"own\"", "\"tour\"", "slow"] {
            assert!(*path == "/openapi.json" || !said.contains(of_another), "{method} {path}: {said}");
        }
    }
    // And everything is as it was.
    for (path, has) in [
        ("/v1/tasks/a", "PENDING"),
        ("/v1/groups/g", "a"),
        ("/v1/beat/b", "tour.add"),
        ("/v1/modules/tour", "tour.add"),
        ("/v1/queues", "slow"),
    ] {
        let (status, said) = shop.ask("GET", path, "", Some(&shop.own)).await;
        assert!(status == 200 && said.contains(has), "{path}: {said}");
    }
}

#[tokio::test]
async fn each_may_do_with_its_own_what_its_scopes_say() {
    for Expected(method, path, needs, body, _) in EXPECTED {
        // Each on a daemon of its own: many of them take away what the next would need.
        let shop = shop().await;
        let token = if *needs == ADMIN { &shop.admin } else { &shop.own };
        let (status, said) = shop.ask(method, &shop.filled(path), body, Some(token)).await;
        let expected = match (*method, *path) {
            ("PUT", "/v1/modules/{name}") => 422,
            // It has not ended; it has no older version.
            ("DELETE", "/v1/tasks/{id}") | ("POST", "/v1/tasks/{id}/retry" | "/v1/modules/{name}/rollback") => 409,
            _ => status.clamp(200, 299),
        };
        assert_eq!(status, expected, "{method} {path}: {said}");
    }
}

#[tokio::test]
async fn an_event_is_told_to_its_tenant_only() {
    let shop = shop().await;
    let listen = async |token: &str| {
        shop.router.clone().oneshot(request("GET", "/v1/events", "", Some(token))).await.unwrap().into_body()
    };
    let (mut own, mut other) = (listen(&shop.own).await, listen(&shop.other).await);
    let name = || "tour.add".parse().unwrap();
    let event = |id: &str| Event::new(task(id), name(), Timestamp::from_micros(0), EventKind::Started);
    shop.hub.announce(&tenant("own"), &[event("of-own")]);
    shop.hub.announce(&tenant("other"), &[event("of-other")]);
    let first = async |body: &mut Body| {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        String::from_utf8(frame.to_vec()).unwrap()
    };
    assert!(first(&mut own).await.contains("of-own"));
    assert!(first(&mut other).await.contains("of-other"));
}

#[tokio::test]
async fn who_listens_is_sent_away_when_its_token_is_revoked() {
    let shop = shop().await;
    let ask = |method: &str, path: &str, body: &str| {
        shop.router.clone().oneshot(request(method, path, body, Some(&shop.reader)))
    };
    let streams = [
        ask("GET", "/v1/events", "").await.unwrap().into_body(),
        ask("GET", "/v1/tasks/a/events", "").await.unwrap().into_body(),
        ask("POST", "/v1/tasks:watch", r#"{"ids": ["a"]}"#).await.unwrap().into_body(),
    ];
    let poll = ask("GET", "/v1/tasks/a/result?wait=60", "");
    let revoke = async {
        while !shop.hub.watched(&tenant("own"), &task("a")) {
            tokio::task::yield_now().await;
        }
        let path = format!("/v1/tokens/{}", id_of(&shop.reader));
        assert_eq!(shop.ask("DELETE", &path, "", Some(&shop.admin)).await.0, 200);
    };
    let (poll, ()) = tokio::join!(poll, revoke);
    assert_eq!(poll.unwrap().status(), StatusCode::UNAUTHORIZED);
    for stream in streams {
        stream.collect().await.expect("it has ended");
    }
}

#[tokio::test]
async fn a_watch_tells_no_more_once_its_token_is_revoked_however_much_it_could() {
    let (shop, ids) = (shop().await, r#"{"ids": ["b", "c", "d"]}"#);
    for id in ["b", "c", "d"] {
        assert_eq!(shop.ask("PUT", &format!("/v1/tasks/{id}"), CALL, Some(&shop.own)).await.0, 202);
    }
    assert_eq!(shop.ask("POST", "/v1/tasks:revoke", ids, Some(&shop.own)).await.0, 200);
    let watch = request("POST", "/v1/tasks:watch", ids, Some(&shop.reader));
    let mut told = shop.router.clone().oneshot(watch).await.unwrap().into_body();
    let first = told.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(String::from_utf8_lossy(&first).contains("event: result"), "{first:?}");
    let path = format!("/v1/tokens/{}", id_of(&shop.reader));
    assert_eq!(shop.ask("DELETE", &path, "", Some(&shop.admin)).await.0, 200);
    assert!(told.frame().await.is_none());
}

#[tokio::test]
async fn a_stream_tells_no_more_once_its_token_is_revoked_however_much_happens() {
    let shop = shop().await;
    let listen = request("GET", "/v1/events", "", Some(&shop.reader));
    let mut told = shop.router.clone().oneshot(listen).await.unwrap().into_body();
    for id in ["b", "c", "d"] {
        assert_eq!(shop.ask("PUT", &format!("/v1/tasks/{id}"), CALL, Some(&shop.own)).await.0, 202);
    }
    let first = told.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(String::from_utf8_lossy(&first).contains("event: task-sent"), "{first:?}");
    let path = format!("/v1/tokens/{}", id_of(&shop.reader));
    assert_eq!(shop.ask("DELETE", &path, "", Some(&shop.admin)).await.0, 200);
    assert!(told.frame().await.is_none());
}

#[tokio::test]
async fn settings_are_shown_to_operators_only() {
    let shop = shop().await;
    assert_eq!(shop.ask("GET", "/v1/inspect/conf", "", Some(&shop.own)).await.0, 403);
    assert_eq!(shop.ask("GET", "/v1/inspect/conf", "", Some(&shop.admin)).await.0, 200);
}

#[tokio::test]
async fn no_answer_and_nothing_that_is_kept_has_a_secret() {
    let shop = shop().await;
    let secret = shop.own.splitn(3, '_').nth(2).unwrap();
    for path in ["/v1/tokens", "/v1/tenants", "/v1/inspect/conf"] {
        let said = shop.ask("GET", path, "", Some(&shop.admin)).await.1;
        assert!(!said.contains(secret), "{path}");
    }
    let kept = crate::store::Access::tokens(&*shop.store).await.unwrap();
    assert!(kept.len() == 6 && !format!("{kept:?}").contains(secret));
}
