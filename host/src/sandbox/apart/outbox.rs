//! What a process has to say to its daemon. Whoever says something writes it, as far as it is taken at once; the rest is for a
//! thread that may wait.
//!
//! What waits, waits in a line for each tenant, and next is what the tenant says that has said least, in bytes and by weight: large
//! results of one are nothing for another to stand behind. What concerns no tenant goes before all of them.
//!
//! No guest waits in here: it would keep a thread from all others. One that talks faster than the daemon listens is not run
//! until what was said for its tenant has gone ([`Outbox::is_behind`]), so that it takes no memory.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use lovage_model::TenantId;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use super::door::{self, Word};
use crate::fair::Fair;

/// What may wait of one tenant's before who talks does not go on.
const MOST_WAITING_BYTES: usize = 256 << 10;
/// What is written together, unless a frame is longer.
const BATCH_BYTES: usize = 64 << 10;

/// The way out.
pub(super) struct Outbox {
    daemon: UnixStream,
    waiting: Mutex<Waiting>,
    /// There is a rest to be written.
    rest: Condvar,
    /// What was said and has not gone, in bytes.
    behind: AtomicUsize,
}

/// Whose attempt says something, and what its tenant's share is.
#[derive(Debug, Clone)]
pub(super) struct Whose {
    pub(super) tenant: TenantId,
    pub(super) weight: u32,
}

#[derive(Default)]
struct Waiting {
    /// What goes next: the rest of a frame, perhaps, then whole ones.
    next: Batch,
    /// Frames; nothing, if nobody writes.
    lines: Fair<Frame>,
    writer: Writer,
    /// What each tenant has said that has not gone, in bytes.
    behind: HashMap<TenantId, usize>,
    resting: Vec<(TenantId, Waker)>,
}

/// What is written together, and how much of it each tenant has said.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    of: Vec<(TenantId, usize)>,
}

/// One, or several that are said together.
struct Frame {
    bytes: Vec<u8>,
    weight: u32,
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

    /// Says something, for an attempt or for none. Never waits.
    pub(super) fn say(&self, whose: Option<&Whose>, word: &Word) {
        let mut frame = Vec::new();
        door::write(&mut frame, word);
        self.pass(whose, frame);
    }

    /// Says what was written before: whole words. Never waits.
    pub(super) fn pass(&self, whose: Option<&Whose>, words: Vec<u8>) {
        self.behind.fetch_add(words.len(), Ordering::Relaxed);
        let mut waiting = self.lock();
        waiting.line_up(whose, words);
        if waiting.writer != Writer::Nobody {
            return;
        }
        waiting.writer = Writer::Speaker;
        while let Some(mut batch) = waiting.take() {
            drop(waiting);
            let gone = self.write_now(&batch.bytes);
            waiting = self.lock();
            if gone < batch.bytes.len() {
                self.behind.fetch_sub(gone, Ordering::Relaxed);
                batch.bytes.drain(..gone);
                waiting.put_first(batch);
                waiting.writer = Writer::Thread;
                return self.rest.notify_one();
            }
            self.has_gone(&mut waiting, &batch);
        }
        waiting.writer = Writer::Nobody;
    }

