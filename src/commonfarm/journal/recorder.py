"""The one way into the journal."""

from __future__ import annotations

from dataclasses import fields

from django.db import connection

from commonfarm.journal.events import Event
from commonfarm.journal.models import Entry

CHANNEL = "journal"


def record(event: Event, *, who: str, why: str = "") -> None:
    """Write `event` in the current transaction, and wake the readers when it commits.

    `who` is plain text such as `user:anna`, `builder:b7@3` or `process:scheduler`.
    Raises RuntimeError outside a transaction: an event is written with what it tells of.
    """
    if not connection.in_atomic_block:
        raise RuntimeError(f"{event.what} is recorded outside a transaction")
    details = {
        field.name: getattr(event, field.name) for field in fields(event) if field.name != "subject"
    }
    Entry.objects.create(who=who, what=event.what, subject=event.subject, why=why, details=details)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, '')", [CHANNEL])
