#!/usr/bin/env bash
# Every test there is, and a summary at the end.
set -uo pipefail
cd "$(dirname "$0")/.."
mkdir -p target
log=target/test.log

# A browser to look at Flower with, where one can be had; else Flower's pages are fetched, and not looked at.
if ! command -v chromium >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "test: installing chromium"
    (apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium) >/dev/null 2>&1 ||
        echo "test: chromium cannot be installed; Flower is tested without a browser" >&2
fi

cargo fmt --all --check || { echo "not formatted: cargo fmt --all" >&2; exit 1; }
cargo test --locked --workspace --no-fail-fast "$@" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}

echo
awk '
    /^test result:/ { suites++; passed += $4; failed += $6; ignored += $8 }
    END { printf "%d passed, %d failed, %d ignored, in %d suites\n", passed, failed, ignored, suites }
' "$log"
sed -n 's/^test \(.*\) \.\.\. FAILED$/  FAILED \1/p' "$log"
[ "$status" = 0 ] || echo "the whole log: $log"
exit "$status"
