//! Files of settings: each is refused, or shown so that it is read as the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lovage::config::{Flags, load};

fuzz_target!(|text: &str| {
    let flags = Flags { config: Some("lovage.toml".into()), ..Flags::default() };
    let read = |text: &str| {
        let text = text.to_owned();
        load(&flags, std::iter::empty(), move |_| Ok(text))
    };
    let Ok(config) = read(text) else { return };
    let shown = config.show();
    // What is secret is not shown.
    if !shown.contains("***") {
        let again = read(&shown).unwrap_or_else(|faults| panic!("{faults}\n{shown}"));
        assert_eq!(again.show(), shown);
    }
});
