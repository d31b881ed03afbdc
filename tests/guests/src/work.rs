//! Work for a processor, the same natively and in a guest: what `make bench` compares.

use std::collections::BTreeMap;
use std::hint::black_box;

/// Calls and branches: the n-th Fibonacci number, the slow way.
pub fn fib(n: u64) -> u64 {
    if black_box(n) < 2 { n } else { fib(n - 1) + fib(n - 2) }
}

/// Loops over memory: how many primes there are below `n`.
pub fn sieve(n: usize) -> u64 {
    let mut composite = vec![false; n.max(2)];
    let mut count = 0;
    for candidate in 2..n {
        if !composite[candidate] {
            count += 1;
            for multiple in (candidate.saturating_mul(candidate)..n).step_by(candidate) {
                composite[multiple] = true;
            }
        }
    }
    count
}

/// Text and small allocations: how many distinct words a text of `n` made-up words has.
pub fn words(n: u64) -> u64 {
    let mut seed = 1_u64;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for _ in 0..n {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *counts.entry(format!("w{}", seed >> 52)).or_default() += 1;
    }
    counts.len() as u64
}
