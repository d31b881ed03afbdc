//! Is each mistake an author can make refused with a message that says what to do?
//!
//! `TRYBUILD=overwrite cargo test -p lovage-guest --test refusals` rewrites the expected messages.

#[test]
fn mistakes_do_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/refused/*.rs");
}
