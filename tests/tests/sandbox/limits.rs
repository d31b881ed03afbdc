//! Walls that no compiler's code runs into.

use lovage::attempt::{FaultKind, Outcome};
use lovage_tests::artifacts::digest_of;
use serde_json::json;

use crate::components::Written;
use crate::lab::{self, Run};

async fn fault_of(run: &str, body: &str) -> (FaultKind, String) {
    let component = Written { run, body, ..Written::default() }.bytes();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("it.wasm");
    std::fs::write(&file, &component).unwrap();
    lab::sandbox().admit(&digest_of(&component), &component).await.unwrap();
    let report = Run::of(&file, "it.runs", &json!([])).with(|grants| grants.memory_bytes = 1 << 20).report().await;
    match report.outcome {
        Outcome::Faulted(fault) => (fault.kind, fault.exception.to_string()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_table_that_grows_and_grows_is_stopped() {
    let run = "(loop (br_if 0 (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)))) unreachable";
    let (kind, text) = fault_of(run, "(table $t 1 funcref)").await;
    assert_eq!(kind, FaultKind::TableLimit, "{text}");
    assert!(text.starts_with("TableLimitExceeded: it asked for 1000 table elements more"), "{text}");
}

#[tokio::test]
async fn a_result_that_is_nowhere_breaks_the_contract() {
    for run in ["i32.const 0x7ffffff0", "i32.const 3"] {
        let (kind, text) = fault_of(run, "").await;
        assert_eq!(kind, FaultKind::Contract, "{text}");
    }
}

#[tokio::test]
async fn numbers_that_cannot_be_divided_trap() {
    let (kind, text) = fault_of("(i32.div_u (i32.const 1) (i32.const 0))", "").await;
    assert_eq!((kind, text.as_str()), (FaultKind::Trap, "Trap: wasm trap: integer divide by zero"));
}
