//! Components that are large where it costs most: the compiler, the loader, the list of instances.

use std::fmt::Write as _;

use crate::lab::{Case, Expected, case, try_all, try_compiling};
use crate::skeleton::{Holes, binary, with_fields};

/// It comes in and runs.
const RUNS: Expected = Expected::Returned("1");
/// The compiler gave up on it, or its limits did.
const TOO_MUCH: Expected =
    Expected::RefusedFor(&["compile_failed", "compile_too_long", "invalid_component", "too_demanding", "too_large"]);

fn many(count: usize, field: impl Fn(usize) -> String) -> String {
    (0..count).map(field).collect()
}

fn fields(text: &str) -> Vec<u8> {
    with_fields(text, "(call $one)")
}

/// Functions that cost a compiler more than their size.
#[tokio::test]
async fn functions_that_take_long_to_compile_take_nobody_else_along() {
    let body = |code: &str| fields(&format!("(func (param i32) (result i32) (local $x i32) {code} (local.get $x))"));
    let step = "(local.set $x (i32.add (i32.mul (local.get $x) (i32.const 7)) (i32.load (local.get $x))))";
    let bombs = [
        ("15,000 blocks", body(&"(block (br_if 0 (local.get 0)))".repeat(15_000))),
        ("20,000 loops", body(&"(loop (br_if 0 (local.get 0)))".repeat(20_000))),
        ("loops in loops", body(&format!("{}{}", "loop ".repeat(1000), "end ".repeat(1000)))),
        ("100,000 blocks in blocks", body(&format!("{}{}", "block ".repeat(100_000), "end ".repeat(100_000)))),
        ("conditions in conditions", body(&format!("{}{}", "local.get 0 if ".repeat(20_000), "end ".repeat(20_000)))),
        ("100,000 operands", body(&format!("{} {}", "local.get 0 ".repeat(100_000), "drop ".repeat(100_000)))),
        ("a hundred thousand steps", body(&step.repeat(100_000))),
        (
            "tables of branches",
            body(&format!(
                "(block $b {})",
                format!("(block (br_table {} (local.get 0)))", "0 ".repeat(5000)).repeat(20)
            )),
        ),
        ("50,000 locals", fields(&format!("(func (local {}))", "i64 ".repeat(50_000)))),
        ("all locals live", {
            let sets = many(3000, |n| format!("(local.set {n} (i64.load offset={n} (i32.const 0)))"));
            let uses = many(3000, |n| format!("(i64.store offset={n} (i32.const 0) (local.get {n}))"));
            fields(&format!("(func (local {}) {sets} (call $one) drop {uses})", "i64 ".repeat(3000)))
        }),
        ("thousands of functions", {
            let function = format!("(func (param $x i32) (result i32) {} (local.get $x))", step.repeat(100));
            fields(&function.repeat(4000))
        }),
    ];
    let cases = bombs.into_iter().map(|(name, component)| case(name, component, Expected::Harmless));
    try_compiling(cases.collect()).await;
}

/// More of everything than any program has.
#[tokio::test]
async fn modules_of_odd_shapes_come_in_or_do_not() {
    let elements = "(table 1 funcref) ".to_owned() + &many(10_000, |_| "(elem (i32.const 0) $one)".to_owned());
    let cases = vec![
        case("50,001 locals", fields(&format!("(func (local {}))", "i64 ".repeat(50_001))), TOO_MUCH),
        case("1,001 parameters", fields(&format!("(func (param {}))", "i32 ".repeat(1001))), TOO_MUCH),
        case("1,001 results", fields(&format!("(func (result {}) unreachable)", "i32 ".repeat(1001))), TOO_MUCH),
        case("a function of eight million bytes", fields(&format!("(func {})", "nop ".repeat(8_000_000))), TOO_MUCH),
        case("100,000 empty functions", fields(&"(func)".repeat(100_000)), Expected::Harmless),
        case(
            "100,000 exports",
            fields(&many(99_000, |n| format!("(export \"e{n}\" (func $one))"))),
            Expected::Harmless,
        ),
        case("100,000 globals", fields(&"(global i64 (i64.const 1))".repeat(100_000)), Expected::Harmless),
        case("a million and one globals", fields(&"(global i32 (i32.const 1))".repeat(1_000_001)), TOO_MUCH),
        case(
            "100,000 types",
            fields(&many(100_000, |n| format!("(type (func (param {})))", "i32 ".repeat(n % 7)))),
            Expected::Harmless,
        ),
        case("100,001 pieces of data", fields(&"(data \"\")".repeat(100_001)), TOO_MUCH),
        case("10,000 pieces of data at one place", fields(&"(data (i32.const 2000) \"x\")".repeat(10_000)), RUNS),
        case("10,000 lists of elements", fields(&elements), RUNS),
        case("an export twice", fields("(export \"e\" (func $one)) (export \"e\" (func $one))"), TOO_MUCH),
        case("a name of 100,001 bytes", fields(&format!("(export \"{}\" (func $one))", "x".repeat(100_001))), TOO_MUCH),
        case(
            "an import that nobody gives",
            Holes { imported: "(import \"host\" \"more\" (func))", ..Holes::default() }.bytes(),
            TOO_MUCH,
        ),
        case("a start function that takes something", fields("(func $s (param i32)) (start $s)"), TOO_MUCH),
        case("a start function that is not there", fields("(start 9999)"), TOO_MUCH),
        case("code that does not fit its type", fields("(func (result i32) (i64.const 1))"), TOO_MUCH),
    ];
    try_all(cases).await;
}

