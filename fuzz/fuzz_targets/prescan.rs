//! Components, before a compiler sees them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|component: &[u8]| {
    let _ = lovage::sandbox::check_shape(component);
});
