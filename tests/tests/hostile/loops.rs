//! Code that does not end, wherever a component may have code; and single instructions that take long.

use lovage::attempt::FaultKind::{FuelLimit, StackOverflow, TimeLimit, Trap};

use crate::lab::{Case, Expected, MEMORY, brief, case, endless, little_fuel, try_all};
use crate::skeleton::{Holes, running, with_fields, with_memory};

/// Pages of the largest memory.
const PAGES: u64 = MEMORY / (64 << 10);

/// Thousands of targets, all of them the loop.
fn table_of_branches() -> String {
    format!("(loop $l (block $b (br_table {} $b (local.get $task))) (br $l)) (call $one)", "$l ".repeat(10_000))
}

/// Each function calls the next one twice: a small module without a loop that runs for ages.
fn doubling() -> String {
    let mut fields = "(func $f0)".to_owned();
    for n in 1..64 {
        fields += &format!("(func $f{n} (call $f{0}) (call $f{0}))", n - 1);
    }
    fields
}

fn nested(depth: usize) -> String {
    let innermost = depth - 1;
    let open: String = (0..depth).map(|n| format!("(loop $l{n} ")).collect();
    format!("{open} (br $l{innermost}) {} (call $one)", ")".repeat(depth))
}

fn computing() -> Vec<(&'static str, Vec<u8>)> {
    let turns = "(type $turn (func)) (table 1 funcref) (elem (i32.const 0) $around)
        (func $around (return_call_indirect (type $turn) (i32.const 0)))";
    vec![
        ("an empty loop", running("(loop (br 0)) (call $one)")),
        ("a loop that counts", running("(loop (br_if 0 (i32.const 1))) (call $one)")),
        ("a loop with ten thousand ways back", running(&table_of_branches())),
        ("loops in loops", running(&nested(500))),
        (
            "tail calls in a ring",
            with_fields("(func $a (return_call $b)) (func $b (return_call $a))", "(call $a) (call $one)"),
        ),
        ("a tail call through a table", with_fields(turns, "(call $around) (call $one)")),
        ("calls that double, without a loop", with_fields(&doubling(), "(call $f63) (call $one)")),
        ("a loop of divisions", running("(loop (drop (i64.div_u (i64.const -1) (i64.const 3))) (br 0)) (call $one)")),
        ("a loop of vectors", running("(loop (drop (i8x16.popcnt (v128.const i64x2 1 2))) (br 0)) (call $one)")),
    ]
}

#[tokio::test]
async fn code_that_does_not_end_meets_its_limit() {
    let late = computing().into_iter().map(|(name, component)| endless(name, component));
    let burnt = computing().into_iter().map(|(name, component)| {
        case(name, component, Expected::Fault(FuelLimit, "FuelLimitExceeded")).with(little_fuel)
    });
    try_all(late.chain(burnt).collect()).await;
}

/// What a host tells of the memory it grants is how a module finds out that it is not only asked for its tasks.
const IF_IT_RUNS: &str = "(call $limits (i32.const 512))
    (if (i64.ne (i64.load (i32.const 544)) (i64.const 33554432)) (then (loop (br 0))))";

fn half_the_memory(grants: &mut lovage::attempt::Grants) {
    brief(grants);
    grants.memory_bytes = MEMORY / 2;
}

