//! What is leased when, and what becomes of it before it begins.

use lovage_model::{Message, ModuleName, Plan, Room, State, TaskDefinition, TaskId, TaskName, TaskOptions, TenantId};

use futures_util::FutureExt;
use tokio::sync::OwnedSemaphorePermit;

use super::*;
use crate::canvas::Rules;
use crate::modules::{Modules, digest_of};
use crate::outside::Outside;
use crate::pipeline::{Caps, Committer, Granted, Overhead, Share, Standing};
use crate::sandbox::{Compiler, Executors, Sandbox};
use crate::store::memory::MemoryStore;
use crate::store::{Broker, Results, Store, Upload};

const LEASE: Duration = Duration::from_secs(15);
/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(3600);

async fn scheduler(store: Arc<MemoryStore>, cache: &std::path::Path) -> Arc<Scheduler> {
    scheduler_with(store, cache, None).await
}

async fn scheduler_with(
    store: Arc<MemoryStore>,
    cache: &std::path::Path,
    executors: Option<Executors>,
) -> Arc<Scheduler> {
    let settings = crate::sandbox::Settings {
        concurrency: 1,
        memory_bytes: 1 << 20,
        cache: cache.to_owned(),
        compiler: Compiler::InProcess,
        executors,
    };
    let sandbox = Arc::new(Sandbox::new(settings).unwrap());
    let store: Arc<dyn Store> = store;
    let hub = Arc::new(crate::events::Hub::new(clock::now()));
    let (outcomes, _) = Committer::new(Arc::clone(&store), Arc::clone(&hub));
    let caps = Caps {
        memory_bytes: 1 << 20,
        time_limit: LEASE,
        default_time_limit: LEASE,
        fuel: None,
        output_bytes: 0,
        payload_bytes: 0,
        subtasks: 0,
        deliveries: 2,
    };
    let access = Arc::new(crate::access::Access::open(Arc::clone(&store), false).await.unwrap());
    let modules = Modules::open(Arc::clone(&store), Arc::clone(&sandbox), Arc::clone(&access)).await;
    let modules = Arc::new(modules.unwrap());
    let hostname = "here".to_owned();
    let running = Arc::default();
    let rules = Rules { message_bytes: 0, canvas_tasks: 1, lineage_depth: 0, replacements: 0 };
    let (room, result_expires, eager) = (Room::UNLIMITED, LEASE, None);
    let pipeline = Pipeline {
        outside: Arc::new(Outside::new(Arc::clone(&store), 0)),
        store,
        sandbox,
        modules,
        running,
        standing: Arc::new(Standing::of(Share { queues: None, slots: 1 })),
        hub,
        outcomes,
        overhead: Arc::new(Overhead::new(true)),
        access,
        caps,
        rules,
        room,
        granted: Granted::default(),
        result_expires,
        hostname,
        eager,
    };
    let pipeline = Arc::new(pipeline);
    let settings = Settings { concurrency: 1, lease: LEASE };
    let mut scheduler = Scheduler::new(pipeline, settings, Handle::current());
    wait(&mut scheduler, LONG);
    scheduler
}

/// What is taken ahead waits for its slots for so long.
fn wait(scheduler: &mut Arc<Scheduler>, patience: Duration) {
    Arc::get_mut(scheduler).expect("nothing of it runs").patience = patience;
}

fn message(id: &str) -> Message {
    Message::new(TaskId::new(id).unwrap(), TaskName::new("a").unwrap())
}

#[tokio::test]
async fn a_clock_that_leaps_takes_nothing_from_who_runs() {
    let (store, cache) = (Arc::new(MemoryStore::new()), tempfile::tempdir().unwrap());
    let scheduler = scheduler(Arc::clone(&store), cache.path()).await;
    let tenant = TenantId::default();
    // Leased and renewed an hour ago, by a clock that says that it was.
    let before = clock::now().before(Duration::from_secs(3600));
    store.submit(&tenant, vec![Plan::of(message("it"))], before, Room::UNLIMITED).await.unwrap();
    let ask = Ask {
        worker: "here".to_owned(),
        queues: None,
        max: 1,
        shares: crate::store::Shares::default(),
        now: before,
        until: before.after(LEASE),
    };
    let mut leased = store.lease(ask).await.unwrap();
    let running = scheduler.pipeline.list(leased.leases.remove(0));
    scheduler.renewed.store(before.as_micros(), Ordering::Relaxed);

    let (got, _) = scheduler.lease(1).await.unwrap();
    assert_eq!(got, 0, "it is not delivered again");
    assert_eq!(scheduler.pipeline.running.leases().len(), 1);
    drop(running);
}

