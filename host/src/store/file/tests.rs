//! What only a store on a disk can meet: crashes, other versions, broken files, full disks, copies.

mod migration;
mod packed;
mod waits;

use std::fs;
use std::path::Path;
use std::sync::mpsc;

use bytes::Bytes;
use futures_util::future::join_all;
use lovage_model::{Arrival, Digest, Message, ModuleName, Plan, Room, Settlement, State, TenantId};
use rusqlite::Connection;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::store::suite::{ask, at, failure, id, ids, message, settlement, success, tenant};
use crate::store::{
    Broker, Completed, Fenced, Filter, Joins, Metering, Modules, Orders, Page, Paused, Results, Revoked, Schedules,
    Submitted, Upload, Waiting,
};

impl FileStore {
    /// Runs any SQL in the writer, for faults that nothing else makes.
    async fn inject(&self, sql: &'static str) -> Result<()> {
        self.writer.run(Need::BRIEF, move |ledger| ledger.db.execute_batch(sql)).await
    }
}

async fn submit(store: &FileStore, names: &[&str]) -> Result<Vec<Submitted>> {
    let plans = names.iter().copied().map(message).map(Plan::of).collect();
    store.submit(&tenant(), plans, at(0), Room::UNLIMITED).await
}

async fn push(store: &FileStore, bytes: &'static [u8]) -> Digest {
    let digest = Digest::from_bytes(&Sha256::digest(bytes).into());
    let name = ModuleName::new("tour").unwrap();
    let upload = Upload { name, digest: digest.clone(), component: Bytes::from_static(bytes), tasks: vec![] };
    store.push(&tenant(), upload, at(0)).await.unwrap();
    digest
}

async fn state(store: &FileStore, name: &str) -> State {
    store.task(&tenant(), &id(name)).await.unwrap().unwrap().status
}

/// Copies a directory as it is, as a power cut would leave it.
fn copy_as_is(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_as_is(&entry.path(), &target);
        } else if !entry.file_name().to_string_lossy().ends_with("-shm") {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_killed_daemon_loses_nothing_it_promised() {
    let dir = tempfile::tempdir().unwrap();
    let (live, dead) = (dir.path().join("live"), dir.path().join("dead"));
    let store = FileStore::open(&live, at(0)).unwrap();
    submit(&store, &["done", "running", "waiting"]).await.unwrap();
    let leases = store.lease(ask(2, at(0))).await.unwrap().leases;
    store.commit(leases[0].key, settlement(success("1"), at(1))).await.unwrap();
    let digest = push(&store, b"component").await;
    copy_as_is(&live, &dead);
    let heir = FileStore::open(&dead, at(2)).unwrap();
    assert_eq!(state(&heir, "done").await, State::Success);
    let again = heir.lease(ask(9, at(2))).await.unwrap().leases;
    let seen: Vec<_> = again.iter().map(|lease| (lease.message.id.as_str(), lease.deliveries)).collect();
    assert_eq!(seen, [("running", 2), ("waiting", 1)], "at once, and in the old order");
    assert!(again.iter().all(|lease| lease.key.token > leases[1].key.token));
    assert!(heir.component(&digest).await.unwrap().is_some());
    assert!(check(&dead).unwrap().is_sound());
}

#[tokio::test]
async fn a_push_reads_no_older_versions() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    push(&store, b"one").await;
    let two = push(&store, b"two").await;
    store.inject("UPDATE module SET tasks = '{' WHERE version = 1").await.unwrap();
    push(&store, b"three").await;
    let tour = ModuleName::new("tour").unwrap();
    let now = store.rollback(&tenant(), &tour).await.unwrap().unwrap();
    assert_eq!((now.version, &now.digest, now.active), (2, &two, true));
    assert!(check(dir.path()).unwrap().is_sound());
    assert!(store.remove(&tenant(), &tour).await.unwrap());
    assert!(steps_of(modules::ACTIVE)[0].contains("module_active"));
    assert!(steps_of(modules::OLDER)[0].contains("version<?"));
}

#[tokio::test]
async fn half_a_push_is_swept_away() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    let digest = push(&store, b"component").await;
    drop(store);
    let orphan = dir.path().join("modules").join(format!("{}.wasm", "0".repeat(64)));
    let half = dir.path().join("modules").join(".tmpAbCdEf");
    for path in [&orphan, &half] {
        fs::write(path, "half").unwrap();
    }
    let store = FileStore::open(dir.path(), at(1)).unwrap();
    assert!(!orphan.exists() && !half.exists());
    assert_eq!(store.component(&digest).await.unwrap().unwrap(), Bytes::from_static(b"component"));
}

#[tokio::test]
async fn what_is_not_ours_among_the_components_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(FileStore::open(dir.path(), at(0)).unwrap());
    let modules = dir.path().join("modules");
    let others = ["notes.txt", "short.wasm", ".tmp", ".tmp-notes", &format!("{}.wasm.bak", "0".repeat(64))];
    for name in others {
        fs::write(modules.join(name), "mine").unwrap();
    }
    fs::create_dir(modules.join(format!("{}.wasm", "1".repeat(64)))).unwrap();
    drop(FileStore::open(dir.path(), at(1)).unwrap());
    assert_eq!(fs::read_dir(&modules).unwrap().count(), others.len() + 1);
}

