//! Copies of a whole store.

use lovage_model::TenantId;

use super::*;
use crate::store::suite::failure;

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