#[tokio::test]
async fn what_the_host_does_for_a_task_is_charged_to_its_tenant() {
    let (store, cache) = (Arc::new(MemoryStore::new()), tempfile::tempdir().unwrap());
    let scheduler = scheduler(Arc::clone(&store), cache.path()).await;
    let tenant = TenantId::default();
    store.submit(&tenant, vec![Plan::of(message("it"))], clock::now(), Room::UNLIMITED).await.unwrap();
    let now = clock::now();
    let ask = Ask {
        worker: "here".to_owned(),
        queues: None,
        max: 1,
        shares: crate::store::Shares::default(),
        now,
        until: now.after(LEASE),
    };
    let mut leased = store.lease(ask).await.unwrap();
    let delivery = scheduler.pipeline.list(leased.leases.remove(0));
    // Nobody knows its task: it ends, and no guest has run.
    let used = scheduler.pipeline.deliver(delivery, (), ()).await;
    assert!(used > Duration::ZERO);
}

/// Lets a module of the store declare the task of all messages here, with this rate limit.
async fn declare(store: &MemoryStore, rate_limit: &str) {
    let options = TaskOptions { rate_limit: rate_limit.parse().ok(), ..TaskOptions::default() };
    let (parameters, handlers) = (vec![], vec![]);
    let task = TaskDefinition { name: "a".parse().unwrap(), doc: String::new(), parameters, options, handlers };
    // Each limit has a component of its own.
    let section = [0, 2, 1, u8::try_from(rate_limit.len()).unwrap()];
    let component = bytes::Bytes::from([b"\0asm\x0d\0\x01\0".as_slice(), &section].concat());
    let (name, digest) = (ModuleName::new("m").unwrap(), digest_of(&component).await);
    let upload = Upload { name, digest, component, tasks: vec![task] };
    crate::store::Modules::push(store, &TenantId::default(), upload, clock::now()).await.unwrap();
}

async fn submit(store: &MemoryStore, ids: &[&str]) {
    let plans = ids.iter().map(|id| Plan::of(message(id))).collect();
    store.submit(&TenantId::default(), plans, clock::now(), Room::UNLIMITED).await.unwrap();
}

/// A scheduler of a store in which these tasks wait, whose module was pushed with each of these limits; the last one holds.
async fn limited(limits: &[&str], ids: &[&str]) -> (Arc<MemoryStore>, Arc<Scheduler>, tempfile::TempDir) {
    let (store, cache) = (Arc::new(MemoryStore::new()), tempfile::tempdir().unwrap());
    for limit in limits {
        declare(&store, limit).await;
    }
    let scheduler = scheduler(Arc::clone(&store), cache.path()).await;
    submit(&store, ids).await;
    (store, scheduler, cache)
}

/// Why a task waits, and how often it was delivered.
async fn waits(store: &MemoryStore, id: &str) -> (Option<String>, u32) {
    let meta = store.task(&TenantId::default(), &id.parse().unwrap()).await.unwrap().unwrap();
    (meta.waiting_for, meta.deliveries)
}