#[tokio::test]
async fn a_database_that_was_moved_away_finds_its_components_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    let digest = push(&store, b"component").await;
    store.close().await.unwrap();
    let (path, away) = (dir.path().join(DATABASE), dir.path().join("away"));
    fs::rename(&path, &away).unwrap();
    FileStore::open(dir.path(), at(1)).unwrap().close().await.unwrap();
    fs::rename(&away, &path).unwrap();
    let store = FileStore::open(dir.path(), at(2)).unwrap();
    assert_eq!(store.component(&digest).await.unwrap().unwrap(), Bytes::from_static(b"component"));
}

#[test]
fn what_is_given_back_costs_what_was_leased_however_many_tasks_there_are() {
    for sql in schema::GIVE_BACK.split(';') {
        let steps = steps_of(sql);
        assert!(!steps.iter().any(|step| step.starts_with("SCAN task")), "{sql}: {steps:?}");
    }
}

/// What SQLite does for a statement.
fn steps_of(sql: &str) -> Vec<String> {
    let db = Connection::open_in_memory().unwrap();
    schema::STEPS.iter().for_each(|step| db.execute_batch(step).unwrap());
    let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let nothing = vec![rusqlite::types::Null; plan.parameter_count()];
    let steps = plan.query_map(rusqlite::params_from_iter(nothing), |row| row.get("detail")).unwrap();
    steps.map(std::result::Result::unwrap).collect()
}

#[test]
fn the_parts_of_a_join_are_read_one_by_one() {
    let sorts = |sql| steps_of(sql).iter().any(|step| step.contains("TEMP B-TREE"));
    assert!(sorts(super::joins::PARTS) && !super::joins::PARTS.contains("arrival"), "their keys are sorted");
    assert!(!sorts(super::joins::PART));
}

#[test]
fn lists_are_read_in_order() {
    for sql in [waiting::SCHEDULED, results::QUEUES, values::KEYS, values::KEYS_AFTER] {
        let steps = steps_of(sql);
        assert!(!steps.iter().any(|step| step.contains("TEMP B-TREE") || step.starts_with("SCAN")), "{steps:?}");
    }
}

#[tokio::test]
async fn many_queues_are_listed_part_by_part() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    let name = |n: usize| format!("q{n:04}");
    let queued = |n: usize| Plan::of(crate::store::suite::in_queue(&name(n), &name(n)));
    store.submit(&tenant(), (0..2000).map(queued).collect(), at(0), Room::UNLIMITED).await.unwrap();
    for paused in [500, 2000, 2001] {
        store.pause(&tenant(), &crate::store::suite::queue(&name(paused)), true).await.unwrap();
    }
    let all = store.queues(&tenant(), at(1)).await.unwrap();
    assert_eq!(all.iter().map(|view| view.name.clone()).collect::<Vec<_>>(), (0..2002).map(name).collect::<Vec<_>>());
    let paused: Vec<_> = all.iter().filter(|view| view.paused).map(|view| (view.name.as_str(), view.ready)).collect();
    assert_eq!(paused, [("q0500", 1), ("q2000", 0), ("q2001", 0)]);
}

#[test]
fn a_task_is_forgotten_without_a_look_at_others() {
    let steps = steps_of(settle::UNCOUNT);
    assert!(steps[0].contains("tenant=? AND root=?"), "{steps:?}");
}

#[tokio::test]
async fn of_a_join_as_much_is_kept_as_fits_into_memory() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    let part = |index: u32| {
        let then = Some(lovage_model::Then::Part { group: id("g"), index });
        lovage_model::Planned { message: Message { then, ..message(&format!("t{index}")) }, awaits: None }
    };
    let join = lovage_model::Join { group: id("g"), size: 3, then: lovage_model::Then::Next };
    let plan = Plan { tasks: (0..3).map(part).collect(), joins: vec![join] };
    store.submit(&tenant(), vec![plan], at(0), Room::UNLIMITED).await.unwrap();
    let large = crate::store::suite::json(&format!("\"{}\"", "x".repeat(33 << 20)));
    for lease in store.lease(ask(9, at(0))).await.unwrap().leases {
        let arrival = Some(Arrival::Value(large.clone()));
        store.commit(lease.key, Settlement { arrival, ..settlement(success("1"), at(1)) }).await.unwrap();
    }
    let kept = |db: &Connection| {
        let mut statement = db.prepare("SELECT octet_length(arrival) > 0 FROM part ORDER BY place")?;
        statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<bool>>>()
    };
    assert_eq!(store.readers.run(kept).await.unwrap(), [true, false, false]);
    assert_eq!(check(dir.path()).unwrap().problems, Vec::<String>::new());
}

