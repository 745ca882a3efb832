"""Readers of the journal: they follow it without missing an event that commits late.

Ids are given out when a row is written, not when its transaction commits, so a reader that goes by
id alone can pass over a row that becomes visible later. Entries are therefore read in the order
(transaction, id), and only behind the oldest transaction that is still running.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from commonfarm.journal.models import Entry

_CURSOR = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")
_SETTLED = "transaction < pg_snapshot_xmin(pg_current_snapshot())"


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place in the journal: after the entry with this transaction and id."""

    transaction: int = 0
    id: int = 0

    def __str__(self) -> str:
        return f"{self.transaction}-{self.id}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read what `str` wrote; raise ValueError for anything else."""
        match = _CURSOR.fullmatch(text)
        if match is None:
            raise ValueError(f"{text[:50]!r} is no place in the journal")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def of(cls, entry: Entry) -> Cursor:
        """Return the place right after `entry`."""
        return cls(int(entry.transaction), entry.id)


def read(after: Cursor, limit: int = 500, subject: str | None = None) -> list[Entry]:
    """Return up to `limit` settled entries after `after`, oldest first."""
    entries = Entry.objects.extra(  # noqa: S610 - constant text, values as parameters
        where=[_SETTLED, "(transaction, id) > (%s::text::xid8, %s)"],
        params=[str(after.transaction), after.id],
        order_by=["transaction", "id"],
    )
    if subject is not None:
        entries = entries.filter(subject=subject)
    return list(entries[:limit])


def latest(
    count: int = 50, subject: str | None = None, before: Cursor | None = None
) -> list[Entry]:
    """Return the newest `count` settled entries (of those older than `before`), oldest first.

    An entry lies before its own cursor's place, so `before` that cursor leaves it out.
    """
    entries = Entry.objects.extra(  # noqa: S610 - constant text
        where=[_SETTLED], order_by=["-transaction", "-id"]
    )
    if before is not None:
        entries = entries.extra(
            where=["(transaction, id) < (%s::text::xid8, %s)"],
            params=[str(before.transaction), before.id],
        )
    if subject is not None:
        entries = entries.filter(subject=subject)
    return list(reversed(entries[:count]))


def shown(
    cursor: Cursor,
    at: datetime,
    who: str,
    what: str,
    subject: str,
    why: str,
    details: dict[str, Any],
) -> dict[str, Any]:
    """Return an entry as API and live stream give it; `cursor` is where to go on after it."""
    return {
        "cursor": str(cursor),
        "at": at.astimezone(UTC).isoformat(timespec="milliseconds"),
        "who": who,
        "what": what,
        "subject": subject,
        "why": why,
        "details": details,
    }


def show(entry: Entry) -> dict[str, Any]:
    """Return `entry` as API and live stream give it."""
    return shown(
        Cursor.of(entry),
        entry.at,
        entry.who,
        entry.what,
        entry.subject,
        entry.why,
        entry.details,
    )
