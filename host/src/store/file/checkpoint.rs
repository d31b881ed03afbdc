//! Who moves what was committed from the write-ahead log into the main file? A thread of its own: it takes tens of milliseconds of
//! the disk, for which no call is to wait.
//!
//! The log begins anew once all of it has been moved. While calls go on that never happens by itself: so when little is left, the
//! writer moves the rest, between two transactions. See <https://www.sqlite.org/wal.html#avoiding_excessively_large_wal_files>.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, Result};

/// From so many pages in the log on they are moved; 4 KiB each.
pub(super) const PAGES: i32 = 4000;
/// How often the thread moves what is there: the last time takes what came during the one before, which is little.
const PASSES: usize = 2;

/// The writer's view of it.
pub(super) struct Checkpoints {
    pages: i32,
    /// Pages in the log after the last commit.
    in_log: Arc<AtomicI32>,
    under_way: bool,
    orders: Option<Sender<()>>,
    moved: Receiver<Result<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    /// Starts the thread. `writer` moves nothing by itself from now on; it tells how much there is.
    pub(super) fn start(path: &Path, writer: &mut Connection, pages: i32) -> Result<Self> {
        let mover = Connection::open(path)?;
        mover.busy_timeout(Duration::from_secs(10))?;
        let in_log = Arc::new(AtomicI32::new(0));
        let told = Arc::clone(&in_log);
        writer.wal_hook(Some(move |_: &mut _, pages| {
            told.store(pages, Ordering::Relaxed);
            Ok(())
        }))?;
        let (orders, inbox) = channel::<()>();
        let (tell, moved) = channel();
        let thread = std::thread::Builder::new().name("store-checkpoint".to_owned()).spawn(move || {
            for () in inbox {
                let passes = (0..PASSES).try_for_each(|_| move_all(&mover));
                if tell.send(passes).is_err() {
                    return;
                }
            }
        });
        // Without it the writer moves all, as SQLite would by itself.
        let thread = thread.inspect_err(|error| tracing::warn!(%error, "checkpoints have no thread of their own")).ok();
        Ok(Self { pages, in_log, under_way: false, orders: Some(orders), moved, thread })
    }

    /// After a transaction: has the log moved if there is much in it. Fails as the disk does, also if it did so in the thread.
    pub(super) fn look(&mut self, writer: &Connection) -> Result<()> {
        if self.under_way {
            match self.moved.try_recv() {
                Err(TryRecvError::Empty) => return Ok(()),
                Ok(moved) => {
                    self.under_way = false;
                    return moved.and_then(|()| move_all(writer));
                }
                // It will never answer, and take no order.
                Err(TryRecvError::Disconnected) => {}
            }
        }
        if self.in_log.load(Ordering::Relaxed) < self.pages {
            return Ok(());
        }
        self.under_way = self.orders.as_ref().is_some_and(|orders| orders.send(()).is_ok());
        if self.under_way { Ok(()) } else { move_all(writer) }
    }
}

impl Drop for Checkpoints {
    /// Waits for the thread: the database is closed then.
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Moves all that nobody reads any more, without waiting for anybody.
fn move_all(db: &Connection) -> Result<()> {
    db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn the_log_begins_anew_while_it_is_written() {
        const PAGES: i32 = 50;
        const TIMES: usize = 5;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let mut writer = Connection::open(&path).unwrap();
        writer.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x)").unwrap();
        let mut checkpoints = Checkpoints::start(&path, &mut writer, PAGES).unwrap();
        let (mut before, mut anew, mut rows, begun) = (0, 0, 0_i64, Instant::now());
        while anew < TIMES {
            assert!(begun.elapsed() < Duration::from_secs(60), "the log only grows: {before} pages");
            writer.execute("INSERT INTO t VALUES (zeroblob(5000))", []).unwrap();
            rows += 1;
            let now = checkpoints.in_log.load(Ordering::Relaxed);
            if now < before {
                assert!(before >= PAGES, "little is left where it is");
                anew += 1;
            }
            before = now;
            checkpoints.look(&writer).unwrap();
        }
        drop(checkpoints);
        let there: i64 = writer.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(there, rows);
    }

    #[test]
    fn what_failed_in_the_thread_is_told_to_the_writer() {
        let db = Connection::open_in_memory().unwrap();
        let (tell, moved) = channel();
        let in_log = Arc::default();
        let mut checkpoints = Checkpoints { pages: 1, in_log, under_way: true, orders: None, moved, thread: None };
        checkpoints.look(&db).unwrap();
        tell.send(Err(rusqlite::Error::QueryReturnedNoRows)).unwrap();
        assert!(checkpoints.look(&db).is_err());
        checkpoints.look(&db).unwrap();
        // With nobody to do it, the writer does.
        checkpoints.in_log.store(1, Ordering::Relaxed);
        checkpoints.look(&db).unwrap();
        assert!(!checkpoints.under_way);
    }
}
