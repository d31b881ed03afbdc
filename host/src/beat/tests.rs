//! What is sent when, and how often, whatever happens in between.

use lovage_model::{Json, ModuleName, Room, Schedule, Seconds, State, TaskDefinition};

use super::sending::id_of;
use super::*;
use crate::queue::{Limits, Rules};
use crate::sandbox::{Compiler, Sandbox, Settings};
use crate::store::memory::MemoryStore;
use crate::store::{Broker as _, Filter, LastRun, Results as _, Schedules as _, Upload};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000 + seconds * 1_000_000)
}

fn entry(every: f64) -> PeriodicTask {
    PeriodicTask {
        task: "tour.add".parse().unwrap(),
        args: Json::parse("[1]".to_owned()).unwrap(),
        kwargs: Json::empty_object(),
        options: Default::default(),
        schedule: Schedule::Every(Seconds::new(every).unwrap()),
        enabled: true,
        catch_up: true,
    }
}

fn name(text: &str) -> EntryName {
    text.parse().unwrap()
}

fn periodic(entry: PeriodicTask, since: i64, last: Option<i64>) -> Periodic {
    let last_run = last.map(|slot| LastRun { slot: at(slot), at: at(slot) });
    let (tenant, name) = (TenantId::default(), name("a"));
    Periodic {
        tenant,
        name,
        entry,
        of_config: false,
        declared_by: BTreeSet::new(),
        since: at(since),
        last_run,
        total_run_count: 0,
    }
}

/// A store with a module that exports `tour.add`.
async fn store() -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    push(&store, "tour").await;
    store
}

/// Has a module that exports one task, `add`.
async fn push(store: &MemoryStore, module: &str) {
    let task = TaskDefinition {
        name: format!("{module}.add").parse().unwrap(),
        doc: String::new(),
        parameters: vec![lovage_model::Parameter::one("x", true)],
        options: Default::default(),
        handlers: vec![],
    };
    let component = bytes::Bytes::from_static(b"a");
    let digest = lovage_model::Digest::from_bytes(&[7; 32]);
    let upload = Upload { name: ModuleName::new(module).unwrap(), digest, component, tasks: vec![task] };
    let store_of_modules: &dyn crate::store::Modules = store;
    store_of_modules.push(&TenantId::default(), upload, at(0)).await.unwrap();
}

/// A daemon's beat, that runs since a time.
async fn beat(store: &Arc<MemoryStore>, awake: i64) -> Beat {
    let cache = tempfile::tempdir().unwrap();
    let settings = Settings {
        concurrency: 1,
        memory_bytes: 1 << 20,
        cache: cache.path().join("cache"),
        compiler: Compiler::InProcess,
        executors: None,
    };
    let sandbox = Arc::new(Sandbox::new(settings).unwrap());
    let store = Arc::clone(store) as Arc<dyn Store>;
    let access = Arc::new(Access::open(Arc::clone(&store), false).await.unwrap());
    let modules = Arc::new(Modules::open(Arc::clone(&store), sandbox, Arc::clone(&access)).await.unwrap());
    let rules = Rules { message_bytes: 1000, canvas_tasks: 100, lineage_depth: 100, replacements: 100 };
    let limits = Limits { rules, room: Room { queued_tasks: 3, ..Room::UNLIMITED } };
    let hub = Arc::new(Hub::new(at(0)));
    Beat { awake: AtomicI64::new(at(awake).as_micros()), ..Beat::new(store, modules, hub, access, limits) }
}

async fn sent(store: &MemoryStore) -> usize {
    store.list(&TenantId::default(), Filter { limit: 100, ..Filter::default() }).await.unwrap().tasks.len()
}

