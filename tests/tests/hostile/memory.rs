//! Who asks for more memory, or for larger tables, than there is for one.

use lovage::attempt::FaultKind::{MemoryLimit, TableLimit, Trap};
use lovage::attempt::Grants;

use crate::lab::{Case, Expected, Lab, MEMORY, case, grants, run, try_all};
use crate::skeleton::{Holes, running, with_fields, with_memory};

const PAGE: u64 = 64 << 10;
const PAGES: u64 = MEMORY / PAGE;

const DEMANDING: Expected = Expected::Refused("too_demanding", "memory");
const FULL: Expected = Expected::Fault(MemoryLimit, "bytes of memory it may have");

fn little(grants: &mut Grants) {
    grants.memory_bytes = 1 << 20;
}

/// Grows until it is refused, then traps.
const GROWING: &str = "(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable";

/// More core modules, each with a memory of so many pages, and instances of them.
fn more_memories(count: usize, pages: u64) -> String {
    let instances = "(core instance (instantiate $hoard))".repeat(count);
    format!("(core module $hoard (memory {pages})) {instances}")
}

fn memories(count: usize, pages: u64) -> Vec<u8> {
    Holes { core: &more_memories(count, pages), ..Holes::default() }.bytes()
}

/// Touches every page of all it may have.
const TOUCHING: &str = "(memory.fill (i32.const 65536) (i32.const 7)
    (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 65536))) (call $one)";

fn bombs() -> Vec<Case> {
    let whole = PAGES.to_string();
    let over = (PAGES + 1).to_string();
    let grow = |pages: i64| {
        format!("(if (i32.eq (memory.grow (i32.const {pages})) (i32.const -1)) (then unreachable)) (call $one)")
    };
    vec![
        case("four GiB from the start", with_memory("65536", "", "(call $one)"), DEMANDING),
        case("a page too many from the start", with_memory(&over, "", "(call $one)"), DEMANDING),
        case("all there is, and touched", with_memory(&whole, "", TOUCHING), Expected::Returned("1")),
        case("no page of memory at all", memories(0, 0), Expected::Returned("1")),
        case("all of it, in a run that may have less", with_memory(&whole, "", "(call $one)"), FULL).with(little),
        case("growing until it is refused", running(GROWING), FULL),
        case("growing in a run that may have less", running(GROWING), FULL).with(little),
        case("growing by everything", running(&grow(65535)), FULL),
        case("growing by a negative number", running(&grow(-1)), FULL),
        case("growing to exactly all there is", running(&grow(PAGES as i64 - 1)), Expected::Returned("1")),
        case("growing to one page more", running(&grow(PAGES as i64)), FULL),
        case("growing over its own maximum", with_memory("1 2", "", &grow(2)), FULL),
        case(
            "growing by nothing, for ever",
            running("(loop (drop (memory.grow (i32.const 0))) (br 0)) (call $one)"),
            Expected::Fault(lovage::attempt::FaultKind::TimeLimit, ""),
        )
        .with(crate::lab::brief),
        case(
            "growing politely, then on",
            running("(drop (memory.grow (i32.const 60000))) (call $one)"),
            Expected::Returned("1"),
        ),
        case(
            "two memories, each as large as all",
            memories(1, PAGES),
            Expected::Refused("describe_failed", "memory-limit"),
        ),
        case("a memory that is half, and another", memories(1, PAGES / 2), Expected::Returned("1")),
        case("four memories", memories(3, 1), Expected::Returned("1")),
        case("five memories", memories(4, 1), DEMANDING),
        case("a hundred memories, each with all", memories(100, PAGES), Expected::RefusedFor(&["too_demanding"])),
        case(
            "data outside of the memory",
            with_memory("1", "(data (i32.const 65535) \"xx\")", "(call $one)"),
            Expected::Refused("describe_failed", "trap"),
        ),
        case(
            "data far outside of the memory",
            with_memory("1", "(data (i32.const -1) \"x\")", "(call $one)"),
            Expected::Refused("describe_failed", "trap"),
        ),
        case(
            "reading at the last address there could be",
            running("(drop (i64.load offset=4294967295 (i32.const -1))) (call $one)"),
            Expected::Fault(Trap, "out of bounds"),
        ),
        case(
            "filling from the end on",
            running("(memory.fill (i32.const 65535) (i32.const 1) (i32.const 2)) (call $one)"),
            Expected::Fault(Trap, "out of bounds"),
        ),
    ]
}

