//! Servers that are not as they should be.

use super::*;
use bytes::Bytes;
use lovage_model::{Digest, Inline, ModuleName, State};
use serde_json::json;

use crate::store::{Fenced, Filter, Modules, Place, Results, Schedules, Store, StoreError, Upload, Values};

#[tokio::test]
async fn scripts_are_loaded_again() {
    let server = Server::start(&[]);
    let bench = Bench::on(&server).await;
    bench.submit(vec![message("a")]).await;
    redis::cmd("SCRIPT").arg("FLUSH").query_async::<()>(&mut bench.client.clone()).await.unwrap();
    assert_eq!(bench.lease(9, at(1)).await.len(), 1);
}

#[tokio::test]
async fn something_else_under_our_keys_is_an_error() {
    let bench = Bench::new().await;
    bench.ask::<()>("SET", "lovage:tasks", &["x"]).await;
    let answer = bench.store.submit(&tenant(), vec![Plan::of(message("a"))], at(0), Room::UNLIMITED).await;
    assert!(matches!(answer, Err(StoreError::Corrupt(why)) if why.contains("global_keyprefix")));
    bench.ask::<()>("HSET", "lovage:modules", &["tour", "no JSON"]).await;
    assert!(matches!(bench.store.active(&tenant()).await, Err(StoreError::Corrupt(why)) if why.contains("module")));
    bench.ask::<()>("SET", "lovage:task:b", &["x"]).await;
    let answer = bench.store.task(&tenant(), &"b".parse().unwrap()).await;
    assert!(matches!(answer, Err(StoreError::Corrupt(_))), "{answer:?}");
}

/// What a client of one tenant does to its own keys, another tenant does not notice.
#[tokio::test]
async fn something_else_under_a_tenants_keys_is_its_own_loss() {
    let acme = TenantId::new("acme").unwrap();
    for broken in ["celery", "unacked", "unacked_index", "celery-task-meta-a", "celery-taskset-meta-g.t"] {
        let bench = Bench::new().await;
        bench.store.submit(&acme, vec![Plan::of(message("a"))], at(0), Room::UNLIMITED).await.unwrap();
        bench.submit(vec![message("b")]).await;
        let mut leases = bench.lease(9, at(0)).await;
        assert_eq!(leases.len(), 2);
        let theirs = format!("lovage:{{acme}}:{broken}");
        bench.ask::<u64>("DEL", &theirs, &[]).await;
        match broken {
            "celery-task-meta-a" => _ = bench.ask::<u64>("LPUSH", &theirs, &["x"]).await,
            // A number that cannot grow.
            "celery-taskset-meta-g.t" => bench.ask::<()>("SET", &theirs, &[&i64::MAX.to_string()]).await,
            _ => bench.ask::<()>("SET", &theirs, &["x"]).await,
        }
        bench.submit(vec![message("c")]).await;
        leases.extend(bench.lease(9, at(1)).await);
        let end = || {
            let inline = Inline { grown: vec!["g".parse().unwrap()], ..Inline::default() };
            Settlement { inline, ..success("1", at(2)) }
        };
        let ended: Vec<_> = leases.iter().map(|lease| (lease.key, end())).collect();
        let answers = bench.store.commit_all(&ended).await.unwrap();
        for id in ["b", "c"] {
            let at = leases.iter().position(|lease| lease.message.id.as_str() == id).unwrap();
            assert_eq!(answers[at], Fenced::Applied, "{id} beside a broken {broken}");
            assert_eq!(bench.meta(id).await["status"], "SUCCESS");
        }
        bench.submit(vec![message("d")]).await;
        let after = bench.lease(9, at(60)).await;
        assert!(after.iter().any(|lease| lease.message.id.as_str() == "d"), "beside a broken {broken}");
    }
}