#[test]
fn what_is_due_is_the_latest_time_that_was_not_dealt_with() {
    let table = [
        // (since, last time dealt with, now, what)
        (5, None, 5, Due::Later(at(10))),
        (5, None, 10, Due::Now(at(10))),
        (5, None, 39, Due::Now(at(30))),
        (5, Some(30), 39, Due::Later(at(40))),
        (10, None, 10, Due::Later(at(20))),
        (35, Some(20), 39, Due::Later(at(40))),
        // The clock was set back.
        (5, Some(30), 12, Due::Later(at(40))),
    ];
    for (since, last, now, expected) in table {
        assert_eq!(due(&periodic(entry(10.0), since, last), at(0), at(now)), expected, "{since} {last:?} {now}");
    }
    let off = PeriodicTask { enabled: false, ..entry(10.0) };
    assert_eq!(due(&periodic(off, 5, None), at(0), at(39)), Due::Never);
    let strict = periodic(PeriodicTask { catch_up: false, ..entry(10.0) }, 5, Some(10));
    assert_eq!(due(&strict, at(35), at(39)), Due::Later(at(40)), "missed while no daemon ran");
    assert_eq!(due(&strict, at(25), at(39)), Due::Now(at(30)), "missed by the daemon that runs");
}

#[tokio::test]
async fn what_was_noted_by_a_clock_that_was_far_ahead_keeps_nothing_from_being_sent() {
    const YEARS: i64 = 400_000_000;
    let store = store().await;
    store.set_periodic(periodic(entry(10.0), YEARS, None)).await.unwrap();
    let (tenant, name) = (TenantId::default(), name("a"));
    store.note_run(&tenant, &name, LastRun { slot: at(YEARS), at: at(YEARS) }).await.unwrap();
    let beat = beat(&store, 11).await;
    assert_eq!(beat.tick(at(12)).await, at(20));
    beat.tick(at(20)).await;
    assert_eq!((beat.tick(at(20)).await, sent(&store).await), (at(30), 1));
    let shown = beat.show(&tenant, &name, at(20)).await.unwrap();
    assert_eq!(shown.periodic.last_run, Some(LastRun { slot: at(20), at: at(20) }));
    let strict = PeriodicTask { catch_up: false, ..entry(10.0) };
    beat.set(&tenant, &name, strict, at(21)).await.unwrap();
    assert_eq!(beat.show(&tenant, &name, at(21)).await.unwrap().periodic.since, at(21), "set again, it is as new");
    // Its own clock was ahead when it started, and was set back.
    let beat = self::beat(&store, YEARS).await;
    beat.tick(at(29)).await;
    beat.tick(at(30)).await;
    assert_eq!(sent(&store).await, 2);
}

#[tokio::test]
async fn each_time_is_sent_once_across_restarts() {
    let store = store().await;
    let first = beat(&store, 0).await;
    assert!(first.set(&TenantId::default(), &name("a"), entry(10.0), at(1)).await.unwrap());
    assert_eq!(first.tick(at(5)).await, at(10));
    assert_eq!(sent(&store).await, 0);
    assert_eq!(first.tick(at(12)).await, at(12));
    assert_eq!((first.tick(at(12)).await, sent(&store).await), (at(20), 1));
    // Down from 13 to 47: the latest of three missed times is made up for.
    let second = beat(&store, 47).await;
    second.tick(at(47)).await;
    second.tick(at(48)).await;
    assert_eq!(sent(&store).await, 2);
    let shown = second.show(&TenantId::default(), &name("a"), at(48)).await.unwrap();
    assert_eq!(shown.periodic.last_run, Some(LastRun { slot: at(40), at: at(47) }));
    assert_eq!((shown.periodic.total_run_count, shown.next_run_at), (2, Some(at(50))));
}

#[tokio::test]
async fn a_crash_before_the_time_was_noted_sends_nothing_twice() {
    let store = store().await;
    let beat = beat(&store, 0).await;
    let tenant = TenantId::default();
    beat.set(&tenant, &name("a"), entry(10.0), at(1)).await.unwrap();
    beat.send(&tenant, &entry(10.0), id_of(&tenant, &name("a"), at(10)), at(10)).await.unwrap();
    beat.tick(at(11)).await;
    let shown = beat.show(&tenant, &name("a"), at(11)).await.unwrap();
    assert_eq!((sent(&store).await, shown.periodic.total_run_count), (1, 1));
}