#[tokio::test]
async fn a_filter_that_few_pass_is_walked_in_pieces_and_finds_all_of_them() {
    const OTHERS: usize = 20_100;
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    let of = |id: String, name: &str| Plan::of(Message::new(id.parse().unwrap(), name.parse().unwrap()));
    let mut plans: Vec<_> = (0..3).map(|n| of(format!("rare{n}"), "t.rare")).collect();
    plans.extend((0..OTHERS).map(|n| of(format!("o{n}"), "t.often")));
    store.submit(&tenant(), plans, at(0), Room::UNLIMITED).await.unwrap();
    let rare = Filter { name: Some("t.rare".parse().unwrap()), limit: 2, ..Filter::default() };
    let page = store.list(&tenant(), rare.clone()).await.unwrap();
    let names = |page: &Page| page.tasks.iter().map(|meta| meta.task_id.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&page), ["rare2", "rare1"]);
    let rest = store.list(&tenant(), Filter { before: page.next, ..rare.clone() }).await.unwrap();
    assert_eq!((names(&rest), rest.next), (vec!["rare0".to_owned()], None));
    let all = store.list(&tenant(), Filter { limit: 4, ..rare.clone() }).await.unwrap();
    assert_eq!((all.tasks.len(), all.next), (3, None));
    let gone = Filter { state: Some(State::Success), ..rare };
    assert!(store.list(&tenant(), gone).await.unwrap().tasks.is_empty());
}

#[test]
fn a_list_of_what_runs_looks_at_what_runs() {
    let running = Filter { state: Some(State::Started), limit: 1, ..Filter::default() };
    let values = [(":tenant", "1"), (":before", "9"), (":state", "'STARTED'"), (":limit", "1")];
    let sql = values.iter().fold(results::rows_of(&running), |sql, (name, value)| sql.replace(name, value));
    let steps = steps_of(&sql);
    assert!(steps.iter().any(|step| step.starts_with("SEARCH t USING INTEGER PRIMARY KEY")), "{steps:?}");
}

#[test]
fn a_second_daemon_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    let Err(StoreError::Busy(named)) = FileStore::open(dir.path(), at(0)) else { panic!("it was let in") };
    assert_eq!(named, dir.path().display().to_string());
    drop(store);
    FileStore::open(dir.path(), at(0)).unwrap();
}

#[tokio::test]
async fn a_closed_store_can_be_opened_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    submit(&store, &["a"]).await.unwrap();
    store.close().await.unwrap();
    let heir = FileStore::open(dir.path(), at(0)).unwrap();
    assert_eq!(state(&heir, "a").await, State::Pending);
    drop(store);
    assert!(matches!(FileStore::open(dir.path(), at(0)), Err(StoreError::Busy(_))), "the heir holds it");
}

#[test]
fn a_directory_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("deep").join("store");
    FileStore::open(&inner, at(0)).unwrap();
    assert_eq!(fs::metadata(&inner).unwrap().permissions().mode() & 0o777, 0o700);
}

/// Each file and directory below one that others than its owner have rights to.
fn open_to_others(dir: &Path) -> Vec<std::path::PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let below = |path: std::path::PathBuf| {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        let inner = if path.is_dir() { open_to_others(&path) } else { vec![] };
        inner.into_iter().chain((mode & 0o077 != 0).then_some(path))
    };
    fs::read_dir(dir).unwrap().flat_map(|entry| below(entry.unwrap().path())).collect()
}

