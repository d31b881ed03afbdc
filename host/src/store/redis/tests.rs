//! What does Redis ask of a store that the suite does not?

pub(in crate::store) mod server;
