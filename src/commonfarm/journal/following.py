"""Reading the journal without Django's ORM, for processes that are asynchronous.

The order and the rule of what is settled are those of `reader.py`.
"""

from __future__ import annotations

from typing import Any

import psycopg

from commonfarm.journal.reader import Cursor, shown

_READ = """
    SELECT transaction::text, id, at, who, what, subject, why, details
    FROM journal_entry
    WHERE transaction < pg_snapshot_xmin(pg_current_snapshot())
      AND (transaction, id) > (%s::text::xid8, %s)
    ORDER BY transaction, id
    LIMIT %s
"""
_NEWEST = """
    SELECT transaction::text, id
    FROM journal_entry
    WHERE transaction < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY transaction DESC, id DESC
    LIMIT 1
"""


async def read_async(
    connection: psycopg.AsyncConnection[Any], after: Cursor, limit: int = 500
) -> list[tuple[Cursor, dict[str, Any]]]:
    """Return up to `limit` settled entries after `after`, oldest first, as they are shown."""
    rows = await connection.execute(_READ, [str(after.transaction), after.id, limit])
    return [
        (Cursor(int(transaction), number), shown(Cursor(int(transaction), number), *rest))
        async for transaction, number, *rest in rows
    ]


async def newest_async(connection: psycopg.AsyncConnection[Any]) -> Cursor:
    """Return the place after the newest settled entry."""
    row = await (await connection.execute(_NEWEST)).fetchone()
    return Cursor(int(row[0]), row[1]) if row else Cursor()