/// Celery's keys are treated leniently, but not so: who is told that a lease is over would run the task again.
#[tokio::test]
async fn what_a_server_takes_no_writes_for_is_not_taken_for_done() {
    let server = Server::start(&[]);
    let bench = Bench::on(&server).await;
    let replicas = async |least: &str| {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("min-replicas-to-write").arg(least);
        set.query_async::<()>(&mut bench.client.clone()).await.unwrap();
    };
    bench.ask::<u64>("LPUSH", "celery", &[&plain("a")]).await;
    let lease = bench.lease_one(at(0)).await;
    replicas("1").await;
    let answer = bench.store.commit(lease.key, success("1", at(1))).await;
    assert!(matches!(&answer, Err(StoreError::Away(why)) if why.contains("min-replicas-to-write")), "{answer:?}");
    replicas("0").await;
    assert_eq!(bench.commit(lease.key, success("1", at(2))).await, Fenced::Applied);
    assert_eq!(bench.meta("a").await["result"], 1);
}

#[tokio::test]
async fn a_component_that_a_version_has_and_that_is_lost_is_told_from_one_that_none_has() {
    let (bench, name) = (Bench::new().await, ModuleName::new("tour").unwrap());
    let digest = Digest::from_bytes(&[7; 32]);
    let push = async || {
        let (name, digest, component) = (name.clone(), digest.clone(), Bytes::from_static(b"x"));
        bench.store.push(&tenant(), Upload { name, digest, component, tasks: vec![] }, at(0)).await.unwrap();
    };
    assert_eq!(bench.store.component(&digest).await, Ok(None));
    push().await;
    assert_eq!(bench.ask::<u64>("DEL", &format!("lovage:component:{digest}"), &[]).await, 1);
    let lost = bench.store.component(&digest).await;
    assert!(matches!(&lost, Err(StoreError::Corrupt(why)) if why.contains("push the module again")), "{lost:?}");
    push().await;
    assert_eq!(bench.store.component(&digest).await, Ok(Some(Bytes::from_static(b"x"))));
    bench.store.remove(&tenant(), &name).await.unwrap();
    assert_eq!(bench.store.component(&digest).await, Ok(None));
}

#[tokio::test]
async fn a_message_of_ours_that_cannot_be_read_ends_its_task() {
    let bench = Bench::new().await;
    bench.submit(vec![message("a"), message("b")]).await;
    bench.ask::<u64>("HSET", "lovage:task:a", &["m", "{\"no\": 1}"]).await;
    let leased = lease(&bench.store, 9, at(0)).await;
    assert_eq!((leased.leases.len(), leased.next_due), (1, Some(at(0))));
    assert_eq!(leased.leases[0].message.id.as_str(), "b");
    assert_eq!(bench.meta("a").await["result"]["exc_type"], "StoreCorrupt");
}

#[tokio::test]
async fn a_full_server_says_so() {
    let server = Server::start(&["--maxmemory", "3mb", "--maxmemory-policy", "noeviction"]);
    let bench = Bench::on(&server).await;
    let large = Json::parse(format!("[\"{}\"]", "x".repeat(4 << 20))).unwrap();
    let plan = Plan::of(Message { args: large, ..message("a") });
    for _ in 0..2 {
        let _ = bench.store.submit(&tenant(), vec![plan.clone()], at(0), Room::UNLIMITED).await;
    }
    let answer = bench.store.healthy().await;
    assert!(matches!(&answer, Err(StoreError::Full(why)) if why.contains("maxmemory")), "{answer:?}");
}

/// The value is a count still.
#[tokio::test]
async fn a_full_server_says_so_where_something_is_added_to_a_value() {
    let server = Server::start(&[]);
    let bench = Bench::on(&server).await;
    let place = || Place { tenant: tenant(), bucket: "tasks:b".to_owned(), key: "k".to_owned() };
    bench.store.add_to_value(place(), 1, u64::MAX).await.unwrap().unwrap();
    let mut full = redis::cmd("CONFIG");
    full.arg("SET").arg("maxmemory").arg(1);
    full.query_async::<()>(&mut bench.client.clone()).await.unwrap();
    let answer = bench.store.add_to_value(place(), 1, u64::MAX).await;
    assert!(matches!(&answer, Err(StoreError::Full(why)) if why.contains("maxmemory")), "{answer:?}");
}

