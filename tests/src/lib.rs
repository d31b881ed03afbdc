//! What the end-to-end tests share: the guests, components written by hand, daemons and Redis
//! servers that end with their test.

pub mod artifacts;
pub mod attempts;
pub mod components;
pub mod daemon;
pub mod guests;
pub mod peers;
pub mod python;
pub mod redis;