#[tokio::test]
async fn code_outside_of_a_run_is_bound_by_its_limit() {
    let start = format!("(func $start {IF_IT_RUNS}) (start $start)");
    let early = Holes {
        core: "(core module $early (import \"host\" \"limits\" (func $limits (param i32)))
                (import \"libc\" \"memory\" (memory 0)) (func $start <code>) (start $start))
            (core instance (instantiate $early (with \"libc\" (instance $libc)) (with \"host\" (instance $lowered))))",
        ..Holes::default()
    };
    let early = crate::skeleton::binary(&early.text().replace("<code>", IF_IT_RUNS));
    let resource = "(type $thing (resource (rep i32) (dtor (core func $bad \"end\"))))
        (core func $new (canon resource.new $thing)) (core func $end (canon resource.drop $thing))
        (core instance $things (export \"new\" (func $new)) (export \"end\" (func $end)))";
    let destructor = |code: &str| {
        let core = format!(
            "(core module $bad (func (export \"end\") (param i32) {code}))
            (core instance $bad (instantiate $bad)) {resource}"
        );
        Holes {
            core: &core,
            with: "(with \"things\" (instance $things))",
            imported: "(import \"things\" \"new\" (func $new (param i32) (result i32)))
                (import \"things\" \"end\" (func $end (param i32)))",
            run: "(call $end (call $new (i32.const 7))) (call $one)",
            ..Holes::default()
        }
        .bytes()
    };
    let after = |code: &str| {
        let fields = format!("(func (export \"after\") (param i32) {code})");
        Holes { fields: &fields, lift_run: "(post-return (core func $i \"after\"))", ..Holes::default() }.bytes()
    };
    let realloc = |code: &str| Holes { realloc: code, ..Holes::default() }.bytes();
    try_all(vec![
        endless("in the start function, if it is to run", with_fields(&start, "(call $one)")).with(half_the_memory),
        endless("in the start function of another module", early).with(half_the_memory),
        endless("in realloc", realloc("(loop (br 0)) (i32.const 8192)")),
        endless("in a destructor", destructor("(loop (br 0))")),
        endless("in post-return", after("(loop (br 0))")),
        case("a trap in realloc", realloc("unreachable"), Expected::Fault(Trap, "unreachable")),
        case("a trap in a destructor", destructor("unreachable"), Expected::Fault(Trap, "unreachable")),
        case("a trap in post-return", after("unreachable"), Expected::Fault(Trap, "unreachable")),
        case(
            "recursion in realloc",
            Holes {
                realloc: "(call $deep (i32.const 0))",
                realloc_fields: "(func $deep (param i32) (result i32)
                    (i32.add (local.get 0) (call $deep (i32.add (local.get 0) (i32.const 1)))))",
                ..Holes::default()
            }
            .bytes(),
            Expected::Fault(StackOverflow, "too deep"),
        ),
        case("a trap at the start", with_fields("(func $s unreachable) (start $s)", "(call $one)"), refused("trap")),
        case(
            "recursion at the start",
            with_fields("(func $s (call $s)) (start $s)", "(call $one)"),
            refused("stack-overflow"),
        ),
        case("a trap in describe", Holes { describe: "unreachable", ..Holes::default() }.bytes(), refused("trap")),
        case(
            "a loop in describe",
            Holes { describe: "(loop (br 0))", ..Holes::default() }.bytes(),
            refused("time-limit"),
        ),
        case(
            "a sleep in describe",
            Holes { describe: "(call $sleep (f64.const 100000) (i32.const 512))", ..Holes::default() }.bytes(),
            refused("time-limit"),
        ),
    ])
    .await;
}

fn refused(why: &'static str) -> Expected {
    Expected::Refused("describe_failed", why)
}

/// One instruction each, that moves as much as there is: the clock is looked at only between them.
#[tokio::test]
async fn instructions_that_move_much_are_still_interrupted() {
    let half = MEMORY / 2;
    let memory = |code: &str| {
        let pages = PAGES.to_string();
        with_memory(&pages, "", &format!("(loop {code} (br 0)) (call $one)"))
    };
    let table = |code: &str| {
        let fields = "(table $t 50000 funcref) (table $u 50000 funcref) (elem $e func $one)";
        with_fields(fields, &format!("(loop {code} (br 0)) (call $one)"))
    };
    let strings = format!("(call $log (i32.const 1) (i32.const 0) (i32.const {}))", 100_000);
    let bulk: Vec<(&str, Vec<u8>)> = vec![
        ("memory.fill", memory(&format!("(memory.fill (i32.const 0) (i32.const 7) (i32.const {MEMORY}))"))),
        ("memory.copy", memory(&format!("(memory.copy (i32.const 0) (i32.const {half}) (i32.const {half}))"))),
        (
            "memory.copy onto itself",
            memory(&format!("(memory.copy (i32.const 1) (i32.const 0) (i32.const {}))", MEMORY - 1)),
        ),
        ("table.fill", table("(table.fill $t (i32.const 0) (ref.func $one) (i32.const 50000))")),
        ("table.copy", table("(table.copy $t $u (i32.const 0) (i32.const 0) (i32.const 50000))")),
        ("table.copy onto itself", table("(table.copy $t $t (i32.const 1) (i32.const 0) (i32.const 49999))")),
        ("large log records", with_memory("16", "", &format!("(loop {strings} (br 0)) (call $one)"))),
    ];
    let mut cases: Vec<Case> = Vec::new();
    for (name, component) in bulk {
        cases.push(endless(name, component.clone()));
        let much = |grants: &mut lovage::attempt::Grants| {
            brief(grants);
            grants.fuel = Some(u64::MAX >> 1);
        };
        cases.push(case(name, component.clone(), Expected::Fault(TimeLimit, "0.12")).with(much));
        let fuel = Expected::Fault(FuelLimit, "FuelLimitExceeded");
        if name.starts_with("memory") {
            cases.push(case(name, component, fuel).with(little_fuel));
        }
    }
    try_all(cases).await;
}
