//! The polls of one guest: each takes a turn, and the processor time of all is added up.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use rustix::time::{ClockId, clock_gettime};

use super::turns::Taker;

pin_project! {
    /// A future that takes turns with others, and adds up the processor time of its polls.
    pub(super) struct Metered<'a, F> {
        #[pin]
        inner: F,
        spent: &'a mut Duration,
        taker: Taker<'a>,
        waits: bool,
    }
}

impl<'a, F: Future> Metered<'a, F> {
    pub(super) fn new(inner: F, spent: &'a mut Duration, taker: Taker<'a>) -> Self {
        Self { inner, spent, taker, waits: true }
    }

    /// From now on it waits for no turn: it has nothing to do but to end.
    pub(super) fn waits_no_more(self: Pin<&mut Self>) {
        *self.project().waits = false;
    }
}

impl<F: Future> Future for Metered<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if !*this.waits {
            let _ticking = this.taker.ticking();
            let (result, spent) = timed(this.inner, cx);
            **this.spent += spent;
            return result;
        }
        if this.taker.take(cx).is_pending() {
            return Poll::Pending;
        }
        // No longer than the guest runs: while it waits nothing has to tick.
        let ticking = this.taker.ticking();
        let (result, spent) = timed(this.inner, &mut Context::from_waker(this.taker.waker()));
        drop(ticking);
        **this.spent += spent;
        this.taker.give_back(spent);
        result
    }
}

fn timed<F: Future>(future: Pin<&mut F>, cx: &mut Context<'_>) -> (Poll<F::Output>, Duration) {
    let before = thread_time();
    let result = future.poll(cx);
    (result, thread_time().saturating_sub(before))
}

/// The processor time of this thread.
pub(super) fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;
    use lovage_model::TenantId;

    use super::super::engine::{self, Flavour};
    use super::super::ticker::Ticker;
    use super::super::turns::Turns;
    use super::*;

    #[test]
    fn nothing_ticks_while_a_guest_waits() {
        let engine = engine::compiler(Flavour::Epoch).unwrap();
        let (ticker, turns, mut spent) = (Ticker::start(&engine).unwrap(), Turns::new(1), Duration::ZERO);
        let taker = Taker::new(&turns, TenantId::default(), 1, Arc::new(())).interrupted_by(Some(&ticker));
        let waits = std::future::poll_fn(|_| {
            assert_eq!(ticker.guests(), 1, "it runs");
            Poll::<()>::Pending
        });
        let mut metered = std::pin::pin!(Metered::new(waits, &mut spent, taker));
        assert!(metered.as_mut().now_or_never().is_none());
        assert_eq!(ticker.guests(), 0, "it waits");
        metered.as_mut().waits_no_more();
        assert!(metered.now_or_never().is_none());
        assert_eq!(ticker.guests(), 0);
    }
}
