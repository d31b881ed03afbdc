#!/usr/bin/env python3
"""What does Celery say to Redis? Records it, for the tests of host/src/celery.

Starts a Redis server of its own and real Celery workers, makes calls, and writes what MONITOR shows of each into
transcripts/*.txt: one command a line, its words separated by tabs. A word that is not printable ASCII stands as `base64:...`.
Only what carries something that the codecs read or write is kept.

    pip install "celery[redis]==5.7.0" msgpack backports.zstd
    python tests/parity/record.py [directory]

It needs `redis-server`. Ids, times and process ids differ from one recording to the next; names of machines and paths are
taken out.
"""

import base64
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

# What is recorded must not tell where.
MACHINE = socket.gethostname()
socket.gethostname = lambda: "recorder"

import celery  # noqa: E402
from celery import Celery, chain, chord, group, signature  # noqa: E402
from celery.canvas import StampingVisitor  # noqa: E402
from celery.exceptions import Reject  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
SITE = str(pathlib.Path(celery.__file__).resolve().parent.parent)
SOCKET = os.environ.get("PARITY_SOCKET", "/nonexistent")
URL = f"redis+socket://{SOCKET}?virtual_host=5"



class Parity(Celery):
    def gen_task_name(self, name, module):
        return f"parity.{name}"


app = Parity("parity", broker=URL, backend=URL)
app.conf.update(
    accept_content=["json", "msgpack"],
    task_send_sent_event=True,
    worker_send_task_events=True,
    result_extended="extended" in os.environ.get("PARITY_CONF", ""),
    result_compression="gzip" if "packed" in os.environ.get("PARITY_CONF", "") else None,
    broker_connection_retry_on_startup=True,
)


@app.task
def echo(value, *more, **named):
    return value


@app.task
def add(a, b):
    return a + b


@app.task
def tsum(numbers):
    return sum(numbers)


@app.task
def boom(*args):
    raise ValueError("deliberate", {"k": 1})


@app.task(bind=True, max_retries=2)
def flaky(self, value):
    if self.request.retries == 0:
        raise self.retry(exc=KeyError("not yet"), countdown=0.1)
    return value


@app.task(bind=True)
def progress(self):
    self.update_state(state="PROGRESS", meta={"done": 3, "total": 10})
    return "ok"


@app.task(bind=True)
def spread(self, n):
    return group(add.si(n, i) for i in range(2)).apply_async()


@app.task(acks_late=True)
def rejected():
    raise Reject("no", requeue=False)


@app.task
def slow(seconds):
    time.sleep(seconds)


@app.task
def onerr(task_id):
    return task_id


class Stamp(StampingVisitor):
    def on_signature(self, sig, **headers):
        return {"build": 12, "stamped_headers": ["build"]}


# --- calls, one transcript each ---------------------------------------------------------------------------------------


def plain():
    results = [
        add.delay(2, 3),
        echo.apply_async((2**70, -1, 0.1, 1e16, None, True), {"z": [1, {"a": "it's \u00e9\U0001f600\x7f"}], "b": {}}),
        echo.delay({"deep": [[[[1]]]]}, "x" * 1500),
        app.send_task("parity.nobody", (1,), task_id="11111111-1111-4111-8111-111111111111"),
        progress.delay(),
    ]
    wait(results)


def python_types():
    import datetime
    import decimal
    import uuid

    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=datetime.timezone.utc)
    results = [
        echo.delay(b"text", b"\xff\x00", decimal.Decimal("1.50"), uuid.UUID(int=5)),
        echo.delay(moment, moment.date(), moment.time(), moment.replace(tzinfo=None)),
        echo.delay(float("nan"), [float("inf"), -float("inf")]),
    ]
    wait(results)


def options():
    results = [
        add.apply_async((1, 2), priority=7, expires=3600, headers={"x-h": {"v": 1}}, time_limit=30, soft_time_limit=20.5),
        add.apply_async((1, 2), countdown=0.2, shadow="sum", argsrepr="(<secret>)", kwargsrepr="{}"),
        add.apply_async((1, 2), app_id="zz", reply_to="", correlation_id="other"),
        spread.delay(1),
    ]
    members = group(add.s(1, i) for i in range(2)).apply_async()
    members.save()
    add.apply_async((1, 2), ignore_result=True)
    add.apply_async((1, 2), queue="elsewhere")
    wait(results)


