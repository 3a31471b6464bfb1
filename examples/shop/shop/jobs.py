"""What celery's workers do."""

import os
import time

from celery import Celery

from shop import store

celery = Celery("shop", broker=os.environ.get("REDIS_URL", "redis://localhost:6379/0"))
celery.conf.update(
    # A job is taken off the queue when it is done: one whose worker is killed runs again, so that
    # each job has to take that it may have begun before.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_transport_options={"visibility_timeout": 30},
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
)


@celery.task
def pack(number: int, seconds: float) -> None:
    """Pack an order."""
    key = f"order:{number}"
    store.hincrby(key, "runs", 1)
    for step in range(1, 11):
        time.sleep(seconds / 10)
        store.hset(key, "done", step * 10)
    store.incr("packed")
