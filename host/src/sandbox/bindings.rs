//! The host's side of the contract, generated from the one copy of it in `guest-sdk/wit`.
//!
//! The world that has everything; a module need not export its handlers.
#![allow(missing_docs, clippy::all, dead_code, unreachable_pub)]

wasmtime::component::bindgen!({
    path: "../guest-sdk/wit",
    world: "task-with-capabilities",
    imports: {
        "lovage:task/host.sleep": async | trappable,
        "lovage:task/secrets": async | trappable,
        "wasi:keyvalue/store.[method]bucket.get": async | trappable,
        "wasi:keyvalue/store.[method]bucket.set": async | trappable,
        "wasi:keyvalue/store.[method]bucket.delete": async | trappable,
        "wasi:keyvalue/store.[method]bucket.exists": async | trappable,
        "wasi:keyvalue/store.[method]bucket.list-keys": async | trappable,
        "wasi:keyvalue/atomics": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    with: {
        "wasi:io/poll": wasmtime_wasi::p2::bindings::io::poll,
        "wasi:keyvalue/store.bucket": super::capabilities::keyvalue::Bucket,
    },
});