def msgpack():
    wait([
        add.apply_async((2, 3), serializer="msgpack"),
        echo.apply_async(({"k": [1.5, None, 2**63, -5, b"\xff", b"a"]}, "\u00e9" * 300), serializer="msgpack"),
    ])


def compressed():
    names = ["gzip", "bzip2", "lzma", "zstd"]
    results = [echo.apply_async(("a" * 100, name), compression=name) for name in names]
    results.append(echo.apply_async((1,), compression="zstd", serializer="msgpack"))
    wait(results)


def protocol1():
    with conf(task_protocol=1):
        results = [
            add.apply_async((2, 3), expires=3600),
            flaky.apply_async((1,), link=echo.s(), link_error=onerr.s(), time_limit=30),
            chord([add.s(1, 2), add.s(3, 4)], tsum.s()).apply_async(),
        ]
        wait(results)


def chained():
    wait([chain(add.s(1, 2), add.s(3), group(add.s(10), add.s(20)), tsum.s()).apply_async()])


def chorded():
    wait([
        chord([add.s(1, 2), add.s(3, 4)], tsum.s()).apply_async(),
        chord([add.s(1, 2), chain(add.s(1, 1), group(add.s(1), add.s(2)))], echo.s()).apply_async(),
        chord([add.s(1, 2), boom.s()], tsum.s()).apply_async(link_error=onerr.s()),
    ])


def retried():
    wait([flaky.apply_async((1,), headers={"x-a": "1"}, priority=3)])


def failed():
    wait([
        boom.apply_async((1,), link_error=[onerr.s()]),
        chain(boom.s(), add.s(1), add.s(2)).apply_async(),
        rejected.delay(),
        app.send_task("parity.echo", kwargs={"no_such_argument": 1}),
    ])


def revoked():
    running, waiting = slow.delay(30), [slow.delay(30)]
    time.sleep(0.5)
    waiting += [add.delay(1, 1), add.apply_async((1, 1), countdown=60), add.apply_async((1, 1), expires=0)]
    app.control.revoke([waiting[1].id, waiting[2].id])
    app.control.revoke([running.id, waiting[0].id], terminate=True, signal="SIGKILL")
    wait([running, *waiting[:2]])
    time.sleep(0.5)


def remote():
    """Remote control: what is asked, and what is answered."""
    inspect = app.control.inspect
    inspect().ping()
    inspect(pattern="par*@recorder", matcher="glob").active()
    inspect(destination=["parity@recorder"]).registered()
    inspect().query_task("no-such-id")
    inspect().active_queues()
    app.control.broadcast("nosuch", reply=True)
    app.control.rate_limit("parity.add", "10/m", reply=True)
    app.control.revoke_by_stamped_headers({"build": [12]}, reply=True)
    app.control.enable_events(reply=True)
    app.control.heartbeat()
    time.sleep(0.3)


def stamped():
    call = chain(add.s(1, 2), add.s(3))
    call.stamp(Stamp())
    wait([call.apply_async(), echo.apply_async((1, [2]), {"k": {"l": None}})])


def compressed_results():
    """Results that are compressed where they are kept."""
    wait([echo.delay("a" * 300), boom.delay(), chord([add.s(1, 2), add.s(3, 4)], tsum.s()).apply_async()])


# Of the others the events are left out: they are long, and say nothing new.
EVENTFUL = [plain, options, retried, failed, revoked]
PLAIN = [plain, python_types, options, msgpack, compressed, protocol1, chained, chorded, retried, failed, revoked, remote]


# --- recording --------------------------------------------------------------------------------------------------------


def wait(results):
    for result in results:
        with contextlib.suppress(Exception):
            result.get(timeout=20)


@contextlib.contextmanager
def conf(**changes):
    """A client with other settings; all its tasks are made by the same application."""
    old = {name: getattr(app.conf, name) for name in changes}
    app.conf.update(changes)
    app.amqp.__dict__.pop("create_task_message", None)
    try:
        yield
    finally:
        app.conf.update(old)
        app.amqp.__dict__.pop("create_task_message", None)


WORD = re.compile(rb'"((?:[^"\\]|\\.)*)"')
ESCAPE = re.compile(rb"\\(x[0-9a-f]{2}|.)")
ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}


