//! What can be done to a host by calling it: too often, with what is not there, for what is not granted.

use lovage::attempt::FaultKind::{Contract, HandleLimit, HostCallLimit, TimeLimit, Trap};

use crate::lab::{Case, Expected, MEMORY, brief, case, endless, try_all};
use crate::skeleton::{Holes, running, with_fields, with_memory};

const ONE: Expected = Expected::Returned("1");

/// Calls the host and then goes on calling; the host's answers go to the same place.
fn flooding(fields: &str, code: &str) -> Vec<u8> {
    let run = format!("(local $h i32) (loop $l {code} (br $l)) (call $one)");
    Holes { realloc: "(i32.const 8192)", memory: "4", fields, run: &run, ..Holes::default() }.bytes()
}

#[tokio::test]
async fn calling_for_ever_ends_at_the_limit() {
    let data =
        r#"(data (i32.const 1024) "{\"task\":\"a\",\"args\":[],\"kwargs\":{}}") (data (i32.const 1100) "PROGRESS")"#;
    let (signature, bytes) = ("(i32.const 1024)", "(i32.const 34)");
    let into = "(i32.const 512)";
    let state = format!("(i32.const 1100) (i32.const 8) {signature} {bytes} {into}");
    let floods = [
        ("log", format!("(call $log (i32.const 1) {signature} {bytes})")),
        ("log of nothing", "(call $log (i32.const 0) (i32.const 0) (i32.const 0))".to_owned()),
        ("update-state", format!("(call $update-state {state})")),
        ("send-event", format!("(call $send-event {state})")),
        ("request", format!("(call $request {into})")),
        ("limits", format!("(call $limits {into})")),
        ("apply-async", format!("(call $apply-async {signature} {bytes} {into})")),
        ("replace", format!("(call $replace {signature} {bytes} {into})")),
        ("retry", format!("(call $retry (i32.const 4096) {into})")),
        ("sleep for no time", format!("(call $sleep (f64.const 0) {into})")),
        ("sleep for less than there is", format!("(call $sleep (f64.const 0x1p-1074) {into})")),
        ("the soft limit", "(drop (call $soft))".to_owned()),
        ("now", "(drop (call $now))".to_owned()),
        ("random", format!("(call $random (i64.const 65536) {into})")),
        ("insecure random", format!("(call $insecure (i64.const 65536) {into})")),
        ("pollables made and dropped", "(call $drop-pollable (call $subscribe))".to_owned()),
        ("timers made and dropped", "(call $drop-pollable (call $after-duration (i64.const -1)))".to_owned()),
        ("sockets", format!("(call $tcp (i32.const 0) {into}) (call $udp (i32.const 1) {into})")),
        ("environment", format!("(call $environment {into}) (call $arguments {into}) (call $directories {into})")),
        (
            "stdout",
            format!(
                "(local.set $h (call $stdout)) (call $write-all (local.get $h) {signature} (i32.const 4096) {into})
                (call $drop-output (local.get $h))"
            ),
        ),
    ];
    try_all(floods.into_iter().map(|(name, code)| endless(name, flooding(data, &code))).collect()).await;
}

fn told(fields: &str, code: &str) -> Vec<u8> {
    with_fields(fields, &format!("{code} (call $told)"))
}

