//! The tasks of `make bench` and `make attack`: nothing, a wait, work for a processor, and no end.
#![allow(missing_docs)]

use lovage_guest::prelude::*;
use lovage_test_guests::work;

#[task]
fn noop() {}

#[task]
fn pass(n: u64) -> u64 {
    n
}

#[task]
fn count(items: Vec<()>) -> usize {
    items.len()
}

#[task(time_limit = 3600.0)]
fn sleep(ctx: &Context, seconds: f64) -> TaskResult<()> {
    ctx.sleep(seconds)
}

#[task]
fn spin() {
    loop {
        std::hint::black_box(0);
    }
}

#[task]
fn fib(n: u64) -> u64 {
    work::fib(n)
}

#[task]
fn sieve(n: usize) -> u64 {
    work::sieve(n)
}

#[task]
fn words(n: u64) -> u64 {
    work::words(n)
}

/// Asks to be tried again, at once, for ever.
#[task(max_retries = 1_000_000_000)]
fn retry_at_once(ctx: &Context) -> TaskResult<()> {
    Err(ctx.retry().countdown(0.0).into())
}

export_tasks!(noop, pass, count, sleep, spin, fib, sieve, words, retry_at_once);
