//! What a process has to say to its daemon. Whoever says something writes it, as far as it is taken at once; the rest is for a
//! thread that may wait.
//!
//! No guest waits in here: it would keep a thread from all others. One that talks faster than the daemon listens is not run
//! until what was said has gone ([`Outbox::is_behind`]), so that it takes no memory.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use super::door::{self, Word};

/// What may wait before who talks does not go on.
const MOST_WAITING_BYTES: usize = 256 << 10;
/// What is written before those who wait are looked at.
const CHUNK_BYTES: usize = 64 << 10;

/// The way out.
pub(super) struct Outbox {
    daemon: UnixStream,
    waiting: Mutex<Waiting>,
    /// There is a rest to be written.
    rest: Condvar,
    /// What was said and has not gone, in bytes.
    behind: AtomicUsize,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    writer: Writer,
    resting: Vec<Waker>,
}

/// Who writes: it takes all that comes meanwhile.
#[derive(Default, PartialEq, Eq)]
enum Writer {
    #[default]
    Nobody,
    /// Whoever said something.
    Speaker,
    /// The thread that may wait.
    Thread,
}

impl Outbox {
    /// Starts its thread, which ends with the process.
    pub(super) fn to(daemon: UnixStream) -> std::io::Result<Arc<Self>> {
        let (waiting, rest, behind) = Default::default();
        let outbox = Arc::new(Self { daemon, waiting, rest, behind });
        let thread = Arc::clone(&outbox);
        std::thread::Builder::new().name("lovage-outbox".to_owned()).spawn(move || thread.write_rests())?;
        Ok(outbox)
    }

    /// Says something. Never waits.
    pub(super) fn say(&self, word: &Word) {
        let mut waiting = self.lock();
        let before = waiting.bytes.len();
        door::write(&mut waiting.bytes, word);
        self.behind.fetch_add(waiting.bytes.len() - before, Ordering::Relaxed);
        if waiting.writer != Writer::Nobody {
            return;
        }
        waiting.writer = Writer::Speaker;
        let mut bytes = Vec::new();
        while !waiting.bytes.is_empty() {
            std::mem::swap(&mut waiting.bytes, &mut bytes);
            drop(waiting);
            let gone = self.write_now(&bytes);
            waiting = self.lock();
            self.has_gone(&mut waiting, gone);
            if gone < bytes.len() {
                bytes.drain(..gone);
                bytes.append(&mut waiting.bytes);
                waiting.bytes = bytes;
                waiting.writer = Writer::Thread;
                return self.rest.notify_one();
            }
            bytes.clear();
        }
        waiting.keep(bytes);
    }

    /// Whether so much has not gone yet that who talks should rest; `waker` is woken when it has.
    pub(super) fn is_behind(&self, waker: &Waker) -> bool {
        if self.behind.load(Ordering::Relaxed) <= MOST_WAITING_BYTES {
            return false;
        }
        let mut waiting = self.lock();
        // Again, now that nobody is woken in between.
        let is_behind = self.behind.load(Ordering::Relaxed) > MOST_WAITING_BYTES;
        if is_behind && !waiting.resting.iter().any(|resting| resting.will_wake(waker)) {
            waiting.resting.push(waker.clone());
        }
        is_behind
    }

    /// Writes what is taken at once; how many bytes.
    fn write_now(&self, bytes: &[u8]) -> usize {
        let mut gone = 0;
        while gone < bytes.len() {
            match send(&self.daemon, &bytes[gone..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => gone += sent,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return gone,
                // If the daemon is gone, the thread that reads sees it too, and ends the process.
                Err(_) => return bytes.len(),
            }
        }
        gone
    }

    fn write_rests(&self) {
        let mut bytes = Vec::new();
        loop {
            let waiting = self.rest.wait_while(self.lock(), |waiting| waiting.writer != Writer::Thread);
            let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
            while !waiting.bytes.is_empty() {
                std::mem::swap(&mut waiting.bytes, &mut bytes);
                drop(waiting);
                for chunk in bytes.chunks(CHUNK_BYTES) {
                    let _ = (&self.daemon).write_all(chunk);
                    self.has_gone(&mut self.lock(), chunk.len());
                }
                bytes.clear();
                waiting = self.lock();
            }
            waiting.keep(std::mem::take(&mut bytes));
        }
    }

    fn has_gone(&self, waiting: &mut Waiting, bytes: usize) {
        let before = self.behind.fetch_sub(bytes, Ordering::Relaxed);
        if before - bytes <= MOST_WAITING_BYTES {
            waiting.resting.drain(..).for_each(Waker::wake);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// All has gone. The larger buffer stays, unless it is very large.
    fn keep(&mut self, emptied: Vec<u8>) {
        if emptied.capacity() > self.bytes.capacity() {
            self.bytes = emptied;
        }
        self.bytes.shrink_to(door::KEPT_BYTES);
        self.writer = Writer::Nobody;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::task::Wake;

    use super::super::door::LENGTH;
    use super::*;

    struct Rung(std::sync::mpsc::Sender<()>);

    impl Wake for Rung {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(());
        }
    }

    fn wrote(turn: u64) -> Word {
        Word::Wrote { turn, stderr: false, text: "x".repeat(1000) }
    }

    #[test]
    fn who_talks_faster_than_it_is_heard_never_waits_and_is_told_to_rest() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let outbox = Outbox::to(ours).unwrap();
        let (ring, rung) = std::sync::mpsc::channel();
        let waker = Waker::from(Arc::new(Rung(ring)));
        let mut said = 0;
        while !outbox.is_behind(&waker) {
            outbox.say(&wrote(said));
            said += 1;
            assert!(said < 10_000, "nobody reads");
        }
        // Who has to, says more.
        outbox.say(&wrote(said));
        assert!(outbox.is_behind(&waker) && rung.try_recv().is_err());
        for turn in 0..=said {
            let mut head = [0; LENGTH];
            theirs.read_exact(&mut head).unwrap();
            let mut frame = vec![0; door::length(head).unwrap()];
            theirs.read_exact(&mut frame).unwrap();
            let word = door::read(&frame).unwrap();
            assert!(matches!(word, Word::Wrote { turn: read, .. } if read == turn), "in order");
        }
        rung.recv().unwrap();
        assert!(!outbox.is_behind(&waker));
    }
}