fn with_core(core: &str) -> Vec<u8> {
    Holes { core, ..Holes::default() }.bytes()
}

#[tokio::test]
async fn components_of_odd_shapes_come_in_or_do_not() {
    let list = |depth: usize| {
        many(depth, |n| match n {
            0 => "(type $l0 (list u8))".to_owned(),
            n => format!("(type $l{n} (list $l{}))", n - 1),
        })
    };
    let wide = |levels: usize| {
        many(levels, |n| match n {
            0 => "(type $t0 (tuple u8 u8))".to_owned(),
            n => format!("(type $t{n} (tuple {}))", format!("$t{} ", n - 1).repeat(10)),
        })
    };
    let record = |fields: usize| format!("(type (record {}))", many(fields, |n| format!("(field \"f{n}\" u8)")));
    let cases = |count: usize| format!("(type (variant {}))", many(count, |n| format!("(case \"c{n}\")")));
    let inside = |depth: usize| format!("{}{}", "(component ".repeat(depth), ")".repeat(depth));
    let instances = |count: usize| format!("(core module $m) {}", "(core instance (instantiate $m))".repeat(count));
    try_all(vec![
        case("61 instances more", with_core(&instances(61)), Expected::Harmless),
        case("65 instances more", with_core(&instances(65)), TOO_MUCH),
        case("1,001 instances more", with_core(&instances(1001)), TOO_MUCH),
        case("900 modules without instances", with_core(&"(core module)".repeat(900)), Expected::Harmless),
        case("1,001 modules", with_core(&"(core module)".repeat(1001)), TOO_MUCH),
        case("90 components in each other", with_core(&inside(90)), Expected::Harmless),
        case("100 components in each other", binary(&inside(100)), TOO_MUCH),
        case("lists in lists", with_core(&list(90)), Expected::Harmless),
        case("1,000 lists in lists", with_core(&list(1000)), TOO_MUCH),
        case("types of a hundred million parts", with_core(&wide(9)), TOO_MUCH),
        case("a record of 1,000 fields", with_core(&record(1000)), Expected::Harmless),
        case("a record of 100,000 fields", with_core(&record(100_000)), TOO_MUCH),
        case("a variant of 1,001 cases", with_core(&cases(1001)), Expected::Harmless),
        case("a variant of 100,000 cases", with_core(&cases(100_000)), TOO_MUCH),
        case("a record of nothing", with_core("(type (record))"), TOO_MUCH),
        case("65 flags", with_core(&format!("(type (flags {}))", many(65, |n| format!("\"f{n}\" ")))), TOO_MUCH),
        case(
            "thousands of functions out of one",
            with_core(&many(10_000, |_| {
                "(core func (canon lower (func $host \"soft-time-limit-exceeded\")))".to_owned()
            })),
            Expected::Harmless,
        ),
    ])
    .await;
}

/// A component of components of components, ten of each.
fn laughing(levels: usize, innermost: &str) -> Vec<u8> {
    let mut text = format!("(component $c {innermost})");
    for _ in 1..levels {
        text = format!("(component $c {text} {})", "(instance (instantiate $c))".repeat(10));
    }
    let mut first = String::new();
    let _ = write!(first, "{text} (instance (instantiate $c))");
    Holes { first: &first, ..Holes::default() }.bytes()
}

fn laughs() -> Vec<Case> {
    let module = "(core module $m (func (export \"f\"))) (core instance (instantiate $m))";
    let memory = "(core module $m (memory 1)) (core instance (instantiate $m))";
    let typed = "(type $t (record (field \"a\" string))) (export \"t\" (type $t))";
    vec![
        case("ten instances", laughing(2, module), RUNS),
        case("a hundred instances", laughing(3, module), TOO_MUCH),
        case("ten thousand instances", laughing(5, module), TOO_MUCH),
        case("a billion instances", laughing(10, module), TOO_MUCH),
        case("a hundred memories", laughing(3, memory), TOO_MUCH),
        case("a billion memories", laughing(10, memory), TOO_MUCH),
        case("a million instances of nothing", laughing(7, ""), Expected::Harmless),
        case("a billion instances of nothing", laughing(10, ""), TOO_MUCH),
        case("a billion types", laughing(10, typed), TOO_MUCH),
    ]
}

#[tokio::test]
async fn a_billion_laughs_are_not_laughed() {
    try_all(laughs()).await;
}
