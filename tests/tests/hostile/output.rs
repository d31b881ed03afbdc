//! What comes out of a sandbox: output, results, errors; too much of it, or none that can be read.

use lovage::attempt::FaultKind::{Contract, HostCallLimit, ResultLimit};

use crate::lab::{Case, Expected, OUTPUT, PAYLOAD, case, endless, try_all};
use crate::skeleton::{Holes, running, with_fields, with_memory};

const ONE: Expected = Expected::Returned("1");

/// Returns so many bytes from 65536 on, filled with a character.
fn returning(bytes: usize, fill: char) -> Vec<u8> {
    let run = format!(
        "(memory.fill (i32.const 65536) (i32.const {}) (i32.const {bytes})) (call $ok (i32.const 65536) (i32.const {bytes}))",
        fill as u32
    );
    with_memory("200", "", &run)
}

/// Text for the text format.
fn quoted(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}

/// Returns these bytes.
fn saying(bytes: &[u8]) -> Vec<u8> {
    let pages = (2 + bytes.len() / 65536).to_string();
    let fields = format!("(data (i32.const 65536) \"{}\")", quoted(bytes));
    with_memory(&pages, &fields, &format!("(call $ok (i32.const 65536) (i32.const {}))", bytes.len()))
}

/// Writes these bytes so often.
fn writing(stream: &str, bytes: &[u8], times: u32) -> Vec<u8> {
    let fields = format!("(data (i32.const 1024) \"{}\")", quoted(bytes));
    let run = format!(
        "(local $n i32) (local $out i32) (local.set $out (call ${stream}))
        (loop $l (call $write-all (local.get $out) (i32.const 1024) (i32.const {}) (i32.const 512))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $l (i32.lt_u (local.get $n) (i32.const {times}))))
        (call $one)",
        bytes.len()
    );
    with_fields(&fields, &run)
}

#[tokio::test]
async fn output_is_taken_and_cut() {
    let mut cases = Vec::new();
    for stream in ["stdout", "stderr"] {
        for (name, bytes, times) in [
            ("a flood", &b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n"[..], 100_000),
            ("a line without an end", &[b'x'; 4096][..], 1000),
            ("what a terminal obeys", b"\x1b[2J\x1b]52;c;aGk=\x07\x1b]0;title\x07\x9b31m", 1),
            ("what a browser obeys", b"</script><script>alert(1)</script>", 1),
            ("bytes that are no text", &[0xff; 4096], 100),
            ("half of a character, over and over", b"\xf0\x9f", 10_000),
            ("zeroes", &[0; 4096], 100),
            ("what looks like a panic", b"thread 'x' panicked at a.rs:1:1:\nno\n", 1),
        ] {
            cases.push(case(format!("{name} on {stream}"), writing(stream, bytes, times), ONE));
        }
    }
    let out =
        |code: &str| with_memory("32", "", &format!("(local $o i32) (local.set $o (call $stdout)) {code} (call $one)"));
    let broken = Expected::Fault(Contract, "");
    cases.push(case(
        "a write of more than was allowed",
        out("(call $write (local.get $o) (i32.const 0) (i32.const 100000) (i32.const 512))"),
        Expected::Harmless,
    ));
    cases.push(case(
        "a write of megabytes",
        out("(call $write (local.get $o) (i32.const 0) (i32.const 2000000) (i32.const 512))"),
        Expected::Fault(HostCallLimit, ""),
    ));
    cases.push(case(
        "zeroes without end",
        out("(call $write-zeroes (local.get $o) (i64.const -1) (i32.const 512))"),
        broken,
    ));
    cases.push(case(
        "zeroes as many as allowed",
        out("(call $write-zeroes (local.get $o) (i64.const 65536) (i32.const 512))"),
        ONE,
    ));
    cases.push(endless(
        "zeroes for ever",
        out("(loop $l (call $write-zeroes (local.get $o) (i64.const 65536) (i32.const 512)) (br $l))"),
    ));
    cases.push(case(
        "splicing what has ended",
        out("(call $splice (local.get $o) (call $stdin) (i64.const -1) (i32.const 512))"),
        ONE,
    ));
    cases.push(case(
        "a panic on the way out",
        with_fields(
            "(data (i32.const 1024) \"thread 'x' panicked at a.rs:1:1:\\nouch\\n\")",
            "(call $write-all (call $stderr) (i32.const 1024) (i32.const 38) (i32.const 512)) unreachable",
        ),
        Expected::Fault(lovage::attempt::FaultKind::Panic, "ouch (a.rs:1:1)"),
    ));
    let records = format!(
        "(local $n i32) (loop $l (call $log (i32.const 1) (i32.const 0) (i32.const {OUTPUT}))
        (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 1000)))) (call $one)"
    );
    cases.push(case("records as large as all output", running(&records), ONE));
    try_all(cases).await;
}