#[tokio::test]
async fn what_cannot_be_sent_is_tried_again_and_says_why() {
    let store = store().await;
    let beat = beat(&store, 0).await;
    let tenant = TenantId::default();
    beat.set(&tenant, &name("a"), entry(1.0), at(0)).await.unwrap();
    for second in 1..=3 {
        beat.tick(at(second)).await;
    }
    assert_eq!(beat.tick(at(4)).await, at(5), "the queue is full");
    let shown = beat.show(&tenant, &name("a"), at(4)).await.unwrap();
    assert!(shown.last_error.unwrap().contains("limits.queued_tasks"));
    assert_eq!((shown.periodic.total_run_count, shown.next_run_at), (3, Some(at(4))));
    store.purge(&tenant, &"celery".parse().unwrap(), at(4)).await.unwrap();
    beat.tick(at(5)).await;
    let shown = beat.show(&tenant, &name("a"), at(5)).await.unwrap();
    assert_eq!((shown.last_error, shown.periodic.total_run_count), (None, 4));
    let pending = Filter { state: Some(State::Pending), limit: 10, ..Filter::default() };
    assert_eq!(store.list(&tenant, pending).await.unwrap().tasks.len(), 1);
}

#[tokio::test]
async fn what_is_due_while_the_queue_is_full_waits_without_being_made() {
    let store = store().await;
    let beat = beat(&store, 0).await;
    let tenant = TenantId::default();
    for one in ["a", "b", "c", "d", "e"] {
        beat.set(&tenant, &name(one), entry(1.0), at(0)).await.unwrap();
    }
    assert_eq!(beat.tick(at(1)).await, at(1), "three had room");
    assert_eq!((beat.tick(at(1)).await, sent(&store).await), (at(2), 3));
    for one in ["d", "e"] {
        let shown = beat.show(&tenant, &name(one), at(1)).await.unwrap();
        assert!(shown.last_error.unwrap().contains("limits.queued_tasks"), "also of who was not tried");
    }
    store.purge(&tenant, &"celery".parse().unwrap(), at(1)).await.unwrap();
    // Those that had no room go before those that had.
    beat.tick(at(2)).await;
    let shown = beat.show(&tenant, &name("d"), at(2)).await.unwrap();
    assert_eq!((shown.last_error, shown.periodic.total_run_count), (None, 1));
}

#[tokio::test]
async fn what_never_fits_keeps_nothing_else_from_being_sent_and_is_tried_less_and_less() {
    let store = store().await;
    let beat = beat(&store, 0).await;
    let tenant = TenantId::default();
    let members: Vec<_> = (0..5).map(|n| serde_json::json!({"task": "tour.add", "args": [n]})).collect();
    let kwargs = Json::of(&serde_json::json!({ "tasks": members })).unwrap();
    let large = PeriodicTask { task: "celery.group".parse().unwrap(), args: Json::empty_array(), kwargs, ..entry(1.0) };
    beat.set(&tenant, &name("a"), large, at(0)).await.unwrap();
    beat.set(&tenant, &name("b"), entry(1.0), at(0)).await.unwrap();
    assert_eq!((beat.tick(at(1)).await, sent(&store).await), (at(1), 1));
    let why = beat.show(&tenant, &name("a"), at(1)).await.unwrap().last_error.unwrap();
    assert!(why.contains("queued_tasks"), "{why}");
    let mut tried = vec![];
    for second in 2..40 {
        store.purge(&tenant, &"celery".parse().unwrap(), at(second)).await.unwrap();
        beat.tick(at(second)).await;
        let again = beat.failing()[&(tenant.clone(), name("a"))].again();
        if tried.last() != Some(&again) {
            tried.push(again);
        }
    }
    assert_eq!(tried, [at(4), at(8), at(16), at(32), at(64)], "each time after a pause twice as long");
    assert_eq!(beat.show(&tenant, &name("b"), at(40)).await.unwrap().periodic.total_run_count, 39);
}

