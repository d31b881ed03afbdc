//! Which components were refused? Compiling one that is built to break compilers costs as much each time it is pushed, so it is done
//! once in a while. Only what lies with the component is remembered, and not for long: a machine that was busy may be less so later.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lovage_model::{Digest, Timestamp};

use super::Refusal;

/// As many are remembered, the latest.
const MOST: usize = 1024;
/// And for so long.
const KEPT: Duration = Duration::from_secs(600);

#[derive(Debug, Default)]
pub(super) struct Refused(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    of: HashMap<Digest, (Timestamp, Refusal)>,
    /// The oldest first.
    order: VecDeque<Digest>,
}

impl Refused {
    /// Why a component was refused before.
    pub(super) fn get(&self, digest: &Digest, now: Timestamp) -> Option<Refusal> {
        let book = self.book(now);
        // One that was refused again keeps its place among the others.
        let (since, refusal) = book.of.get(digest)?;
        (now.since(*since) < KEPT).then(|| refusal.clone())
    }

    /// Notes that a component was refused, unless another time it may not be.
    pub(super) fn remember(&self, digest: &Digest, refusal: &Refusal, now: Timestamp) {
        if !refusal.is_of_component() {
            return;
        }
        let mut book = self.book(now);
        if book.of.insert(digest.clone(), (now, refusal.clone())).is_none() {
            book.order.push_back(digest.clone());
        }
        if book.order.len() > MOST {
            book.forget_oldest();
        }
    }

    /// The book, without what is not remembered any more.
    fn book(&self, now: Timestamp) -> MutexGuard<'_, Book> {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while book.oldest().is_some_and(|since| now.since(since) >= KEPT) {
            book.forget_oldest();
        }
        book
    }
}

impl Book {
    fn oldest(&self) -> Option<Timestamp> {
        self.order.front().and_then(|digest| self.of.get(digest)).map(|(since, _)| *since)
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front() {
            self.of.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: usize) -> Digest {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        Digest::from_bytes(&bytes)
    }

    #[test]
    fn the_latest_are_remembered_and_what_may_pass_is_not() {
        let refusal = |code| Refusal { code, message: "why".to_owned() };
        let (refused, now) = (Refused::default(), Timestamp::from_micros(0));
        refused.remember(&digest(0), &refusal("disk_full"), now);
        refused.remember(&digest(0), &refusal("removed"), now);
        assert_eq!(refused.get(&digest(0), now), None);
        for number in 0..=MOST {
            refused.remember(&digest(number), &refusal("compile_too_long"), now);
        }
        assert_eq!(refused.get(&digest(0), now), None);
        assert_eq!(refused.get(&digest(MOST), now), Some(refusal("compile_too_long")));
        assert_eq!(refused.get(&digest(MOST), now.after(KEPT)), None);
        let book = refused.0.lock().unwrap();
        assert!(book.of.is_empty() && book.order.is_empty(), "what is old takes no room: {book:?}");
    }
}