/// Fails with an exception whose texts have so many bytes, all of them `0`.
fn failing(class: usize, message: usize, module: usize, traceback: usize) -> Vec<u8> {
    let most = class.max(message).max(module).max(traceback);
    let mut run = format!(
        "(memory.fill (i32.const 65536) (i32.const 48) (i32.const {most})) (i32.store (i32.const 768) (i32.const 1))"
    );
    run += "(i32.store (i32.const 772) (i32.const 0))";
    for (place, bytes) in [class, message, module, traceback].into_iter().enumerate() {
        let at = 776 + 8 * place;
        run += &format!(
            "(i32.store (i32.const {at}) (i32.const 65536)) (i32.store (i32.const {}) (i32.const {bytes}))",
            at + 4
        );
    }
    with_memory("64", "", &format!("{run} (i32.const 768)"))
}

fn results() -> Vec<Case> {
    let flood = Expected::Fault(HostCallLimit, "limits.");
    let large = Expected::Fault(ResultLimit, "limits.result_bytes");
    let ending = |kind: u32| {
        running(&format!(
            "(i32.store (i32.const 768) (i32.const 1)) (i32.store (i32.const 772) (i32.const {kind})) (i32.const 768)"
        ))
    };
    let broken = Expected::Fault(Contract, "");
    vec![
        case("a result of a byte too many", returning(PAYLOAD + 1, '1'), large),
        case("a result as large as may be", returning(PAYLOAD, ' '), broken),
        case("a result of all that a call may have", returning(2 * PAYLOAD, '1'), large),
        case("a result of more", returning(2 * PAYLOAD + 1, '1'), flood),
        case("a result of megabytes", returning(8 << 20, '1'), flood),
        case("a result of all memory and more", running("(call $ok (i32.const 0) (i32.const -1))"), broken),
        case("an empty result", running("(call $ok (i32.const 0) (i32.const 0))"), broken),
        case("an exception of nothing", failing(0, 1, 0, 0), Expected::Raised("", "")),
        case("an exception without arguments", failing(1, 0, 1, 0), broken),
        case("an exception with a large class", failing(PAYLOAD, 1, 1, 1), Expected::Fault(Contract, "255 bytes")),
        case("an exception with a large traceback", failing(1, 1, 1, PAYLOAD), Expected::Raised("0", "")),
        case("an exception of megabytes", failing(1 << 20, 1, 1 << 20, 1 << 20), flood),
        case("an ending that there is not", ending(9), broken),
        case("a retry that it did not ask for", ending(1), Expected::Fault(Contract, "retry")),
        case("a replacement that it did not name", ending(2), Expected::Fault(Contract, "replacement")),
        case(
            "neither a result nor an ending",
            running("(i32.store (i32.const 768) (i32.const 7)) (i32.const 768)"),
            broken,
        ),
    ]
}

#[tokio::test]
async fn results_and_errors_are_bounded() {
    try_all(results()).await;
}

fn nested(depth: usize, open: &str, close: &str) -> Vec<u8> {
    format!("{}{}", open.repeat(depth), close.repeat(depth)).into_bytes()
}

