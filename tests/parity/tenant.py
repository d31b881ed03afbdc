"""A Celery client of one tenant: all its keys are below the tenant's prefix.

tenant.py URL PREFIX sends tour.add twice to Celery's default queue, once in a group, and prints what came back; then how many
of some attempts to see or change what is not its own were refused.
"""

import sys

import redis
from celery import Celery, group

url, prefix = sys.argv[1:]
below = {"global_keyprefix": prefix}
app = Celery("tenant", broker=url, backend=url)
app.conf.update(broker_transport_options=below, result_backend_transport_options=below)

add = app.signature("tour.add")
print(add.clone((2, 3)).delay().get(timeout=50))
print(group(add.clone((n, n)) for n in range(3)).delay().get(timeout=50))
client = redis.Redis.from_url(url)
attempts = [
    ("GET", "celery-task-meta-of-another"),
    ("SET", f"{prefix.replace('{', 'of:{')}lines", "x"),
    ("SCAN", "0"),
    ("RANDOMKEY",),
    ("PUBSUB", "CHANNELS"),
    ("CLIENT", "TRACKING", "ON", "BCAST"),
    ("EVAL", "return 1", "0"),
]
refused = 0
for attempt in attempts:
    try:
        print(attempt, client.execute_command(*attempt))
    except redis.exceptions.NoPermissionError:
        refused += 1
print(f"not allowed: {refused} of {len(attempts)}")
