//! What a daemon orders of a process: written at once, if the door takes it, else by a task that waits for that.

use std::io::{ErrorKind, Result};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::Notify;

use super::door::{self, Order};

/// The way in.
pub(super) struct Orders {
    door: OwnedWriteHalf,
    waiting: Mutex<Waiting>,
    /// Something waits that could not be written at once.
    more: Notify,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Whether others are being written, which must come first.
    is_written: bool,
}

impl Orders {
    pub(super) fn to(door: OwnedWriteHalf) -> Self {
        Self { door, waiting: Mutex::default(), more: Notify::new() }
    }

    /// Asks for something. If the process is dead, whoever listens to it finds out.
    pub(super) fn give(&self, order: &Order) {
        let mut waiting = self.lock();
        let is_first = waiting.bytes.is_empty() && !waiting.is_written;
        door::write(&mut waiting.bytes, order);
        if is_first && let Ok(written) = self.door.try_write(&waiting.bytes) {
            waiting.bytes.drain(..written);
        }
        if !waiting.bytes.is_empty() {
            self.more.notify_one();
        }
    }

    /// Writes what could not be written at once, for ever.
    pub(super) async fn pass(&self) -> Result<()> {
        loop {
            self.more.notified().await;
            while let Some(orders) = self.take() {
                let mut left = orders.as_slice();
                while !left.is_empty() {
                    self.door.writable().await?;
                    match self.door.try_write(left) {
                        Ok(written) => left = &left[written..],
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }

    /// All that waits; none: whoever has more may write.
    fn take(&self) -> Option<Vec<u8>> {
        let mut waiting = self.lock();
        let bytes = std::mem::take(&mut waiting.bytes);
        waiting.is_written = !bytes.is_empty();
        waiting.is_written.then_some(bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
