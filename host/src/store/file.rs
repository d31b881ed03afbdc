//! How is everything remembered on one machine's disk?
//!
//! A directory: `lovage.db` (SQLite, write-ahead log), `modules/<sha256>.wasm`, and `lock`, which the daemon that has
//! the directory open holds. One thread writes (see `writer`), others read, so that nobody who looks waits for a disk; and one
//! moves what was written from the log into the main file (see `checkpoint`).
//!
//! Invariants:
//! - The database is the truth; what the writer keeps in memory is read from it when the store is opened.
//! - A component's file is on the disk before a row names it, and goes after the last row that does.
//! - A daemon that was killed leaves nothing to repair: its leases end when the next one opens the store.
//! - Every file is for its owner only, whatever the directory is.
//!
//! Absent: more than one process that writes.

mod access;
mod backup;
mod book;
mod broker;
mod check;
mod checkpoint;
mod codec;
mod components;
mod draft;
mod fault;
mod follow;
mod groups;
mod heads;
mod joins;
mod lease;
mod ledger;
mod metering;
mod modules;
mod moves;
mod orders;
mod private;
mod reader;
mod record;
mod results;
mod schedules;
mod schema;
mod settle;
#[cfg(test)]
mod tests;
mod values;
mod waiting;
mod writer;

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use lovage_model::Timestamp;
use tokio::sync::{Mutex, Notify};

use super::{Result, Store, StoreError};
pub use backup::backup;
pub use check::{CheckReport, check};
use checkpoint::{Checkpoints, PAGES};
use components::Components;
use fault::Faults;
use ledger::{Ledger, Rung};
use reader::Readers;
use writer::{Need, Writer};

/// Name of the database in the store's directory.
const DATABASE: &str = "lovage.db";

/// Threads that read, apart from that for lists.
const READERS: usize = 2;

/// A store in a directory.
pub struct FileStore {
    writer: Writer,
    readers: Readers,
    /// For lists, which may be long: what keeps tasks moving does not wait for them.
    lists: Readers,
    /// Grows with each change of what periodic tasks there are.
    periodic_version: Arc<AtomicU64>,
    components: Components,
    /// Held while a component and its row come or go together.
    shelf: Mutex<()>,
    /// Messages may have become ready.
    bell: Arc<Notify>,
    /// Something may have ended whose followers are to be dealt with.
    ends: Arc<Notify>,
}

impl FileStore {
    /// Opens the store of a directory, which is made if it is not there. Whoever had messages when it was last open
    /// has them no more: they can be leased again. It blocks while it reads; call it before serving.
    ///
    /// Fails with [`StoreError::Busy`], [`StoreError::Newer`] or [`StoreError::Corrupt`], each with what to do.
    pub fn open(dir: &Path, now: Timestamp) -> Result<Self> {
        make_dir(dir)?;
        private::warn_of(dir);
        let lock = lock(dir)?;
        let path = dir.join(DATABASE);
        close_to_others(&path)?;
        let faults = Faults::of(&path);
        let db = schema::open_for_writing(&path, &faults, now)?;
        let components = Components::open(dir)?;
        components.sweep(&db, &faults)?;
        let mut ledger = Ledger::new(db).map_err(|error| faults.explain(&error))?;
        let (bell, ends) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let rings = (bell.clone(), ends.clone());
        let periodic_version = Arc::<AtomicU64>::default();
        let changed = Arc::clone(&periodic_version);
        let ring = move |rung: Rung| {
            if rung.ready {
                rings.0.notify_one();
            }
            if rung.ended {
                rings.1.notify_one();
            }
            if rung.periodic {
                // After the commit: who reads a version finds what it is of, or what is newer.
                changed.fetch_add(1, Ordering::Release);
            }
        };
        ring(ledger.rung());
        let checkpoints = Checkpoints::start(&path, &mut ledger.db, PAGES).map_err(|error| faults.explain(&error))?;
        let writer = Writer::start(ledger, checkpoints, faults.clone(), lock, ring);
        let writer = writer.map_err(|error| Faults::io(&path, &error))?;
        let readers = Readers::start(&path, &faults, READERS)?;
        let lists = Readers::start(&path, &faults, 1)?;
        Ok(Self { writer, readers, lists, periodic_version, components, shelf: Mutex::new(()), bell, ends })
    }
}

fn make_dir(dir: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| unusable(dir, &error))
}

/// Why there can be no store.
fn unusable(path: &Path, error: &std::io::Error) -> StoreError {
    match Faults::io(path, error) {
        StoreError::Failed(why) => {
            StoreError::Failed(format!("{why}: file: must name a directory that lovage may write to, or may make"))
        }
        full => full,
    }
}

fn lock(dir: &Path) -> Result<File> {
    let path = dir.join("lock");
    let file = private::open(&path).map_err(|error| unusable(&path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Busy(dir.display().to_string())),
        Err(TryLockError::Error(error)) => Err(Faults::io(&path, &error)),
    }
}

/// Makes the database, empty, if it is not there, so that it and what SQLite puts beside it are for their owner only.
fn close_to_others(database: &Path) -> Result<()> {
    match private::create(database) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(Faults::io(database, &error)),
        _ => {}
    }
    for beside in ["", "-wal", "-shm", "-journal"] {
        let mut name = database.as_os_str().to_owned();
        name.push(beside);
        private::keep(Path::new(&name));
    }
    Ok(())
}

/// The database of a directory that must have one.
fn database_of(dir: &Path) -> Result<PathBuf> {
    let path = dir.join(DATABASE);
    match std::fs::metadata(&path) {
        Ok(found) if found.is_file() => Ok(path),
        // Whoever may not look does not know what is there.
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Faults::io(&path, &error)),
        _ => Err(StoreError::Failed(format!("there is no store in {}: {DATABASE} is missing", dir.display()))),
    }
}

#[async_trait]
impl Store for FileStore {
    async fn healthy(&self) -> Result<()> {
        // A page is written and fsynced, as for a task.
        self.writer.run(Need::DURABLE, |ledger| ledger.run("UPDATE store SET opens = opens", [])).await
    }

    async fn close(&self) -> Result<()> {
        self.readers.close();
        self.lists.close();
        let closed = self.writer.close().await;
        self.bell.notify_one();
        self.ends.notify_one();
        closed
    }
}
