#!/usr/bin/env bash
# Sees to what a build needs, and with `tests` to what tests and benches need as well; installs what is missing if it can. Quick when
# everything is there.
set -euo pipefail
cd "$(dirname "$0")/.."

missing() {
    echo "setup: $1" >&2
    exit 1
}

apt_install() { # package
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "setup: installing $1"
        apt-get update -qq && apt-get install -y -qq --no-install-recommends "$1"
    else
        missing "the package '$1' is missing. Install it, on Debian or Ubuntu with: sudo apt-get install $1"
    fi
}

apt_package() { # command, package
    command -v "$1" >/dev/null || apt_install "$2"
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

[ "${1:-}" = tests ] || exit 0

# A server for the tests, which start their own: the one of the system is not needed, and not touched.
apt_package redis-server redis-server
# For a Python with Celery in target/ (scripts/python.sh).
python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
# A browser to look at Flower with, where one can be had; else Flower's pages are fetched, and not looked at.
if ! command -v chromium >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "setup: installing chromium"
    (apt_install chromium) >/dev/null 2>&1 ||
        echo "setup: chromium cannot be installed; Flower is tested without a browser" >&2
fi
