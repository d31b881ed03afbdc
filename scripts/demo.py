#!/usr/bin/env python3
"""Lovage at work: each kind of ending, then a killed daemon. Called by `make demo`.

Every step prints the command it runs, runs it, and holds what came of it against what should have. Anything else than
expected ends the demo with 1. Nothing is left behind: store, daemon and files are in a temporary directory.
"""

import base64
import hashlib
import json
import os
import shlex
import signal
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
import zlib
from pathlib import Path

MODULES = ["tour", "wordcount", "digest", "thumbnail"]
AT_ONCE = 16
TASKS = 200
SLEEPY = 0.3

COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def styled(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def title(text):
    print(f"\n{styled('1', text)}", flush=True)


class Unexpected(Exception):
    """Something did not end as it should."""


def expect(right, what):
    if not right:
        raise Unexpected(what)


class Ran:
    """What came of a command."""

    def __init__(self, code, stdout, stderr):
        self.code, self.stdout, self.stderr = code, stdout, stderr

    @property
    def value(self):
        return json.loads(self.stdout)

    @property
    def id(self):
        """Of the task that `task run` tells of in its first line."""
        return self.stderr.split()[1]


class Lovage:
    """The command line, and the daemon behind it."""

    def __init__(self, binary, home):
        self.binary, self.home = binary, home
        self.daemon, self.address, self.starts = None, "127.0.0.1:0", 0

    def start(self):
        arguments = ["serve", "--store", f"file:{self.home}/store", "--listen", self.address,
                     "--concurrency", str(AT_ONCE)]
        self.show(arguments, " &")
        self.starts += 1
        log = self.home / f"daemon-{self.starts}.log"
        with log.open("w") as err:
            self.daemon = subprocess.Popen([self.binary, *arguments], stderr=err, start_new_session=True)
        until = time.monotonic() + 30
        while "modules  " not in log.read_text():
            expect(self.daemon.poll() is None and time.monotonic() < until, f"no daemon:\n{log.read_text()}")
            time.sleep(0.01)
        print(log.read_text(), end="", flush=True)
        self.address = log.read_text().split("http://")[1].split()[0]
        os.environ["LOVAGE_URL"] = f"http://{self.address}"

    def signal(self, number):
        self.daemon.send_signal(number)
        return self.daemon.wait(timeout=60)

    def kill(self):
        if self.daemon and self.daemon.poll() is None:
            self.signal(signal.SIGKILL)

    def show(self, arguments, after=""):
        line = " ".join(shlex.quote(str(argument)) for argument in arguments).replace(str(self.home), "$DIR")
        print(styled("36", f"$ lovage {line}{after}"), flush=True)

    def quiet(self, *arguments):
        """Runs a command that is not part of the show."""
        return subprocess.run([self.binary, *map(str, arguments)], capture_output=True, text=True)

    def run(self, *arguments, code=0, live=False):
        """Runs a command and shows what it says. A live one has the terminal, so that it can draw on it."""
        self.show(arguments)
        child = subprocess.Popen([self.binary, *map(str, arguments)], stdout=subprocess.PIPE,
                                 stderr=None if live else subprocess.PIPE, text=True)
        stderr = "" if live else self.follow(child.stderr)
        stdout = child.stdout.read()
        shown = stdout if len(stdout) <= 300 else f"{stdout[:300]}…\n"
        print(shown, end="", flush=True)
        expect(child.wait() == code, f"the command ended with {child.returncode}, not {code}")
        return Ran(child.returncode, stdout, stderr)

    @staticmethod
    def follow(stream):
        lines = []
        for line in stream:
            print(styled("2", line.rstrip("\n")), flush=True)
            lines.append(line)
        return "".join(lines)

    def meta(self, task):
        return json.loads(self.quiet("task", "get", task, "-o", "json").stdout)

    def ended_well(self):
        """Those of the many tasks that have ended with SUCCESS."""
        listed = self.quiet("task", "list", "--queue", "many", "--state", "SUCCESS", "--limit", 2 * TASKS, "-o", "json")
        return json.loads(listed.stdout)


class Table:
    """What happened, for the end."""

    def __init__(self):
        self.rows = []

    def add(self, what, ending, seconds):
        self.rows.append((what, ending, f"{seconds:.2f} s"))

    def print(self):
        header = ("WHAT", "ENDING", "TIME")
        widths = [max(map(len, column)) for column in zip(header, *self.rows)]
        for row in [header, *self.rows]:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


class Timer:
    """A row of the table, unless its step fails."""

    def __init__(self, table, what, ending):
        self.table, self.what, self.ending = table, what, ending

    def __enter__(self):
        self.started = time.monotonic()
        return self

    def __exit__(self, failure, *_):
        if failure is None:
            self.table.add(self.what, self.ending, time.monotonic() - self.started)


def picture(width, height):
    """A PNG: the waves of a sea, in RGB."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes(c for x in range(width) for c in ((x * y) >> 8 & 63, (x ^ y) & 127, 128 + (x + y & 127)))
            for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")


def real_work(lovage, table):
    title("Real work on real input")
    with Timer(table, "words of README.md", "SUCCESS"):
        words = lovage.run("task", "run", "wordcount.count", "@README.md", "--kwargs", '{"top": 5}').value
        counts = list(words.values())
        expect(len(words) == 5 and counts == sorted(counts, reverse=True) and counts[-1] > 0, f"five words, got {words}")

    with Timer(table, "digest of LICENSE", "SUCCESS"):
        digest = lovage.run("task", "run", "digest.sha256", "@LICENSE").value
        expect(digest == hashlib.sha256(Path("LICENSE").read_bytes()).hexdigest(), "Python's hashlib says otherwise")

    photo = lovage.home / "photo.png"
    photo.write_bytes(picture(640, 400))
    with Timer(table, "thumbnail of a PNG", "SUCCESS"):
        small = lovage.run("task", "run", "thumbnail.resize", f"@base64:{photo}", 160, 160).value
        png = base64.b64decode(small["image"])
        (lovage.home / "small.png").write_bytes(png)
        expect(png.startswith(b"\x89PNG") and struct.unpack(">II", png[16:24]) == (160, 100), "not 160 by 100 pixels")
        print(f"$DIR/photo.png: 640x400, {photo.stat().st_size:,} bytes; $DIR/small.png: 160x100, {len(png):,} bytes")


def talking(lovage, table):
    title("Progress, retry, replace, subtasks")
    with Timer(table, "progress, live", "SUCCESS"):
        expect(lovage.run("task", "run", "tour.progress", 10, 0.15, live=True).value == 10, "10 steps")

    with Timer(table, "a task that fails twice", "SUCCESS after 2 retries"):
        ran = lovage.run("task", "run", "tour.flaky", 2)
        expect(lovage.meta(ran.id)["retries"] == 2 and "RETRY" in ran.stderr, "two retries")

    with Timer(table, "a task replaced by another", "SUCCESS"):
        ran = lovage.run("task", "run", "tour.double", 21)
        # Who watches may come too late to see it; the result says what it is of.
        expect(ran.value == 42 and lovage.meta(ran.id)["name"] == "tour.add", "42, from another task")

    with Timer(table, "a task that sends three", "SUCCESS"):
        children = lovage.run("task", "run", "tour.fan_out", 3).value
        sums = [lovage.run("task", "wait", child).value for child in children]
        expect(sums == [0, 2, 4], f"0, 2 and 4, got {sums}")


def signature(task, *args, **kwargs):
    return {"task": task, "args": args, "kwargs": kwargs}


def together(lovage, table):
    title("Chains, groups, chords")
    with Timer(table, "a task replaced by a chord of 10", "SUCCESS"):
        expect(lovage.run("task", "run", "tour.sums", 10).value == 90, "90, the sum of ten sums")

    add, pipeline = signature("tour.add", 4), lovage.home / "pipeline.json"
    group = signature("celery.group", tasks=[add, add, add])
    steps = [signature("tour.add", 1, 1), group, signature("tour.total"), signature("tour.add", 24)]
    pipeline.write_text(json.dumps(signature("celery.chain", tasks=steps)))
    with Timer(table, "a chain with a group in it, from a file", "SUCCESS"):
        print(f"$DIR/pipeline.json: {pipeline.read_text()[:140]}…")
        ran = lovage.run("task", "run", "--canvas", f"@{pipeline}")
        expect(ran.value == 42, "three times 2 + 4, and 24")

    chord, wrong = lovage.home / "chord.json", signature("tour.divide", 1, 0)
    chord.write_text(json.dumps(signature("celery.chord", header=[add | {"args": [1, 2]}, wrong],
                                          body=signature("tour.total"))))
    with Timer(table, "a chord with a member that fails", "FAILURE ChordError"):
        ran = lovage.run("task", "run", "--canvas", f"@{chord}", code=1)
        expect("ChordError: Dependency" in ran.stderr and "ZeroDivisionError" in ran.stderr, "which member, and why")


def fails(lovage, table, what, exception, fault, *arguments, says=()):
    """A task that must fail, with this exception."""
    with Timer(table, what, f"FAILURE {exception}"):
        ran = lovage.run("task", "run", *arguments, code=1)
        meta = lovage.meta(ran.id)
        expect(meta["result"]["exc_type"] == exception, f"{exception}, got {meta['result']}")
        expect(meta.get("fault") == fault, f"fault {fault}, got {meta.get('fault')}")
        for text in says:
            expect(text in ran.stderr, f"no {text!r} in what it said")


def walls(lovage, table):
    title("Limits: told, and stopped")
    with Timer(table, "soft limit, with a fallback", "SUCCESS"):
        value = lovage.run("task", "run", "tour.careful", 30, "--soft-time-limit", 0.4).value
        expect(value.startswith("had to stop after"), "a fallback")
    fails(lovage, table, "soft limit, let through", "SoftTimeLimitExceeded", None,
          "tour.sleepy", 30, "--soft-time-limit", 0.3)
    fails(lovage, table, "endless loop, hard limit", "TimeLimitExceeded", "time-limit",
          "tour.stubborn", "--time-limit", 0.5, says=["tour::hungry::stubborn"])
    fails(lovage, table, "endless loop, fuel", "FuelLimitExceeded", "fuel-limit", "tour.stubborn", "--fuel", 50_000_000)
    fails(lovage, table, "1 GiB of memory", "MemoryLimitExceeded", "memory-limit", "tour.greedy", 1024)

    title("Errors, and where they come from")
    fails(lovage, table, "an exception", "ZeroDivisionError", None, "tour.divide", 1, 0)
    fails(lovage, table, "a panic", "Panic", "panic", "tour.crash", says=["tour::hungry::crash", "hungry.rs"])

    title("Revoking what runs")
    with Timer(table, "a running task, revoked", "REVOKED"):
        task = lovage.run("task", "submit", "tour.sleepy", 300).stdout.strip()
        while lovage.meta(task)["status"] == "PENDING":
            time.sleep(0.02)
        lovage.run("task", "revoke", "--terminate", task)
        lovage.run("task", "wait", task, code=1)
        expect(lovage.meta(task)["status"] == "REVOKED", "REVOKED")


def submit_many(lovage):
    """Half of them sleep, half compute; returns the value that each must have."""
    calls, expected = [], {}
    for number in range(TASKS):
        task, text = f"many-{number:03}", f"task {number}"
        sleeps = number % 2
        calls.append({"task": "tour.sleepy" if sleeps else "digest.sha256", "args": [SLEEPY if sleeps else text],
                      "options": {"task_id": task, "queue": "many"}})
        expected[task] = None if sleeps else hashlib.sha256(text.encode()).hexdigest()
    body = json.dumps({"tasks": calls})
    (lovage.home / "many.json").write_text(body)
    print(styled("36", f"$ curl $LOVAGE_URL/v1/tasks:batch --json @$DIR/many.json"), flush=True)
    print(f"{body[:140]}…", flush=True)
    request = urllib.request.Request(f"http://{lovage.address}/v1/tasks:batch", body.encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as reply:
        stored = [result.get("id") for result in json.load(reply)["results"]]
    expect(stored == list(expected), f"not all were stored: {stored}")
    return expected


def crash(lovage, table):
    title(f"kill -9, with {TASKS} tasks in the house")
    with Timer(table, f"{TASKS} tasks, daemon killed half way", "SUCCESS, nothing lost"):
        expected = submit_many(lovage)
        while (before := len(lovage.ended_well())) < TASKS // 2:
            time.sleep(0.02)
        print(styled("36", f"$ kill -9 {lovage.daemon.pid}"), f"  # {before} of {TASKS} have ended", flush=True)
        lovage.signal(signal.SIGKILL)
        killed = time.monotonic()
        lovage.start()
        back = time.monotonic() - killed
        print(styled("36", "$ for id in many-000 many-001 ...; do lovage task wait $id; done"), flush=True)
        for task, value in expected.items():
            waited = lovage.quiet("task", "wait", task, "--timeout", 60)
            expect(waited.returncode == 0, f"{task}: {waited.stderr}")
            expect(json.loads(waited.stdout) == value, f"{task} is {waited.stdout}, not {value}")
        ended = lovage.ended_well()
        expect(sorted(meta["task_id"] for meta in ended) == sorted(expected), "each task once, and no other")
        again = sum(meta["deliveries"] > 1 for meta in ended)
        print(f"{len(ended)} of {TASKS} have the right result; {again} were taken but not done when the daemon was killed, "
              f"and taken again; the new daemon was ready {back:.2f} s later")


def goodbye(lovage, table):
    title("A clean end")
    with Timer(table, "SIGTERM, then a check of the store", "sound"):
        print(styled("36", f"$ kill {lovage.daemon.pid}"), flush=True)
        code = lovage.signal(signal.SIGTERM)
        expect(code == 0, f"the daemon ended with {code}")
        lovage.run("store", "check", "--store", f"file:{lovage.home}/store")


def show(lovage, guests, table):
    title("A daemon on an empty store")
    lovage.start()
    title("The modules in tasks/")
    with Timer(table, f"{len(MODULES)} modules, compiled and pushed", "active"):
        for module in MODULES:
            lovage.run("module", "push", module, guests / f"{module}.wasm")
    real_work(lovage, table)
    talking(lovage, table)
    together(lovage, table)
    walls(lovage, table)
    crash(lovage, table)
    goodbye(lovage, table)


def main():
    os.chdir(Path(__file__).resolve().parent.parent)
    binary, guests = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    for name in [name for name in os.environ if name.startswith("LOVAGE_")]:
        del os.environ[name]  # What the user's own daemon needs is not meant for this one.
    table = Table()
    with tempfile.TemporaryDirectory(prefix="lovage-demo-") as home:
        lovage = Lovage(binary, Path(home))
        print(f"DIR={home} (goes with the demo)")
        try:
            show(lovage, guests, table)
        except Unexpected as why:
            logs = "\n".join(log.read_text() for log in sorted(Path(home).glob("daemon-*.log")))
            print(f"\nThe demo went wrong: {why}\n\nLog of the daemon:\n{logs}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
        finally:
            lovage.kill()
    title("What there was to see")
    table.print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