#[tokio::test]
async fn what_waits_for_its_module_is_sent_once_that_is_pushed() {
    let store = store().await;
    let beat = beat(&store, 0).await;
    let tenant = TenantId::default();
    let late = PeriodicTask { task: "late.add".parse().unwrap(), ..entry(5.0) };
    store.set_periodic(periodic(late, 0, None)).await.unwrap();
    for second in [5, 6, 8, 12] {
        beat.tick(at(second)).await;
    }
    assert_eq!(beat.failing()[&(tenant.clone(), name("a"))].again(), at(20));
    // Of what there was at the start it has been told.
    beat.modules.changed().await;
    push(&store, "late").await;
    // Whatever is done with modules, they are read anew.
    beat.modules.remove(&tenant, &"none".parse().unwrap()).await.unwrap();
    beat.modules.changed().await;
    beat.tick(at(13)).await;
    assert_eq!(sent(&store).await, 1);
    assert_eq!(beat.show(&tenant, &name("a"), at(13)).await.unwrap().last_error, None);
}

#[tokio::test]
async fn a_beat_sees_what_others_on_its_store_change_and_send() {
    let store = store().await;
    let (one, other, tenant) = (beat(&store, 0).await, beat(&store, 0).await, TenantId::default());
    one.set(&tenant, &name("a"), entry(10.0), at(1)).await.unwrap();
    assert_eq!((one.tick(at(2)).await, other.tick(at(2)).await), (at(10), at(10)));
    other.tick(at(10)).await;
    // It was sent: this one finds that out, and reads when it is due next.
    one.tick(at(10)).await;
    assert_eq!((one.tick(at(10)).await, sent(&store).await), (at(20), 1));
    other.set(&tenant, &name("a"), entry(3.0), at(10)).await.unwrap();
    assert_eq!(one.tick(at(11)).await, at(12), "its times are those of the new schedule");
    other.remove(&tenant, &name("a")).await.unwrap();
    one.tick(at(30)).await;
    assert_eq!(sent(&store).await, 1);
}

#[tokio::test]
async fn the_configuration_rules_over_what_it_declares() {
    let store = store().await;
    let beat = beat(&store, 0).await;
    let tenant = TenantId::default();
    beat.set(&tenant, &name("mine"), entry(10.0), at(1)).await.unwrap();
    let declared = BTreeMap::from([(name("a"), entry(10.0)), (name("b"), entry(20.0))]);
    beat.declare(&declared, None, at(2)).await.unwrap();
    // Another argument is no other schedule: what was missed is still its own.
    let more = PeriodicTask { args: Json::parse("[2]".to_owned()).unwrap(), ..entry(10.0) };
    beat.declare(&BTreeMap::from([(name("a"), more)]), None, at(15)).await.unwrap();
    let all = store.periodic(None).await.unwrap();
    let names: Vec<_> = all.iter().map(|one| (one.name.as_str(), one.of_config, one.since)).collect();
    assert_eq!(names, [("a", true, at(2)), ("mine", false, at(1))]);
    // Another schedule is: it starts now.
    beat.declare(&BTreeMap::from([(name("a"), entry(7.0))]), None, at(30)).await.unwrap();
    assert_eq!(store.periodic(None).await.unwrap()[0].since, at(30));
    assert!(matches!(beat.set(&tenant, &name("a"), entry(1.0), at(31)).await, Err(BeatError::OfConfig(_))));
    assert!(matches!(beat.remove(&tenant, &name("a")).await, Err(BeatError::OfConfig(_))));
    beat.remove(&tenant, &name("mine")).await.unwrap();
    assert!(matches!(beat.remove(&tenant, &name("mine")).await, Err(BeatError::Unknown(_))));
}