#[tokio::test]
async fn a_rate_limit_gives_back_all_but_the_first_until_it_is_changed() {
    let (store, scheduler, _cache) = limited(&["1/h"], &["x", "y", "z"]).await;
    let (got, _) = scheduler.lease(3).await.unwrap();
    assert_eq!((got, scheduler.lease(3).await.unwrap().0), (3, 0), "they are not leased again before their time");
    for id in ["y", "z"] {
        assert_eq!(waits(&store, id).await, (Some("rate limit".to_owned()), 0));
    }
    let of = (TenantId::default(), TaskName::new("a").unwrap());
    scheduler.pipeline.standing.set_rate_limit(of, "0".parse().ok());
    scheduler.change_rate(scheduler.pipeline.standing.changed_rate().await).await;
    assert_eq!(waits(&store, "y").await, (Some("a free slot".to_owned()), 0));
    let leased = scheduler.pipeline.store.lease(ask()).await.unwrap().leases;
    assert_eq!(leased.iter().map(|lease| lease.message.id.as_str()).collect::<Vec<_>>(), ["y", "z"]);
}

#[tokio::test]
async fn who_had_a_turn_and_was_given_back_waits_no_longer_than_who_came_after_it() {
    let (_store, scheduler, _cache) = limited(&["1/h"], &["x", "y"]).await;
    // What may begin is given back at once.
    scheduler.pipeline.standing.rest(true);
    assert_eq!((scheduler.lease(2).await.unwrap().0, scheduler.lease(2).await.unwrap().0), (2, 1));
    let waiting = scheduler.pipeline.store.scheduled(&TenantId::default(), 9).await.unwrap();
    let times: Vec<_> = waiting.into_iter().map(|(until, _)| until).collect();
    assert!(times.len() == 2 && times[0] == times[1], "{times:?}");
}

#[tokio::test]
async fn a_line_that_the_store_does_not_hear_of_is_kept() {
    let (store, scheduler, _cache) = limited(&["1/h"], &["x", "y", "z"]).await;
    scheduler.lease(3).await.unwrap();
    store.close().await.unwrap();
    let of = (TenantId::default(), TaskName::new("a").unwrap());
    scheduler.pipeline.standing.set_rate_limit(of.clone(), "0".parse().ok());
    scheduler.change_rate(of.clone()).await;
    assert_eq!(scheduler.rates.lock().await.not_due(&of.0, &of.1, clock::now()).len(), 2);
}

#[tokio::test]
async fn who_starts_just_before_a_line_begins_anew_counts() {
    let (_store, scheduler, _cache) = limited(&["1/h"], &[]).await;
    let of = (TenantId::default(), TaskName::new("a").unwrap());
    let limits = Limits::of_task("1/h".parse().unwrap());
    let mut rates = scheduler.rates.lock().await;
    let (host, task) = (Arc::clone(&scheduler), of.clone());
    let anew = tokio::spawn(async move { host.change_rate(task).await });
    // It waits for the lock from here on.
    tokio::task::yield_now().await;
    let before = clock::now();
    let mut now = before;
    while now <= before {
        now = clock::now();
    }
    assert_eq!(rates.turn(&of.0, &of.1, 1, limits, now), Turn::Now);
    drop(rates);
    anew.await.unwrap();
    let next = scheduler.rates.lock().await.turn(&of.0, &of.1, 2, limits, now);
    assert_eq!(next, Turn::At(now.after(Duration::from_secs(3600))));
}

#[tokio::test]
async fn turns_that_were_promised_to_messages_that_are_gone_keep_nobody_waiting() {
    let (store, scheduler, _cache) = limited(&["1/m"], &[]).await;
    let (task, limits) = (TaskName::new("a").unwrap(), Limits::of_task("1/m".parse().unwrap()));
    let before = clock::now().before(Duration::from_secs(3600));
    for number in 1000..2000 {
        let turn = scheduler.rates.lock().await.turn(&TenantId::default(), &task, number, limits, before);
        assert_eq!(turn == Turn::Now, number == 1000);
    }
    // Nothing of that is in the store.
    submit(&store, &["x"]).await;
    assert_eq!(scheduler.lease(1).await.unwrap().0, 1);
    scheduler.look_at_rates().await;
    assert_eq!(waits(&store, "x").await, (Some("rate limit".to_owned()), 0), "others may be in the store");
    assert_eq!(scheduler.lease(1).await.unwrap().0, 0);
    scheduler.look_at_rates().await;
    assert_eq!(waits(&store, "x").await, (Some("a free slot".to_owned()), 0));
    let leased = scheduler.pipeline.store.lease(ask()).await.unwrap().leases;
    assert_eq!(scheduler.take_turns(leased.into_iter().map(|it| scheduler.pipeline.list(it)).collect()).await.len(), 1);
}

