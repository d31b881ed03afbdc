#!/usr/bin/env bash
# Runs each fuzz target, or those that are named, for so many seconds, from the seeds and what earlier runs have found.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked

targets=("$@")
if [ ${#targets[@]} = 0 ]; then
    mapfile -t targets < <(cargo fuzz list)
fi
# Without a sanitizer the compiler of every day will do; there is little unsafe code here, and a panic is found without one.
cargo fuzz build --sanitizer none
# A whole component to begin with, if the tests have made one.
component=target/guests/wasm32-wasip2/guest/examples/empty.wasm
mkdir -p fuzz/corpus/prescan
[ ! -f "$component" ] || cp "$component" fuzz/corpus/prescan/component
for target in "${targets[@]}"; do
    echo "fuzz: $target, ${FUZZ_SECONDS:-60} s"
    mkdir -p "fuzz/corpus/$target"
    cargo fuzz run --sanitizer none "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        -max_total_time="${FUZZ_SECONDS:-60}" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -print_funcs=0 -verbosity=0
done
echo "fuzz: nothing was found"