def unescape(match):
    what = match.group(1)
    return bytes([int(what[1:], 16)]) if len(what) == 3 else ESCAPES.get(what, what)


class Monitor(threading.Thread):
    """Follows MONITOR until it is told to stop."""

    def __init__(self):
        super().__init__(daemon=True)
        self.lines = []
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(SOCKET)
        self.socket.sendall(b"MONITOR\r\n")
        self.stream = self.socket.makefile("rb")
        assert self.stream.readline() == b"+OK\r\n"

    def run(self):
        with contextlib.suppress(OSError, ValueError):
            for line in self.stream:
                head, _, rest = line.rstrip(b"\r\n").partition(b"] ")
                words = [ESCAPE.sub(unescape, word) for word in WORD.findall(rest)]
                self.lines.append((head.split(b" ")[0][1:].decode(), words))

    def stop(self):
        time.sleep(0.3)
        self.socket.shutdown(socket.SHUT_RDWR)
        self.join()


def scrub(word):
    """Takes out where the recording was made: also in the body of an envelope."""
    if word.startswith(b"{") and b'"body": "' in word:
        body = re.search(rb'"body": "([^"]*)"', word)
        with contextlib.suppress(ValueError, UnicodeDecodeError):
            text = base64.b64decode(body.group(1)).decode()
            if where(text) != text:
                word = word.replace(body.group(1), base64.b64encode(where(text).encode()))
    with contextlib.suppress(UnicodeDecodeError):
        return where(word.decode()).encode()
    return word


def where(text):
    for path in [SITE, str(HERE), sys.prefix]:
        text = text.replace(path, ".")
    return re.sub(rf"@{re.escape(MACHINE)}\b", "@recorder", text)


def shown(word):
    try:
        text = word.decode("ascii")
        if text.isprintable() and not text.startswith("base64:"):
            return text
    except UnicodeDecodeError:
        pass
    return "base64:" + base64.b64encode(word).decode()


def is_kept(command, words):
    key = words[0] if words else b""
    if command in ("LPUSH", "RPUSH"):
        return True
    if command == "PUBLISH":
        return b"worker.heartbeat" not in key
    if command in ("ZADD", "SET", "SETEX"):
        return b"celery-taskset-meta" in key and not key.endswith((b".c", b".s"))
    return False


def record(call, directory, is_kept=is_kept):
    with_events = call in [*EVENTFUL, lifetime]
    monitor = Monitor()
    monitor.start()
    call()
    monitor.stop()
    lines, seen = [], set()
    for at, words in monitor.lines:
        command, words = words[0].decode().upper(), words[1:]
        if not is_kept(command, words) or (is_event(command, words) and not with_events):
            continue
        line = "\t".join([command, *map(shown, map(scrub, words))])
        # A result is published and set: once is enough.
        if line not in seen:
            lines.append(f"{at}\t{line}\n")
            seen.add(line)
    path = directory / f"{call.__name__}.txt"
    path.write_text("".join(lines))
    print(f"{path.name}: {len(lines)} commands, {path.stat().st_size} bytes")


@contextlib.contextmanager
def redis_server():
    with tempfile.TemporaryDirectory() as directory:
        global SOCKET
        SOCKET = os.environ["PARITY_SOCKET"] = f"{directory}/redis"
        command = ["redis-server", "--port", "0", "--unixsocket", SOCKET, "--save", "", "--dir", directory]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            while not os.path.exists(SOCKET):
                time.sleep(0.05)
            yield
        finally:
            server.terminate()
            server.wait()