    /// Whether so much of a tenant's has not gone yet that who talks should rest; `waker` is woken when it has.
    pub(super) fn is_behind(&self, whose: &Whose, waker: &Waker) -> bool {
        if self.behind.load(Ordering::Relaxed) <= MOST_WAITING_BYTES {
            return false;
        }
        let mut waiting = self.lock();
        let is_behind = waiting.is_behind(&whose.tenant);
        if is_behind && !waiting.resting.iter().any(|(_, resting)| resting.will_wake(waker)) {
            waiting.resting.push((whose.tenant.clone(), waker.clone()));
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
        loop {
            let waiting = self.rest.wait_while(self.lock(), |waiting| waiting.writer != Writer::Thread);
            let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
            while let Some(batch) = waiting.take() {
                drop(waiting);
                let _ = (&self.daemon).write_all(&batch.bytes);
                waiting = self.lock();
                self.has_gone(&mut waiting, &batch);
            }
            waiting.writer = Writer::Nobody;
        }
    }

    /// Notes that all that is left of a batch has gone, and wakes those who may talk again.
    fn has_gone(&self, waiting: &mut Waiting, batch: &Batch) {
        self.behind.fetch_sub(batch.bytes.len(), Ordering::Relaxed);
        for (tenant, bytes) in &batch.of {
            if let Some(behind) = waiting.behind.get_mut(tenant) {
                *behind -= *bytes;
                if *behind == 0 {
                    waiting.behind.remove(tenant);
                }
            }
        }
        let resting = std::mem::take(&mut waiting.resting);
        let (rest, wake): (Vec<_>, _) = resting.into_iter().partition(|(tenant, _)| waiting.is_behind(tenant));
        waiting.resting = rest;
        wake.into_iter().for_each(|(_, waker)| waker.wake());
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn line_up(&mut self, whose: Option<&Whose>, frame: Vec<u8>) {
        let Some(Whose { tenant, weight }) = whose else { return self.next.bytes.extend(frame) };
        *self.behind.entry(tenant.clone()).or_default() += frame.len();
        self.lines.push(tenant, Frame { bytes: frame, weight: *weight });
    }

    /// What is to be written next; none: all has gone.
    fn take(&mut self) -> Option<Batch> {
        let mut batch = std::mem::take(&mut self.next);
        while batch.bytes.len() < BATCH_BYTES {
            let Some((tenant, Frame { bytes, weight })) = self.lines.pop() else { break };
            self.lines.charge(&tenant, bytes.len() as u64 / u64::from(weight.max(1)));
            batch.of.push((tenant, bytes.len()));
            if batch.bytes.is_empty() {
                batch.bytes = bytes;
            } else {
                batch.bytes.extend(bytes);
            }
        }
        (!batch.bytes.is_empty()).then_some(batch)
    }

    /// Puts the rest of what was begun before all else.
    fn put_first(&mut self, mut rest: Batch) {
        rest.bytes.append(&mut self.next.bytes);
        rest.of.append(&mut self.next.of);
        self.next = rest;
    }

    fn is_behind(&self, tenant: &TenantId) -> bool {
        self.behind.get(tenant).is_some_and(|behind| *behind > MOST_WAITING_BYTES)
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

    fn wrote(turn: u64, bytes: usize) -> Word {
        Word::Wrote { turn, stderr: false, text: "x".repeat(bytes) }
    }

    fn whose(tenant: &str) -> Whose {
        Whose { tenant: tenant.parse().unwrap(), weight: 1 }
    }

    /// The turn of the next word.
    fn heard(theirs: &mut UnixStream) -> Option<u64> {
        let mut head = [0; LENGTH];
        theirs.read_exact(&mut head).unwrap();
        let mut frame = vec![0; door::length(head).unwrap()];
        theirs.read_exact(&mut frame).unwrap();
        match door::read(&frame).unwrap() {
            Word::Wrote { turn, .. } => Some(turn),
            _ => None,
        }
    }

    #[test]
    fn who_talks_faster_than_it_is_heard_never_waits_and_is_told_to_rest() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (outbox, own, other) = (Outbox::to(ours).unwrap(), whose("own"), whose("other"));
        let (ring, rung) = std::sync::mpsc::channel();
        let waker = Waker::from(Arc::new(Rung(ring)));
        let mut said = 0;
        while !outbox.is_behind(&own, &waker) {
            outbox.say(Some(&own), &wrote(said, 1000));
            said += 1;
            assert!(said < 10_000, "nobody reads");
        }
        // Who has to, says more.
        outbox.say(Some(&own), &wrote(said, 1000));
        assert!(!outbox.is_behind(&other, &waker), "another tenant has said nothing");
        assert!(outbox.is_behind(&own, &waker) && rung.try_recv().is_err());
        for turn in 0..=said {
            assert_eq!(heard(&mut theirs), Some(turn), "in order");
        }
        rung.recv().unwrap();
        assert!(!outbox.is_behind(&own, &waker));
    }

    #[test]
    fn large_words_of_one_tenant_are_no_line_for_another_to_stand_in() {
        const LARGE: u64 = 50;
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (outbox, large, small) = (Outbox::to(ours).unwrap(), whose("large"), whose("small"));
        for turn in 0..LARGE {
            outbox.say(Some(&large), &wrote(turn, 1_000_000));
        }
        outbox.say(Some(&small), &wrote(LARGE, 10));
        outbox.say(None, &Word::Unask { turn: 0, number: 0 });
        let order: Vec<_> = (0..LARGE + 2).map(|_| heard(&mut theirs)).collect();
        let place = |turn| order.iter().position(|heard| *heard == turn).unwrap();
        // One is on its way, and perhaps one more that was begun.
        assert!(place(Some(LARGE)) <= 3 && place(None) <= 3, "{order:?}");
        let larges: Vec<_> = order.into_iter().flatten().filter(|turn| *turn < LARGE).collect();
        assert!(larges.is_sorted() && larges.len() == LARGE as usize);
    }
}