#[tokio::test]
async fn those_that_wait_by_a_limit_that_was_declared_before_wait_by_the_new_one() {
    let (store, scheduler, _cache) = limited(&["100/s", "1/h"], &["x", "y", "z"]).await;
    scheduler.lease(3).await.unwrap();
    let of = (TenantId::default(), ModuleName::new("m").unwrap());
    assert_eq!(scheduler.pipeline.modules.rollback(&of.0, &of.1).await.unwrap().unwrap().version, 1);
    for id in ["y", "z"] {
        let free = async {
            while waits(&store, id).await.0.as_deref() == Some("rate limit") {
                scheduler.look_at_rates().await;
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), free).await.expect("its line begins anew");
        assert_eq!(waits(&store, id).await, (Some("a free slot".to_owned()), 0));
    }
}

fn ask() -> Ask {
    let now = clock::now();
    Ask {
        worker: "here".to_owned(),
        queues: None,
        max: 9,
        shares: crate::store::Shares::default(),
        now,
        until: now.after(LEASE),
    }
}

/// Two messages that wait for the only slot, which is taken.
async fn two_without_a_slot(cache: &std::path::Path) -> (Arc<MemoryStore>, Arc<Scheduler>, OwnedSemaphorePermit) {
    let store = Arc::new(MemoryStore::new());
    let scheduler = scheduler(Arc::clone(&store), cache).await;
    let slot = Arc::clone(&scheduler.slots).acquire_owned().await.unwrap();
    submit(&store, &["x", "y"]).await;
    (store, scheduler, slot)
}

#[tokio::test]
async fn what_waits_for_a_slot_can_be_stopped_and_is_given_back_by_a_drain() {
    let cache = tempfile::tempdir().unwrap();
    let (store, scheduler, _slot) = two_without_a_slot(cache.path()).await;
    let leasing = tokio::spawn({
        let scheduler = Arc::clone(&scheduler);
        async move { scheduler.lease(2).await.unwrap() }
    });
    let (running, tenant) = (&scheduler.pipeline.running, TenantId::default());
    while !running.stop_waiting(&tenant, &"x".parse().unwrap()) {
        tokio::task::yield_now().await;
    }
    // It is settled without a slot; nobody records that here.
    while running.len() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(running.all(&tenant)[0].id.as_str(), "y");
    scheduler.drain(Duration::from_secs(60)).await;
    assert_eq!(leasing.await.unwrap().0, 2);
    assert_eq!(waits(&store, "y").await, (Some("a free slot".to_owned()), 0));
    assert_eq!(scheduler.handed.load(Ordering::Acquire), 0);
}

#[tokio::test]
async fn a_host_that_rests_gives_back_what_has_not_begun_and_takes_it_again() {
    let cache = tempfile::tempdir().unwrap();
    let (store, scheduler, slot) = two_without_a_slot(cache.path()).await;
    let running = tokio::spawn({
        let scheduler = Arc::clone(&scheduler);
        async move { scheduler.run().await }
    });
    while scheduler.pipeline.running.is_empty() {
        tokio::task::yield_now().await;
    }
    scheduler.pipeline.standing.rest(true);
    scheduler.pipeline.running.wait_until_empty().await;
    for id in ["x", "y"] {
        assert_eq!(waits(&store, id).await, (Some("a free slot".to_owned()), 0));
    }
    scheduler.pipeline.standing.rest(false);
    drop(slot);
    let mut state = State::Pending;
    while state == State::Pending {
        tokio::task::yield_now().await;
        state = store.task(&TenantId::default(), &"x".parse().unwrap()).await.unwrap().unwrap().status;
    }
    scheduler.stop_now().await;
    running.await.unwrap();
}

