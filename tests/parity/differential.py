"""One client's work, done by a Celery worker and by Lovage: what is left in Redis, and what monitors were told, must be the same.

    differential.py lose REDIS_URL                       leaves what a worker leaves that was killed
    differential.py worker REDIS_URL                     is the Celery worker
    differential.py work REDIS_URL                       does the work, and prints what came of it as JSON
    differential.py compare CELERY.json LOVAGE.json      holds both against each other

Ids, times, host names and tracebacks are left out. The tasks are those of the tour, here in Python.
"""

import json
import re
import sys
import threading
import time

from celery import Celery, Task, chain, chord, group
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded, TimeoutError
from kombu import Queue

PATIENCE = 30
# When workers that are now lost took messages: long past the visibility timeout, and just now.
LOST = {"lost-long-ago": 2 * 3600, "lost-just-now": 0}
url = sys.argv[2] if sys.argv[1] in ("lose", "worker", "work") else None
app = Celery("differential", broker=url, backend=url)
app.conf.update(
    result_extended=True, task_send_sent_event=True, worker_send_task_events=True, worker_prefetch_multiplier=1,
    task_acks_late=True, task_reject_on_worker_lost=True, task_track_started=True, accept_content=["json", "msgpack"],
    task_queues=[Queue("celery"), Queue("other")], broker_transport_options={"queue_order_strategy": "sorted"},
)


@app.task(name="tour.add")
def add(x, y):
    return x + y


@app.task(name="tour.total")
def total(numbers):
    return sum(numbers)


@app.task(name="tour.divide")
def divide(x, y):
    return x / y


@app.task(name="tour.hear", bind=True)
def hear(self, told):
    return told


@app.task(name="tour.sleepy")
def sleepy(seconds):
    try:
        time.sleep(seconds)
    except SoftTimeLimitExceeded:
        raise


@app.task(name="tour.shaky", bind=True, autoretry_for=(ConnectionError,), retry_backoff=0.5, retry_backoff_max=5, max_retries=5,
          retry_jitter=False)
def shaky(self, fails=2):
    if self.request.retries < fails:
        raise ConnectionError(f"attempt {self.request.retries + 1} got no answer")
    return f"worked after {self.request.retries} retries"


def says(task, what):
    """Tells monitors what is called, in which attempt."""
    task.send_event(f"task-{what}-{task.request.retries}")


class Announcing(Task):
    """Tells monitors of each of its handlers."""

    def before_start(self, task_id, args, kwargs):
        says(self, "before-start")

    def on_success(self, retval, task_id, args, kwargs):
        says(self, "on-success")

    def on_retry(self, exc, task_id, args, kwargs, einfo):
        says(self, "on-retry")

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        says(self, "on-failure")

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        says(self, "after-return")


@app.task(name="handlers.announced", bind=True, base=Announcing)
def announced(self, end):
    says(self, "run")
    if end == "failure":
        raise ValueError("as told")
    if end == "retry" and self.request.retries == 0:
        raise self.retry(countdown=0)
    if end == "ignore":
        raise Ignore()
    if end == "reject":
        raise Reject(requeue=False)
    return end


def calls(told):
    """Every case: its name, and the results whose end is waited for."""
    yield "plain", [add.delay(2, 3)]
    yield "keywords", [add.delay(x=2, y=3)]
    yield "failure", [divide.delay(1, 0)]
    yield "wrong arguments", [app.send_task("tour.add", (1,))]
    yield "unknown", [app.send_task("nobody.knows", (1,))]
    yield "tagged", [hear.delay({"bytes": b"\xff", "more": [b"text", 1.5, None, 2**70]})]
    yield "unicode", [hear.delay("häå®ƒ \u2028 \U0001f600")]
    for way in ["zlib", "bzip2", "gzip"]:
        yield way, [add.apply_async((2, 3), compression=way)]
    yield "msgpack", [add.apply_async((2, 3), serializer="msgpack")]
    yield "protocol 1", [old_protocol()]
    yield "queue", [add.apply_async((2, 3), queue="other")]
    yield "priority", [add.apply_async((2, 3), priority=7)]
    yield "countdown", [add.apply_async((2, 3), countdown=0.5)]
    yield "expired", [add.apply_async((2, 3), countdown=0.5, expires=0.2)]
    yield "retried", [shaky.delay(2)]
    yield "headers", [add.apply_async((2, 3), headers={"x-a": "1"})]
    yield "ignored", [add.apply_async((2, 3), ignore_result=True)]
    yield "soft limit", [sleepy.apply_async((20,), soft_time_limit=1, time_limit=10)]
    yield "hard limit", [sleepy.apply_async((20,), time_limit=1)]
    yield "chain", family(chain(add.s(1, 2), add.s(3), add.s(4)).delay())
    yield "broken chain", family(chain(divide.s(1, 0), add.s(3), add.s(4)).delay())
    yield "group", group(add.s(n, n) for n in range(3)).delay().results
    yield "chord", family(chord([add.s(n, n) for n in range(3)], total.s()).delay())
    yield "broken chord", family(chord([add.s(1, 1), divide.s(1, 0)], total.s()).delay())
    yield "nested", family((group(add.s(n, n) for n in range(3)) | total.s() | add.s(1)).delay())
    yield "map", [add.starmap([(1, 2), (3, 4)]).delay()]
    yield "linked", [add.apply_async((1, 2), link=hear.s())]
    yield "stamped", [stamped(add.s(1, 2))]
    yield "terminated", [terminated(sleepy.delay(60), told)]


