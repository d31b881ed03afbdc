//! What anybody may have put into Redis: messages, results, groups, parts of chords, remote control.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lovage::celery::{Limits, meta, pidbox, read};

const LIMITS: Limits = Limits { body_bytes: 1 << 16 };

fuzz_target!(|raw: &[u8]| {
    let _ = read(raw, &LIMITS);
    if let Ok(meta) = meta::read(raw, &LIMITS) {
        meta::write(&meta).expect("what was read can be written");
    }
    if let Ok(group) = meta::read_group(raw, &LIMITS) {
        meta::write_group(&group).expect("what was read can be written");
    }
    if let Ok(part) = meta::read_part(raw, &LIMITS) {
        meta::write_part(&part).expect("what was read can be written");
    }
    if let Ok(request) = pidbox::Request::read(raw, &LIMITS) {
        request.write("tag").expect("what was read can be written");
    }
    let _ = pidbox::read_answers(raw, &LIMITS);
});
