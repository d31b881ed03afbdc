use lovage_guest::prelude::*;

#[task]
fn add(x: i64, y: i64) -> i64 {
    x + y
}

fn plain() {}

struct Other;

export_tasks!(add, plain);
export_tasks!(add, nothing);
export_tasks!(add, Other);

fn main() {}