fn tables() -> Vec<Case> {
    const TOO_MANY: Expected = Expected::Refused("too_demanding", "table");
    const FULL: Expected = Expected::Fault(TableLimit, "table elements more");
    let table = |fields: &str| with_fields(fields, "(call $one)");
    let grow = |elements: i64, kind: &str| {
        let run = format!(
            "(loop (br_if 0 (i32.ne (table.grow $t (ref.null {kind}) (i32.const {elements})) (i32.const -1)))) unreachable"
        );
        with_fields(&format!("(table $t 1 {kind}ref)"), &run)
    };
    let third = "(core module $hoard (table 40000 funcref) (table 40000 funcref)) (core instance (instantiate $hoard))";
    vec![
        case("a table of ten million", table("(table 10000000 funcref)"), TOO_MANY),
        case("a table of as many as there are numbers", table("(table 0xffffffff funcref)"), TOO_MANY),
        case("a table with one too many", table("(table 50001 funcref)"), TOO_MANY),
        case("a table with all there may be", table("(table 50000 funcref)"), Expected::Returned("1")),
        case("the same, in a run that may have less", table("(table 50000 funcref)"), FULL)
            .with(|grants| grants.memory_bytes = 100 << 10),
        case("five tables in a module", table(&"(table 1 funcref)".repeat(5)), TOO_MANY),
        case(
            "a hundred tables in a module",
            table(&"(table 1 funcref)".repeat(100)),
            Expected::Refused("too_large", "tables"),
        ),
        case(
            "tables in many instances",
            Holes {
                core: &format!("{third}{}", "(core instance (instantiate $hoard))".repeat(40)),
                ..Holes::default()
            }
            .bytes(),
            TOO_MANY,
        ),
        case("growing one by one", grow(1, "func"), FULL),
        case("growing by thousands", grow(1000, "func"), FULL),
        case("growing by everything", grow(-1, "func"), FULL),
        case("growing one of externs", grow(1000, "extern"), Expected::RefusedFor(&["invalid_component"])),
        case(
            "elements outside of the table",
            table("(table 1 funcref) (elem (i32.const 1) $one)"),
            Expected::Refused("describe_failed", "trap"),
        ),
        case(
            "calling beyond the end",
            with_fields("(type $f (func)) (table 1 funcref)", "(call_indirect (type $f) (i32.const -1)) (call $one)"),
            Expected::Fault(Trap, "undefined element"),
        ),
        case(
            "calling nothing",
            with_fields("(type $f (func)) (table 1 funcref)", "(call_indirect (type $f) (i32.const 0)) (call $one)"),
            Expected::Fault(Trap, "uninitialized element"),
        ),
        case(
            "calling by another type",
            with_fields(
                "(type $f (func (param i64))) (table 1 funcref) (elem (i32.const 0) $one)",
                "(call_indirect (type $f) (i64.const 0) (i32.const 0)) (call $one)",
            ),
            Expected::Fault(Trap, "indirect call type mismatch"),
        ),
    ]
}

#[tokio::test]
async fn who_asks_for_more_memory_than_there_is_does_not_get_it() {
    try_all(bombs()).await;
}

#[tokio::test]
async fn who_asks_for_larger_tables_than_there_are_does_not_get_them() {
    try_all(tables()).await;
}

/// Each place has room for all that a component may have: whoever has the most of it takes none from others.
#[tokio::test]
async fn who_has_many_memories_takes_none_from_the_next() {
    let lab = Lab::new().await;
    let tables = "(core module $many (table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref))";
    let parts = format!("{} {tables} {}", more_memories(3, 1), "(core instance (instantiate $many))".repeat(2));
    let waiting = "(call $sleep (f64.const 0.5) (i32.const 512)) (call $one)";
    let component = Holes { core: &parts, run: waiting, ..Holes::default() }.bytes();
    lab.sandbox.admit(&lovage_tests::artifacts::digest_of(&component), &component).await.unwrap();
    let (one, other) = tokio::join!(run(&lab.sandbox, &component, grants()), run(&lab.sandbox, &component, grants()));
    for outcome in [one.outcome, other.outcome] {
        assert!(matches!(outcome, lovage::attempt::Outcome::Returned(_)), "{outcome:?}");
    }
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux says");
    let pages: u64 = pages.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages");
    pages * rustix::param::page_size() as u64
}

/// A hundred runs, each of which fills all that it may have: were it kept, it would be gigabytes.
#[tokio::test]
async fn memory_comes_back() {
    const RUNS: u64 = 100;
    let lab = Lab::new().await;
    let filling = [
        with_memory(&PAGES.to_string(), "", TOUCHING),
        running(&GROWING.replace("unreachable", &format!("{TOUCHING} drop unreachable"))),
    ];
    let before = resident();
    for component in &filling {
        lab.sandbox.admit(&lovage_tests::artifacts::digest_of(component), component).await.unwrap();
        for _ in 0..RUNS / 2 {
            let used = run(&lab.sandbox, component, grants()).await.usage.peak_memory_bytes;
            assert!(used > MEMORY / 2, "{used}");
        }
    }
    let more = resident().saturating_sub(before);
    assert!(more < RUNS * MEMORY / 4, "{more} bytes are kept");
}
