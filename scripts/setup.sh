#!/usr/bin/env bash
# Sees to what a build needs, and installs what is missing if it can. Quick when everything is there.
set -euo pipefail
cd "$(dirname "$0")/.."

missing() {
    echo "setup: $1" >&2
    exit 1
}

apt_package() { # command, package
    command -v "$1" >/dev/null && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "setup: installing $2"
        apt-get update -qq && apt-get install -y -qq --no-install-recommends "$2"
    else
        missing "'$1' is missing. Install it, on Debian or Ubuntu with: sudo apt-get install $2"
    fi
}

command -v cargo >/dev/null || missing "cargo is missing. Install Rust from https://rustup.rs, then open a new shell"
apt_package cc build-essential
apt_package python3 python3

# rust-toolchain.toml names compiler and targets; where rustup is not set to install those by itself, it is done here.
has_target() {
    [ -d "$(rustc --print target-libdir --target wasm32-wasip2 2>/dev/null)" ]
}
if ! has_target; then
    command -v rustup >/dev/null ||
        missing "this Rust has no target wasm32-wasip2 and there is no rustup to add it: see https://rustup.rs"
    rustup target add wasm32-wasip2
    has_target || missing "rustup added wasm32-wasip2, but rustc does not find it: is another rustc first in PATH?"
fi
