//! What happens to guests that run into the walls of the sandbox, and to what is no guest at all.
//!
//! All runs go through the sandbox's door, with artifacts that are made once.

mod admission;
mod compiling;
mod grants;
mod handlers;
mod isolation;
mod lab;
mod limits;
mod walls;
