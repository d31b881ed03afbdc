//! What a process has to say to its daemon: written by whoever says it or, while another thread writes, by that one.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::door::{self, Word};

/// What may wait to be written: then who has more to say waits, so that a guest that talks faster than its daemon listens
/// takes no memory.
const MOST_WAITING_BYTES: usize = 4 << 20;

/// The way out.
pub(super) struct Outbox {
    daemon: UnixStream,
    waiting: Mutex<Waiting>,
    /// Some of it has been taken.
    taken: Condvar,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Whether a thread writes, which takes all that comes meanwhile.
    is_written: bool,
}

impl Outbox {
    pub(super) fn to(daemon: UnixStream) -> Self {
        Self { daemon, waiting: Mutex::default(), taken: Condvar::new() }
    }

    /// Says something, when there is room for it.
    pub(super) fn say(&self, word: &Word) {
        let is_full = |waiting: &mut Waiting| waiting.bytes.len() > MOST_WAITING_BYTES;
        let waiting = self.taken.wait_while(self.lock(), is_full);
        let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        door::write(&mut waiting.bytes, word);
        if std::mem::replace(&mut waiting.is_written, true) {
            return;
        }
        let mut bytes = Vec::new();
        while !waiting.bytes.is_empty() {
            std::mem::swap(&mut waiting.bytes, &mut bytes);
            drop(waiting);
            self.taken.notify_all();
            // If the daemon is gone, the thread that reads sees it too, and ends the process.
            let _ = (&self.daemon).write_all(&bytes);
            bytes.clear();
            waiting = self.lock();
        }
        // The larger buffer stays, unless it is very large.
        if bytes.capacity() > waiting.bytes.capacity() {
            waiting.bytes = bytes;
        }
        waiting.bytes.shrink_to(door::KEPT_BYTES);
        waiting.is_written = false;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
