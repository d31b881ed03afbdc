"""Lets Celery's own integration suite run against a worker that is not Celery: a pytest plugin (-p foreign_worker).

The suite starts a Celery worker inside of pytest, once for all tests, by a fixture. Here the fixture of that name starts Lovage
instead, pushes the module with the suite's tasks, and waits until it answers to ping as a worker does. Of the tests only those are run
that are in SUITE_TESTS; the others look into the process of the worker, or are not about it. scripts/celery-suite.sh sets the
environment up.
"""

import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import celery.contrib.pytest as of_celery
import pytest
from celery.result import _set_task_join_will_block
from celery.utils.nodenames import anon_nodename

PATIENCE = 60


def environment(name):
    value = os.environ.get(name)
    if not value:
        pytest.exit(f"{name} is not set: run this by scripts/celery-suite.sh", returncode=2)
    return value


class Lovage:
    """A daemon of the name that the suite looks for."""

    def __init__(self, log):
        self.log = log
        arguments = ["serve", "--store", environment("TEST_BROKER"), "--listen", "127.0.0.1:0",
                     "--hostname", anon_nodename(), "--concurrency", "2", "--config", environment("SUITE_CONFIG")]
        self.process = subprocess.Popen([environment("LOVAGE"), *arguments], stderr=subprocess.PIPE, text=True)
        self.said, self.is_gone, self.heard = "", False, threading.Condition()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        """Writes down what it says, until it ends."""
        with self.log.open("w") as log:
            for line in self.process.stderr:
                log.write(line)
                log.flush()
                with self.heard:
                    self.said += line
                    self.heard.notify_all()
        with self.heard:
            self.is_gone = True
            self.heard.notify_all()

    def wait_for(self, what, words):
        with self.heard:
            self.heard.wait_for(lambda: self.is_gone or re.search(words, self.said), PATIENCE)
            found = re.search(words, self.said)
        if not found:
            self.give_up(what)
        return found

    def wait_for_ping(self, app):
        deadline = time.monotonic() + PATIENCE
        # Each waits for an answer by itself.
        while not app.control.ping(timeout=1, limit=1):
            if self.is_gone or time.monotonic() > deadline:
                self.give_up("never answered to ping")

    def give_up(self, what):
        pytest.exit(f"the worker {what}; it said:\n{self.said}", returncode=3)

    def push(self):
        found = self.wait_for("never listened", r"api +(\S+)(?s:.*)modules ")
        push = [environment("LOVAGE"), "module", "push", "celery_suite", environment("SUITE_MODULE")]
        subprocess.run(push, env={**os.environ, "LOVAGE_URL": found[1]}, check=True, stdout=subprocess.DEVNULL)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()


@pytest.fixture(scope="session")
def celery_session_worker(celery_session_app, celery_includes, celery_class_tasks):
    # The client calls these by their functions.
    for module in celery_includes:
        celery_session_app.loader.import_task_module(module)
    for task in celery_class_tasks:
        celery_session_app.register_task(task)
    worker = Lovage(Path(environment("SUITE_LOG")))
    try:
        worker.push()
        worker.wait_for_ping(celery_session_app)
        # The suite waits for tasks in the process that has been a worker's until now.
        _set_task_join_will_block(False)
        yield worker
    finally:
        worker.stop()


# The suite's conftest takes it from there, after this.
of_celery.celery_session_worker = celery_session_worker


def pytest_collection_modifyitems(config, items):
    wanted = set(Path(environment("SUITE_TESTS")).read_text().split("\n"))
    chosen = [item for item in items if item.nodeid in wanted]
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in wanted])
    items[:] = chosen
