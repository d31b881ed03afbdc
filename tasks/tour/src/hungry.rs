//! Tasks that meet the walls of the sandbox.

use std::hint::black_box;

use lovage_guest::prelude::*;

/// Panics.
#[task]
pub fn crash() {
    panic!("this task was told to crash");
}

/// Takes that many mebibytes of memory and touches all of it; returns how many bytes that were.
#[task]
pub fn greedy(mib: usize) -> usize {
    let hoard: Vec<Vec<u8>> = (0..mib).map(|_| black_box(vec![1; 1 << 20])).collect();
    hoard.iter().map(Vec::len).sum()
}

/// Counts for ever and never looks at a clock: the soft limit passes unseen, the hard one ends it.
#[task(soft_time_limit = 1.0, time_limit = 2.0)]
pub fn stubborn() -> u64 {
    let mut count = 0_u64;
    loop {
        count = black_box(count.wrapping_add(1));
    }
}

#[cfg(test)]
mod tests {
    use lovage_guest::testing::FakeHost;

    use super::*;

    #[test]
    #[should_panic(expected = "told to crash")]
    fn crash_panics() {
        let _ = FakeHost::new().run::<crash>(());
    }

    #[test]
    fn greedy_takes_what_it_is_told() {
        assert_eq!(FakeHost::new().run::<greedy>((3,)).value::<usize>(), 3 << 20);
    }

    #[test]
    fn stubborn_declares_its_limits() {
        let options = stubborn::DEFINITION.options;
        assert_eq!((options.soft_time_limit, options.time_limit), (Some(1.0), Some(2.0)));
    }
}
