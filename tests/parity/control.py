"""What Celery's own command line and Flower make of a host of Lovage, beside a Celery worker on the same server.

    control.py REDIS_URL LOVAGE_NODE

Every command is given to both nodes as people give it (`celery -A control inspect active --json`, ...), and the answers are held
against each other in shape: the same keys and types, as deep as they go. Then Flower is started as people start it, and its API must
show both. Prints a line for each thing that was seen, and ends with 1 at the first that is not as it should be.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from celery import Celery

url = os.environ.setdefault("CONTROL_REDIS_URL", sys.argv[1] if len(sys.argv) > 1 else "redis://127.0.0.1:6379/0")
app = Celery("control", broker=url, backend=url)
# So that each of the two has tasks of its own, and nobody takes the other's.
app.conf.task_routes = {"tour.*": {"queue": "sandboxed"}}
app.conf.worker_send_task_events = True

PATIENCE = 60
CELERY_NODE = "celery@control"


@app.task
def nap(seconds):
    time.sleep(seconds)


def fail(what):
    sys.exit(f"control.py: {what}")


def wait_for(what, look):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if (found := look()) not in (None, False):
            return found
        time.sleep(0.05)
    fail(f"it never came to this: {what}")


def celery(*arguments):
    """Runs the command line; its output and exit code."""
    command = [sys.executable, "-m", "celery", "-A", "control", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    return ran.stdout, ran.returncode, ran.stderr


def asked(*arguments):
    """What each node answers to a command with --json."""
    out, code, err = celery(*arguments, "--timeout", "2", "--json")
    if code != 0:
        fail(f"celery {' '.join(arguments)} ended with {code}: {out}{err}")
    answers = json.loads(out[min(out.find(bracket) % len(out) for bracket in "[{"):])
    return answers if isinstance(answers, dict) else {of: what for answer in answers for of, what in answer.items()}


def shape(value, depth=3):
    """Its type; of objects and lists also what is in them."""
    if isinstance(value, dict) and depth:
        return {key: shape(inner, depth - 1) for key, inner in sorted(value.items())}
    if isinstance(value, list) and value and depth:
        return [shape(value[0], depth - 1)]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "number"
    return type(value).__name__


def same_shape(command, answers, without=()):
    ours, theirs = answers[node], answers[CELERY_NODE]
    cut = [{key: value for key, value in one.items() if key not in without} if isinstance(one, dict) else one
           for one in (ours, theirs)]
    if shape(cut[0]) != shape(cut[1]):
        fail(f"{command} differs:\n{json.dumps(shape(cut[0]))}\n{json.dumps(shape(cut[1]))}")
    print("same shape:", command)


def busy():
    """Both run one task, and have one that waits for its time."""
    runs = {node: app.send_task("tour.sleepy", (600,)), CELERY_NODE: nap.delay(600)}
    later = {node: app.send_task("tour.add", (1, 2), countdown=600), CELERY_NODE: nap.apply_async((1,), countdown=600)}
    wait_for("each runs one", lambda: all(len(tasks) == 1 for tasks in asked("inspect", "active").values()))
    wait_for("each has one to come", lambda: all(len(tasks) == 1 for tasks in asked("inspect", "scheduled").values()))
    return runs, later


def inspect(runs):
    for command in ["active", "scheduled", "reserved", "registered", "active_queues", "clock", "revoked", "ping"]:
        same_shape(command, asked("inspect", command))
    ids = [run.id for run in runs.values()]
    found = asked("inspect", "query_task", *ids)
    same_shape("query_task", {of: list(tasks.values())[0] for of, tasks in found.items()})
    # What Celery's pool and process have that there is not here.
    stats = asked("inspect", "stats")
    for key in ["total", "pid", "clock", "uptime", "pool", "broker", "prefetch_count", "rusage"]:
        if key not in stats[node]:
            fail(f"stats has no {key}: {stats[node]}")
    conf = asked("inspect", "conf")
    for key in ["broker_url", "result_backend", "include"]:
        if key not in conf[node]:
            fail(f"conf has no {key}")
    print("seen: stats, conf")


def control():
    tasks = {node: "tour.add", CELERY_NODE: "control.nap"}
    for command, arguments in [
        ("rate_limit", ["{task}", "10/m"]), ("time_limit", ["{task}", "20", "30"]), ("add_consumer", ["more"]),
        ("cancel_consumer", ["more"]), ("pool_shrink", ["1"]), ("pool_grow", ["1"]), ("enable_events", []),
        ("heartbeat", []), ("autoscale", ["3", "1"]),
    ]:
        answers = {}
        for of, task in tasks.items():
            given = [argument.format(task=task) for argument in arguments]
            answers.update(asked("control", command, *given, "--destination", of))
        said = [json.dumps(answers[of]) for of in (node, CELERY_NODE)]
        if said[0] != said[1]:
            fail(f"{command} is answered otherwise: {said}")
        print("same answer:", command, said[0])


def others(runs):
    out, code, err = celery("status", "--timeout", "2")
    if code != 0 or f"{node}: OK" not in " ".join(out.split()).replace("->", "") or "2 nodes online" not in out:
        fail(f"celery status: {out}{err}")
    print("seen: status")
    out, _, err = celery("call", "tour.add", "--args", "[2, 3]", "--queue", "sandboxed")
    task_id = out.split()[-1]
    wait_for("the call ends", lambda: app.AsyncResult(task_id).ready())
    out, _, err = celery("result", task_id)
    if out.strip() != "5":
        fail(f"celery result: {out}{err}")
    print("seen: call, result")
    for run in runs.values():
        app.control.revoke(run.id, terminate=True)
    for of, run in runs.items():
        wait_for(f"{of} stops its task", lambda: run.state == "REVOKED")
    print("seen: revoke --terminate")


class Flower:
    """Flower, as people start it."""

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "celery", "-A", "control", "flower", "--address=127.0.0.1",
                   f"--port={self.port}", "--persistent=False", "--logging=warning"]
        self.process = subprocess.Popen(command, env={**os.environ, "FLOWER_UNAUTHENTICATED_API": "true"},
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.read().decode()
        except (urllib.error.URLError, OSError):
            return None

    def json(self, path):
        text = self.get(path)
        return None if text is None else json.loads(text)

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE)


def rendered(page):
    """What a browser makes of the page of workers, whose table is filled by a script."""
    browser = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
    if browser is None:
        return "not seen: Flower in a browser, since there is none"
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={profile}",
                   "--virtual-time-budget=10000", "--dump-dom", page]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    if ran.returncode != 0 or "<table" not in ran.stdout:
        return f"not seen: Flower in a browser, since {browser} does not run here: {ran.stderr[-300:]}"
    dom = ran.stdout
    rows = [row for row in re.findall(r"<tr.*?</tr>", dom, re.S) if "Online" in row]
    for of in (node, CELERY_NODE):
        if not any(of in row for row in rows):
            fail(f"a browser does not show {of} as online: {rows or dom[-2000:]}")
    return "seen: Flower in a browser, with both nodes online"


def flower():
    flower = Flower()
    try:
        def workers():
            known = flower.json("/api/workers?refresh=1") or {}
            return known if {node, CELERY_NODE} <= set(known) and known[node].get("stats") else None

        known = wait_for("Flower knows both nodes", workers)[node]
        for key in ["stats", "conf", "registered", "active_queues"]:
            if not known.get(key):
                fail(f"Flower knows no {key} of {node}: {sorted(known)}")
        sent = [app.send_task("tour.add", (number, 1)) for number in range(3)]
        failed = app.send_task("tour.divide", (1, 0))
        expected = {task.id: "SUCCESS" for task in sent} | {failed.id: "FAILURE"}

        def tasks():
            seen = {of: task["state"] for of, task in (flower.json("/api/tasks") or {}).items()}
            return all(seen.get(of) == state for of, state in expected.items())

        wait_for("Flower has seen the tasks end", tasks)
        info = flower.json(f"/api/task/info/{failed.id}")
        if info["name"] != "tour.divide" or "ZeroDivisionError" not in info["exception"] or info["worker"] != node:
            fail(f"Flower shows {info}")
        for path in ["/workers", f"/worker/{node}", "/tasks", f"/task/{failed.id}"]:
            page = flower.get(path)
            if not page or (path != "/tasks" and node not in page):
                fail(f"Flower's page {path} does not show {node}")
        print(rendered(f"http://127.0.0.1:{flower.port}/workers"))
        print("seen: Flower, with both nodes and every task")
    finally:
        flower.stop()


def main():
    with tempfile.TemporaryDirectory() as home, open(f"{home}/celery.log", "w") as log:
        command = [sys.executable, "-m", "celery", "-A", "control", "worker", "--concurrency", "2", "-E",
                   "--hostname", CELERY_NODE, "--loglevel", "WARNING"]
        worker = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_for("both answer", lambda: len(app.control.ping(timeout=1)) == 2)
            runs, _ = busy()
            inspect(runs)
            control()
            others(runs)
            flower()
        finally:
            # Cold: whatever it runs by now is of no interest.
            worker.kill()
            worker.wait(PATIENCE)


if __name__ == "__main__":
    node = sys.argv[2]
    main()
