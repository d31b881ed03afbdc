use lovage_guest::prelude::*;

#[task(name = "m.add")]
fn add(x: i64, y: i64) -> i64 {
    x + y
}

#[task(name = "m.add")]
fn plus(x: i64, y: i64) -> i64 {
    x + y
}

export_tasks!(add, plus);

fn main() {}