#[tokio::test]
async fn the_files_of_a_store_are_for_its_owner_only_wherever_it_is() {
    use std::os::unix::fs::PermissionsExt;
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (live, copy) = (dir.path().join("live"), dir.path().join("copy"));
    fs::create_dir(&live).unwrap();
    set(&live, 0o755);
    let store = FileStore::open(&live, at(0)).unwrap();
    push(&store, b"component").await;
    assert!(live.join("lovage.db-wal").exists() && live.join("lovage.db-shm").exists());
    assert_eq!(open_to_others(&live), Vec::<std::path::PathBuf>::new());
    // As an older version has left them, or a copy by hand.
    store.close().await.unwrap();
    drop(store);
    fs::write(live.join("lovage.db-wal"), "").unwrap();
    for name in [DATABASE, "lovage.db-wal", "lock"] {
        set(&live.join(name), 0o644);
    }
    set(&live.join("modules"), 0o755);
    let _store = FileStore::open(&live, at(1)).unwrap();
    assert_eq!(open_to_others(&live), Vec::<std::path::PathBuf>::new());
    backup(&live, &copy).unwrap();
    assert_eq!(open_to_others(&copy), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(FileStore::open(dir.path(), at(0)).unwrap());
    let path = dir.path().join(DATABASE);
    let newer = schema::VERSION + 1;
    Connection::open(&path).unwrap().pragma_update(None, "user_version", newer).unwrap();
    let is_newer = |error: StoreError| matches!(error, StoreError::Newer { found, known } if (found, known) == (newer, schema::VERSION));
    assert!(FileStore::open(dir.path(), at(0)).is_err_and(is_newer));
    assert!(check(dir.path()).is_err_and(is_newer));
    let kept: u32 =
        Connection::open(&path).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(kept, newer);
}

#[tokio::test]
async fn what_is_not_a_store_is_refused_with_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(DATABASE);
    let open = || match FileStore::open(dir.path(), at(0)) {
        Err(StoreError::Corrupt(why)) => why,
        other => panic!("{:?}", other.err()),
    };
    fs::write(&path, "no database ".repeat(1000)).unwrap();
    assert!(open().contains("backup"));
    let checked = check(dir.path()).unwrap_err().to_string();
    assert!(checked.contains("backup") && !checked.contains("store check"), "it was just asked: {checked}");
    fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE mine (a)").unwrap();
    assert!(open().contains("another program"));
    fs::remove_file(&path).unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    let names: Vec<String> = (0..200).map(|n| format!("t{n}")).collect();
    submit(&store, &names.iter().map(String::as_str).collect::<Vec<_>>()).await.unwrap();
    store.close().await.unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let tail = bytes.len() - 3 * 4096;
    bytes[tail..].fill(0xA5);
    fs::write(&path, bytes).unwrap();
    assert!(open().contains("lovage store check"));
    assert!(!check(dir.path()).unwrap().is_sound());
    let nothing = dir.path().join("nothing");
    assert!(check(&nothing).unwrap_err().to_string().contains("no store"));
    assert!(!nothing.exists(), "a check makes nothing");
    let no_directory = FileStore::open(&path, at(0)).err().unwrap().to_string();
    assert!(no_directory.contains("must name a directory"), "{no_directory}");
    // As where nobody else may look.
    let hidden = check(&path).unwrap_err().to_string();
    assert!(!hidden.contains("no store") && hidden.contains("os error"), "{hidden}");
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_heals() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    submit(&store, &["a", "b"]).await.unwrap();
    let key = store.lease(ask(1, at(0))).await.unwrap().leases[0].key;
    // It cannot be set below what there is, so this means: no page more.
    store.inject("PRAGMA max_page_count = 1").await.unwrap();
    let mut stored = 0;
    let full = loop {
        let names: Vec<String> = (0..50).map(|n| format!("fill-{stored}-{n}")).collect();
        match submit(&store, &names.iter().map(String::as_str).collect::<Vec<_>>()).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 1000, "it never fills");
    };
    assert!(matches!(full, StoreError::Full(_)), "{full}");
    assert_eq!(
        store.task(&tenant(), &id(&format!("fill-{stored}-0"))).await.unwrap(),
        None,
        "all of a call or nothing"
    );
    let queues = store.queues(&tenant(), at(1)).await.unwrap();
    assert_eq!((queues[0].ready, queues[0].leased), (50 * stored + 1, 1), "reads go on, counts are as before");
    store.inject("PRAGMA max_page_count = 1000000").await.unwrap();
    assert_eq!(store.commit(key, settlement(success("1"), at(2))).await.unwrap(), Fenced::Applied);
    assert_eq!(submit(&store, &["c"]).await.unwrap(), [Submitted::Stored]);
    store.healthy().await.unwrap();
    assert!(check(dir.path()).unwrap().is_sound());
}

#[tokio::test]
async fn an_outcome_is_recorded_once_whoever_has_the_database_lets_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    submit(&store, &["a"]).await.unwrap();
    let key = store.lease(ask(1, at(0))).await.unwrap().leases[0].key;
    store.inject("PRAGMA busy_timeout = 1").await.unwrap();
    let other = Connection::open(dir.path().join(DATABASE)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let end = || settlement(success("1"), at(1));
    assert!(matches!(store.commit(key, end()).await, Err(StoreError::Away(why)) if why.contains("another program")));
    assert!(matches!(store.commit_all(&[(key, end())]).await, Err(StoreError::Away(_))));
    assert!(matches!(store.healthy().await, Err(StoreError::Away(_))));
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.commit(key, end()).await.unwrap(), Fenced::Applied);
    assert_eq!(store.commit(key, end()).await.unwrap(), Fenced::Refused, "it ends once");
}

#[tokio::test]
async fn what_a_batch_has_used_is_one_row_and_goes_with_the_batch() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    submit(&store, &["a", "b", "c"]).await.unwrap();
    let leases = store.lease(ask(9, at(0))).await.unwrap().leases;
    let batch: Vec<_> = leases.iter().map(|lease| (lease.key, settlement(success("1"), at(1)))).collect();
    let failed = |ledger: &mut Ledger| {
        ledger.meter(1, at(1), crate::store::metering::Used { attempts: 9, ..Default::default() });
        Err::<(), _>(rusqlite::Error::InvalidQuery)
    };
    assert!(store.writer.run(Need::BRIEF, failed).await.is_err());
    assert_eq!(store.commit_all(&batch).await.unwrap(), [Fenced::Applied, Fenced::Applied, Fenced::Applied]);
    let written =
        |ledger: &mut Ledger| Ok(ledger.db.prepare_cached(metering::ADD)?.reset_status(rusqlite::StatementStatus::Run));
    assert_eq!(store.writer.run(Need::BRIEF, written).await.unwrap(), 1);
    let days = store.metered(&tenant(), at(0)).await.unwrap();
    assert_eq!(days.iter().map(|day| (day.attempts, day.fuel)).collect::<Vec<_>>(), [(3, 21)]);
}

