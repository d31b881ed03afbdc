//! A task for each thing a task can do, short enough to copy from.
//!
//! `plain` returns and raises, `talking` uses its context, `together` builds canvases, `again` is tried again and told how it
//! ended, `hungry` meets the walls of the sandbox.
#![deny(missing_docs)]

pub mod again;
pub mod hungry;
pub mod plain;
pub mod talking;
pub mod together;

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
    together::chunked,
    together::grand_total,
    together::grow,
    together::hear,
    together::linked,
    together::pairs,
    together::stamped,
    together::steps,
    together::sums,
    together::total,
    again::page_by_page,
    again::shaky,
    again::told,
    hungry::crash,
    hungry::greedy,
    hungry::stubborn,
);
