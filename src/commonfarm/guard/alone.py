"""Work that one process at a time may do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from commonfarm.lib.errors import Reason, RefusedError


class BusyError(RefusedError):
    """Another process is at it at this moment."""


@contextmanager
def alone(name: str, *, wait: bool) -> Iterator[None]:
    """Hold the lock `name` of this database; with `wait` wait for it, else raise BusyError.

    It is a lock of the database's session, so it ends with a process that is killed.
    """
    lock = "pg_advisory_lock" if wait else "pg_try_advisory_lock"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {lock}(hashtextextended(%s, 0))", [name])
        row = cursor.fetchone()
    if row is not None and row[0] is False:
        raise BusyError(Reason("busy", f"another process is at the {name}", "wait until it ended"))
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [name])
