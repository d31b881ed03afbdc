//! The host's side of the contract, generated from the one copy of it in `guest-sdk/wit`.
#![allow(missing_docs, clippy::all, unreachable_pub)]

wasmtime::component::bindgen!({
    path: "../guest-sdk/wit",
    world: "task",
    imports: { "lovage:task/host.sleep": async | trappable, default: trappable },
    exports: { default: async },
    with: { "wasi:io/poll": wasmtime_wasi::p2::bindings::io::poll },
});