#[tokio::test]
async fn a_lease_is_renewed_without_a_write() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    submit(&store, &["a"]).await.unwrap();
    let key = store.lease(ask(1, at(0))).await.unwrap().leases[0].key;
    let changes = async || store.writer.run(Need::BRIEF, |ledger| Ok(ledger.db.total_changes())).await.unwrap();
    let before = changes().await;
    assert!(store.renew(vec![key], at(60)).await.unwrap().is_empty());
    assert_eq!(changes().await, before);
    assert!(store.lease(ask(1, at(50))).await.unwrap().leases.is_empty(), "it holds");
    assert_eq!(ids(&store.lease(ask(1, at(60))).await.unwrap().leases), ["a"], "as long as it was renewed for");
}

/// Both, in one batch of the writer.
async fn in_one_batch<A, B>(
    store: &FileStore,
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> (A, B) {
    let (hold, held) = mpsc::channel::<()>();
    let (entered, inside) = mpsc::channel();
    let busy = store.writer.run(Need::BRIEF, move |_| {
        entered.send(()).ok();
        held.recv().ok();
        Ok(())
    });
    let batch = async {
        tokio::task::spawn_blocking(move || inside.recv()).await.unwrap().unwrap();
        let release = async {
            // The others have been polled by now, so their jobs wait together.
            hold.send(()).unwrap();
        };
        tokio::join!(first, second, release)
    };
    let (_, (first, second, ())) = tokio::join!(busy, batch);
    (first, second)
}

#[tokio::test]
async fn only_the_guilty_one_of_a_batch_fails() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    submit(&store, &["first"]).await.unwrap();
    let first = async {
        tokio::join!(
            submit(&store, &["before"]),
            store.inject(
                "INSERT INTO line (tenant, queue) VALUES (9, 'half'); INSERT INTO message (seq, body) VALUES (1, x'')"
            ),
        )
    };
    let ((before, guilty), after) = in_one_batch(&store, first, submit(&store, &["after"])).await;
    assert_eq!((before.unwrap(), after.unwrap()), (vec![Submitted::Stored], vec![Submitted::Stored]));
    assert!(matches!(guilty, Err(StoreError::Failed(why)) if why.contains("UNIQUE")));
    assert!(check(dir.path()).unwrap().is_sound(), "the guilty one left nothing");
    let leases = store.lease(ask(9, at(1))).await.unwrap().leases;
    assert_eq!(leases.len(), 3);
}

#[tokio::test]
async fn a_message_that_cannot_be_read_ends_its_task() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    submit(&store, &["spoilt", "gone", "good"]).await.unwrap();
    store
        .inject("UPDATE message SET body = CAST('{\"id\": 7' AS BLOB) WHERE seq = 1; DELETE FROM message WHERE seq = 2")
        .await
        .unwrap();
    let leased = store.lease(ask(2, at(0))).await.unwrap();
    assert!(leased.leases.is_empty());
    assert_eq!(leased.next_due, Some(at(0)), "there is more");
    assert_eq!(store.lease(ask(2, at(0))).await.unwrap().leases.len(), 1);
    for name in ["spoilt", "gone"] {
        let task = store.task(&tenant(), &id(name)).await.unwrap().unwrap();
        assert_eq!((task.status, task.fault.as_deref()), (State::Failure, Some("store-corrupt")));
        assert_eq!(task.name.as_str(), "tour.add");
    }
    let redone = store.resubmit(&tenant(), &id("spoilt"), at(1), Room::UNLIMITED).await;
    assert!(matches!(redone, Err(StoreError::Corrupt(why)) if why.contains("spoilt")));
}

#[tokio::test]
async fn what_is_whole_and_cannot_be_is_refused_with_the_cure() {
    for sql in ["DELETE FROM tenant", "UPDATE line SET tenant = 9", "UPDATE scheduled SET line = 9"] {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::open(dir.path(), at(0)).unwrap();
        let due = Plan::of(Message { eta: Some(at(50)), ..message("a") });
        store.submit(&tenant(), vec![due], at(0), Room::UNLIMITED).await.unwrap();
        store.inject(sql).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        let Err(StoreError::Corrupt(why)) = FileStore::open(dir.path(), at(1)) else { panic!("{sql}: it was opened") };
        assert!(why.contains("not there") && why.contains("lovage store check"), "{sql}: {why}");
    }
}

