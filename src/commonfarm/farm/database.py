"""The scheduler's ways to the database: connections for its own SQL, threads for the models."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from django.db import close_old_connections
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from commonfarm.lib.config import Config

Connection = AsyncConnection[DictRow]

T = TypeVar("T")


class Database:
    """The installation's database. Whoever uses `pool` opens it first, as a context manager."""

    def __init__(self, config: Config) -> None:
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
        self.pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            kwargs=self._where,
            min_size=1,
            max_size=4,
            open=False,
            timeout=5.0,
            check=AsyncConnectionPool.check_connection,
        )
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="django")

    async def connect(self) -> Connection:
        """Return a connection of its own, which the caller closes; raises psycopg.Error."""
        connection: Connection = await AsyncConnection.connect(**self._where)
        return connection

    async def in_django(self, call: Callable[..., T], *arguments: Any) -> T:
        """Run what goes through the models in a thread, with a connection of its own."""

        def run() -> T:
            close_old_connections()
            try:
                return call(*arguments)
            finally:
                close_old_connections()

        return await asyncio.get_running_loop().run_in_executor(self._threads, run)
