//! The crash lab: components and requests that are built to do harm, each with what must become of it.
//!
//! A host that met one of them still runs a neighbour, and has lost nothing by it.

mod calls;
mod executor;
mod lab;
mod loops;
mod memory;
mod output;
mod proposals;
mod requests;
mod shape;
mod skeleton;
mod smith;
mod stack;
mod wit;