#[tokio::test]
async fn a_message_in_a_line_that_is_not_there_stops_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    let due = Plan::of(Message { eta: Some(at(50)), ..message("due") });
    store.submit(&tenant(), vec![due], at(0), Room::UNLIMITED).await.unwrap();
    store.inject("UPDATE scheduled SET line = 9").await.unwrap();
    let (hastened, stored) =
        in_one_batch(&store, store.hasten(vec![(1, at(50))], at(1)), submit(&store, &["other"])).await;
    assert!(matches!(hastened, Err(StoreError::Corrupt(why)) if why.contains("not there")));
    assert_eq!(stored.unwrap(), [Submitted::Stored]);
}

#[tokio::test]
async fn who_waits_in_a_line_that_is_not_there_is_released_and_revoked_as_others_are() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    let first = ["a", "d"].map(|name| Message { then: Some(lovage_model::Then::Next), ..message(name) });
    let mut tasks: Vec<_> = first.into_iter().map(|message| lovage_model::Planned { message, awaits: None }).collect();
    for (name, awaits) in [("b", "a"), ("e", "d")] {
        tasks.push(lovage_model::Planned { message: message(name), awaits: Some(id(awaits)) });
    }
    store.submit(&tenant(), vec![Plan { tasks, joins: vec![] }], at(0), Room::UNLIMITED).await.unwrap();
    store.inject("UPDATE blocked SET line = 9").await.unwrap();
    assert_eq!(store.revoke(&tenant(), &id("e"), at(1)).await.unwrap(), Revoked::Waiting);
    let lease = store.lease(ask(1, at(1))).await.unwrap().leases.remove(0);
    assert_eq!(lease.message.id, id("a"));
    let end =
        Settlement { arrival: Some(Arrival::Value(crate::store::suite::json("1"))), ..settlement(success("1"), at(2)) };
    assert_eq!(store.commit(lease.key, end).await.unwrap(), Fenced::Applied);
    assert_eq!(ids(&store.lease(ask(9, at(3))).await.unwrap().leases), ["d", "b"]);
}

#[tokio::test]
async fn a_check_finds_what_is_wrong() {
    let faults = [
        ("DELETE FROM ready WHERE seq = 1", "must have one place"),
        ("UPDATE line SET ready = 7", "counted wrongly"),
        ("UPDATE ready SET pos = 99 WHERE seq = 1", "without being the task of that place"),
        ("DELETE FROM message WHERE seq = 1", "has no message"),
        ("UPDATE message SET body = CAST('{' AS BLOB) WHERE seq = 1", "cannot be read"),
        ("INSERT INTO result (seq, result) VALUES (77, '1')", "number 77"),
        ("UPDATE task SET ended = 5 WHERE seq = 1", "not an end"),
        ("UPDATE module SET active = 0", "one active version"),
        ("INSERT INTO value_room VALUES (1, 7)", "values of a tenant are counted wrongly"),
        ("DELETE FROM tenant", "a tenant that is not there"),
    ];
    for (sql, expected) in faults {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::open(dir.path(), at(0)).unwrap();
        submit(&store, &["a", "b"]).await.unwrap();
        push(&store, b"component").await;
        assert_eq!(check(dir.path()).unwrap().problems, Vec::<String>::new());
        store.inject(sql).await.unwrap();
        let found = check(dir.path()).unwrap().problems;
        assert!(found.iter().any(|problem| problem.contains(expected)), "{sql}: {found:?}");
    }
}

#[tokio::test]
async fn a_check_reads_the_components() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    submit(&store, &["a"]).await.unwrap();
    let digest = push(&store, b"component").await;
    let report = check(dir.path()).unwrap();
    assert_eq!(report, CheckReport { tasks: 1, unfinished: 1, components: 1, problems: vec![] });
    let path = dir.path().join("modules").join(format!("{digest}.wasm"));
    fs::write(&path, "other").unwrap();
    assert!(check(dir.path()).unwrap().problems[0].contains("not what was pushed"));
    let components = components::Components::of(dir.path());
    assert!(components.missing(std::slice::from_ref(&digest)).is_empty());
    fs::remove_file(&path).unwrap();
    assert_eq!(components.missing(std::slice::from_ref(&digest)), [path], "which an opening warns of");
    assert!(check(dir.path()).unwrap().problems[0].contains("push its module again"));
    assert!(matches!(store.component(&digest).await, Err(StoreError::Corrupt(why)) if why.contains("push")));
    push(&store, b"another").await;
    store.rollback(&tenant(), &ModuleName::new("tour").unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_backup_is_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let (live, copy) = (dir.path().join("live"), dir.path().join("copy"));
    let store = FileStore::open(&live, at(0)).unwrap();
    submit(&store, &["done", "running", "waiting"]).await.unwrap();
    let leases = store.lease(ask(2, at(0))).await.unwrap().leases;
    store.commit(leases[0].key, settlement(failure(), at(1))).await.unwrap();
    let digest = push(&store, b"component").await;
    let bytes = backup(&live, &copy).unwrap();
    let size = |path: &str| fs::metadata(copy.join(path)).unwrap().len();
    assert_eq!(bytes, size(DATABASE) + size(&format!("modules/{digest}.wasm")));
    assert!(backup(&live, &copy).unwrap_err().to_string().contains("exists"));
    submit(&store, &["later"]).await.unwrap();
    assert!(check(&copy).unwrap().is_sound());
    let heir = FileStore::open(&copy, at(2)).unwrap();
    assert_eq!(state(&heir, "done").await, State::Failure);
    assert_eq!(heir.lease(ask(9, at(2))).await.unwrap().leases.len(), 2);
    assert!(heir.component(&digest).await.unwrap().is_some());
    let other = TenantId::new("other").unwrap();
    assert_eq!(
        heir.submit(&other, vec![Plan::of(message("a"))], at(3), Room::UNLIMITED).await.unwrap(),
        [Submitted::Stored]
    );
}

