//! What a process has to say to its daemon: gathered by all its threads, written by one, many words at a time.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::door::{self, Word};

/// What may wait to be written: then who has more to say waits, so that a guest that talks faster than its daemon listens
/// takes no memory.
const MOST_WAITING_BYTES: usize = 4 << 20;

/// The way out.
pub(super) struct Outbox(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Vec<u8>>,
    /// Something waits.
    said: Condvar,
    /// It has been taken.
    taken: Condvar,
}

impl Outbox {
    /// Starts the thread that writes. It ends with the daemon.
    pub(super) fn to(mut daemon: UnixStream) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        std::thread::Builder::new().name("lovage-outbox".to_owned()).spawn(move || {
            let mut taken = Vec::new();
            loop {
                writer.take(&mut taken);
                if daemon.write_all(&taken).is_err() {
                    // The thread that reads sees it too, and ends the process.
                    return;
                }
                taken.clear();
                taken.shrink_to(door::KEPT_BYTES);
            }
        })?;
        Ok(Self(shared))
    }

    /// Says something, when there is room for it.
    pub(super) fn say(&self, word: &Word) {
        let waiting = self.0.lock();
        let mut waiting = self
            .0
            .taken
            .wait_while(waiting, |waiting| waiting.len() > MOST_WAITING_BYTES)
            .unwrap_or_else(PoisonError::into_inner);
        let was_empty = waiting.is_empty();
        door::write(&mut waiting, word);
        if was_empty {
            self.0.said.notify_one();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something, and takes all of it in exchange for an empty buffer.
    fn take(&self, empty: &mut Vec<u8>) {
        let waiting = self.said.wait_while(self.lock(), |waiting| waiting.is_empty());
        std::mem::swap(&mut *waiting.unwrap_or_else(PoisonError::into_inner), empty);
        self.taken.notify_all();
    }
}
