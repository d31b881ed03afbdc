//! What is not let in, and whether it is told what to do about it.

use lovage::sandbox::Refusal;
use lovage_tests::artifacts::digest_of;
use lovage_tests::components::Written;
use lovage_tests::guests;

use crate::lab;

async fn admit(component: &[u8]) -> Result<usize, Refusal> {
    lab::sandbox().admit(&digest_of(component), component).await.map(|tasks| tasks.len())
}

/// Each is refused with this code, and with each of these words.
async fn check(table: &[(Vec<u8>, &str, &[&str])]) {
    for (place, (component, code, says)) in table.iter().enumerate() {
        let refusal = admit(component).await.expect_err(&format!("{place} ({code}) is refused"));
        assert_eq!(refusal.code, *code, "{place}: {refusal}");
        for words in *says {
            assert!(refusal.message.contains(words), "{place}: {words:?} is not in: {refusal}");
        }
    }
}

fn text(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).unwrap_or_else(|error| panic!("{error}"))
}

fn guest(path: &std::path::Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[tokio::test]
async fn what_is_written_by_hand_and_right_comes_in() {
    assert_eq!(admit(&Written::default().bytes()).await, Ok(1));
}

#[tokio::test]
async fn what_is_no_component_is_told_what_it_is() {
    check(&[
        (text("(module)"), "not_a_component", &["core WebAssembly module", "wasm32-wasip2"]),
        (b"(component)".to_vec(), "not_a_component", &["text", "push the binary"]),
        (guest(&std::env::current_exe().unwrap()), "not_a_component", &["native", "push the .wasm file"]),
        (Vec::new(), "not_a_component", &["empty", "cargo build"]),
        ((0..=255).collect(), "not_a_component", &["cargo build --target wasm32-wasip2"]),
        (b"\0asm\x0d\0\x01\0 and then nothing that makes sense".to_vec(), "invalid_component", &["not a valid"]),
    ])
    .await;
}

#[tokio::test]
async fn what_does_not_fit_the_contract_is_told_where() {
    let graph = r#"(import "wasi:nn/graph@0.2.0" (instance (export "load" (func))))"#;
    let http = r#"(import "wasi:http/outgoing-handler@0.2.0" (instance (export "handle" (func))))"#;
    let other = r#"(import "acme:billing/charge" (func))"#;
    let host =
        r#"(import "lovage:task/host@0.1.0" (instance (export "soft-time-limit-exceeded" (func (result u32)))))"#;
    let unknown = r#"(import "lovage:task/host@0.1.0" (instance (export "launch-missiles" (func))))"#;
    let of = |imports| Written { imports, ..Written::default() }.bytes();
    check(&[
        (of(graph), "import_not_allowed", &["wasi:nn/graph@0.2.0", "remove the dependency"]),
        (of(http), "contract_mismatch", &["wasi:http/outgoing-handler@0.2.0", "`handle` has the wrong type"]),
        (of(other), "import_not_allowed", &["acme:billing/charge"]),
        (of(host), "contract_mismatch", &["lovage:task@0.1", "lovage-guest", "soft-time-limit-exceeded"]),
        (of(unknown), "contract_mismatch", &["launch-missiles"]),
        (Written { describe_type: "u32", ..Written::default() }.bytes(), "contract_mismatch", &["expected `string`"]),
        (Written { exports: "lovage:task/tasks@0.2.0", ..Written::default() }.bytes(), "no_tasks", &["export_tasks!"]),
        (text("(component)"), "no_tasks", &["export_tasks!"]),
    ])
    .await;
}

#[tokio::test]
async fn descriptions_that_make_no_sense_are_refused() {
    check(&[
        (guest(guests::empty()), "no_tasks", &["export_tasks!"]),
        (guest(guests::duplicate()), "duplicate_task", &["twice", "#[task(name = \"...\")]"]),
        (guest(guests::mumbling()), "bad_description", &["describe"]),
    ])
    .await;
}

/// They are given five seconds, wherever they spend them.
#[tokio::test]
async fn who_never_answers_is_not_waited_for() {
    let endless = Written { body: "(func $s (loop (br 0))) (start $s)", ..Written::default() }.bytes();
    let restless = guest(guests::restless());
    let (in_describe, at_start) = tokio::join!(admit(&restless), admit(&endless));
    for refusal in [in_describe.unwrap_err(), at_start.unwrap_err()] {
        assert_eq!(refusal.code, "describe_failed");
        assert!(
            refusal.message.contains("TimeLimitExceeded: 5") && refusal.message.contains("time-limit"),
            "{refusal}"
        );
    }
}

/// Instructions beyond WebAssembly 2.0 are more for an attacker than for a task.
#[tokio::test]
async fn odd_proposals_are_not_spoken() {
    let with = |body| text(&format!("(component (core module {body}))"));
    let relaxed = "(func (param v128) (result v128) (i8x16.relaxed_swizzle (local.get 0) (local.get 0)))";
    check(&[
        (with("(memory i64 1)"), "invalid_component", &["memory64"]),
        (with("(memory 1 1 shared)"), "invalid_component", &["threads"]),
        (with("(tag $t) (func (throw $t))"), "invalid_component", &["exceptions"]),
        (with("(type (struct))"), "invalid_component", &["gc"]),
        (with(relaxed), "invalid_component", &["relaxed SIMD"]),
        (with("(memory 1) (memory 1)"), "invalid_component", &["multiple memories"]),
    ])
    .await;
}

#[tokio::test]
async fn who_asks_for_too_much_at_once_is_told_the_limit() {
    let tables = "(table 1 funcref)".repeat(5);
    check(&[
        (Written { memory: "4000", ..Written::default() }.bytes(), "too_demanding", &["memory", "limits.memory_bytes"]),
        (Written { body: &tables, ..Written::default() }.bytes(), "too_demanding", &["table"]),
        (Written { body: "(table 10000000 funcref)", ..Written::default() }.bytes(), "too_demanding", &["table"]),
    ])
    .await;
}
