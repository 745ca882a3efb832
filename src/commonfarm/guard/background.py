"""Background work in PostgreSQL that survives a kill.

A task is deferred in the transaction that made it necessary, and only synchronously: asynchronous
defers were seen to escape the transaction. Tasks take no `lock` (that of a killed worker would
block the next); they are idempotent and start from the tables.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.utils import timezone
from procrastinate.contrib.django.django_connector import DjangoConnector
from procrastinate.exceptions import AlreadyEnqueued
from procrastinate.manager import JobManager
from procrastinate.tasks import Task


def defer_once(
    task: Task[Any, Any, Any], key: str, *, in_seconds: int = 0, **arguments: Any
) -> bool:
    """Enqueue `task` unless one with the same `key` is waiting already; say whether it was.

    It starts no sooner than `in_seconds` from now; one that waits for a later time starts then.
    The savepoint keeps the surrounding transaction usable when the queue refuses.
    """
    start_at = timezone.now() + timedelta(seconds=in_seconds)
    deferrer = task.configure(queueing_lock=key, schedule_at=start_at if in_seconds else None)
    # In a worker the app has connections of its own: a job would be there before what made it
    # necessary, and stay when that is rolled back.
    deferrer.job_manager = JobManager(DjangoConnector())
    try:
        with transaction.atomic():
            deferrer.defer(**arguments)
    except AlreadyEnqueued:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE procrastinate_jobs SET scheduled_at = %(at)s"
                " WHERE queueing_lock = %(key)s AND status = 'todo' AND scheduled_at > %(at)s",
                {"key": key, "at": start_at},
            )
        return False
    return True
