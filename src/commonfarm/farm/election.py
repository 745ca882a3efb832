"""Who of several schedulers is active, and what that one does while it is.

One holds an advisory lock on a connection of its own, and an epoch that each lease's transaction
checks: one that lost its lock without noticing can commit nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from django.db import Error as DjangoError
from psycopg_pool import PoolTimeout

from commonfarm.farm.database import Connection, Database
from commonfarm.farm.ledger import DeposedError
from commonfarm.farm.term import Term, Timing
from commonfarm.lib.config import Config

_log = logging.getLogger(__name__)

LOCK = 0x66_61_72_6D  # the advisory lock by which the active scheduler is elected: "farm"


class Scheduler:
    """Runs for office, and serves terms. `term` is the present one, None while standing by."""

    def __init__(self, config: Config, timing: Timing | None = None) -> None:
        self.database = Database(config)
        self.term: Term | None = None
        self._timing = timing or Timing()

    async def run(self) -> None:
        """Serve one term after another until cancelled."""
        async with self.database.pool:
            while True:
                try:
                    async with self._office() as connection:
                        await self._serve_term(connection)
                except* (psycopg.Error, DjangoError, OSError, DeposedError, PoolTimeout) as errors:
                    for error in errors.exceptions:
                        _log.warning("the term ended: %s", error)
                await asyncio.sleep(self._timing.elect)

    @asynccontextmanager
    async def _office(self) -> AsyncIterator[Connection]:
        """Wait until elected; whoever holds the connection holds the office."""
        async with await self.database.connect() as connection:
            while True:
                found = await connection.execute("SELECT pg_try_advisory_lock(%s) AS won", [LOCK])
                row = await found.fetchone()
                if row is not None and row["won"]:
                    break
                await asyncio.sleep(self._timing.elect)
            yield connection

    async def _serve_term(self, connection: Connection) -> None:
        holder = f"{socket.gethostname()}:{os.getpid()}"
        term = await Term.begin(self.database, self._timing, connection, holder)
        _log.info("elected, epoch %s, %s jobs wait", term.epoch, len(term.queue))
        self.term = term
        try:
            async with asyncio.TaskGroup() as group:
                for duty in (term.listen, term.resync, term.sweep, term.commit):
                    group.create_task(duty())
        finally:
            self.term = None
            term.close()
