"""Who of several schedulers is active, and what that one does while it is.

One holds an advisory lock on a connection of its own, and an epoch that each lease's transaction
checks: one that lost its lock without noticing can commit nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import psycopg
from django.db import close_old_connections
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from commonfarm.farm.ledger import DeposedError
from commonfarm.farm.term import Term, Timing
from commonfarm.lib.config import Config

_log = logging.getLogger(__name__)

T = TypeVar("T")

LOCK = 0x66_61_72_6D  # the advisory lock by which the active scheduler is elected: "farm"


def clock() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)


class Scheduler:
    """Runs for office, and serves terms. `term` is the present one, None while standing by."""

    def __init__(self, config: Config, timing: Timing | None = None) -> None:
        self.timing = timing or Timing()
        self.clock = clock
        database = config.database
        self._where: dict[str, Any] = {
            "host": database.host,
            "port": database.port,
            "dbname": database.name,
            "user": database.user,
            "connect_timeout": 5,
            "application_name": "commonfarm scheduler",
            "row_factory": dict_row,
            "autocommit": True,
        }
        self.pool: AsyncConnectionPool[AsyncConnection[Any]] = AsyncConnectionPool(
            kwargs=self._where,
            min_size=1,
            max_size=4,
            open=False,
            timeout=5.0,
            check=AsyncConnectionPool.check_connection,
        )
        self.term: Term | None = None
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="django")

    async def in_django(self, call: Callable[..., T], *arguments: Any) -> T:
        """Run what goes through the models in a thread, with a connection of its own."""

        def run() -> T:
            close_old_connections()
            try:
                return call(*arguments)
            finally:
                close_old_connections()

        return await asyncio.get_running_loop().run_in_executor(self._threads, run)

    async def run(self) -> None:
        """Serve one term after another until cancelled."""
        async with self.pool:
            while True:
                try:
                    async with self._office() as connection:
                        await self._serve_term(connection)
                except* (psycopg.Error, OSError, DeposedError, PoolTimeout) as errors:
                    for error in errors.exceptions:
                        _log.warning("the term ended: %s", error)
                await asyncio.sleep(self.timing.elect)

    @asynccontextmanager
    async def _office(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Wait until elected; whoever holds the connection holds the office."""
        async with await AsyncConnection.connect(**self._where) as connection:
            while True:
                found = await connection.execute("SELECT pg_try_advisory_lock(%s) AS won", [LOCK])
                row = await found.fetchone()
                if row is not None and row["won"]:
                    break
                await asyncio.sleep(self.timing.elect)
            yield connection

    async def _serve_term(self, connection: AsyncConnection[Any]) -> None:
        holder = f"{socket.gethostname()}:{os.getpid()}"
        term = await Term.begin(self, connection, holder)
        _log.info("elected, epoch %s, %s jobs wait", term.epoch, len(term.queue))
        self.term = term
        try:
            async with asyncio.TaskGroup() as group:
                for duty in (term.listen, term.resync, term.sweep, term.commit):
                    group.create_task(duty())
        finally:
            self.term = None
            term.close()
