//! Which components are there, ready and let go, whatever is pushed, removed and loaded meanwhile, and what each is called.

use std::path::Path;
use std::time::Duration;

use futures_util::FutureExt;
use lovage_model::{TaskOptions, TenantPolicy};

use super::*;
use crate::sandbox::{Compiler, Settings};
use crate::store::file::FileStore;
use crate::store::memory::MemoryStore;

/// A component with one task, `it.runs`, whose bytes differ by `pages`.
fn component(pages: u32) -> Bytes {
    let text = format!(
        r#"(component
            (import "lovage:task/types@0.1.0" (instance $types
                (type $raw (record (field "exc-type" string) (field "exc-message" string)
                    (field "exc-module" string) (field "traceback" string)))
                (export "exception" (type $exception (eq $raw)))
                (type $ways (variant (case "failure" $exception) (case "retry") (case "replaced")
                    (case "ignore") (case "reject" bool)))
                (export "ending" (type $ending (eq $ways)))))
            (alias export $types "ending" (type $ending))
            (core module $m
                (memory (export "memory") {pages})
                (data (i32.const 64) "[{{\"name\":\"it.runs\"}}]")
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
                (func (export "describe") (result i32)
                    (i32.store (i32.const 16) (i32.const 64))
                    (i32.store (i32.const 20) (i32.const 20))
                    (i32.const 16))
                (func (export "run") (param i32 i32 i32 i32 i32 i32) (result i32) unreachable))
            (core instance $i (instantiate $m))
            (func $describe (result string)
                (canon lift (core func $i "describe") (memory (core memory $i "memory"))))
            (func $run (param "task" string) (param "args" string) (param "kwargs" string)
                (result (result string (error $ending)))
                (canon lift (core func $i "run") (memory (core memory $i "memory"))
                    (realloc (core func $i "realloc"))))
            (instance $tasks (export "describe" (func $describe)) (export "run" (func $run)))
            (export "lovage:task/tasks@0.1.0" (instance $tasks)))"#
    );
    wat::parse_str(text).unwrap().into()
}

async fn modules(cache: &Path) -> Modules {
    modules_on(Arc::new(MemoryStore::new()), cache).await
}

async fn modules_on(store: Arc<dyn Store>, cache: &Path) -> Modules {
    let (memory_bytes, cache) = (1 << 20, cache.to_owned());
    let settings = Settings { concurrency: 1, memory_bytes, cache, compiler: Compiler::InProcess, executors: None };
    let sandbox = Arc::new(Sandbox::new(settings).unwrap());
    let access = Arc::new(Access::open(Arc::clone(&store), false).await.unwrap());
    Modules::open(store, sandbox, access).await.unwrap()
}

#[tokio::test]
async fn what_nobody_can_run_any_more_is_let_go() {
    let cache = tempfile::tempdir().unwrap();
    let modules = Arc::new(modules(cache.path()).await);
    let (tenant, name) = (TenantId::default(), ModuleName::new("it").unwrap());
    let push = async |name: &ModuleName, pages: u32, dry_run: bool| {
        modules.push(&tenant, name, component(pages), dry_run, Timestamp::from_micros(0)).await
    };
    let compiled = || std::fs::read_dir(cache.path().join("code")).unwrap().count();

    push(&name, 1, true).await.unwrap();
    assert_eq!(compiled(), 0, "a dry run leaves nothing");
    let first = push(&name, 1, false).await.unwrap().version.digest;
    assert!(modules.sandbox.has(&first, false));
    let of_one = compiled();
    push(&ModuleName::new("other").unwrap(), 2, false).await.unwrap_err();
    assert_eq!(compiled(), of_one, "a push that is refused leaves nothing");

    let second = push(&name, 3, false).await.unwrap().version.digest;
    assert!(!modules.sandbox.has(&first, false) && modules.sandbox.has(&second, false));
    modules.rollback(&tenant, &name).await.unwrap();
    modules.ready(&first, false).await.unwrap();
    assert!(modules.sandbox.has(&first, false) && !modules.sandbox.has(&second, false));

    assert!(modules.remove(&tenant, &name).await.unwrap());
    assert_eq!(compiled(), 0, "a removed module leaves nothing");
    assert!(!modules.sandbox.has(&first, false));
}

