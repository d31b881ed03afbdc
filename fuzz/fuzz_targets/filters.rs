//! Queries of lists of tasks.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|query: &str| {
    lovage::api::read_filter(query);
});