#[tokio::test]
async fn a_server_that_may_drop_tasks_is_refused() {
    let server = Server::start(&["--maxmemory-policy", "allkeys-lru"]);
    let opened = RedisStore::open(server.options(), at(0)).await.map(drop);
    assert!(matches!(opened, Err(StoreError::Failed(why)) if why.contains("noeviction")));
}

#[tokio::test]
async fn a_password_is_asked_for() {
    let server = Server::start(&["--requirepass", "secret"]);
    let opened = RedisStore::open(server.options(), at(0)).await.map(drop);
    assert!(matches!(opened, Err(StoreError::Failed(why)) if why.contains("password")));
}

#[tokio::test]
async fn nobody_there_is_said_with_the_address() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(format!("redis+unix://{}/none", dir.path().display()), "host-1");
    let opened = RedisStore::open(options, at(0)).await.map(drop);
    assert!(matches!(opened, Err(StoreError::Away(why)) if why.contains("/none") && why.contains("is it running")));
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let bench = Bench::new().await;
    bench.ask::<u64>("HSET", "lovage:counters", &["schema", "99"]).await;
    let opened = RedisStore::open(Options { hostname: "host-2".to_owned(), ..bench.options.clone() }, at(0)).await;
    assert!(matches!(opened.map(drop), Err(StoreError::Newer { found: 99, .. })));
}

#[tokio::test]
async fn a_periodic_task_that_cannot_be_read_keeps_no_other_from_being_sent() {
    let bench = Bench::new().await;
    for name in ["good", "spoilt"] {
        bench.store.set_periodic(crate::store::suite::periodic(name)).await.unwrap();
    }
    let fields: Vec<String> = bench.ask("HKEYS", "lovage:periodic", &[]).await;
    let spoilt = fields.iter().find(|field| field.ends_with("spoilt")).unwrap();
    bench.ask::<u64>("HSET", "lovage:periodic", &[spoilt, "{}"]).await;
    let all = bench.store.periodic(None).await.unwrap();
    assert_eq!(all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["good"]);
    assert!(bench.store.remove_periodic(&tenant(), &"spoilt".parse().unwrap()).await.unwrap());
    // A tenant that goes has none any more, readable or not.
    bench.ask::<u64>("HSET", "lovage:periodic", &[&spoilt.replace("spoilt", "good"), "{}"]).await;
    bench.store.drop_periodic(&tenant()).await.unwrap();
    assert_eq!(bench.ask::<u64>("HLEN", "lovage:periodic", &[]).await, 0);
}

/// What a script can read and this host cannot: text that is no UTF-8.
#[tokio::test]
async fn a_message_that_a_script_alone_can_read_ends_its_task() {
    let bench = Bench::new().await;
    let raw = envelope("odd", &json!({"argsrepr": "(QQ,)"}), &json!([[2, 3], {}, {}]));
    let raw: Vec<u8> = raw.into_bytes().into_iter().map(|byte| if byte == b'Q' { 0xe9 } else { byte }).collect();
    let mut push = redis::cmd("LPUSH");
    push.arg(bench.key("celery")).arg(raw);
    push.query_async::<u64>(&mut bench.client.clone()).await.unwrap();
    assert!(bench.lease(9, at(0)).await.is_empty());
    assert_eq!(bench.meta("odd").await["status"], "FAILURE");
    let shown = bench.store.task(&tenant(), &"odd".parse().unwrap()).await;
    assert!(!matches!(&shown, Ok(Some(meta)) if meta.status == State::Started), "{shown:?}");
    bench.submit(vec![message("good")]).await;
    let page = bench.store.list(&tenant(), Filter { limit: 9, ..Filter::default() }).await.unwrap();
    assert!(page.tasks.iter().any(|task| task.task_id.as_str() == "good"));
}