#[tokio::test]
async fn what_nobody_can_run_but_somebody_was_loading_is_let_go_later() {
    let cache = tempfile::tempdir().unwrap();
    let modules = modules(cache.path()).await;
    let (tenant, name) = (TenantId::default(), ModuleName::new("it").unwrap());
    let push = async |pages: u32| {
        let pushed = modules.push(&tenant, &name, component(pages), false, Timestamp::from_micros(0)).await;
        pushed.unwrap().version.digest
    };
    let first = push(1).await;
    let alone = modules.loading.enter(&first, 1).await;
    let second = push(3).await;
    assert!(modules.sandbox.has(&first, false), "somebody is loading it");
    drop(alone);
    modules.refresh(&tenant).await.unwrap();
    assert!(!modules.sandbox.has(&first, false) && modules.sandbox.has(&second, false));
    assert!(modules.unwanted().is_empty());
}

#[tokio::test]
async fn who_removes_a_module_and_gives_up_leaves_nothing_of_it() {
    let cache = tempfile::tempdir().unwrap();
    let modules = Arc::new(modules(cache.path()).await);
    let (tenant, name) = (TenantId::default(), ModuleName::new("it").unwrap());
    let pushed = modules.push(&tenant, &name, component(1), false, Timestamp::from_micros(0)).await.unwrap();
    let compiled = || std::fs::read_dir(cache.path().join("code")).unwrap().count();
    // Somebody else is loading it.
    let alone = modules.loading.enter(&pushed.version.digest, 1).await;
    let is_gone = async {
        while !modules.list(&tenant).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        _ = modules.remove(&tenant, &name) => panic!("it waits for who loads it"),
        () = is_gone => {}
    }
    assert!(compiled() > 0);
    drop(alone);
    let is_forgotten = async {
        while compiled() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), is_forgotten).await.expect("it is forgotten");
}

#[tokio::test]
async fn pushes_of_the_same_bytes_do_not_disturb_each_other() {
    let cache = tempfile::tempdir().unwrap();
    let (modules, name) = (Arc::new(modules(cache.path()).await), ModuleName::new("it").unwrap());
    let [one, other, third] = ["one", "other", "third"].map(|name| TenantId::new(name).unwrap());
    let push = async |tenant: &TenantId, pages: u32, dry_run: bool| {
        let pushed = modules.push(tenant, &name, component(pages), dry_run, Timestamp::from_micros(0)).await;
        pushed.expect("nothing is wrong with it");
    };
    let tries = async {
        for _ in 0..8 {
            push(&one, 1, true).await;
        }
    };
    let pushes = async {
        for _ in 0..4 {
            push(&other, 1, false).await;
            modules.remove(&other, &name).await.unwrap();
        }
    };
    let changes = async {
        for _ in 0..4 {
            push(&third, 1, false).await;
            push(&third, 2, false).await;
        }
    };
    tokio::join!(tries, pushes, changes);
}

#[tokio::test]
async fn a_task_is_found_though_modules_of_another_tenant_were_read_meanwhile() {
    let cache = tempfile::tempdir().unwrap();
    let modules = Modules { is_shared: true, ..modules(cache.path()).await };
    let task = TaskName::new("it.runs").unwrap();
    let [one, other] = ["one", "other"].map(|name| TenantId::new(name).unwrap());
    // By another host.
    for tenant in [&one, &other] {
        let (name, options) = (task.clone(), TaskOptions::default());
        let definition = TaskDefinition { name, doc: String::new(), parameters: vec![], options, handlers: vec![] };
        let (name, digest) = (ModuleName::new("it").unwrap(), Digest::from_bytes(&[1; 32]));
        let upload = Upload { name, digest, component: component(1), tasks: vec![definition] };
        modules.store.push(tenant, upload, Timestamp::from_micros(0)).await.unwrap();
    }
    let pushing = modules.pushing.lock().await;
    let mut first = std::pin::pin!(modules.code_anywhere(&one, &task));
    let mut second = std::pin::pin!(modules.code_anywhere(&other, &task));
    assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
    drop(pushing);
    let (first, second) = tokio::join!(first, second);
    assert!(first.is_some() && second.is_some());
}

