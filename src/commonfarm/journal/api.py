"""The journal by HTTP. Whoever is signed in may read it."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema

from commonfarm.journal.reader import Cursor, latest, read, show

router = Router(tags=["journal"])

PLACE = r"^[0-9]{1,18}-[0-9]{1,18}$"


class EntryOut(Schema):
    """An event. `cursor` is the place after it; `at` is in UTC."""

    cursor: str
    at: str
    who: str
    what: str
    subject: str
    why: str
    details: dict[str, Any]


class EntriesOut(Schema):
    """Part of the journal, oldest first; `next` is there while more follows."""

    items: list[EntryOut]
    next: str | None = None


class Asked(Schema):
    """How much of the journal is asked for, and of which subject (`build:12`)."""

    limit: int = Field(100, ge=1, le=500)
    subject: str | None = Field(None, max_length=300, pattern=r"^[^\x00]*$")


class AskedAfter(Asked):
    """`after` is the `cursor` of the last entry that was read."""

    after: str | None = Field(None, pattern=PLACE)


@router.get("", response=EntriesOut, summary="Read the journal from a place on")
def entries(request: HttpRequest, asked: Query[AskedAfter]) -> dict[str, Any]:
    """Give settled entries after a place, from the beginning when none is named."""
    place = Cursor.parse(asked.after) if asked.after else Cursor()
    found = read(place, asked.limit + 1, asked.subject)
    shown = [show(entry) for entry in found[: asked.limit]]
    return {"items": shown, "next": shown[-1]["cursor"] if len(found) > asked.limit else None}


@router.get("/latest", response=list[EntryOut], summary="Read the end of the journal")
def newest(request: HttpRequest, asked: Query[Asked]) -> list[dict[str, Any]]:
    """Give the newest settled entries, oldest first."""
    return [show(entry) for entry in latest(asked.limit, asked.subject)]
