#!/usr/bin/env bash
# Celery's own integration suite, as PyPI has it, against Lovage: a Redis server, a daemon and pytest, in a temporary directory.
# Arguments are pytest's, such as -k chord or -x. SUITE_TESTS names another list of tests. `make celery-suite` builds what it needs.
set -euo pipefail
cd "$(dirname "$0")/.."

version=5.7.0
python=$(scripts/python.sh)
suite=$PWD/target/celery-$version
if [ ! -d "$suite" ]; then
    echo "celery-suite: fetching the sources of Celery $version from PyPI" >&2
    fetched=$(mktemp -d -p target)
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: --dest "$fetched" "celery==$version"
    tar -xzf "$fetched/celery-$version.tar.gz" -C "$fetched"
    mv -T "$fetched/celery-$version" "$suite" 2>/dev/null || [ -d "$suite" ]
    rm -rf "$fetched"
fi

home=$(mktemp -d)
redis=
stop() {
    [ -z "$redis" ] || { kill -TERM "$redis" && wait "$redis"; } 2>/dev/null || true
    rm -rf "$home"
}
trap stop EXIT

port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
redis-server --port "$port" --dir "$home" --save '' --appendonly no >"$home/redis.log" &
redis=$!
until redis-cli -p "$port" ping >/dev/null 2>&1; do
    kill -0 "$redis" 2>/dev/null || { cat "$home/redis.log" >&2; exit 1; }
    sleep 0.05
done

# What the suite's tasks do outside of themselves: a client of this server, and a file that a test reads.
mkdir "$home/files"
cat >"$home/lovage.toml" <<TOML
[grants.celery_suite]
tcp = ["127.0.0.1:$port"]
env = { REDIS_PORT = "$port" }
directories = [{ host = "$home/files", guest = "$home/files", write = true }]
TOML

export LOVAGE=${LOVAGE:-$PWD/target/debug/lovage}
export SUITE_MODULE=${SUITE_MODULE:-$PWD/target/guests/wasm32-wasip2/guest/examples/celery_suite.wasm}
export SUITE_TESTS=${SUITE_TESTS:-$PWD/tests/parity/suite.txt}
export SUITE_CONFIG=$home/lovage.toml SUITE_LOG=${SUITE_LOG:-$home/lovage.log}
export LOVAGE__CACHE__DIR=${LOVAGE__CACHE__DIR:-$home/cache}
export TEST_BROKER=redis://127.0.0.1:$port/0 TEST_BACKEND=redis://127.0.0.1:$port/0 REDIS_HOST=127.0.0.1 REDIS_PORT=$port
export PYTHONPATH=$PWD/tests/parity PYTHONDONTWRITEBYTECODE=1 TMPDIR=$home/files
cd "$suite"
"$python" -m pytest -p foreign_worker -p celery.contrib.pytest -p no:rerunfailures -p no:cacheprovider --timeout=250 -q "$@" \
    t/integration --ignore=t/integration/test_backend.py
