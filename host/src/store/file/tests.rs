//! What only a store on a disk can meet: crashes, other versions, broken files, full disks, copies.

mod backups;
mod broken;
mod costs;
mod migration;
mod packed;
mod waits;

use std::fs;
use std::path::Path;
use std::sync::mpsc;

use bytes::Bytes;
use lovage_model::{Digest, ModuleName, Plan, Room, State};
use rusqlite::Connection;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::store::suite::{ask, at, id, message, settlement, success, tenant};
use crate::store::{Broker, Fenced, Modules, Results, Submitted, Upload};

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
