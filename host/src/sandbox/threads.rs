//! On what do guests run? On threads of their own, as many as there are turns: code that computes must keep nothing else waiting.
//! On them is as well what waits for guests, or is waited for: where other processes run them, their words, and what they ask for.

use tokio::runtime::{Builder, Handle, Runtime};

/// How many threads of a process run guests, if it has all processors to itself.
pub fn guest_threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// A runtime for guests, and for what waits for them. They need not end for it to be dropped.
pub struct GuestRuntime(Option<Runtime>);

impl GuestRuntime {
    /// One with so many threads.
    ///
    /// # Errors
    /// There are no more threads.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        // A guest may hold a thread for a whole tick, so timers are looked at often; and what is new must ask for a turn before
        // the next one is given away.
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("lovage-guest")
            .event_interval(2)
            .global_queue_interval(1)
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// The way to it.
    pub fn handle(&self) -> &Handle {
        self.0.as_ref().expect("there until it is dropped").handle()
    }
}

impl Drop for GuestRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