/// Also as the meta of a state: what is refused there is a `ValueError`, and what is taken changes nothing.
#[tokio::test]
async fn texts_that_break_parsers_break_none_here() {
    let deep = Expected::Fault(Contract, "deep");
    let bad = Expected::Fault(Contract, "not JSON");
    let mut cases = vec![
        case("127 arrays", saying(&nested(127, "[", "]")), Expected::Harmless),
        case("128 arrays", saying(&nested(128, "[", "]")), deep),
        case("30,000 arrays", saying(&nested(30_000, "[", "]")), deep),
        case("10,000 objects", saying(&nested(10_000, "{\"\":", "}").to_vec()), bad),
        case(
            "9,000 objects that end",
            saying(format!("{}1{}", "{\"\":".repeat(9_000), "}".repeat(9_000)).as_bytes()),
            deep,
        ),
        case("60,000 arrays without an end", saying("[".repeat(60_000).as_bytes()), bad),
        case("ends of arrays only", saying("]".repeat(60_000).as_bytes()), bad),
        case("a number of 60,000 digits", saying("9".repeat(60_000).as_bytes()), Expected::Harmless),
        case("a number with a huge exponent", saying(b"1e999999999"), Expected::Harmless),
        case("one above all floats", saying(b"1e400"), Expected::Returned("1e400")),
        case("minus nothing", saying(b"-0"), Expected::Returned("-0")),
        case("a key twice", saying(br#"{"a":1,"a":2}"#), Expected::Returned(r#"{"a":1,"a":2}"#)),
        case("half of a pair", saying(br#""\ud800""#), Expected::Harmless),
        case("a zero in a text", saying(b"\"\0\""), bad),
        case("an escaped zero", saying(br#""\u0000""#), Expected::Harmless),
        case("not a number", saying(b"NaN"), bad),
        case("a mark of the order of bytes", saying(b"\xef\xbb\xbf1"), bad),
        case("a comma too many", saying(b"[1,]"), bad),
        case("a comment", saying(b"1//"), bad),
        case("two values", saying(b"1 1"), bad),
        case("bytes that are no text", saying(b"\"\xff\""), Expected::Fault(Contract, "")),
    ];
    let meta = |bytes: &[u8]| {
        let fields = format!(
            "(data (i32.const 48) \"1\") (data (i32.const 1024) \"ODD\") (data (i32.const 65536) \"{}\")",
            quoted(bytes)
        );
        let run = format!(
            "(call $update-state (i32.const 1024) (i32.const 3) (i32.const 65536) (i32.const {}) (i32.const 512)) (call $told)",
            bytes.len()
        );
        with_memory("3", &fields, &run)
    };
    for (name, bytes) in [
        ("a deep meta", nested(30_000, "[", "]")),
        ("an endless meta", "[".repeat(60_000).into_bytes()),
        ("an empty meta", Vec::new()),
        ("a meta too large", " ".repeat(PAYLOAD + 1).into_bytes()),
    ] {
        cases.push(case(name, meta(&bytes), Expected::Raised("ValueError", "meta")));
    }
    try_all(cases).await;
}

/// Names of functions are the guest's, and go into tracebacks.
#[tokio::test]
async fn names_of_functions_do_not_blow_up_a_traceback() {
    let named = |name: &str| {
        let name = quoted(name.as_bytes());
        let fields = format!(
            "(func $deep (@name \"{name}\") (param i32) (result i32) (i32.add (i32.const 1) (call $deep (local.get 0))))"
        );
        Holes { fields: &fields, run: "(drop (call $deep (i32.const 0))) (call $one)", ..Holes::default() }.bytes()
    };
    let deep = Expected::Fault(lovage::attempt::FaultKind::StackOverflow, "too deep");
    try_all(vec![
        case("a long name", named(&"x".repeat(90_000)), deep),
        case("a name of control characters", named("\u{1b}[2J\u{7}\u{0}\u{202e}"), deep),
        case("a name of nothing", named(""), deep),
        case("a name that only looks mangled", named("_ZN9999999999999999999999x"), deep),
        case("a name with deep parts", named(&format!("_RNv{}C1a1b", "N".repeat(900))), deep),
    ])
    .await;
}