def orders(told):
    """What is seen of many together: its name, and what must be the same."""
    yield "priority order", by_priority(told)
    yield "rate limit", at_a_rate()
    yield "handler order", handlers(told)
    yield "visibility restore", restored()
    yield "warm shutdown", warm_shutdown(told)


def by_priority(told):
    """Whether tasks that waited while both slots were taken ran by priority, but for one: Celery's worker may have asked for a message before
    it had none to spare. Of two that run at once either may end first."""
    busy = [sleepy.delay(1.5) for _ in range(2)]
    for result in busy:
        told.wait_for_start(result)
    waiting = {priority: sleepy.apply_async((0.5,), priority=priority) for priority in (9, 3, 6, 0)}
    done = sorted(waiting, key=lambda priority: ended(waiting[priority])["date_done"])
    others = [done[:n] + done[n + 1:] for n in range(4)]
    return any(first < last for first, _, last in others)


def handlers(told):
    """The order in which the handlers of each attempt are called, by how a run ends. Celery's worker may begin the next attempt before it
    has told the one that asked for it."""
    called = {}
    for end in ["success", "failure", "retry", "ignore", "reject"]:
        result = announced.delay(end)
        # What leaves no result is over when the next one is.
        ended(result if end in ("success", "failure", "retry") else announced.delay("success"))
        called[end] = result.id
    told.catch_up()
    own = re.compile(r"task-(before-start|run|on-success|on-retry|on-failure|after-return)-(\d)")
    order = {}
    for end, task_id in called.items():
        order[end] = {}
        for event, _ in told.of(task_id):
            if seen := own.fullmatch(event):
                order[end].setdefault(seen[2], []).append(seen[1])
        if not order[end]:
            sys.exit(f"nobody was told of any handler of {end}")
    return order


def lose():
    """Two messages as they are in `unacked` when nobody is left who took them."""
    redis = app.backend.client
    for task_id, seconds in LOST.items():
        add.apply_async((2, 3), task_id=task_id, queue="nobody")
        message = json.loads(redis.rpop("nobody"))
        message["properties"]["delivery_info"] = {"exchange": "", "routing_key": "celery"}
        redis.hset("unacked", task_id, json.dumps([message, "", "celery"]))
        redis.zadd("unacked_index", {task_id: time.time() - seconds})


def restored():
    """What becomes of messages whose worker was killed: only that whose time is over is for another."""
    redis = app.backend.client
    old, young = LOST
    meta = ended(app.AsyncResult(old))
    kept = {task_id: bool(redis.hexists("unacked", task_id)) for task_id in LOST}
    redis.hdel("unacked", young)
    redis.zrem("unacked_index", young)
    return {"meta": shown(meta), "still there": [kept[old], kept[young]]}


def warm_shutdown(told):
    """What becomes of two tasks that run and of one that waits when the worker is told to shut down. Nobody is there afterwards."""
    told.catch_up()
    busy = [sleepy.delay(2) for _ in range(2)]
    for result in busy:
        told.wait_for_start(result)
    waiting = add.delay(1, 2)
    app.control.shutdown()
    states = [ended(result)["status"] for result in busy]
    told.wait_for_goodbye()
    redis = app.backend.client
    # Celery's worker may leave those that ran, too, which it did not acknowledge in time.
    there = redis.llen("celery") + redis.hlen("unacked")
    return {"ran": states, "waits": redis.get(app.backend.get_key_for_task(waiting.id)) is None and there > 0}


def at_a_rate():
    """Whether a limit of two a second holds for four tasks, once it is ordered, and no longer than that."""
    app.control.rate_limit("tour.add", "2/s", reply=True, timeout=1)
    began = time.monotonic()
    for result in [add.delay(n, n) for n in range(4)]:
        ended(result)
    limited = time.monotonic() - began
    app.control.rate_limit("tour.add", "0", reply=True, timeout=1)
    for result in [add.delay(n, n) for n in range(40)]:
        ended(result)
    return {"limited": limited >= 1.2, "afterwards": time.monotonic() - began - limited < 10}


def old_protocol():
    app.conf.task_protocol = 1
    try:
        return app.send_task("tour.add", (2, 3))
    finally:
        app.conf.task_protocol = 2


def terminated(result, told):
    told.wait_for_start(result)
    result.revoke(terminate=True)
    return result


def stamped(signature):
    signature.stamp(batch="b1")
    return signature.delay()


def family(result):
    """A result and everything before it."""
    found = []
    while result is not None:
        found.extend(result.results if hasattr(result, "results") and result.results is not None else [result])
        result = result.parent
    return found


