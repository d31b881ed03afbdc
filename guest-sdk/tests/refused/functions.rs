use lovage_guest::prelude::*;

struct Shop;

impl Shop {
    #[task]
    fn sell(&self) {}
}

#[task]
async fn later() {}

#[task]
fn generic<T>(value: T) {}

#[task]
fn with_lifetime<'a>(ctx: &'a Context) {}

#[task]
unsafe fn daring() {}

#[task]
extern "C" fn foreign() {}

#[task]
struct NoFunction;

fn main() {}
