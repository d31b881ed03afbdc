use lovage_guest::prelude::*;

fn few(_ctx: &Context) {}

#[task(on_success = few)]
fn too_few() {}

fn other(_ctx: &Context, _retval: &str) {}

#[task(on_success = other)]
fn another_type() {}

fn wrong(_ctx: &Context, _exc: &Raised) -> Result<(), String> {
    Ok(())
}

#[task(on_failure = wrong)]
fn another_error() {}

fn main() {}