#[tokio::test]
async fn a_backup_that_fails_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (live, copy) = (dir.path().join("live"), dir.path().join("copy"));
    let store = FileStore::open(&live, at(0)).unwrap();
    let digest = push(&store, b"component").await;
    fs::remove_file(live.join("modules").join(format!("{digest}.wasm"))).unwrap();
    assert!(backup(&live, &copy).unwrap_err().to_string().contains("missing"));
    assert!(!copy.exists());
}

#[tokio::test]
async fn a_backup_has_its_name_once_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (live, copy, partial) = (dir.path().join("live"), dir.path().join("copy"), dir.path().join(".copy.partial"));
    let store = FileStore::open(&live, at(0)).unwrap();
    let digest = push(&store, b"component").await;
    // What one that was killed has left.
    fs::create_dir(&partial).unwrap();
    fs::write(partial.join(DATABASE), "half").unwrap();
    // One that reads the component until somebody writes it.
    let component = live.join("modules").join(format!("{digest}.wasm"));
    fs::remove_file(&component).unwrap();
    let (cwd, kind, mode) =
        (rustix::fs::CWD, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR);
    rustix::fs::mknodat(cwd, &component, kind, mode, 0).unwrap();
    let copying = std::thread::spawn({
        let (live, copy) = (live.clone(), copy.clone());
        move || backup(&live, &copy)
    });
    let mut writer = fs::File::options().write(true).open(&component).unwrap();
    assert!(partial.join(DATABASE).exists() && !copy.exists());
    assert!(backup(&live, &copy).unwrap_err().to_string().contains("another backup"));
    std::io::Write::write_all(&mut writer, b"component").unwrap();
    drop(writer);
    copying.join().unwrap().unwrap();
    assert!(check(&copy).unwrap().is_sound() && !partial.exists());
}

#[tokio::test]
async fn many_callers_share_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(FileStore::open(dir.path(), at(0)).unwrap());
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..500 {
        let store = store.clone();
        calls.spawn(async move { submit(&store, &[&format!("t{n}")]).await.unwrap() });
    }
    assert!(calls.join_all().await.iter().all(|answer| answer == &[Submitted::Stored]));
    assert_eq!(store.queues(&tenant(), at(0)).await.unwrap()[0].ready, 500);
    // The log of a commit each would be many times longer: at least the pages of four tables, and a frame for each.
    let log = fs::metadata(dir.path().join("lovage.db-wal")).unwrap().len();
    assert!(log < 500 * 4 * 4096 / 2, "{log} bytes");
}

#[tokio::test]
async fn a_periodic_task_that_cannot_be_read_keeps_no_other_from_being_sent() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    for name in ["good", "spoilt"] {
        store.set_periodic(crate::store::suite::periodic(name)).await.unwrap();
    }
    store.inject("UPDATE periodic SET entry = '{\"task\": 1}' WHERE name = 'spoilt'").await.unwrap();
    let all = store.periodic(None).await.unwrap();
    assert_eq!(all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["good"]);
    assert!(store.remove_periodic(&tenant(), &"spoilt".parse().unwrap()).await.unwrap());
    // A tenant that goes has none any more, readable or not.
    store.inject("UPDATE periodic SET entry = '{\"task\": 1}'").await.unwrap();
    store.drop_periodic(&tenant()).await.unwrap();
    assert!(!store.remove_periodic(&tenant(), &"good".parse().unwrap()).await.unwrap());
}

#[tokio::test]
async fn much_that_is_due_at_once_is_moved_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    let due = |n: usize| Plan::of(lovage_model::Message { eta: Some(at(5)), ..message(&format!("t{n}")) });
    for part in 0..3 {
        let plans = (0..4000).map(|n| due(part * 4000 + n)).collect();
        store.submit(&tenant(), plans, at(0), Room::UNLIMITED).await.unwrap();
    }
    let leased = store.lease(ask(1, at(6))).await.unwrap();
    assert_eq!((leased.leases.len(), leased.next_due), (1, Some(at(5))), "there is more at once");
    let counts = |views: Vec<lovage_model::api::QueueView>| (views[0].ready, views[0].scheduled, views[0].leased);
    assert_eq!(counts(store.queues(&tenant(), at(6)).await.unwrap()), (9999, 2000, 1));
    let leased = store.lease(ask(1, at(6))).await.unwrap();
    assert_eq!(leased.leases[0].message.id.as_str(), "t1");
    assert_eq!(counts(store.queues(&tenant(), at(6)).await.unwrap()), (11_998, 0, 2));
}

