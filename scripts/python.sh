#!/usr/bin/env bash
# A Python with Celery for the tests and benches, in target/python-venv. Prints its path. Quick when it is there already.
set -euo pipefail
cd "$(dirname "$0")/.."

wanted=tests/parity/requirements.txt
target=$PWD/target
venv=$target/python-venv
stamp=$venv/.installed

installed() {
    [ -x "$venv/bin/python" ] && cmp -s "$wanted" "$stamp"
}

if ! installed; then
    mkdir -p "$target"
    # Two that come here at once must not install into each other.
    exec 9>"$target/python-venv.lock"
    flock 9
    if ! installed; then
        echo "python: installing Celery into $venv" >&2
        rm -rf "$venv"
        python3 -m venv "$venv" >&2 || {
            echo "python: this Python makes no venv. On Debian or Ubuntu: sudo apt-get install python3-venv" >&2
            exit 1
        }
        "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted" >&2
        cp "$wanted" "$stamp"
    fi
fi
echo "$venv/bin/python"
