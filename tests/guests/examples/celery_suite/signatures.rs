//! Tasks that return signatures, nested in each other, and one that reads them again.

use lovage_guest::prelude::*;
use serde_json::Value;

use crate::plain::add;

fn one() -> Vec<Signature> {
    vec![add::partial()]
}

#[task(name = "t.integration.tasks.return_nested_signature_chain_chain")]
pub(crate) fn return_nested_signature_chain_chain() -> TaskResult<Json> {
    chain([chain(one())]).to_json()
}

#[task(name = "t.integration.tasks.return_nested_signature_chain_group")]
pub(crate) fn return_nested_signature_chain_group() -> TaskResult<Json> {
    chain([group(one())]).to_json()
}

#[task(name = "t.integration.tasks.return_nested_signature_chain_chord")]
pub(crate) fn return_nested_signature_chain_chord() -> TaskResult<Json> {
    chain([chord(one(), add::partial())]).to_json()
}

#[task(name = "t.integration.tasks.return_nested_signature_group_chain")]
pub(crate) fn return_nested_signature_group_chain() -> TaskResult<Json> {
    group([chain(one())]).to_json()
}

#[task(name = "t.integration.tasks.return_nested_signature_group_group")]
pub(crate) fn return_nested_signature_group_group() -> TaskResult<Json> {
    group([group(one())]).to_json()
}

#[task(name = "t.integration.tasks.return_nested_signature_group_chord")]
pub(crate) fn return_nested_signature_group_chord() -> TaskResult<Json> {
    group([chord(one(), add::partial())]).to_json()
}

#[task(name = "t.integration.tasks.return_nested_signature_chord_chain")]
pub(crate) fn return_nested_signature_chord_chain() -> TaskResult<Json> {
    chord([chain(one())], add::partial()).to_json()
}

#[task(name = "t.integration.tasks.return_nested_signature_chord_group")]
pub(crate) fn return_nested_signature_chord_group() -> TaskResult<Json> {
    chord([group(one())], add::partial()).to_json()
}

#[task(name = "t.integration.tasks.return_nested_signature_chord_chord")]
pub(crate) fn return_nested_signature_chord_chord() -> TaskResult<Json> {
    chord([chord(one(), add::partial())], add::partial()).to_json()
}

#[task(name = "t.integration.tasks.rebuild_signature")]
pub(crate) fn rebuild_signature(sig_dict: Value) -> TaskResult<()> {
    check(&sig_dict)
}

/// Everything in it must be a signature.
fn check(sig: &Value) -> TaskResult<()> {
    if !sig["task"].is_string() {
        return Err(TaskError::builtin("TypeError", format!("{sig} is not a signature object")));
    }
    let kwargs = &sig["kwargs"];
    for part in ["tasks", "header"] {
        match &kwargs[part] {
            Value::Array(tasks) => tasks.iter().try_for_each(check)?,
            Value::Null => {}
            one => check(one)?,
        }
    }
    if kwargs["body"].is_null() { Ok(()) } else { check(&kwargs["body"]) }
}
