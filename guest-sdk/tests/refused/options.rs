use lovage_guest::prelude::*;

#[task(retries = 3)]
fn unknown() {}

#[task(max_retries = "three")]
fn not_a_number() {}

#[task(max_retries = -1)]
fn negative_retries() {}

#[task(time_limit = -5.0)]
fn negative_limit() {}

#[task(soft_time_limit = 0)]
fn no_time() {}

#[task(default_retry_delay = 1e12)]
fn for_ever() {}

#[task(soft_time_limit = 10.0, time_limit = 5)]
fn soft_after_hard() {}

#[task(time_limit = 5, time_limit = 6)]
fn twice() {}

#[task(name = "")]
fn nameless() {}

#[task(name = "two words")]
fn bad_name() {}

#[task(name = add)]
fn name_is_no_text() {}

#[task(ignore_result = "yes")]
fn not_a_flag() {}

#[task(priority = 10)]
fn too_late() {}

#[task("tour.add")]
fn no_option_at_all() {}

#[task(priority = 11, wrong = 1)]
fn two_faults_at_once() {}

fn main() {}
