//! What the end-to-end tests share: the guests, and daemons that end with their test.

pub mod artifacts;
pub mod daemon;
pub mod guests;
