//! The host's side of the contract, generated from the one copy of it in `guest-sdk/wit`.
//!
//! The world that has everything; a module need not export its handlers.
#![allow(missing_docs, clippy::all, dead_code, unreachable_pub)]

wasmtime::component::bindgen!({
    path: "../guest-sdk/wit",
    world: "task-with-handlers",
    imports: { "lovage:task/host.sleep": async | trappable, default: trappable },
    exports: { default: async },
    with: { "wasi:io/poll": wasmtime_wasi::p2::bindings::io::poll },
});
