"""A Celery client of one tenant: all its keys are below the tenant's prefix.

tenant.py URL PREFIX sends tour.add twice to Celery's default queue, once in a group, and prints what came back; then what came of an
attempt to read a key of another tenant.
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
try:
    redis.Redis.from_url(url).get("celery-task-meta-of-another")
    print("read it")
except redis.exceptions.NoPermissionError:
    print("not allowed")
