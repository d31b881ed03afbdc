//! On what do guests run? On threads of their own, as many as there are turns: code that computes must keep nothing else waiting.

use tokio::runtime::{Builder, Runtime};

/// How many threads of a process run guests, if it has all processors to itself.
pub fn guest_threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// A runtime for guests.
///
/// # Errors
/// There are no more threads.
pub fn guest_runtime(threads: usize) -> std::io::Result<Runtime> {
    // A guest may hold a thread for a whole tick, so timers are looked at often; and what is new must ask for a turn before
    // the next one is given away.
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("lovage-guest")
        .event_interval(2)
        .global_queue_interval(1)
        .enable_all()
        .build()
}