def ended(result):
    patience = time.monotonic() + PATIENCE
    while True:
        try:
            # It reads what there is, then listens. What it did not hear is there when it reads again.
            result.get(timeout=3, propagate=False)
            break
        except TimeoutError:
            if time.monotonic() > patience:
                sys.exit(f"{result.id} does not end")
    return json.loads(app.backend.client.get(app.backend.get_key_for_task(result.id)))


def shown(meta):
    """A meta without what is another one each time."""
    children = meta.get("children") or []
    kept = {name: meta[name] for name in sorted(meta) if name not in
            ("task_id", "date_done", "traceback", "children", "worker", "parent_id", "group_id")}
    has = {name: meta.get(name) is not None for name in ("date_done", "parent_id", "group_id", "worker")}
    return {**kept, "has": has, "children": len(children)}


class Told:
    """What monitors are told, by task."""

    def __init__(self):
        self.events, self.online, self.heard, self.beats = [], threading.Event(), threading.Condition(), 0
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        with app.connection() as connection:
            def heard(event):
                self.online.set()
                with self.heard:
                    self.events.append(event)
                    self.beats += event["type"] == "worker-heartbeat"
                    self.heard.notify_all()
            app.events.Receiver(connection, handlers={"*": heard}).capture(limit=None, timeout=None, wakeup=False)

    def wait_for_start(self, result):
        def has_started():
            return any(event["type"] == "task-started" and event["uuid"] == result.id for event in self.events)
        with self.heard:
            if not self.heard.wait_for(has_started, PATIENCE):
                sys.exit(f"{result.id} does not start")

    def wait_for_goodbye(self):
        def has_left():
            return any(event["type"] == "worker-offline" for event in self.events)
        with self.heard:
            if not self.heard.wait_for(has_left, PATIENCE):
                sys.exit("the worker does not say goodbye")

    def catch_up(self):
        """Waits until the worker has said twice that it lives: what it had to tell before that has come by then."""
        with self.heard:
            beats = self.beats + 2
            if not self.heard.wait_for(lambda: self.beats >= beats, PATIENCE):
                sys.exit("the worker says nothing any more")

    def of(self, task_id):
        """Their names, and which fields each has. That it was sent comes first: who sends tells of it when it gets to it."""
        events = sorted(self.events, key=lambda event: event["type"] != "task-sent")
        return [[event["type"], sorted(name for name, value in event.items() if name not in ("local_received", "traceback") and value is not None)]
                for event in events if event.get("uuid") == task_id]


def work():
    told = Told()
    if not told.online.wait(PATIENCE):
        sys.exit("no worker says that it is there")
    cases = {}
    for name, results in calls(told):
        metas = [ended(result) for result in results if name != "ignored"]
        cases[name] = {"metas": [shown(meta) for meta in metas], "ids": [result.id for result in results]}
    seen = dict(orders(told))
    for case in cases.values():
        case["events"] = [told.of(task_id) for task_id in case.pop("ids")]
    cases |= {name: {"metas": what, "events": []} for name, what in seen.items()}
    redis = app.backend.client
    left = [key.decode() for key in redis.keys("*") if not key.startswith((b"lovage:", b"celery-task-meta-", b"_kombu."))]
    kinds = sorted({key.split("-")[-1].split(".")[-1] if key.startswith("celery-taskset-meta-") else key for key in left})
    done = json.dumps({"cases": cases, "left": kinds}, ensure_ascii=False)
    print(re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", done))


# What differs, and why.
DIFFERENCES = {
    ("unknown", "metas"): "Celery does not say which task it did not know, or at which worker",
    ("unknown", "events"): "Celery never says that it was received",
    ("retried", "metas"): "in Celery a task that is tried again is its own parent",
    ("retried", "events"): "Celery sends the next attempt before it tells of this one",
    ("hard limit", "events"): "Celery tells twice that it failed",
    ("broken chain", "metas"): "Celery says what the steps that never ran would have been",
}


def compare(ours, theirs):
    wrong = []
    for name, case in theirs["cases"].items():
        for part in ("metas", "events"):
            if case[part] != ours["cases"][name][part] and (name, part) not in DIFFERENCES:
                wrong.append(f"{name}, {part}:\n  celery {json.dumps(case[part])}\n  lovage {json.dumps(ours['cases'][name][part])}")
    stale = [case for case in DIFFERENCES if theirs["cases"][case[0]][case[1]] == ours["cases"][case[0]][case[1]]]
    wrong += [f"{name}, {part}: is the same by now" for name, part in stale]
    wrong += [f"left behind: {key}" for key in set(ours["left"]) - set(theirs["left"])]
    for text in wrong:
        print(text)
    print(f"{len(theirs['cases'])} cases, {len(DIFFERENCES)} known differences, {len(wrong)} others")
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1] == "compare":
        sys.exit(compare(json.load(open(sys.argv[3])), json.load(open(sys.argv[2]))))
    elif sys.argv[1] == "lose":
        lose()
    elif sys.argv[1] == "worker":
        app.worker_main(["worker", "--concurrency", "2", "-E", "--loglevel", "ERROR"])
    else:
        work()
