#!/usr/bin/env bash
# A Redis server, a Celery worker and a Lovage daemon beside each other, and a client of both. All of it is stopped again
# at the end, and nothing is left. `make example` builds what it needs and runs it.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
python=$("$root/scripts/python.sh")
lovage=${LOVAGE:-$root/target/debug/lovage}
modules=${MODULES:-$root/target/guests/wasm32-wasip2/guest}

home=$(mktemp -d)
pids=()
stop() {
    # The last one started is the first to go; Redis goes when nobody talks to it any more.
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        kill -TERM "${pids[i]}" 2>/dev/null || true
        wait "${pids[i]}" 2>/dev/null || true
    done
    rm -rf "$home"
}
trap stop EXIT

# Waits until a file has a line that matches, for half a minute: what was started says so when it is ready.
until_said() {
    for _ in $(seq 300); do
        grep -q "$2" "$1" 2>/dev/null && return
        sleep 0.1
    done
    echo "$1 never said $2:" >&2
    cat "$1" >&2
    exit 1
}

port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export REDIS_URL=redis://127.0.0.1:$port/0
redis-server --port "$port" --dir "$home" --save '' --appendonly yes --appendfsync always >"$home/redis.log" &
pids+=($!)
until_said "$home/redis.log" "Ready to accept connections"

# The application's own worker, as it always ran.
"$python" -m celery -A gallery worker --concurrency 2 --loglevel WARNING >"$home/celery.log" 2>&1 &
pids+=($!)

# Lovage beside it. It takes tasks from its own queue only.
export LOVAGE__CACHE__DIR=${LOVAGE__CACHE__DIR:-$home/cache}
"$lovage" serve --store "$REDIS_URL" --queues sandboxed --listen 127.0.0.1:0 2>"$home/lovage.log" &
pids+=($!)
until_said "$home/lovage.log" "modules  "
LOVAGE_URL=$(grep -o 'http://[0-9.:]*' "$home/lovage.log" | head -1)
export LOVAGE_URL
"$lovage" module push thumbnail "$modules/thumbnail.wasm"

"$python" client.py "$root/tests/fixtures/gradient.png" "$home"
