//! A module that never says which tasks it has.
#![allow(clippy::empty_loop)]

lovage_test_guests::raw_module!(describe: loop {}, run: |_, _, _| Ok("null".to_owned()));
