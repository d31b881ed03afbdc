//! Processor time of one future: what the threads that polled it spent in it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use rustix::time::{ClockId, clock_gettime};

pin_project! {
    /// A future that adds up the processor time of its polls.
    pub(super) struct Metered<'a, F> {
        #[pin]
        inner: F,
        spent: &'a mut Duration,
    }
}

impl<'a, F: Future> Metered<'a, F> {
    pub(super) fn new(inner: F, spent: &'a mut Duration) -> Self {
        Self { inner, spent }
    }
}

impl<F: Future> Future for Metered<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let before = thread_time();
        let result = this.inner.poll(cx);
        **this.spent += thread_time().saturating_sub(before);
        result
    }
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}