#[tokio::test]
async fn an_end_that_cannot_be_read_keeps_no_other_from_being_followed() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    submit(&store, &["a"]).await.unwrap();
    store
        .inject(
            "INSERT INTO ended (key, tenant, id, arrival) SELECT 1, id, 'spoilt', '{' FROM tenant;
             INSERT INTO ended (key, tenant, id, arrival) SELECT 2, id, 'gone', NULL FROM tenant;
             INSERT INTO ended (key, tenant, id, arrival) SELECT 3, id, 'good', '{\"value\":1}' FROM tenant",
        )
        .await
        .unwrap();
    let ended = store.ended(9).await.unwrap();
    let Completed::Task(Arrival::Failed { exception, .. }) = &ended[0].outcome else { panic!("{ended:?}") };
    assert_eq!(exception.exc_type, "StoreCorrupt");
    assert!(matches!(&ended[1].outcome, Completed::Join { parts, .. } if parts.is_empty()));
    assert!(matches!(&ended[2].outcome, Completed::Task(Arrival::Value(_))));
}

#[tokio::test]
async fn a_lease_reads_the_lines_that_it_takes_from_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    let queued = |n: usize| {
        let queue = format!("q{n}").parse().unwrap();
        Plan::of(lovage_model::Message { queue, priority: 9, ..message(&format!("t{n}")) })
    };
    store.submit(&tenant(), (0..2000).map(queued).collect(), at(0), Room::UNLIMITED).await.unwrap();
    assert_eq!(ids(&store.lease(ask(2, at(0))).await.unwrap().leases), ["t0", "t1"]);
    submit(&store, &["urgent"]).await.unwrap();
    let reads = async || {
        let count = |ledger: &mut Ledger| {
            let statement = ledger.db.prepare_cached(super::lease::HEAD)?;
            Ok(statement.reset_status(rusqlite::StatementStatus::Run))
        };
        store.writer.run(Need::BRIEF, count).await.unwrap()
    };
    reads().await;
    assert_eq!(ids(&store.lease(ask(2, at(0))).await.unwrap().leases), ["urgent", "t2"]);
    assert!(reads().await <= 4, "of 2,000 lines");
}

#[tokio::test]
async fn a_lease_looks_at_no_line_that_is_paused_or_not_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    let queued = |n: usize| {
        let queue = format!("q{n}").parse().unwrap();
        Plan::of(lovage_model::Message { queue, ..message(&format!("t{n}")) })
    };
    store.submit(&tenant(), (0..2001).map(queued).collect(), at(0), Room::UNLIMITED).await.unwrap();
    let pause = |n: usize, paused| {
        let (store, queue) = (&store, crate::store::suite::queue(&format!("q{n}")));
        async move { store.pause(&tenant(), &queue, paused).await.unwrap() }
    };
    assert!(join_all((0..1000).map(|n| pause(n, true))).await.into_iter().all(|it| it == Paused::Changed));
    let looked_at = async |ask: crate::store::Ask| {
        let count = move |ledger: &mut Ledger| {
            let looked = std::cell::Cell::new(0);
            for (tenant, count, lines) in ledger.book.heads.tenants() {
                let lines = lines.inspect(|_| looked.set(looked.get() + 1));
                ledger.wanted(&ask, tenant, count, lines).1.for_each(drop);
            }
            Ok(looked.get())
        };
        store.writer.run(Need::BRIEF, count).await.unwrap()
    };
    let few = || crate::store::suite::ask_of(&["q1", "q1999", "q2000", "nowhere"], 9, at(0));
    assert_eq!(ids(&store.lease(few()).await.unwrap().leases), ["t1999", "t2000"]);
    assert_eq!(looked_at(few()).await, 0, "they are found by their names");
    assert!(looked_at(ask(9, at(0))).await <= 1001, "those that are paused are passed over");
    assert_eq!(pause(1, false).await, Paused::Changed);
    assert_eq!(ids(&store.lease(few()).await.unwrap().leases), ["t1"], "it goes on");
}

#[tokio::test]
async fn a_line_that_cannot_be_read_loses_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    let of = |name: &str| Plan::of(crate::store::suite::in_queue(name, name));
    store.submit(&tenant(), ["a", "b", "c"].map(of).into(), at(0), Room::UNLIMITED).await.unwrap();
    store.inject("UPDATE ready SET priority = 1000 WHERE seq = 2").await.unwrap();
    assert!(store.lease(ask(9, at(0))).await.is_err());
    store.inject("UPDATE ready SET priority = 4 WHERE seq = 2").await.unwrap();
    assert_eq!(ids(&store.lease(ask(9, at(0))).await.unwrap().leases), ["a", "b", "c"]);
}