#[tokio::test]
async fn what_points_nowhere_is_not_read() {
    let wild = |code: &str| running(&format!("{code} (call $one)"));
    let log = |at: i64, bytes: i64| wild(&format!("(call $log (i32.const 1) (i32.const {at}) (i32.const {bytes}))"));
    let nowhere = Expected::Fault(Contract, "out of bounds");
    let broken = Expected::Fault(Contract, "");
    let options = |fields: &str| told(fields, "(call $retry (i32.const 1024) (i32.const 512))");
    let many = |pages: &str, bytes: i64| {
        let code = format!("(call $log (i32.const 1) (i32.const 0) (i32.const {bytes})) (call $one)");
        with_memory(pages, "", &code)
    };
    try_all(vec![
        case("a text of four GiB", log(0, -1), nowhere),
        case("a text from the end on", log(65535, 2), nowhere),
        case("a text from nowhere", log(-1, 1), nowhere),
        case("an empty text from nowhere", log(-1, 0), nowhere),
        case("a text of two GiB", log(0, 1 << 31), nowhere),
        case("a text that is none", with_fields(r#"(data (i32.const 1024) "\ff\fe")"#, "(call $log (i32.const 1) (i32.const 1024) (i32.const 2)) (call $one)"), broken),
        case("a level that there is not", wild("(call $log (i32.const 99) (i32.const 48) (i32.const 1))"), broken),
        case("an answer into nowhere", wild("(call $limits (i32.const -8))"), broken),
        case("an answer that is not aligned", wild("(call $limits (i32.const 513))"), broken),
        case("options at nowhere", wild("(call $retry (i32.const -8) (i32.const 512))"), broken),
        case("an option that is neither", options(r#"(data (i32.const 1024) "\07")"#), broken),
        case(
            "a text in an option, from nowhere",
            options(r#"(data (i32.const 1024) "\01\00\00\00\ff\ff\ff\ff\ff\ff\ff\ff")"#),
            broken,
        ),
        case("a handle that there is not", wild("(call $block (i32.const 77))"), Expected::Fault(Contract, "unknown handle")),
        case("handle zero", wild("(drop (call $ready (i32.const 0)))"), Expected::Fault(Contract, "")),
        case("a handle beyond all", wild("(drop (call $ready (i32.const -1)))"), Expected::Fault(Contract, "")),
        case("a handle dropped twice", running("(local $h i32) (local.set $h (call $subscribe)) (call $drop-pollable (local.get $h)) (call $drop-pollable (local.get $h)) (call $one)"), broken),
        case("a handle of another kind", wild("(call $block (call $stdout))"), broken),
        case("a list of handles of four GiB", wild("(call $poll (i32.const 0) (i32.const -1) (i32.const 512))"), broken),
        case("a list that overflows", wild("(call $poll (i32.const 0) (i32.const 0x40000001) (i32.const 512))"), broken),
        case("a list of nothing to wait for", wild("(call $poll (i32.const 0) (i32.const 0) (i32.const 512))"), broken),
        case("realloc gives what is not there", Holes { realloc: "(i32.const -16)", ..Holes::default() }.bytes(), broken),
        case("realloc gives what is not aligned", Holes { realloc: "(i32.const 8193)", ..Holes::default() }.bytes(), ONE),
        case("more than a call may have", many("16", 1_000_000), Expected::Fault(HostCallLimit, "limits.")),
        case("as much as a call may have", many("16", 100_000), ONE),
    ])
    .await;
}

/// Before a component is there, too: it is no fault of the host's, for which its task would be tried for ever.
#[tokio::test]
async fn what_points_nowhere_at_the_start_is_a_fault_of_the_guest() {
    let log = |at: i64, bytes: i64| format!("(call $log (i32.const 1) (i32.const {at}) (i32.const {bytes}))");
    let starting = |code: &str| {
        let fields = format!("(data (i32.const 1024) \"\\ff\\fe\") (func $start {code}) (start $start)");
        with_fields(&fields, "(call $one)")
    };
    // What a host tells of the memory it grants is how a module finds out that it is not only asked for its tasks.
    let if_it_runs = |code: &str| {
        starting(&format!(
            "(call $limits (i32.const 512)) (if (i64.ne (i64.load (i32.const 544)) (i64.const {MEMORY})) (then {code}))"
        ))
    };
    let runs = |name: &'static str, code: String, text: &'static str| {
        let less = |grants: &mut lovage::attempt::Grants| grants.memory_bytes = MEMORY / 2;
        case(name, if_it_runs(&code), Expected::Fault(Contract, text)).with(less)
    };
    let described = Expected::Refused("describe_failed", "ContractViolation");
    try_all(vec![
        runs("a text from nowhere", log(-1, 1), "out of bounds"),
        runs("a text that is none", log(1024, 2), ""),
        case("a text from nowhere, when it is asked", starting(&log(-1, 1)), described),
        case("a text that is none, when it is asked", starting(&log(1024, 2)), described),
    ])
    .await;
}

/// A request stays in the host as long as the guest holds it, granted or not: it is short but for its headers, which have a limit.
#[tokio::test]
async fn a_request_that_is_not_sent_says_little() {
    let first = "(import \"wasi:http/types@0.2.0\" (instance $http
        (type $raw-method (variant (case \"get\") (case \"head\") (case \"post\") (case \"put\") (case \"delete\")
            (case \"connect\") (case \"options\") (case \"trace\") (case \"patch\") (case \"other\" string)))
        (export \"method\" (type $method (eq $raw-method)))
        (export \"fields\" (type $fields (sub resource)))
        (export \"outgoing-request\" (type $request (sub resource)))
        (export \"[constructor]fields\" (func (result (own $fields))))
        (export \"[constructor]outgoing-request\" (func (param \"headers\" (own $fields)) (result (own $request))))
        (export \"[method]outgoing-request.set-method\" (func (param \"self\" (borrow $request))
            (param \"method\" $method) (result (result))))
        (export \"[method]outgoing-request.set-authority\" (func (param \"self\" (borrow $request))
            (param \"authority\" (option string)) (result (result))))))";
    let core = "(core func $http-fields (canon lower (func $http \"[constructor]fields\")))
        (core func $http-request (canon lower (func $http \"[constructor]outgoing-request\")))
        (core func $http-method (canon lower (func $http \"[method]outgoing-request.set-method\")
            (memory (core memory $libc \"memory\"))))
        (core func $http-authority (canon lower (func $http \"[method]outgoing-request.set-authority\")
            (memory (core memory $libc \"memory\"))))
        (core instance $lowered-http (export \"fields\" (func $http-fields)) (export \"request\" (func $http-request))
            (export \"set-method\" (func $http-method)) (export \"set-authority\" (func $http-authority)))";
    let imported = "(import \"http\" \"fields\" (func $new-fields (result i32)))
        (import \"http\" \"request\" (func $new-request (param i32) (result i32)))
        (import \"http\" \"set-method\" (func $set-method (param i32 i32 i32 i32) (result i32)))
        (import \"http\" \"set-authority\" (func $set-authority (param i32 i32 i32 i32) (result i32)))";
    let setting = |what: &str, case: u32, bytes: u32| {
        let run = format!(
            "(memory.fill (i32.const 1024) (i32.const 65) (i32.const {bytes}))
            (call $digit (call $set-{what} (call $new-request (call $new-fields))
                (i32.const {case}) (i32.const 1024) (i32.const {bytes})))"
        );
        let with = "(with \"http\" (instance $lowered-http))";
        Holes { first, core, with, imported, run: &run, ..Holes::default() }.bytes()
    };
    try_all(vec![
        case("a method", setting("method", 9, 64), Expected::Returned("0")),
        case("a long method", setting("method", 9, 65), ONE),
        case("a server", setting("authority", 1, 255), Expected::Returned("0")),
        case("a long server", setting("authority", 1, 256), ONE),
    ])
    .await;
}

/// Handles without end: of the host's, and of the guest's own, which cost the host memory as well.
#[tokio::test]
async fn handles_are_counted() {
    let full = Expected::Fault(HandleLimit, "handles");
    let hoard = |code: &str| running(&format!("(loop $l {code} (br $l)) (call $one)"));
    let own = "(type $thing (resource (rep i32))) (core func $new (canon resource.new $thing))
        (core instance $things (export \"new\" (func $new)))";
    let own = Holes {
        core: own,
        with: "(with \"things\" (instance $things))",
        imported: "(import \"things\" \"new\" (func $new (param i32) (result i32)))",
        run: "(loop $l (drop (call $new (i32.const 7))) (br $l)) (call $one)",
        ..Holes::default()
    };
    let polling = |count: u32, first: &str, code: &str| {
        format!(
            "(local $h i32) (local $n i32) {first} (loop $l
                (i32.store (i32.add (i32.const 1024) (i32.shl (local.get $n) (i32.const 2))) {code})
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $l (i32.lt_u (local.get $n) (i32.const {count}))))
            (call $poll (i32.const 1024) (i32.const {count}) (i32.const 512)) (call $one)"
        )
    };
    let timer = "(local.set $h (call $after-duration (i64.const -1)))";
    let same = polling(10_000, timer, "(local.get $h)");
    try_all(vec![
        case("soft limits", hoard("(drop (call $subscribe))"), full),
        case("timers", hoard("(drop (call $after-duration (i64.const 1)))"), full),
        case("instants", hoard("(drop (call $at-instant (i64.const -1)))"), full),
        case("streams", hoard("(drop (call $stdout))"), full),
        case("standard input", hoard("(drop (call $stdin))"), full),
        case("networks", hoard("(drop (call $network))"), full),
        case("resources of its own", own.bytes(), Expected::Fault(Contract, "handle limit exceeded")),
        endless("waiting for all that it may have", running(&polling(400, "", "(call $subscribe)"))),
        endless("waiting for one, ten thousand times over", with_memory("4", "", &same)),
        endless("waiting for a soft limit that never comes", running("(call $block (call $subscribe)) (call $one)")),
    ])
    .await;
}

fn sleeping() -> Vec<Case> {
    let sleep = |seconds: &str| told("", &format!("(call $sleep (f64.const {seconds}) (i32.const 512))"));
    let value = |text| Expected::Raised("ValueError", text);
    let mut cases: Vec<Case> = ["nan", "-nan", "nan:0x1", "-1", "inf", "-inf", "1e308", "31622401", "-0x1p-1074"]
        .into_iter()
        .map(|seconds| case(format!("sleep {seconds}"), sleep(seconds), value("sleep: ")))
        .collect();
    cases.extend(["0", "-0", "0x1p-1074", "1e-9"].map(|seconds| case(format!("sleep {seconds}"), sleep(seconds), ONE)));
    cases.extend(["31622400", "1000"].map(|seconds| endless(format!("sleep {seconds}"), sleep(seconds))));
    cases
}

/// `retry` with options as they lie in memory: those left out are zero.
fn retrying(countdown: Option<&str>, eta: Option<&str>) -> Vec<u8> {
    let mut code = String::new();
    if let Some(countdown) = countdown {
        code +=
            &format!("(i32.store (i32.const 1064) (i32.const 1)) (f64.store (i32.const 1072) (f64.const {countdown}))");
    }
    let eta = eta.unwrap_or_default();
    if !eta.is_empty() {
        let bytes = eta.len();
        code += &format!(
            "(i32.store (i32.const 1080) (i32.const 1)) (i32.store (i32.const 1084) (i32.const 2048))
            (i32.store (i32.const 1088) (i32.const {bytes}))"
        );
    }
    told(
        &format!("(data (i32.const 2048) \"{eta}\")"),
        &format!("{code} (call $retry (i32.const 1024) (i32.const 512))"),
    )
}

#[tokio::test]
async fn times_that_are_no_times_are_refused() {
    let value = |text| Expected::Raised("ValueError", text);
    let mut cases = sleeping();
    for countdown in ["nan", "inf", "-1", "1e300"] {
        cases.push(case(format!("retry in {countdown}"), retrying(Some(countdown), None), value("countdown: ")));
    }
    for eta in
        ["9999-12-31T23:59:59Z", "never", "99999-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-01-01T25:61:61Z", "T"]
    {
        cases.push(case(format!("retry at {eta}"), retrying(None, Some(eta)), value("")));
    }
    cases.push(case("retry at a time long ago", retrying(None, Some("0001-01-01T00:00:00Z")), ONE));
    cases.push(case("retry in a year", retrying(Some("31622400"), None), ONE));
    let block = |timer: &str| running(&format!("(call $block {timer}) (call $one)"));
    cases.push(endless("a timer for all time", block("(call $after-duration (i64.const -1))")));
    cases.push(endless("a timer for half of all time", block("(call $after-duration (i64.const 0x7fffffffffffffff))")));
    cases.push(endless("a timer for the last instant", block("(call $at-instant (i64.const -1))")));
    cases.push(case("a timer for no time", block("(call $after-duration (i64.const 0))"), ONE));
    cases.push(case("a timer for the first instant", block("(call $at-instant (i64.const 0))"), ONE));
    try_all(cases).await;
}

#[tokio::test]
async fn random_numbers_come_in_portions() {
    let random = |function: &str, bytes: &str| {
        let run = format!("(call ${function} (i64.const {bytes}) (i32.const 512)) (call $one)");
        with_memory("4", "", &run)
    };
    let mut cases = Vec::new();
    for function in ["random", "insecure"] {
        for bytes in ["-1", "65537", "0x100000000", "0x7fffffffffffffff"] {
            let name = format!("{function} {bytes}");
            cases.push(case(name, random(function, bytes), Expected::Fault(Contract, "")));
        }
        for bytes in ["0", "65536"] {
            cases.push(case(format!("{function} {bytes}"), random(function, bytes), ONE));
        }
    }
    try_all(cases).await;
}

/// Nothing was granted, so there is nothing.
#[tokio::test]
async fn there_is_nothing_outside() {
    let zero = Expected::Returned("0");
    let count = |function: &str| {
        running(&format!("(call ${function} (i32.const 512)) (call $digit (i32.load (i32.const 516)))"))
    };
    let denied = |code: &str| {
        let code = format!("{code} (call $digit (i32.load8_u (i32.const 516)))");
        with_fields("(data (i32.const 1024) \"localhost\")", &code)
    };
    let name = "(call $resolve (call $network) (i32.const 1024) (i32.const 9) (i32.const 512))
        (call $digit (i32.load8_u (i32.const 512)))";
    let forged = |handle: i64| {
        let code = format!("(drop (call $same-object (i32.const {handle}) (i32.const {handle}))) (call $one)");
        case(format!("descriptor {handle}"), running(&code), Expected::Fault(Contract, "handle"))
    };
    let taken = "(call $drop-descriptor (call $stdout)) (call $one)";
    try_all(vec![
        case("variables", count("environment"), zero),
        case("arguments", count("arguments"), zero),
        case("directories", count("directories"), zero),
        case("a TCP socket", denied("(call $tcp (i32.const 0) (i32.const 512))"), Expected::Returned("1")),
        case("a TCP socket of IPv6", denied("(call $tcp (i32.const 1) (i32.const 512))"), Expected::Returned("1")),
        case("a UDP socket", denied("(call $udp (i32.const 0) (i32.const 512))"), Expected::Returned("1")),
        case("a name", with_fields("(data (i32.const 1024) \"localhost\")", name), ONE),
        case(
            "a family that there is not",
            denied("(call $tcp (i32.const 9) (i32.const 512))"),
            Expected::Fault(Contract, ""),
        ),
        forged(1),
        forged(3),
        forged(4096),
        forged(-1),
        case("a stream as a descriptor", running(taken), Expected::Fault(Contract, "")),
        case(
            "standard input",
            running(
                "(call $read (call $stdin) (i64.const -1) (i32.const 512)) (call $digit (i32.load8_u (i32.const 512)))",
            ),
            Expected::Returned("1"),
        ),
        case("a trap is a trap", running("unreachable"), Expected::Fault(Trap, "unreachable")),
        case(
            "a wait is a wait",
            running("(call $sleep (f64.const 9) (i32.const 512)) (call $one)"),
            Expected::Fault(TimeLimit, ""),
        )
        .with(brief),
    ])
    .await;
}
