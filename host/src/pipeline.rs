//! The main path of one message.

mod running;

pub use running::{Active, Listed, Running};
