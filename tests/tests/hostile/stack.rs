//! Who calls itself without end, or calls its host where there is little stack left.

use std::fmt::Write as _;

use lovage::attempt::FaultKind::{FuelLimit, StackOverflow, Trap};

use crate::lab::{Case, Expected, case, little_fuel, try_all};
use crate::skeleton::{Holes, with_fields};

const DEEP: Expected = Expected::Fault(StackOverflow, "too deep");

/// Calls itself, and before that does something.
fn recursing(fields: &str, code: &str) -> Vec<u8> {
    let deep = "(func $deep (param $n i32) (result i32) <code>
        (i32.xor (local.get $n) (call $deep (i32.add (local.get $n) (i32.const 1)))))";
    Holes {
        // What the host gives goes to the same place each time.
        realloc: "(i32.const 8192)",
        fields: &format!("{fields} {}", deep.replace("<code>", code)),
        run: "(drop (call $deep (i32.const 0))) (call $one)",
        ..Holes::default()
    }
    .bytes()
}

/// A function with so many values that live across its call.
fn with_large_frames(values: usize) -> Vec<u8> {
    let (mut locals, mut before, mut after) = (String::new(), String::new(), String::new());
    for n in 0..values {
        let _ = write!(locals, "(local $v{n} i64)");
        let _ = write!(before, "(local.set $v{n} (i64.load offset={n} (local.get $n)))");
        let _ = write!(after, "(local.set $s (i64.xor (local.get $s) (local.get $v{n})))");
    }
    let deep = format!(
        "(func $deep (param $n i32) (result i64) (local $s i64) {locals} {before}
        (local.set $s (call $deep (local.get $n))) {after} (local.get $s))"
    );
    with_fields(&deep, "(drop (call $deep (i32.const 0))) (call $one)")
}

/// Functions that call each other in a ring of so many.
fn ring(length: usize) -> Vec<u8> {
    let mut fields = String::new();
    for n in 0..length {
        let next = (n + 1) % length;
        let _ = write!(fields, "(func $r{n} (result i32) (i32.add (i32.const 1) (call $r{next})))");
    }
    with_fields(&fields, "(drop (call $r0)) (call $one)")
}

fn recursions() -> Vec<Case> {
    let through_table = "(type $f (func (result i32))) (table 1 funcref) (elem (i32.const 0) $again)
        (func $again (result i32) (i32.add (i32.const 1) (call_indirect (type $f) (i32.const 0))))";
    let many = format!(
        "(func $many (param {0}) (result {0}) (call $many {1}) {2} {1} (call $many))",
        "i64 ".repeat(200),
        (0..200).map(|n| format!("(local.get {n})")).collect::<String>(),
        "drop ".repeat(200),
    );
    let zeroes = "(i64.const 0)".repeat(200);
    vec![
        case("plain recursion", recursing("", ""), DEEP),
        case("plain recursion with little fuel", recursing("", ""), DEEP).with(|grants| grants.fuel = Some(1 << 40)),
        case(
            "recursion that burns its fuel first",
            recursing("", "(loop (br_if 0 (i32.const 1)))"),
            Expected::Fault(FuelLimit, ""),
        )
        .with(little_fuel),
        case("recursion through a table", with_fields(through_table, "(drop (call $again)) (call $one)"), DEEP),
        case("recursion in a ring of a thousand", ring(1000), DEEP),
        case("frames of eight KiB", with_large_frames(1000), DEEP),
        case("frames of a hundred KiB", with_large_frames(12_500), DEEP),
        case(
            "two hundred parameters and results",
            with_fields(&many, &format!("(call $many {zeroes}) {} (call $one)", "drop ".repeat(200))),
            DEEP,
        ),
    ]
}

