"""What the live streams carry: the journal's entries, and the bytes of a running job's log.

A reader is never ahead of what it took: it asks for the next events after its own place when it
has sent the ones before, so a slow one costs no memory and misses nothing.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool

from commonfarm.agent.protocol import LOG_PIECE_BYTES
from commonfarm.journal.interface import CHANNEL, Cursor, newest_async, read_async
from commonfarm.lib.paths import is_sha256
from commonfarm.web.listening import Listener

Pool = AsyncConnectionPool[psycopg.AsyncConnection[Any]]

KEPT_ENTRIES = 2000
SETTLE_SECONDS = 1.0
LOOK_SECONDS = 3.0
PIECES = 16
FILE_BYTES = 256 * 1024

# One statement, hence one snapshot: when it says `ended` without a blob, all pieces are in it.
_LOG = """
    SELECT lease.ended_at IS NOT NULL, lease.outcome, lease.log_id, piece."offset", piece.data
    FROM farm_lease lease
    LEFT JOIN farm_logpiece piece
        ON piece.lease_id = lease.id
        AND piece."offset" > %(offset)s - %(longest)s
        AND piece."offset" + octet_length(piece.data) > %(offset)s
    WHERE lease.id = %(lease)s
    ORDER BY piece."offset" LIMIT %(most)s
"""


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event, ready to be written (HTML Living Standard, section 9.2)."""

    kind: str
    data: str
    id: str = ""

    def encode(self) -> bytes:
        """Return the bytes on the wire; `data` has no line ends."""
        first = f"id: {self.id}\n" if self.id else ""
        return f"{first}event: {self.kind}\ndata: {self.data}\n\n".encode()


class JournalFeed:
    """Reads the journal once for all readers, and keeps the newest entries for them."""

    def __init__(self, pool: Pool, listener: Listener) -> None:
        self._pool, self._listener = pool, listener
        self._kept: deque[tuple[Cursor, Event]] = deque(maxlen=KEPT_ENTRIES)
        self._before_kept = self.newest = Cursor()

    async def run(self) -> None:
        """Follow the journal for ever.

        An entry is notified when it commits but settles only behind older transactions, hence the
        look every second.
        """
        began = False
        with self._listener.waiting_for(CHANNEL) as news:
            while True:
                news.clear()
                try:
                    async with self._pool.connection() as connection:
                        if not began:
                            self._before_kept = self.newest = await newest_async(connection)
                            began = True
                        entries = await read_async(connection, self.newest)
                except (psycopg.OperationalError, TimeoutError):
                    await asyncio.sleep(SETTLE_SECONDS)
                    continue
                if entries:
                    self._keep(entries)
                else:
                    await _until(news, SETTLE_SECONDS)

    def _keep(self, entries: list[tuple[Cursor, dict[str, Any]]]) -> None:
        for cursor, entry in entries:
            if len(self._kept) == KEPT_ENTRIES:
                self._before_kept = self._kept[0][0]
            self._kept.append((cursor, _entry_event(cursor, entry)))
            self.newest = cursor
        self._listener.wake("entries")

    async def after(self, place: Cursor) -> list[tuple[Cursor, Event]]:
        """Return the next entries after `place`, from memory if they are there."""
        if place >= self._before_kept:
            first = bisect_right(self._kept, place, key=lambda kept: kept[0])
            return [self._kept[at] for at in range(first, len(self._kept))]
        async with self._pool.connection() as connection:
            entries = await read_async(connection, place)
        return [(cursor, _entry_event(cursor, entry)) for cursor, entry in entries]

    async def follow(self, place: Cursor | None) -> AsyncIterator[Event | None]:
        """Yield the entries after `place` (from now on when None); None when nothing came."""
        place = self.newest if place is None else place
        with self._listener.waiting_for("entries") as news:
            while True:
                news.clear()
                entries = await self.after(place)
                for cursor, event in entries:
                    yield event
                    place = cursor
                if not entries and not await _until(news, LOOK_SECONDS):
                    yield None


async def follow_log(
    pool: Pool, listener: Listener, store: Path, lease: int, offset: int
) -> AsyncIterator[Event | None]:
    """Yield a lease's log from byte `offset` on, and `end` when the lease has ended.

    A piece's data is base64 of the bytes as they are; its id is the offset after it. None is
    yielded when nothing came. Raises LookupError when there is no such lease.
    """
    with listener.waiting_for(f"log:{lease}") as news:
        while True:
            news.clear()
            asked = {"lease": lease, "offset": offset, "longest": LOG_PIECE_BYTES, "most": PIECES}
            async with pool.connection() as connection:
                rows = await (await connection.execute(_LOG, asked)).fetchall()
            if not rows:
                raise LookupError(f"there is no lease {lease}")
            ended, outcome, blob = rows[0][:3]
            went_on = False
            for *_, begins, data in rows:
                if data is None or begins > offset:
                    break
                new = bytes(data)[offset - begins :]
                offset += len(new)
                went_on = True
                yield _piece(offset, new)
            if went_on:
                continue
            if ended:
                async for event in _from_blob(store, blob, offset):
                    yield event
                yield Event("end", json.dumps(outcome or "")[1:-1])
                return
            if not await _until(news, LOOK_SECONDS):
                yield None


async def _from_blob(store: Path, sha256: str | None, offset: int) -> AsyncIterator[Event]:
    """Yield what the finished log has from `offset` on; nothing when it was never put together."""
    if sha256 is None or not is_sha256(sha256):
        return
    path = store / "blobs" / sha256[:2] / sha256
    while data := await asyncio.to_thread(_read, path, offset):
        offset += len(data)
        yield _piece(offset, data)


def _read(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(FILE_BYTES)
    except FileNotFoundError:
        return b""


def _piece(offset: int, data: bytes) -> Event:
    return Event("piece", b64encode(data).decode("ascii"), str(offset))


def _entry_event(cursor: Cursor, entry: dict[str, Any]) -> Event:
    return Event("entry", json.dumps(entry), str(cursor))


async def _until(event: asyncio.Event, seconds: float) -> bool:
    """Wait for `event`, at most so long; say whether it came."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True
