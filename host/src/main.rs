//! lovage
fn main() {}
