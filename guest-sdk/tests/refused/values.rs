use lovage_guest::prelude::*;

#[task(autoretry_for = "KeyError")]
fn no_list() {}

#[task(autoretry_for = [KeyError])]
fn no_text() {}

#[task(dont_autoretry_for = ["Key Error"])]
fn no_name() {}

#[task(throws = ["a..b"])]
fn no_part() {}

#[task(retry_backoff = "fast")]
fn no_backoff() {}

#[task(retry_backoff_max = true)]
fn no_seconds() {}

#[task(retry_jitter = 1)]
fn no_flag() {}

#[task(rate_limit = "fast")]
fn no_rate() {}

#[task(rate_limit = "10/d")]
fn no_unit() {}

#[task(expires = 0)]
fn expired() {}

#[task(serializer = "pickle")]
fn no_serializer() {}

#[task(compression = "bzip2")]
fn no_compression() {}

#[task(resultrepr_maxsize = -1)]
fn no_bytes() {}

#[task(shadow = 7)]
fn no_shadow() {}

#[task(on_success = "told")]
fn no_function() {}

#[task(on_start = told)]
fn no_handler() {}

fn main() {}
