#!/usr/bin/env bash
# Every test there is, and a summary at the end.
set -uo pipefail
cd "$(dirname "$0")/.."
mkdir -p target
log=target/test.log

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
