"""What Celery itself writes for the canvases that tests.rs builds: `pip install celery`, then run this into golden.txt."""

import json

from celery import Celery, chain, chord, group

app = Celery("m", broker="memory://", backend="cache+memory://")


def nothing(*args, **kwargs):
    pass


add, total, oops = (app.task(nothing, name=f"m.{name}") for name in ("add", "total", "oops"))


def linked(canvas):
    canvas.link(total.s())
    canvas.link_error(oops.s())
    return canvas


def stamped(canvas):
    canvas.stamp(build=12)
    return canvas


CANVASES = {
    "task": add.s(1, y=2),
    "immutable": add.si(1, 2),
    "options": add.s(1).set(countdown=1.5).set(queue="slow", max_retries=7),
    "chain": chain(add.s(1, 1), add.s(2)),
    "chain in chain": chain(add.s(1, 1), chain(add.s(2), add.s(3))),
    "pipe": add.s(1, 1) | add.s(2) | chain(add.s(3), add.s(4)),
    "pipe to group": add.s(1, 1) | group(add.s(2), add.s(3)),
    "group": group([add.s(1, 1), add.s(2, 2)]),
    "chord": chord([add.s(1, 1), add.s(2, 2)], total.s()),
    "chord of group": chord(group([add.s(1, 1), add.s(2, 2)]), total.s()),
    "group in chord": chord([group([add.s(1, 1)]), add.s(2, 2)], chain(total.s(), add.s(1))),
    "chord in chain": chain(add.s(1, 1), chord([add.s(2), add.s(3)], total.s())),
    "map": add.map([1, 2]),
    "starmap": add.starmap([[1, 2], [3, 4]]),
    "chunks": add.chunks([[1, 2], [3, 4]], 2),
    "map in group": group([add.map([1]), add.starmap([[1, 2]])]),
    "linked task": linked(linked(add.s(1, 1))),
    "linked chain": linked(chain(add.s(1, 1), add.s(2))),
    "linked group": linked(group([add.s(1, 1), add.s(2, 2)])),
    "linked chord": linked(chord([add.s(1, 1)], total.s())),
    "linked map": linked(add.map([1])),
    "stamped task": stamped(linked(add.s(1, 1))),
    "stamped chain": stamped(chain(add.s(1, 1), group([add.s(2), add.s(3)]))),
    "stamped chunks": stamped(add.chunks([[1, 2]], 1)),
}

for name, canvas in CANVASES.items():
    print(f"{name}: {json.dumps(canvas, separators=(',', ':'))}")
