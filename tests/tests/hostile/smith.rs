//! Components that nobody would write: made by wasm-smith, the same ones for each seed on each machine.
//!
//! `make nightly` tries thousands that were not tried before: CRASH_LAB_TIMES as many, from CRASH_LAB_SEED on.

use std::ops::Range;

use arbitrary::Unstructured;
use lovage::attempt::Grants;
use wasm_smith::{Component, Config, Module};

use crate::lab::{Case, Expected, brief, case, try_all};
use crate::skeleton::{Holes, binary};

/// Bytes to make choices of (xorshift).
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// What an engine that speaks WebAssembly 2.0 takes, and no more memory than there is.
fn plain() -> Config {
    Config {
        exports: Some(binary("(module (func (export \"go\")))")),
        allow_start_export: false,
        max_imports: 0,
        max_memory32_bytes: 4 << 20,
        max_table_elements: 1000,
        max_tables: 3,
        max_instructions: 400,
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        relaxed_simd_enabled: false,
        threads_enabled: false,
        ..Config::default()
    }
}

/// The same, with all that wasm-smith knows.
fn wild() -> Config {
    Config {
        exports: Some(binary("(module (func (export \"go\")))")),
        max_imports: 0,
        max_memories: 10,
        ..Config::default()
    }
}

fn module(config: Config, seed: u64) -> Vec<u8> {
    let noise = noise(seed, 8 << 10);
    Module::new(config, &mut Unstructured::new(&noise)).expect("a module").to_bytes()
}

/// The well-behaved component, with a module in it that `run` calls.
fn around(module: &[u8]) -> Vec<u8> {
    let component = Holes {
        first: "(core module $odd (func (export \"go\")))",
        core: "(core instance $odd (instantiate $odd))",
        with: "(with \"odd\" (instance $odd))",
        imported: "(import \"odd\" \"go\" (func $go))",
        run: "(call $go) (call $one)",
        ..Holes::default()
    };
    exchanged(&component.bytes(), module)
}

/// A component with another module in place of its first one.
fn exchanged(component: &[u8], module: &[u8]) -> Vec<u8> {
    const CORE_MODULE: u8 = 1;
    let mut at = 8;
    loop {
        let (length, start) = number(component, at + 1);
        if component[at] == CORE_MODULE {
            let mut all = component[..=at].to_vec();
            write_number(&mut all, module.len());
            all.extend(module);
            all.extend(&component[start + length..]);
            return all;
        }
        at = start + length;
    }
}

/// A number in LEB128, and where it ends.
fn number(bytes: &[u8], mut at: usize) -> (usize, usize) {
    let (mut value, mut shift) = (0, 0);
    loop {
        value |= usize::from(bytes[at] & 0x7f) << shift;
        at += 1;
        if bytes[at - 1] < 0x80 {
            return (value, at);
        }
        shift += 7;
    }
}

fn write_number(bytes: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn short(grants: &mut Grants) {
    brief(grants);
    grants.fuel = Some(10_000_000);
}

/// These or, if more are asked for, others too.
fn seeds(these: Range<u64>) -> impl Iterator<Item = u64> {
    let asked = |name, usual| std::env::var(name).map_or(usual, |number| number.parse().expect(name));
    let (first, times) = (asked("CRASH_LAB_SEED", 0), asked("CRASH_LAB_TIMES", 1));
    (0..times).flat_map(move |round| these.clone().map(move |seed| first + round * 1000 + seed))
}

fn all(kind: &str, these: Range<u64>, make: impl Fn(u64) -> Vec<u8>, grants: fn(&mut Grants)) -> Vec<Case> {
    seeds(these).map(|seed| case(format!("{kind} {seed}"), make(seed), Expected::Harmless).with(grants)).collect()
}

#[tokio::test]
async fn odd_modules_run_or_do_not() {
    try_all(all("plain", 0..80, |seed| around(&module(plain(), seed)), brief)).await;
}

#[tokio::test]
async fn odd_modules_burn_what_they_have() {
    try_all(all("metered", 80..120, |seed| around(&module(plain(), seed)), short)).await;
}

#[tokio::test]
async fn wild_modules_do_not_come_in_or_do_no_harm() {
    let mut cases = all("wild", 200..260, |seed| around(&module(wild(), seed)), brief);
    let bare = |seed| case(format!("bare {seed}"), module(wild(), seed), Expected::Refused("not_a_component", "core"));
    cases.extend(seeds(300..310).map(bare));
    try_all(cases).await;
}

#[tokio::test]
async fn wild_components_do_not_come_in_or_do_no_harm() {
    let make = |seed| {
        let noise = noise(seed, 4 << 10);
        Component::new(Config::default(), &mut Unstructured::new(&noise)).expect("a component").to_bytes()
    };
    try_all(all("component", 400..440, make, brief)).await;
}
