//! Whose guest runs next on the threads of this process?
//!
//! A guest runs in short pieces: until it waits for something, or for a tick at the most. Each piece takes a turn, and there are as
//! many turns as threads. Where more want one, the next goes to the tenant that has used least. So one that keeps many guests
//! busy takes no more of the processors than another with a single one, and that one does not stand behind all of them. A tenant
//! that used less than its share has saved a little ([`CREDIT`]): short tasks of one that has few run to their end at once,
//! instead of a piece for each of the other's.
//!
//! A guest that ran for a tick and wants to go on stands in line from then on, not only when the runtime comes back to it: the
//! runtime's own queue knows no tenants.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use lovage_model::TenantId;

use super::lock;
use super::ticker::{Ticker, Ticking};
use crate::attempt::Progress;
use crate::fair::Fair;

/// How much a tenant may have saved: about the time of a few short tasks, and the longest that all others wait for it.
const CREDIT: Duration = Duration::from_millis(20);

/// The turns of one process.
pub(super) struct Turns(Mutex<Table>);

struct Table {
    free: usize,
    /// Nobody waits while one is free.
    waiting: Fair<Arc<Place>>,
}

/// Where a guest is, between its runtime and the line. As a waker it is what the guest is woken by.
struct Place {
    state: AtomicU8,
    /// Of the runtime.
    waker: Mutex<Waker>,
}

/// It waits for something else than a turn.
const AWAY: u8 = 0;
/// It stands in line.
const ASKED: u8 = 1;
/// It has the next turn, and has been woken for it.
const GRANTED: u8 = 2;
/// It has a turn.
const RUNS: u8 = 3;
/// It has a turn, and wants another.
const RUNS_ON: u8 = 4;
/// It will never take one again.
const GONE: u8 = 5;

impl Place {
    fn turn(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Wake for Place {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Who stands in line is polled anyway, when it has its turn.
        if !self.turn(RUNS, RUNS_ON) && self.state.load(Ordering::Acquire) == AWAY {
            lock(&self.waker).wake_by_ref();
        }
    }
}

impl Turns {
    pub(super) fn new(threads: usize) -> Self {
        Self(Mutex::new(Table { free: threads, waiting: Fair::with_credit(nanos(CREDIT)) }))
    }

    /// A tenant has used so much of a processor outside of its turns.
    pub(super) fn charge(&self, tenant: &TenantId, weight: u32, spent: Duration) {
        lock(&self.0).charge(tenant, weight, spent);
    }
}

impl Table {
    fn charge(&mut self, tenant: &TenantId, weight: u32, spent: Duration) {
        self.waiting.charge(tenant, nanos(spent) / u64::from(weight.max(1)));
    }

    /// A turn is over: the next has it.
    fn pass_on(&mut self) {
        while let Some((_, next)) = self.waiting.pop() {
            if next.turn(ASKED, GRANTED) {
                return lock(&next.waker).wake_by_ref();
            }
        }
        self.free += 1;
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Who takes turns for one attempt.
pub(super) struct Taker<'a> {
    turns: &'a Turns,
    tenant: TenantId,
    weight: u32,
    progress: Arc<dyn Progress>,
    place: Arc<Place>,
    waker: Waker,
    ticker: Option<&'a Ticker>,
}

impl<'a> Taker<'a> {
    pub(super) fn new(turns: &'a Turns, tenant: TenantId, weight: u32, progress: Arc<dyn Progress>) -> Self {
        let place = Arc::new(Place { state: AtomicU8::new(AWAY), waker: Mutex::new(Waker::noop().clone()) });
        let waker = Waker::from(Arc::clone(&place));
        Self { turns, tenant, weight, progress, place, waker, ticker: None }
    }

    /// With what interrupts the guest while it runs.
    pub(super) fn interrupted_by(mut self, ticker: Option<&'a Ticker>) -> Self {
        self.ticker = ticker;
        self
    }

    /// Has it interrupted from now on, until this is dropped.
    pub(super) fn ticking(&self) -> Option<Ticking<'a>> {
        self.ticker.map(Ticker::tick)
    }

    /// Takes a turn, or waits for one, and for what it told to be heard. Who has taken it gives it [back](Self::give_back),
    /// and is woken only by [its waker](Self::waker).
    pub(super) fn take(&mut self, cx: &Context<'_>) -> Poll<()> {
        let taken = self.take_turn(cx);
        if taken.is_ready() && self.progress.is_behind(cx.waker()) {
            self.give_back(Duration::ZERO);
            return Poll::Pending;
        }
        taken
    }

    fn take_turn(&self, cx: &Context<'_>) -> Poll<()> {
        // The waker first: what happens from here on wakes the new one.
        lock(&self.place.waker).clone_from(cx.waker());
        if self.place.turn(GRANTED, RUNS) {
            return Poll::Ready(());
        }
        let mut table = lock(&self.turns.0);
        if self.place.state.load(Ordering::Acquire) == AWAY {
            if table.free > 0 {
                table.free -= 1;
                table.waiting.served(&self.tenant);
                self.place.state.store(RUNS, Ordering::Release);
                return Poll::Ready(());
            }
            self.place.state.store(ASKED, Ordering::Release);
            table.waiting.push(&self.tenant, Arc::clone(&self.place));
        }
        // Granted meanwhile: it was woken for that.
        Poll::Pending
    }

