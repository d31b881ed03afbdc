#!/usr/bin/env python3
"""Lovage beside a Celery worker, as one client sees both: the same messages, the same Redis server, the same machine.

    bench-celery.py LOVAGE LOAD_WASM [TASKS]

For each worker: TASKS no-op tasks are published, then the worker starts and empties the queue; then single calls, a group, a chord and
a chain. Prints a table with ratios. Needs a Python with celery (scripts/python.sh) and redis-server. The worker of Celery's has two
processes, its default on two cores.
"""

import gc
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from celery import Celery, chain, chord, group
from redis import ConnectionError as ConnectionFailed
from redis import Redis

url = os.environ.get("BENCH_REDIS_URL", "redis://127.0.0.1:6379/0")
app = Celery("bench-celery", broker=url, backend=url)
PATIENCE = 600
CALLS = 500


# What Celery's worker runs under the names that the module's tasks have.
@app.task(name="load.noop")
def noop():
    pass


@app.task(name="load.pass")
def pass_on(n):
    return n


@app.task(name="load.count")
def count(items):
    return len(items)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for(what, look, pause=0.005):
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        if time.monotonic() > deadline:
            sys.exit(f"bench-celery: it never came to this: {what}")
        time.sleep(pause)
    return found


class Prefork:
    """Celery's own worker, prefork."""

    name = "celery"

    def start(self, home):
        command = [sys.executable, "-m", "celery", "-A", "bench-celery", "worker", "--concurrency", "2", "--loglevel", "ERROR"]
        self.process = subprocess.Popen(command, cwd=Path(__file__).parent, stderr=(home / "celery.log").open("w"),
                                        stdout=subprocess.DEVNULL)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


class Lovage:
    """A host, each of whose tasks has a sandbox of its own."""

    name = "lovage"

    def __init__(self, binary, module, url, home):
        self.binary, self.url, self.log = binary, url, home / "lovage.log"
        self.env = {**os.environ, "LOVAGE__CACHE__DIR": str(home / "cache")}
        # Pushed, and compiled, before anything is measured.
        self.start(home)
        wait_for("lovage listens", lambda: "modules " in self.log.read_text())
        address = next(line.split()[-1] for line in self.log.read_text().splitlines() if " api " in line)
        push = [binary, "module", "push", "load", module]
        subprocess.run(push, env={**self.env, "LOVAGE_URL": address}, check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        self.stop()

    def start(self, home):
        command = [self.binary, "serve", "--store", self.url, "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, env=self.env, stderr=self.log.open("w"))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def drain(worker, home, redis, tasks):
    """Tasks a second, from the first that is taken to the last result."""
    with app.producer_pool.acquire(block=True) as producer:
        ids = [app.send_task("load.noop", producer=producer).id for _ in range(tasks)]
    worker.start(home)
    wait_for("the first is taken", lambda: redis.llen("celery") < tasks, 0.001)
    began = time.monotonic()
    wait_for("the last is taken", lambda: redis.llen("celery") == 0)
    # Those that were taken last; the order in which they end is nobody's promise.
    last = [f"celery-task-meta-{id}" for id in ids[-2000:]]
    wait_for("all have results", lambda: redis.exists(*last) == len(last))
    return tasks / (time.monotonic() - began)


def rested(call):
    """As `timed`, of a client that has nothing left to do of what was before: it unsubscribes from results one by one."""
    gc.collect()
    noop.delay().get(timeout=PATIENCE)
    time.sleep(1)
    return timed(call)


def timed(call):
    began = time.perf_counter()
    call().get(timeout=PATIENCE)
    return time.perf_counter() - began


def measure(worker, home, redis, tasks):
    try:
        return figures_of(worker, home, redis, tasks)
    finally:
        worker.stop()


def figures_of(worker, home, redis, tasks):
    figures = {"drain, tasks/s": drain(worker, home, redis, tasks)}
    calls = sorted(timed(lambda: noop.delay()) for _ in range(CALLS))
    figures["delay().get() p50, ms"] = statistics.median(calls) * 1e3
    figures["delay().get() p99, ms"] = calls[CALLS * 99 // 100] * 1e3
    # What of the next two is the client's own work, and the same for both.
    began = time.perf_counter()
    group(pass_on.s(n) for n in range(1000)).delay()
    figures["  publishing a group(1000), ms"] = (time.perf_counter() - began) * 1e3
    repeated = {
        "group(1000), ms": lambda: group(pass_on.s(n) for n in range(1000)).delay(),
        "chord(1000), ms": lambda: chord([noop.s() for _ in range(1000)], count.s()).delay(),
        # The same, sent by whoever runs the task before it: none of it is the client's own publishing.
        "task | chord(1000), ms": lambda: chain(noop.si(), chord([noop.si() for _ in range(1000)], count.s())).delay(),
        "chain(100), ms": lambda: chain(pass_on.s(1), *(pass_on.s() for _ in range(99))).delay(),
    }
    for name, call in repeated.items():
        figures[name] = statistics.median(rested(call) for _ in range(5)) * 1e3
    return figures


def on_a_server(tasks, make):
    """Each worker has a server of its own, empty at first."""
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        arguments = ["--port", str(port), "--dir", name, "--save", "", "--appendonly", "no"]
        server = subprocess.Popen(["redis-server", *arguments], stdout=subprocess.DEVNULL)
        try:
            os.environ["BENCH_REDIS_URL"] = url
            app.conf.update(broker_url=url, result_backend=url)
            redis = Redis(port=port)

            def is_up():
                try:
                    return redis.ping()
                except ConnectionFailed:
                    return False

            wait_for("redis-server is up", is_up)
            return measure(make(url, home), home, redis, tasks)
        finally:
            server.terminate()
            server.wait(60)


def child(which, binary, module, tasks):
    make = (lambda url, home: Prefork()) if which == "celery" else (lambda url, home: Lovage(binary, module, url, home))
    print(json.dumps(on_a_server(tasks, make)))


def main():
    binary, module = (str(Path(path).resolve()) for path in sys.argv[1:3])
    tasks = int(sys.argv[3]) if len(sys.argv) > 3 else 20_000
    figures = {}
    for which in ["celery", "lovage"]:
        # A process each, so that neither finds a connection of the other's.
        ran = subprocess.run([sys.executable, __file__, "--only", which, binary, module, str(tasks)],
                             stdout=subprocess.PIPE, text=True, check=True)
        figures[which] = json.loads(ran.stdout.splitlines()[-1])
    print(f"\n{'Beside Celery, ' + format(tasks, ',') + ' tasks drained':44} {'celery':>9} {'lovage':>9} {'ratio':>7}")
    for name, theirs in figures["celery"].items():
        ours = figures["lovage"][name]
        print(f"  {name:42} {theirs:9.1f} {ours:9.1f} {ours / theirs:7.2f}")


if __name__ == "__main__":
    if sys.argv[1] == "--only":
        child(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))
    else:
        main()
