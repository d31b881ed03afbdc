//! A task for each thing a task can do, short enough to copy from.
//!
//! `plain` returns and raises, `talking` uses its context, `hungry` meets the walls of the sandbox.
#![deny(missing_docs)]

pub mod hungry;
pub mod plain;
pub mod talking;

lovage_guest::export_tasks!(
    plain::add,
    plain::divide,
    plain::hello,
    plain::noop,
    talking::careful,
    talking::double,
    talking::fan_out,
    talking::flaky,
    talking::progress,
    talking::sleepy,
    hungry::crash,
    hungry::greedy,
    hungry::stubborn,
);
