"""Readers of the journal: they follow it without missing an event that commits late.

Ids are given out when a row is written, not when its transaction commits, so a reader that goes by
id alone can pass over a row that becomes visible later. Entries are therefore read in the order
(transaction, id), and only behind the oldest transaction that is still running.
"""

from __future__ import annotations

from dataclasses import dataclass

from commonfarm.journal.models import Entry

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
        transaction, _, number = text.partition("-")
        return cls(int(transaction), int(number))

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


def latest(count: int = 50, subject: str | None = None) -> list[Entry]:
    """Return the newest `count` settled entries, oldest first."""
    entries = Entry.objects.extra(  # noqa: S610 - constant text
        where=[_SETTLED], order_by=["-transaction", "-id"]
    )
    if subject is not None:
        entries = entries.filter(subject=subject)
    return list(reversed(entries[:count]))