    /// What wakes the guest.
    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// The turn is over, and took so much of a processor. What was told in it is heard now.
    pub(super) fn give_back(&mut self, spent: Duration) {
        self.progress.flush();
        let mut table = lock(&self.turns.0);
        table.charge(&self.tenant, self.weight, spent);
        if !self.place.turn(RUNS, AWAY) {
            self.place.state.store(ASKED, Ordering::Release);
            table.waiting.push(&self.tenant, Arc::clone(&self.place));
        }
        table.pass_on();
    }
}

impl Drop for Taker<'_> {
    fn drop(&mut self) {
        // It has a turn still if its guest panicked.
        if [GRANTED, RUNS, RUNS_ON].contains(&self.place.state.swap(GONE, Ordering::AcqRel)) {
            lock(&self.turns.0).pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use lovage_model::{Json, LogRecord};

    use super::*;

    /// One whose words are not heard.
    struct Unheard;

    impl Progress for Unheard {
        fn state(&self, _: &str, _: Json) {}
        fn wrote(&self, _: &'static str, _: &[u8]) {}
        fn logged(&self, _: &LogRecord) {}
        fn event(&self, _: &str, _: Json) {}
        fn is_behind(&self, _: &Waker) -> bool {
            true
        }
    }

    /// One that counts how often its words go out.
    #[derive(Default)]
    struct Flushed(AtomicUsize);

    impl Progress for Flushed {
        fn state(&self, _: &str, _: Json) {}
        fn wrote(&self, _: &'static str, _: &[u8]) {}
        fn logged(&self, _: &LogRecord) {}
        fn event(&self, _: &str, _: Json) {}
        fn flush(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn taker<'a>(turns: &'a Turns, tenant: &str) -> Taker<'a> {
        Taker::new(turns, TenantId::new(tenant).unwrap(), 1, Arc::new(()))
    }

    fn takes(taker: &mut Taker<'_>) -> bool {
        taker.take(&Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn what_is_told_in_a_turn_goes_out_with_its_end() {
        let (turns, flushed) = (Turns::new(1), Arc::<Flushed>::default());
        let progress = Arc::clone(&flushed) as Arc<dyn Progress>;
        let mut talker = Taker::new(&turns, TenantId::new("talker").unwrap(), 1, progress);
        for turn in 1..4 {
            assert!(takes(&mut talker));
            talker.give_back(Duration::from_millis(1));
            assert_eq!(flushed.0.load(Ordering::Relaxed), turn);
        }
    }

    #[test]
    fn one_of_many_does_not_stand_behind_them() {
        let turns = Turns::new(1);
        let mut many: Vec<_> = (0..10).map(|_| taker(&turns, "many")).collect();
        let mut one = taker(&turns, "one");
        assert!(takes(&mut many[0]));
        assert!(many[1..].iter_mut().all(|taker| !takes(taker)) && !takes(&mut one));
        many[0].give_back(Duration::from_millis(1));
        assert!(!takes(&mut many[1]) && takes(&mut one));
        // It goes on while it has used less.
        one.give_back(Duration::from_micros(100));
        let next = many[1..].iter_mut().position(takes).expect("the turn went on");
        assert!(!takes(&mut one));
        many[1..][next].give_back(Duration::from_millis(1));
        assert!(takes(&mut one));
    }

    #[test]
    fn who_had_the_processors_for_itself_owes_nothing_to_who_comes_then() {
        let turns = Turns::new(1);
        let [mut alone, mut new] = ["alone", "new"].map(|tenant| taker(&turns, tenant));
        for _ in 0..100 {
            assert!(takes(&mut alone));
            alone.give_back(Duration::from_secs(10));
        }
        assert!(takes(&mut new) && !takes(&mut alone));
        // It goes on as far as the other is ahead by its last turn, and by its credit.
        for (spent, goes_on) in [(Duration::from_secs(10), true), (2 * CREDIT, false)] {
            new.waker().wake_by_ref();
            new.give_back(spent);
            assert_eq!((takes(&mut new), takes(&mut alone)), (goes_on, !goes_on));
        }
    }

    #[test]
    fn a_turn_is_not_lost_with_who_had_asked_for_it() {
        let turns = Turns::new(1);
        let [mut first, mut second, mut third] = ["a", "b", "c"].map(|tenant| taker(&turns, tenant));
        assert!(takes(&mut first) && !takes(&mut second) && !takes(&mut third));
        first.give_back(Duration::ZERO);
        drop(second);
        drop(first);
        assert!(takes(&mut third), "it was granted to one that is gone");
        let mut fourth = taker(&turns, "d");
        assert!(!takes(&mut fourth));
        drop(fourth);
        third.give_back(Duration::ZERO);
        assert_eq!(lock(&turns.0).free, 1);
    }

    #[test]
    fn who_runs_on_stands_in_line_at_once() {
        let turns = Turns::new(1);
        let [mut busy, mut other, mut one] = ["many", "many", "one"].map(|tenant| taker(&turns, tenant));
        assert!(takes(&mut busy) && !takes(&mut other) && !takes(&mut one));
        busy.waker().wake_by_ref();
        busy.give_back(Duration::from_millis(1));
        assert!(!takes(&mut busy) && takes(&mut one));
        // It waits for something: no turn is kept for it.
        one.give_back(Duration::from_micros(1));
        assert!(takes(&mut other) && !takes(&mut busy) && !takes(&mut one));
        other.give_back(Duration::from_millis(1));
        assert!(takes(&mut one));
        one.give_back(Duration::from_micros(1));
        assert!(takes(&mut busy), "it was in line before");
        busy.give_back(Duration::ZERO);
        assert_eq!(lock(&turns.0).free, 1);
    }

    #[test]
    fn who_is_not_heard_keeps_nobody_from_the_threads() {
        let turns = Turns::new(1);
        let mut talker = Taker::new(&turns, TenantId::new("talker").unwrap(), 1, Arc::new(Unheard));
        assert!(!takes(&mut talker));
        let mut other = taker(&turns, "other");
        assert!(takes(&mut other) && !takes(&mut talker));
        other.give_back(Duration::ZERO);
        assert!(!takes(&mut talker) && takes(&mut other));
    }
}