#[tokio::test]
async fn a_host_takes_away_what_it_had_declared_and_nobody_else_does() {
    let store = store().await;
    let start = async |host: &str, names: &[&str]| {
        let beat = beat(&store, 0).await;
        let declared: BTreeMap<_, _> = names.iter().map(|one| (name(one), entry(10.0))).collect();
        beat.declare(&declared, Some(host), at(1)).await.unwrap();
        let all = store.periodic(None).await.unwrap();
        (beat, all.into_iter().map(|one| one.name.to_string()).collect::<Vec<_>>())
    };
    assert_eq!(start("one", &["both", "own"]).await.1, ["both", "own"]);
    let (other, there) = start("other", &["both"]).await;
    assert_eq!(there, ["both", "own"], "a table less is not a table that was taken out");
    assert_eq!(start("third", &[]).await.1, ["both", "own"]);
    assert_eq!(start("one", &[]).await.1, ["both"], "its own is gone, and the other still declares the rest");
    assert!(matches!(other.remove(&TenantId::default(), &name("both")).await, Err(BeatError::OfConfig(_))));
    assert_eq!(start("other", &[]).await.1, [""; 0]);
    // Of a host that does not come back: any other may be told.
    start("lost", &["its"]).await;
    let (one, there) = start("one", &[]).await;
    assert_eq!(there, ["its"]);
    assert!(matches!(
        one.set(&TenantId::default(), &name("its"), entry(1.0), at(2)).await,
        Err(BeatError::OfConfig(_))
    ));
    one.remove(&TenantId::default(), &name("its")).await.unwrap();
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let beat = beat(&store().await, 0).await;
    let set = async |entry: PeriodicTask| {
        beat.set(&TenantId::default(), &name("a"), entry, at(1)).await.unwrap_err().to_string()
    };
    assert!(set(entry(0.01)).await.contains("at least 0.1 s"));
    assert!(set(PeriodicTask { task: "tour.nothing".parse().unwrap(), ..entry(1.0) }).await.contains("tour.nothing"));
    let mut fixed = entry(1.0);
    fixed.options.task_id = "x".parse().ok();
    assert!(set(fixed).await.contains("options.task_id"));
}

#[tokio::test]
async fn a_tenant_has_so_many_entries_and_no_more() {
    let store = store().await;
    let beat = beat(&store, 0).await;
    use crate::store::Schedules as _;
    for n in 0..MOST_ENTRIES {
        let periodic = Periodic { name: name(&format!("n{n}")), ..periodic(entry(10.0), 0, None) };
        store.set_periodic(periodic).await.unwrap();
    }
    let own = TenantId::default();
    let error = beat.set(&own, &name("one-more"), entry(10.0), at(1)).await.unwrap_err();
    assert!(matches!(error, BeatError::TooMany { entries: MOST_ENTRIES, .. }), "{error}");
    assert!(!beat.set(&own, &name("n0"), entry(20.0), at(1)).await.unwrap(), "what is there can be changed");
    let large = PeriodicTask { args: Json::of(&["x".repeat(MOST_BYTES - 100)]).unwrap(), ..entry(10.0) };
    store.set_periodic(Periodic { name: name("n2"), ..periodic(large, 0, None) }).await.unwrap();
    beat.remove(&own, &name("n3")).await.unwrap();
    let error = beat.set(&own, &name("one-more"), entry(10.0), at(1)).await.unwrap_err();
    assert!(matches!(error, BeatError::TooMany { entries: 999, .. }), "{error}");
    beat.remove(&own, &name("n2")).await.unwrap();
    assert!(
        beat.remove(&own, &name("n1")).await.is_ok()
            && beat.set(&own, &name("one-more"), entry(10.0), at(1)).await.unwrap()
    );
}
