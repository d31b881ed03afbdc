//! The clock that interrupts running guests: a thread that moves the engine's epoch on, and sleeps while nothing runs.

use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

use wasmtime::Engine;

/// How long a guest runs before it is asked to yield: also how late a hard limit can be noticed.
const TICK: Duration = Duration::from_millis(2);

/// Moves the epoch while at least one [`Ticking`] guard is held.
pub(super) struct Ticker {
    shared: Arc<Shared>,
}

struct Shared {
    /// How many guests run; none: the thread waits.
    guests: Mutex<usize>,
    started: Condvar,
}

/// Held by a running guest.
pub(super) struct Ticking<'a>(&'a Shared);

impl Ticker {
    /// Starts the thread. It ends when the ticker is dropped.
    pub(super) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { guests: Mutex::new(0), started: Condvar::new() });
        let (weak, engine) = (Arc::downgrade(&shared), engine.weak());
        std::thread::Builder::new().name("lovage-ticker".to_owned()).spawn(move || {
            while let (true, Some(engine)) = (wait_for_guests(&weak), engine.upgrade()) {
                std::thread::sleep(TICK);
                engine.increment_epoch();
            }
        })?;
        Ok(Self { shared })
    }

    /// Ticks until the guard is dropped.
    pub(super) fn tick(&self) -> Ticking<'_> {
        let mut guests = self.shared.guests.lock().unwrap_or_else(PoisonError::into_inner);
        *guests += 1;
        if *guests == 1 {
            self.shared.started.notify_one();
        }
        Ticking(&self.shared)
    }
}

/// Whether there is still a ticker; waits while no guest runs, and looks up now and then.
fn wait_for_guests(shared: &Weak<Shared>) -> bool {
    const LOOK_UP: Duration = Duration::from_secs(1);
    loop {
        let Some(shared) = shared.upgrade() else { return false };
        let guests = shared.guests.lock().unwrap_or_else(PoisonError::into_inner);
        let (guests, _) = shared
            .started
            .wait_timeout_while(guests, LOOK_UP, |guests| *guests == 0)
            .unwrap_or_else(PoisonError::into_inner);
        if *guests > 0 {
            return true;
        }
    }
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        *self.0.guests.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
    }
}
