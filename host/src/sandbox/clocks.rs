//! The clocks that guests have: whole milliseconds, which is too coarse to learn from a processor's caches what another does.
//! See WASI's <https://github.com/WebAssembly/wasi-clocks>, which leaves the resolution to the host.

use std::time::{Duration, Instant};

use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtxBuilder};

use crate::clock;

const RESOLUTION: Duration = Duration::from_millis(1);

/// Gives a guest clocks of whole milliseconds.
pub(super) fn give_coarse(wasi: &mut WasiCtxBuilder) {
    wasi.wall_clock(Coarse).monotonic_clock(Since(clock::instant()));
}

struct Coarse;

/// Counts from the guest's begin: how long its host has been up is nothing to it.
struct Since(Instant);

fn coarse(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

impl HostWallClock for Coarse {
    fn resolution(&self) -> Duration {
        RESOLUTION
    }

    fn now(&self) -> Duration {
        coarse(Duration::from_micros(u64::try_from(clock::now().as_micros()).unwrap_or_default()))
    }
}

impl HostMonotonicClock for Since {
    fn resolution(&self) -> u64 {
        nanos(RESOLUTION)
    }

    fn now(&self) -> u64 {
        nanos(coarse(clock::instant().saturating_duration_since(self.0)))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_cut_to_whole_milliseconds() {
        for (time, cut) in
            [(0, 0), (999_999, 0), (1_000_000, 1), (1_999_999_999, 1999), (86_400_000_000_001, 86_400_000)]
        {
            assert_eq!(coarse(Duration::from_nanos(time)), Duration::from_millis(cut));
        }
    }
}
