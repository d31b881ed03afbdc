use lovage_guest::prelude::*;

#[task]
fn borrowed(text: &str) {}

#[task]
fn pattern((x, y): (i64, i64)) {}

#[task]
fn vague(value: impl Into<String>) {}

#[task]
fn context_last(x: i64, ctx: &Context) {}

#[task]
fn context_twice(ctx: &Context, again: &Context) {}

#[task]
fn context_owned(ctx: Context) {}

#[task]
fn context_mutable(ctx: &mut Context) {}

#[task]
fn required_last(#[default] x: i64, y: i64) {}

#[task]
fn required_after_option(x: Option<i64>, y: i64) {}

#[task]
fn default_twice(#[default] #[default(1)] x: i64) {}

#[task]
fn default_misspelt(#[default = 1] x: i64) {}

#[task]
fn default_empty(#[default()] x: i64) {}

#[task]
fn args_first(#[args] all: Vec<i64>, x: i64) {}

#[task]
fn kwargs_before_args(#[kwargs] named: Json, #[args] all: Vec<i64>) {}

#[task]
fn args_and_default(#[args] #[default] all: Vec<i64>) {}

#[task]
fn args_with_a_value(#[args(2)] all: Vec<i64>) {}

fn main() {}
