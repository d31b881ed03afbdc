//! How is it written on Celery's wire? Messages, results, events and remote control, as Celery and kombu write them to Redis,
//! and what they wrote, read.
//!
//! Pure: bytes in, values out, and back. What cannot be read comes with everything of it that can, so that whoever waits for
//! it is answered. Time is an argument, and so are ids. Nothing here knows of connections, keys or scripts.
//! See <https://docs.celeryq.dev/en/stable/internals/protocol.html>.

mod channel;
mod compression;
mod content;
mod envelope;
pub mod event;
mod headers;
pub mod inspected;
mod json;
mod matcher;
pub mod meta;
mod msgpack;
mod pairs;
pub mod pidbox;
mod poison;
mod properties;
mod read;
mod unacked;
mod write;

pub use channel::channel;
pub use json::dumps;
pub use poison::Poison;
pub use read::{Delivery, Limits, Received, read};
pub use unacked::Unacked;
pub use write::{Envelope, write};

#[cfg(test)]
mod tests;
