//! How is it written on Celery's wire? Messages, results, events and remote control, as Celery and kombu write them to Redis,
//! and what they wrote, read.
//!
//! Pure: bytes in, values out, and back. What cannot be read comes with everything of it that can, so that whoever waits for
//! it is answered. Time is an argument, and so are ids. Nothing here knows of connections, keys or scripts.
//! See <https://docs.celeryq.dev/en/stable/internals/protocol.html>.

mod compression;
mod content;
mod envelope;
mod headers;
mod json;
pub mod meta;
mod msgpack;
mod poison;
mod properties;
mod read;
mod write;

pub use json::dumps;
pub use poison::Poison;
pub use read::{Delivery, Limits, Received, read};
pub use write::{Envelope, write};