#[tokio::test]
async fn a_tenant_has_no_more_modules_than_it_may() {
    let cache = tempfile::tempdir().unwrap();
    let modules = modules(cache.path()).await;
    let (now, size) = (Timestamp::from_micros(0), component(1).len() as u64);
    let allow = async |modules_of: Option<u64>, module_bytes: Option<u64>| {
        let policy = TenantPolicy { modules: modules_of, module_bytes, ..TenantPolicy::default() };
        modules.access.set_tenant(TenantId::default(), policy, now).await.unwrap();
    };
    let push = async |name: &str, pages: u32| {
        let name = ModuleName::new(name).unwrap();
        modules.push(&TenantId::default(), &name, component(pages), false, now).await.map_err(|e| e.to_string())
    };
    allow(Some(1), Some(2 * size)).await;
    push("it", 1).await.unwrap();
    push("it", 1).await.expect("the same again takes no room");
    assert!(push("other", 2).await.unwrap_err().contains("1 of 1 modules"));
    push("it", 2).await.expect("another version is no other module");
    assert!(push("it", 3).await.unwrap_err().contains(&format!("{} of {} module_bytes", 2 * size, 2 * size)));
    allow(None, None).await;
    push("it", 3).await.unwrap();
}

#[tokio::test]
async fn a_host_that_fails_is_told_from_a_component_that_does() {
    let cache = tempfile::tempdir().unwrap();
    let modules = modules(cache.path()).await;
    let digest = Digest::from_bytes(&[7; 32]);
    let ready = modules.ready(&digest, false).await;
    assert!(matches!(ready, Err(NotReady::Unusable(_))), "{ready:?}");
    modules.store.close().await.unwrap();
    let ready = modules.ready(&digest, false).await;
    assert!(matches!(ready, Err(NotReady::NotNow(_))), "{ready:?}");
}

#[tokio::test]
async fn bytes_of_another_component_are_not_run_and_a_push_heals_it() {
    let (cache, now) = (tempfile::tempdir().unwrap(), Timestamp::from_micros(0));
    let modules = modules(cache.path()).await;
    let (tenant, name, digest) = (TenantId::default(), ModuleName::new("it").unwrap(), digest_of(&component(1)).await);
    // As a damaged backup brings it back, and to a cache that is empty.
    let upload = Upload { name: name.clone(), digest: digest.clone(), component: component(2), tasks: vec![] };
    modules.store.push(&tenant, upload, now).await.unwrap();
    let ready = modules.ready(&digest, false).await;
    assert!(matches!(&ready, Err(NotReady::NotNow(why)) if why.contains("push the module again")), "{ready:?}");
    assert!(!modules.sandbox.has(&digest, false));
    let pushed = modules.push(&tenant, &name, component(1), false, now).await.unwrap();
    assert!(pushed.is_restored && pushed.version.version == 1);
    modules.ready(&digest, false).await.unwrap();
    let pushed = modules.push(&tenant, &name, component(1), false, now).await.unwrap();
    assert!(!pushed.is_restored, "nothing was wrong with it");
}

#[tokio::test]
async fn a_component_that_the_store_has_lost_can_be_pushed_dry_as_well() {
    let ([cache, dir], now) = ([(); 2].map(|()| tempfile::tempdir().unwrap()), Timestamp::from_micros(1));
    let modules = modules_on(Arc::new(FileStore::open(dir.path(), now).unwrap()), cache.path()).await;
    let (tenant, name) = (TenantId::default(), ModuleName::new("it").unwrap());
    let push = async |dry_run: bool| modules.push(&tenant, &name, component(1), dry_run, now).await.unwrap();
    let digest = push(false).await.version.digest;
    std::fs::remove_file(dir.path().join("modules").join(format!("{digest}.wasm"))).unwrap();
    push(true).await;
    assert!(modules.sandbox.has(&digest, false), "what was compiled is of use still");
    assert!(push(false).await.is_restored);
}

#[test]
fn a_person_may_use_the_last_part() {
    let names: Vec<TaskName> = ["tour.add", "math.add", "tour.hello"].map(|n| TaskName::new(n).unwrap()).into();
    assert_eq!(find(names.iter(), "tour.add").unwrap().as_str(), "tour.add");
    assert_eq!(find(names.iter(), "hello").unwrap().as_str(), "tour.hello");
    assert_eq!(
        find(names.iter(), "add").unwrap_err().to_string(),
        "add could be math.add or tour.add: use the whole name"
    );
    let unknown = find(names.iter(), "helo").unwrap_err().to_string();
    assert!(unknown.contains("did you mean tour.hello?"), "{unknown}");
}
