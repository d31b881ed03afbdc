"""Sends work to both, and waits for it. usage: client.py PICTURE DIRECTORY"""

import sys

from celery import chord
from celery.exceptions import NotRegistered
from gallery import app, read, resize, save, widest

picture, directory = sys.argv[1:]
WAIT = {"timeout": 60}

image = read.delay(picture).get(**WAIT)
print("in Python:              ", len(image), "characters of base64")

thumbnail = resize(16, 16, image).delay().get(**WAIT)
print("in a sandbox:           ", thumbnail["width"], "x", thumbnail["height"])

chained = (read.s(picture) | resize(8, 8) | save.s(f"{directory}/small.png")).delay()
print("Python, sandbox, Python:", *chained.get(**WAIT))

sizes = chord([resize(size, size, image) for size in (4, 8, 12)], widest.s()).delay()
print("a chord of sandboxes:   ", sizes.get(**WAIT))

try:
    resize(16, 16, "bm90IGEgcGljdHVyZQ==").delay().get(**WAIT)
except ValueError as error:
    print("not a picture:          ", type(error).__name__)

try:
    app.send_task("thumbnail.unknown", queue="sandboxed").get(**WAIT)
except NotRegistered as error:
    print("nobody's task:          ", error)
