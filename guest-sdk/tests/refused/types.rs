use lovage_guest::prelude::*;

struct Opaque;

#[task]
fn unknown_value() -> Opaque {
    Opaque
}

#[task]
fn unknown_value_in_result() -> TaskResult<Opaque> {
    Ok(Opaque)
}

#[task]
fn unknown_error() -> Result<i64, Opaque> {
    Err(Opaque)
}

#[task]
fn unknown_argument(_value: Opaque) {}

#[task]
fn no_default(#[default] _value: Chosen) {}

#[derive(Deserialize)]
struct Chosen;

#[task]
fn wrong_default(#[default(1)] _value: String) {}

#[derive(Deserialize)]
struct ReadOnly;

#[task]
fn reads(_value: ReadOnly) {}

#[task]
fn sends(ctx: &Context) -> TaskResult<AsyncResult> {
    reads::delay(ctx, ReadOnly)
}

fn main() {}