#[tokio::test]
async fn what_was_taken_ahead_and_gets_no_slot_is_given_back_and_less_is_taken() {
    let cache = tempfile::tempdir().unwrap();
    let (store, mut scheduler, slot) = two_without_a_slot(cache.path()).await;
    let room = |scheduler: &Scheduler| {
        scheduler.ended.store(5000, Ordering::Relaxed);
        scheduler.room(Duration::ZERO)
    };
    assert_eq!(room(&scheduler), 1 + MAX_AHEAD);
    wait(&mut scheduler, Duration::ZERO);
    let (got, next_due) = scheduler.lease(2).await.unwrap();
    assert!(got == 2 && next_due.is_some_and(|due| due <= clock::now()), "they can be had again at once");
    for id in ["x", "y"] {
        assert_eq!(waits(&store, id).await, (Some("a free slot".to_owned()), 0));
    }
    assert!(scheduler.pipeline.running.is_empty() && scheduler.handed.load(Ordering::Acquire) == 0);
    assert_eq!(room(&scheduler), 1 + 1);
    drop(slot);
    wait(&mut scheduler, LONG);
    assert_eq!(scheduler.lease(2).await.unwrap().0, 2);
    while scheduler.handed.load(Ordering::Acquire) > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(room(&scheduler), 1 + 2, "all of it has begun in time");
}

#[tokio::test]
async fn less_is_taken_ahead_where_tenants_share_the_host() {
    let (store, cache) = (Arc::new(MemoryStore::new()), tempfile::tempdir().unwrap());
    let scheduler = scheduler(store, cache.path()).await;
    let room = || {
        scheduler.ended.store(5000, Ordering::Relaxed);
        scheduler.room(Duration::ZERO)
    };
    assert_eq!(room(), 1 + MAX_AHEAD);
    let acme = TenantId::new("acme").unwrap();
    scheduler.pipeline.access.set_tenant(acme, lovage_model::TenantPolicy::default(), clock::now()).await.unwrap();
    assert_eq!(room(), 1 + MAX_AHEAD_SHARED);
}

#[tokio::test]
async fn ends_of_long_ago_say_nothing_of_how_fast_slots_become_free() {
    let (store, cache) = (Arc::new(MemoryStore::new()), tempfile::tempdir().unwrap());
    let scheduler = scheduler(store, cache.path()).await;
    let room = |ended, since| {
        scheduler.ended.store(ended, Ordering::Relaxed);
        scheduler.room(since)
    };
    assert_eq!(room(256, AHEAD_FOR), 1 + 256);
    assert_eq!(room(256, Duration::from_secs(60)), 1);
    assert_eq!(room(6000, Duration::from_secs(1)), 1 + 600);
}

#[tokio::test]
async fn a_host_that_leases_is_not_idle_and_one_that_drains_leases_no_more() {
    let (store, cache) = (Arc::new(MemoryStore::new()), tempfile::tempdir().unwrap());
    let scheduler = scheduler(Arc::clone(&store), cache.path()).await;
    submit(&store, &["x"]).await;
    let leasing = scheduler.leasing.lock().await;
    let mut next = std::pin::pin!(scheduler.lease_once());
    let mut stopping = std::pin::pin!(scheduler.stop_now());
    assert!(next.as_mut().now_or_never().is_none() && stopping.as_mut().now_or_never().is_none());
    drop(leasing);
    tokio::join!(next, stopping);
    assert_eq!(waits(&store, "x").await, (Some("a free slot".to_owned()), 0));
}

#[tokio::test]
async fn a_host_where_no_executor_starts_can_be_stopped() {
    let (store, cache) = (Arc::new(MemoryStore::new()), tempfile::tempdir().unwrap());
    let executors = Executors { program: "/nonexistent/lovage".into(), count: 1, granted: vec![] };
    declare(&store, "").await;
    let scheduler = scheduler_with(Arc::clone(&store), cache.path(), Some(executors)).await;
    submit(&store, &["x"]).await;
    let running = tokio::spawn({
        let scheduler = Arc::clone(&scheduler);
        async move { scheduler.run().await }
    });
    while scheduler.pipeline.running.is_empty() {
        tokio::task::yield_now().await;
    }
    scheduler.stop_now().await;
    running.await.unwrap();
    assert_eq!(waits(&store, "x").await, (Some("a free slot".to_owned()), 0));
}
