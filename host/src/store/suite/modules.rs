//! Modules: versions, rollback, components.

use bytes::Bytes;
use lovage_model::{Digest, ModuleName, ModuleVersion, TaskDefinition, TaskOptions};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::store::Upload;

for_each_backend!(
    a_push_becomes_active,
    the_same_bytes_are_no_new_version,
    rollback_goes_back_one_by_one,
    components_go_with_their_last_module,
    tenants_have_something,
);

fn name(text: &str) -> ModuleName {
    ModuleName::new(text).unwrap()
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::from_bytes(&Sha256::digest(bytes).into())
}

fn task(name: &str) -> TaskDefinition {
    TaskDefinition {
        name: TaskName::new(name).unwrap(),
        doc: "Adds.".to_owned(),
        parameters: Vec::new(),
        options: TaskOptions::default(),
        handlers: vec![],
    }
}

async fn push(bench: &Bench, of: &TenantId, module: &str, bytes: &'static [u8], now: i64) -> ModuleVersion {
    let tasks = vec![task("tour.b"), task("tour.a")];
    let upload = Upload { name: name(module), digest: digest(bytes), component: Bytes::from_static(bytes), tasks };
    bench.store.push(of, upload, at(now)).await.unwrap()
}

fn numbers(versions: &[ModuleVersion]) -> Vec<(u32, bool)> {
    versions.iter().map(|version| (version.version, version.active)).collect()
}

async fn a_push_becomes_active(mut bench: Bench) {
    let pushed = push(&bench, &tenant(), "tour", b"one", 3).await;
    let expected = ModuleVersion {
        name: name("tour"),
        version: 1,
        digest: digest(b"one"),
        size_bytes: 3,
        pushed_at: at(3),
        active: true,
        tasks: vec![task("tour.a"), task("tour.b")],
    };
    assert_eq!(pushed, expected);
    push(&bench, &tenant(), "digest", b"two", 4).await;
    bench.restart().await;
    let active = bench.store.active(&tenant()).await.unwrap();
    assert_eq!(active.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["digest", "tour"]);
    assert_eq!(active[1], expected);
    assert_eq!(bench.store.component(&digest(b"one")).await.unwrap().unwrap(), Bytes::from_static(b"one"));
    assert_eq!(bench.store.component(&digest(b"three")).await.unwrap(), None);
    let stranger = TenantId::new("stranger").unwrap();
    assert!(bench.store.active(&stranger).await.unwrap().is_empty());
    assert!(bench.store.versions(&stranger, &name("tour")).await.unwrap().is_empty());
}

async fn the_same_bytes_are_no_new_version(bench: Bench) {
    let spoilt = Bytes::from_static(b"spoilt");
    let upload = Upload { name: name("tour"), digest: digest(b"one"), component: spoilt, tasks: vec![] };
    let first = bench.store.push(&tenant(), upload, at(3)).await.unwrap();
    assert_eq!(push(&bench, &tenant(), "tour", b"one", 9).await, first);
    let there = bench.store.component(&digest(b"one")).await.unwrap().unwrap();
    assert_eq!(there, Bytes::from_static(b"one"), "but heal what is spoilt");
    push(&bench, &tenant(), "tour", b"two", 10).await;
    assert_eq!(push(&bench, &tenant(), "tour", b"one", 11).await.version, 3, "an older version's bytes are a new one");
    let versions = bench.store.versions(&tenant(), &name("tour")).await.unwrap();
    assert_eq!(numbers(&versions), [(3, true), (2, false), (1, false)]);
}

async fn rollback_goes_back_one_by_one(mut bench: Bench) {
    assert_eq!(bench.store.rollback(&tenant(), &name("tour")).await.unwrap(), None);
    for bytes in [b"one".as_slice(), b"two", b"three"] {
        push(&bench, &tenant(), "tour", bytes, 1).await;
    }
    for expected in [Some(2), Some(1), None] {
        let now = bench.store.rollback(&tenant(), &name("tour")).await.unwrap();
        assert_eq!(now.as_ref().map(|it| it.version), expected);
        assert!(now.is_none_or(|it| it.active));
        bench.restart().await;
    }
    let versions = bench.store.versions(&tenant(), &name("tour")).await.unwrap();
    assert_eq!(numbers(&versions), [(3, false), (2, false), (1, true)]);
    assert_eq!(push(&bench, &tenant(), "tour", b"four", 2).await.version, 4);
}

async fn components_go_with_their_last_module(mut bench: Bench) {
    let other = TenantId::new("other").unwrap();
    push(&bench, &tenant(), "tour", b"shared", 1).await;
    push(&bench, &tenant(), "tour", b"own", 1).await;
    push(&bench, &other, "tour", b"shared", 1).await;
    assert!(bench.store.remove(&tenant(), &name("tour")).await.unwrap());
    assert!(!bench.store.remove(&tenant(), &name("tour")).await.unwrap());
    assert_eq!(bench.store.component(&digest(b"own")).await.unwrap(), None);
    assert!(bench.store.component(&digest(b"shared")).await.unwrap().is_some());
    bench.restart().await;
    assert!(bench.store.component(&digest(b"shared")).await.unwrap().is_some());
    assert!(bench.store.remove(&other, &name("tour")).await.unwrap());
    assert_eq!(bench.store.component(&digest(b"shared")).await.unwrap(), None);
    assert_eq!(push(&bench, &tenant(), "tour", b"own", 2).await.version, 1, "a removed module starts afresh");
}

async fn tenants_have_something(mut bench: Bench) {
    let (worker, author) = (TenantId::new("worker").unwrap(), TenantId::new("author").unwrap());
    bench.offer(&worker, vec![message("a")], at(0), 9).await;
    push(&bench, &author, "tour", b"one", 1).await;
    bench.restart().await;
    assert_eq!(bench.store.tenants().await.unwrap(), [author.clone(), worker.clone()]);
    bench.store.remove(&author, &name("tour")).await.unwrap();
    bench.store.revoke(&worker, &id("a"), at(1)).await.unwrap();
    bench.store.forget(&worker, &id("a")).await.unwrap();
    assert!(bench.store.tenants().await.unwrap().is_empty());
}
