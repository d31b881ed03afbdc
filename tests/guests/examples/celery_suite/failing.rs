//! Tasks that raise.

use lovage_guest::prelude::*;
use serde_json::Value;

/// The suite's own exception, which its client raises again.
pub(crate) fn expected(args: Vec<Value>) -> TaskError {
    TaskError::raise("ExpectedException", "t.integration.tasks", args)
}

/// One that cannot be made again from its arguments.
pub(crate) fn unpickleable(foo: Value) -> TaskError {
    TaskError::raise("UnpickleableException", "t.integration.tasks", vec![foo])
}

#[task(name = "t.integration.tasks.raise_error")]
pub(crate) fn raise_error(#[args] _args: Vec<Value>) -> TaskResult<()> {
    Err(TaskError::builtin("ValueError", "deliberate error"))
}

#[task(name = "t.integration.tasks.fail")]
pub(crate) fn fail(#[args] args: Vec<Value>) -> TaskResult<()> {
    let text = json!("Task expected to fail");
    Err(expected(std::iter::once(text).chain(args).collect()))
}

#[task(name = "t.integration.tasks.fail_unpickleable")]
pub(crate) fn fail_unpickleable(foo: Value, bar: Value) -> TaskResult<()> {
    let _ = bar;
    Err(unpickleable(foo))
}
