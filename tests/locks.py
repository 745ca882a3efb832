"""Locks that are held by name, as `guard.alone` has them."""

from __future__ import annotations

import time

from django.db import connection

ENOUGH_SECONDS = 30.0
_HELD = """
    SELECT pid FROM pg_locks
    WHERE locktype = 'advisory' AND pid <> pg_backend_pid()
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def wait_until_free() -> None:
    """Return when no other session holds one.

    It goes with its session, which ends a moment after the process or the connection that had it.
    """
    deadline = time.monotonic() + ENOUGH_SECONDS
    while _held():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _held() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_HELD)
        return cursor.fetchone() is not None
