//! Instructions and types beyond WebAssembly 2.0: more for an attacker than for a task.

use crate::lab::{Case, Expected, case, try_all};
use crate::skeleton::{Holes, binary, with_fields};

const ODD: Expected = Expected::RefusedFor(&["invalid_component"]);

fn core(fields: &str) -> Vec<u8> {
    binary(&format!("(component (core module {fields}))"))
}

fn odd_modules() -> Vec<Case> {
    [
        ("memory64", "(memory i64 1)"),
        ("memory64, as an import", "(import \"a\" \"b\" (memory i64 1))"),
        ("table64", "(table i64 1 funcref)"),
        ("threads: a shared memory", "(memory 1 1 shared)"),
        ("threads: an atomic", "(memory 1) (func (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1))))"),
        ("threads: wait", "(memory 1) (func (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))))"),
        ("threads: fence", "(func (atomic.fence))"),
        ("exceptions: a tag", "(tag)"),
        ("exceptions: throw", "(tag $t) (func (throw $t))"),
        ("exceptions: try_table", "(func (block $b (try_table (catch_all $b))))"),
        ("exceptions: exnref", "(func (param exnref))"),
        ("gc: a struct", "(type (struct))"),
        ("gc: an array", "(type (array (mut i8)))"),
        ("gc: i31", "(func (drop (ref.i31 (i32.const 1))))"),
        ("gc: anyref", "(func (param anyref))"),
        ("gc: recursive types", "(rec (type (func)) (type (func)))"),
        ("gc: subtypes", "(type (sub (func)))"),
        ("function references", "(type $f (func)) (func (param (ref $f)) (call_ref $f (local.get 0)))"),
        ("function references: not null", "(func (param (ref func)))"),
        ("relaxed SIMD", "(func (param v128) (drop (i8x16.relaxed_swizzle (local.get 0) (local.get 0))))"),
        ("several memories", "(memory 1) (memory 1)"),
        ("pages of a byte", "(memory 1 (pagesize 1))"),
        (
            "wide arithmetic",
            "(func (drop (drop (i64.add128 (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)))))",
        ),
        ("stack switching", "(type $f (func)) (type $c (cont $f))"),
        ("shared functions", "(type (shared (func)))"),
        ("extern references", "(table 1 externref)"),
    ]
    .into_iter()
    .map(|(name, fields)| case(name, core(fields), ODD))
    .collect()
}

fn odd_components() -> Vec<Case> {
    [
        ("an async stream", "(type (stream u8))"),
        ("a future", "(type (future))"),
        ("an error context", "(type error-context)"),
        ("an async function", "(type (func async))"),
        ("a task that returns", "(core func (canon task.return))"),
        ("a waitable set", "(core func (canon waitable-set.new))"),
        ("a subtask", "(core func (canon subtask.drop))"),
        ("backpressure", "(core func (canon backpressure.inc))"),
        ("a context of its own", "(core func (canon context.get i32 0))"),
        ("a thread", "(core func (canon thread.yield))"),
        ("a list of fixed length", "(type (list u8 4))"),
        ("a map", "(type (map string u8))"),
        ("a value", "(import \"v\" (value u8))"),
    ]
    .into_iter()
    .map(|(name, text)| case(name, binary(&format!("(component {text})")), ODD))
    .collect()
}

/// What is spoken: a filter that refuses everything would pass the tests above.
fn spoken() -> Vec<Case> {
    let one = Expected::Returned("1");
    let constant = "(global $g i32 (i32.add (i32.const 500) (i32.const 12))) (data (global.get $g) \"x\")";
    vec![
        case("a tail call", with_fields("(func $f (result i32) (return_call $one))", "(call $f)"), one),
        case("vectors", with_fields("", "(drop (i32x4.splat (i32.const 1))) (call $one)"), one),
        case(
            "extended constants",
            with_fields("(global i32 (i32.mul (i32.const 2) (i32.const 3)))", "(call $one)"),
            one,
        ),
        case("constants that are no constants", with_fields("(global i32 (i32.const 1))", "(call $one)"), one),
        case(
            "data at a computed place",
            Holes { fields: &constant.replace("(data (global.get $g) \"x\")", ""), ..Holes::default() }.bytes(),
            one,
        ),
        case(
            "several values",
            with_fields("(func $f (result i32 i32) (call $one) (call $one))", "(call $f) drop"),
            one,
        ),
    ]
}

#[tokio::test]
async fn odd_proposals_do_not_come_in() {
    try_all(odd_modules()).await;
}

#[tokio::test]
async fn odd_component_types_do_not_come_in() {
    try_all(odd_components()).await;
}

#[tokio::test]
async fn what_toolchains_emit_comes_in() {
    try_all(spoken()).await;
}
