"""One connection that listens to PostgreSQL, and wakes all readers of this process.

However many readers follow, PostgreSQL has one listener. A reader that is woken reads the tables;
the notification itself carries nothing but what to look at, so a lost one costs a delay and no
data.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from commonfarm.journal.interface import CHANNEL as JOURNAL

LOG = "log"
ASK_SECONDS = 20.0
RETRY_SECONDS = 1.0

log = logging.getLogger(__name__)


class Listener:
    """Wakes those who wait for `journal` or for `log:LEASE`."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self.connected = asyncio.Event()

    @contextmanager
    def waiting_for(self, stream: str) -> Iterator[asyncio.Event]:
        """Give an event that is set whenever there may be something new in `stream`.

        Clear it before reading, so that what comes while reading is not slept over.
        """
        event = asyncio.Event()
        self._waiting[stream].add(event)
        try:
            yield event
        finally:
            self._waiting[stream].discard(event)
            if not self._waiting[stream]:
                del self._waiting[stream]

    def wake(self, stream: str | None = None) -> None:
        """Wake the readers of `stream`, or all of them."""
        streams = list(self._waiting) if stream is None else [stream]
        for name in streams:
            for event in self._waiting.get(name, ()):
                event.set()

    async def run(self) -> None:
        """Listen for ever; connect again when PostgreSQL went away."""
        while True:
            try:
                await self._listen()
            except (psycopg.OperationalError, OSError) as error:
                log.warning("PostgreSQL does not answer (%s); trying again", error)
            finally:
                self.connected.clear()
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self) -> None:
        connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
        async with connection:
            await connection.execute(f"LISTEN {JOURNAL}")
            await connection.execute(f"LISTEN {LOG}")
            self.connected.set()
            self.wake()  # what was notified while nobody listened
            while True:
                async for note in connection.notifies(timeout=ASK_SECONDS):
                    self.wake(JOURNAL if note.channel == JOURNAL else f"log:{note.payload}")
                await connection.execute("SELECT 1")  # a peer that is gone without a word
