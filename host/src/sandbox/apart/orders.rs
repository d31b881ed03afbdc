//! What a daemon orders of a process: written at once, if the door takes it, else by a task that waits for that.

use std::io::{ErrorKind, Result};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::Notify;

use super::door::{self, Order};
use crate::clock;

/// Answers that a process may leave unread for [`STUCK`], in bytes. All that one attempt waits for, the largest that there are, are as
/// much; a process reads them as they come, unless it is loading a component just then.
const MOST_UNREAD_BYTES: usize = 256 << 20;
/// And at any time.
const MOST_EVER_BYTES: usize = 4 * MOST_UNREAD_BYTES;
/// Longer than it may take to load a component.
const STUCK: Duration = Duration::from_secs(90);

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
    /// How much of it is answers.
    answers: usize,
    /// How much is answers of what is being written.
    answers_before: usize,
    /// Whether others are being written, which must come first.
    is_written: bool,
    /// When something was read last, or began to wait.
    moved: Option<Instant>,
}

impl Orders {
    pub(super) fn to(door: OwnedWriteHalf) -> Self {
        Self { door, waiting: Mutex::default(), more: Notify::new() }
    }

    /// Asks for something. If the process is dead, whoever listens to it finds out.
    pub(super) fn give(&self, order: &Order) {
        self.put(&mut self.lock(), order);
    }

    /// Answers something. False: it is not, since the process asks, and does not read what is answered.
    pub(super) fn answer(&self, order: &Order) -> bool {
        let mut waiting = self.lock();
        let unread = waiting.answers + waiting.answers_before;
        let is_stuck = || waiting.moved.is_some_and(|moved| clock::instant().saturating_duration_since(moved) > STUCK);
        if unread > MOST_EVER_BYTES || unread > MOST_UNREAD_BYTES && is_stuck() {
            return false;
        }
        let before = waiting.bytes.len();
        self.put(&mut waiting, order);
        let more = waiting.bytes.len().saturating_sub(before);
        waiting.answers += more;
        true
    }

    fn put(&self, waiting: &mut Waiting, order: &Order) {
        let is_first = waiting.bytes.is_empty() && !waiting.is_written;
        door::write(&mut waiting.bytes, order);
        if is_first && let Ok(written) = self.door.try_write(&waiting.bytes) {
            waiting.bytes.drain(..written);
        }
        if !waiting.bytes.is_empty() {
            if is_first {
                waiting.moved = Some(clock::instant());
            }
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
                        Ok(written) => {
                            left = &left[written..];
                            self.wrote(written);
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }

    fn wrote(&self, bytes: usize) {
        let mut waiting = self.lock();
        waiting.answers_before = waiting.answers_before.saturating_sub(bytes);
        waiting.moved = Some(clock::instant());
    }

    /// All that waits; none: whoever has more may write.
    fn take(&self) -> Option<Vec<u8>> {
        let mut waiting = self.lock();
        let bytes = std::mem::take(&mut waiting.bytes);
        waiting.answers_before = std::mem::take(&mut waiting.answers);
        waiting.is_written = !bytes.is_empty();
        waiting.is_written.then_some(bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::net::UnixStream;

    use super::*;
    use crate::attempt::Answer;

    #[tokio::test]
    async fn who_asks_and_does_not_read_is_not_answered_for_ever() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (_, door) = ours.into_split();
        let orders = Arc::new(Orders::to(door));
        let answer = |bytes: usize| {
            let answer = Answer::Secret(Ok(Some("x".repeat(bytes))));
            orders.answer(&Order::Answer { turn: 1, number: 1, answer })
        };
        assert!(answer(4 << 20) && orders.lock().answers > 1 << 20);
        orders.lock().answers = MOST_UNREAD_BYTES + 1;
        assert!(answer(1), "it may be loading something");
        let before = orders.lock().bytes.len();
        orders.lock().moved = clock::instant().checked_sub(2 * STUCK);
        assert!(!answer(1) && orders.lock().bytes.len() == before);
        orders.lock().moved = Some(clock::instant());
        orders.lock().answers = MOST_EVER_BYTES + 1;
        assert!(!answer(1) && orders.lock().bytes.len() == before);
        let passing = Arc::clone(&orders);
        tokio::spawn(async move { passing.pass().await });
        tokio::spawn(async move { tokio::io::copy(&mut theirs, &mut tokio::io::sink()).await });
        let answered = async {
            while !answer(1) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), answered).await.expect("it has read them");
    }
}
