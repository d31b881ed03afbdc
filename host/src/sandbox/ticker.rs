//! The clock that interrupts running guests: a thread that moves the engine's epoch on, and sleeps while none runs, however many wait.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use wasmtime::Engine;

use super::lock;

/// How long a guest runs before it is asked to yield: also how late a hard limit can be noticed.
const TICK: Duration = Duration::from_millis(2);
/// Ticks without a guest after which the thread sleeps: short runs that follow each other closely need not wake it each time.
const LINGERS: u32 = 10;

/// Moves the epoch while at least one [`Ticking`] guard is held.
pub(super) struct Ticker {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// The thread is not to sleep any more.
    wanted: Condvar,
}

#[derive(Default)]
struct State {
    /// How many guests run.
    guests: usize,
    /// Whether one has begun to since the last tick.
    began: bool,
    sleeps: bool,
    ended: bool,
}

/// Held while a guest runs.
pub(super) struct Ticking<'a>(&'a Shared);

impl Ticker {
    /// Starts the thread. It ends when the ticker is dropped.
    pub(super) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let (of_thread, engine) = (Arc::clone(&shared), engine.weak());
        std::thread::Builder::new().name("lovage-ticker".to_owned()).spawn(move || {
            let mut idle = 0;
            while of_thread.goes_on(&mut idle) {
                std::thread::sleep(TICK);
                let Some(engine) = engine.upgrade() else { return };
                engine.increment_epoch();
            }
        })?;
        Ok(Self { shared })
    }

    /// Ticks until the guard is dropped.
    pub(super) fn tick(&self) -> Ticking<'_> {
        let mut state = lock(&self.shared.state);
        state.guests += 1;
        state.began = true;
        if std::mem::take(&mut state.sleeps) {
            self.shared.wanted.notify_one();
        }
        Ticking(&self.shared)
    }

    /// How many guests run.
    #[cfg(test)]
    pub(super) fn guests(&self) -> usize {
        lock(&self.shared.state).guests
    }
}

impl Shared {
    /// Whether there is still a ticker; waits while no guest runs, and has not for so many ticks.
    fn goes_on(&self, idle: &mut u32) -> bool {
        let mut state = lock(&self.state);
        let ran = std::mem::take(&mut state.began) || state.guests > 0;
        *idle = if ran { 0 } else { *idle + 1 };
        if *idle > LINGERS {
            *idle = 0;
            state.sleeps = !state.ended;
            state = self.wanted.wait_while(state, |state| state.sleeps).unwrap_or_else(PoisonError::into_inner);
        }
        !state.ended
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        (state.ended, state.sleeps) = (true, false);
        self.shared.wanted.notify_one();
    }
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).guests -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::engine::{self, Flavour};
    use super::*;

    #[test]
    fn it_sleeps_while_no_guest_runs_and_ends_with_its_owner() {
        let engine = engine::compiler(Flavour::Epoch).unwrap();
        let ticker = Ticker::start(&engine).unwrap();
        let sleeps = || lock(&ticker.shared.state).sleeps;
        let falls_asleep = || {
            while !sleeps() {
                std::thread::yield_now();
            }
        };
        falls_asleep();
        let running = ticker.tick();
        assert!(!sleeps(), "a guest runs");
        drop(running);
        falls_asleep();
        let shared = Arc::clone(&ticker.shared);
        drop(ticker);
        while Arc::strong_count(&shared) > 1 {
            std::thread::yield_now();
        }
    }
}