/// A call to the host on each level: also on the last one that there is room for.
fn calling_on_each_level() -> Vec<Case> {
    let deepest = format!("{}1{}", "[".repeat(127), "]".repeat(127));
    let signature = format!(r#"{{\"task\":\"a\",\"args\":[{}],\"kwargs\":{{}}}}"#, "[".repeat(120) + &"]".repeat(120));
    let data = format!(
        r#"(data (i32.const 1024) "{deepest}") (data (i32.const 1536) "{signature}") (data (i32.const 2048) "PROGRESS")"#
    );
    let bytes = signature.replace('\\', "").len();
    let calls = [
        ("log", "(call $log (i32.const 1) (i32.const 1024) (i32.const 255))".to_owned()),
        ("request", "(call $request (i32.const 512))".to_owned()),
        (
            "update-state",
            "(call $update-state (i32.const 2048) (i32.const 8) (i32.const 1024) (i32.const 255) (i32.const 512))"
                .to_owned(),
        ),
        ("apply-async", format!("(call $apply-async (i32.const 1536) (i32.const {bytes}) (i32.const 512))")),
        ("replace", format!("(call $replace (i32.const 1536) (i32.const {bytes}) (i32.const 512))")),
        ("retry", "(call $retry (i32.const 4096) (i32.const 512))".to_owned()),
        (
            "send-event",
            "(call $send-event (i32.const 2048) (i32.const 8) (i32.const 1024) (i32.const 255) (i32.const 512))"
                .to_owned(),
        ),
        ("limits", "(call $limits (i32.const 512))".to_owned()),
        ("sleep", "(call $sleep (f64.const 0) (i32.const 512))".to_owned()),
        ("subscribe-soft-limit", "(call $drop-pollable (call $subscribe))".to_owned()),
        ("random", "(call $random (i64.const 64) (i32.const 512))".to_owned()),
        (
            "write",
            "(local $out i32) (local.set $out (call $stdout))
            (call $write-all (local.get $out) (i32.const 1024) (i32.const 255) (i32.const 512))
            (call $drop-output (local.get $out))"
                .to_owned(),
        ),
        ("tcp", "(call $tcp (i32.const 0) (i32.const 512))".to_owned()),
    ];
    let level = |(name, code): (&str, String)| case(format!("{name} on each level"), recursing(&data, &code), DEEP);
    calls.into_iter().map(level).collect()
}

/// Through what is not the guest's own code: `realloc`, destructors, adapters between components.
fn roundabout() -> Vec<Case> {
    let things = "(core module $table (table (export \"table\") 1 funcref)
            (type $end (func (param i32)))
            (func (export \"end\") (param i32) (call_indirect (type $end) (local.get 0) (i32.const 0))))
        (core instance $table (instantiate $table))
        (type $thing (resource (rep i32) (dtor (core func $table \"end\"))))
        (core func $new (canon resource.new $thing)) (core func $end (canon resource.drop $thing))
        (core instance $things (export \"new\" (func $new)) (export \"end\" (func $end))
            (export \"table\" (table $table \"table\")))";
    let destroying = Holes {
        core: things,
        with: "(with \"things\" (instance $things))",
        imported: "(import \"things\" \"new\" (func $new (param i32) (result i32)))
            (import \"things\" \"end\" (func $end (param i32)))
            (import \"things\" \"table\" (table 1 funcref))",
        fields: "(elem (i32.const 0) $again)
            (func $again (param i32) (call $end (call $new (i32.const 7))))",
        run: "(call $end (call $new (i32.const 7))) (call $one)",
        ..Holes::default()
    };
    let leaving = Holes {
        realloc_fields: "(table (export \"table\") 1 funcref) (type $call (func))",
        realloc: "(if (i32.load (i32.const 36)) (then (call_indirect (type $call) (i32.const 0)))) (i32.const 8192)",
        imported: "(import \"libc\" \"table\" (table 1 funcref))",
        fields: "(elem (i32.const 0) $again) (func $again (call $request (i32.const 512)))",
        run: "(i32.store (i32.const 36) (i32.const 1)) (call $request (i32.const 512)) (call $one)",
        ..Holes::default()
    };
    let sleeping = Holes {
        fields: "(elem (i32.const 0) $again) (func $again (call $sleep (f64.const 1000) (i32.const 512)))",
        ..leaving.clone()
    };
    vec![
        case("destructors that destroy", destroying.bytes(), Expected::Harmless),
        case("a host call from realloc", leaving.bytes(), Expected::Fault(Trap, "cannot leave component instance")),
        case("a sleep in realloc", sleeping.bytes(), Expected::Fault(Trap, "cannot leave component instance")),
    ]
}

#[tokio::test]
async fn recursion_ends_where_the_stack_does() {
    try_all(recursions()).await;
}

#[tokio::test]
async fn the_host_has_room_for_itself_however_deep_a_guest_is() {
    try_all(calling_on_each_level()).await;
}

#[tokio::test]
async fn recursion_through_the_host_ends_too() {
    try_all(roundabout()).await;
}
