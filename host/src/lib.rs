//! Lovage: Celery's task queue with every task inside a WebAssembly sandbox.
//!
//! A house of rooms; each answers one question, and imports go one way only. `docs/ARCHITECTURE.md` has the plan, and
//! `tests/laws.rs` holds the code to it.
#![deny(missing_docs)]

pub mod access;
pub mod api;
pub mod aside;
pub mod attempt;
pub mod beat;
pub mod canvas;
pub mod celery;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod daemon;
pub mod events;
pub mod fair;
pub mod held;
pub mod modules;
pub mod outside;
pub mod pipeline;
pub mod queue;
pub mod sandbox;
pub mod scheduler;
pub mod store;
pub mod trace;
