use lovage_guest::prelude::*;

#[task(on_success = nobody)]
fn unknown() {}

fn main() {}
