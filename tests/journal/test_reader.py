"""The journal's readers miss nothing, whatever order transactions commit in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction

from commonfarm.journal.interface import Cursor, Event, read, record
from commonfarm.journal.models import Entry


@dataclass(frozen=True, slots=True)
class Happened(Event):
    what: ClassVar[str] = "tested"
    number: int


@pytest.mark.django_db(transaction=True)
def test_an_event_that_commits_late_is_not_skipped() -> None:
    settings = connection.settings_dict
    late = psycopg.connect(
        host=settings["HOST"], port=settings["PORT"], dbname=settings["NAME"], user=settings["USER"]
    )
    late.execute(
        "INSERT INTO journal_entry (who, what, subject, why, details)"
        " VALUES ('user:late', 'tested', 'test:late', '', '{}')"
    )
    with transaction.atomic():
        record(Happened("test:early", 1), who="user:early")
    assert read(Cursor()) == []
    late.commit()
    late.close()
    assert [entry.subject for entry in read(Cursor())] == ["test:late", "test:early"]
    assert read(Cursor.of(read(Cursor())[-1])) == []


@pytest.mark.django_db(transaction=True)
def test_an_event_is_refused_outside_a_transaction() -> None:
    with pytest.raises(RuntimeError, match="outside a transaction"):
        record(Happened("test:1", 1), who="user:anna")


@pytest.mark.django_db
def test_an_event_cannot_be_changed_or_removed() -> None:
    record(Happened("test:1", 1), who="user:anna", why="to see")
    for statement in ("UPDATE journal_entry SET why = 'no'", "DELETE FROM journal_entry"):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(statement)
    entry = Entry.objects.get()
    assert (entry.who, entry.what, entry.subject, entry.why) == (
        "user:anna",
        "tested",
        "test:1",
        "to see",
    )
    assert entry.details == {"number": 1}
