"""A Celery application whose pictures are made smaller in a sandbox. What is new in it are the two lines that say so."""

import base64
import os
import pathlib

from celery import Celery

redis = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
app = Celery("gallery", broker=redis, backend=redis)

# New: these tasks are not for the workers of this application.
app.conf.task_routes = {"thumbnail.*": {"queue": "sandboxed"}}


def resize(width, height, *image):
    """New: a task that is known by its name only, since its code is not here."""
    return app.signature("thumbnail.resize", args=image, kwargs={"width": width, "height": height})


@app.task
def read(path):
    """The bytes of a file, in base64: what travels in JSON."""
    return base64.b64encode(pathlib.Path(path).read_bytes()).decode()


@app.task
def save(thumbnail, path):
    """Writes a thumbnail into a file, and tells how large it is."""
    pathlib.Path(path).write_bytes(base64.b64decode(thumbnail["image"]))
    return [thumbnail["width"], thumbnail["height"]]


@app.task
def widest(thumbnails):
    """How wide the widest thumbnail is."""
    return max(thumbnail["width"] for thumbnail in thumbnails)