@contextlib.contextmanager
def worker(settings=""):
    command = [sys.executable, "-m", "celery", "-A", "record", "worker", "-c", "2", "-E", "-n", "parity@recorder"]
    command += ["-Q", "celery", "--loglevel", "ERROR"]
    environment = {**os.environ, "PARITY_CONF": settings, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    process = subprocess.Popen(command, env=environment, cwd=HERE)
    try:
        while not app.control.ping(timeout=1):
            assert process.poll() is None, "the worker ended"
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def is_event(command, words):
    return command == "PUBLISH" and b"celeryev" in words[0]


def lifetime():
    """A worker comes, beats and goes."""
    with worker():
        time.sleep(2.5)


# --- how Python shows values ------------------------------------------------------------------------------------------

VALUES = r"""
null
[true, false, null]
123456789012345678901234567890
[1e16, 1e15, 0.1, 1.10, 5e-5, 0.0001, -0.0, -0, 1E400, 123456789.123456789, 1e22, 9007199254740993]
"it's"
"both ' and \""
"a\n\t\r\b\f\\\/\u0000\u007f\u0080\u00a0\u00ad\u00e9\u0300\u200b\u2028\u3000\ud83d\ude00\ue000\uffff"
{"a": [{}], "b": {"c": []}, "it's": "x"}
[[[[1]]], {"a": {"b": {"c": 1}}}]
[[], [[]], [[[]]], [[[[]]]], {}]
["one two three four five six seven", "eight nine ten", 11, 12, 13]
{"first": [1, 2, 3, 4, 5], "second": {"third": "a long text with blanks", "fourth": null}}
[{"__type__": "bytes", "__value__": "it's \"\u00e9\n\\"}, {"__type__": "base64", "__value__": "/wBh"}]
[{"__type__": "decimal", "__value__": "1.50"}, {"__type__": "uuid", "__value__": {"hex": "0123456789abcdef0123456789abcdef"}}]
[{"__type__": "datetime", "__value__": "2026-01-02T03:04:00"}, {"__type__": "datetime", "__value__": "2026-01-02T03:04:05.000678+00:00"}]
[{"__type__": "datetime", "__value__": "2026-01-02T03:04:05-03:30"}, {"__type__": "datetime", "__value__": "2026-01-02T00:00:00+05:45"}]
[{"__type__": "date", "__value__": "2026-01-02"}, {"__type__": "time", "__value__": "03:04:00"}, {"__type__": "time", "__value__": "03:04:05.6"}]
{"__type__": "bytes", "__value__": "x", "more": 1}
[12345678901234567890123456789012345678901234567890, 1.2345678901234567]
"""


def reprs(directory):
    """Each line: a JSON text, its repr, and its saferepr at several lengths; lists also as the tuples that arguments are."""
    from celery.utils.saferepr import saferepr
    from kombu.utils.json import loads

    with (directory / "repr.jsonl").open("w") as out:
        for text in VALUES.strip().splitlines():
            value = loads(text)
            short = {str(n): saferepr(value, n) for n in [1, 2, 5, 10, 20, 37, 64, 1024]}
            args = None
            if isinstance(value, list):
                args = {str(n): saferepr(tuple(value), n) for n in [1, 7, 30, 1024]}
            line = {"json": text, "repr": repr(value), "saferepr": short, "args": args}
            out.write(json.dumps(line).replace("\\ud83d\\ude00", "\U0001f600") + "\n")


def matches(directory):
    """Each line: how, a pattern, a name, and whether kombu says that they match."""
    from kombu.matcher import match

    names = ["celery@a.example", "w1@host", "w-]@h", "W1@HOST", "w!@h", "", "a\nb", "w.1@host"]
    globs = ["*", "w?@host", "w[0-9]@*", "w[!0-9]*", "[]-]*", "w[", "*@host", "w[a-]@h", "[!]a]*", "celery@*.example", "",
             "a?b", "**", "w[-]]@h", "w[]-]]@h", "w.1@host", "w[z-a]*", "[!z-a]1@host", "w[--0]1@host"]
    regexes = ["w", "w.@", r"\w+@host$", "^celery", "(a|w)1@h.*", "w1@hos$", ".*", "W1", "(?i)W1", "", r"w\d@host\Z", "a.b",
               "(?s)a.b"]
    with (directory / "matches.jsonl").open("w") as out:
        for how, patterns in [("glob", globs), ("pcre", regexes)]:
            for pattern in patterns:
                out.write(json.dumps([how, pattern, {name: bool(match(name, pattern, how)) for name in names}]) + "\n")


def main():
    directory = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else HERE / "transcripts")
    directory.mkdir(parents=True, exist_ok=True)
    reprs(directory)
    matches(directory)
    with redis_server():
        app.conf.broker_url = app.conf.result_backend = f"redis+socket://{SOCKET}?virtual_host=5"
        record(lifetime, directory, is_event)
        with worker():
            for call in PLAIN:
                record(call, directory)
        with worker("extended"):
            record(stamped, directory)
        with worker("packed"):
            record(compressed_results, directory)


if __name__ == "__main__":
    main()
