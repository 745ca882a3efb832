"""Server-sent events as a small raw ASGI application, without Django's handlers.

    GET /journal?token=T[&from=CURSOR]      event `entry`, id: the cursor after it
    GET /log/LEASE?token=T[&from=OFFSET]    event `piece` (base64), id: the offset after it; `end`

The header `Last-Event-ID` goes before `from`. A stream is closed after ten minutes, so that the
hub is asked again whether its reader may still see it.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from commonfarm.journal.interface import Cursor
from commonfarm.lib.config import Config
from commonfarm.web import live_token
from commonfarm.web.listening import Listener
from commonfarm.web.streams import Event, JournalFeed, follow_log

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MOST_READERS = 4000
MOST_SECONDS = 600.0
QUIET_SECONDS = 12.0
_LOG_PATH = re.compile(r"/log/([0-9]{1,18})")
_OFFSET = re.compile(r"[0-9]{1,18}")


class RefusedRequestError(Exception):
    """A request that gets no stream: its status and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Live:
    """The ASGI application of one installation."""

    def __init__(self, config: Config) -> None:
        database = config.database
        self._store = config.store
        self._conninfo = make_conninfo(
            host=database.host,
            port=database.port,
            dbname=database.name,
            user=database.user,
            application_name="commonfarm-live",
        )
        self._readers = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or begin and end with the server."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            match (await receive())["type"]:
                case "lifespan.startup":
                    await self.begin()
                    await send({"type": "lifespan.startup.complete"})
                case "lifespan.shutdown":
                    await self.end()
                    await send({"type": "lifespan.shutdown.complete"})
                    return

    async def begin(self) -> None:
        """Start the pool, the listener and the journal's feed."""
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection[Any]] = AsyncConnectionPool(
            self._conninfo,
            min_size=1,
            max_size=4,
            open=False,
            kwargs={"autocommit": True},
            check=AsyncConnectionPool.check_connection,
        )
        await self._pool.open()
        self._listener = Listener(self._conninfo)
        self._journal = JournalFeed(self._pool, self._listener)
        self._tasks = [
            asyncio.create_task(self._listener.run()),
            asyncio.create_task(self._journal.run()),
        ]

    async def end(self) -> None:
        """Stop what `begin` started."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pool.close()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            events = self._stream(scope)
        except RefusedRequestError as refused:
            await _refuse(send, refused)
            return
        self._readers += 1
        sending = asyncio.create_task(self._send(events, send))
        gone = asyncio.create_task(_until_gone(receive))
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._readers -= 1
            for task in (sending, gone):
                task.cancel()
            await asyncio.gather(sending, gone, return_exceptions=True)

    def _stream(self, scope: Scope) -> AsyncIterator[Event | None]:
        """Return the events that are asked for, or raise RefusedRequestError."""
        if scope["method"] != "GET":
            raise RefusedRequestError(405, "only GET is answered here")
        query = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=10)
        path: str = scope["path"]
        match = _LOG_PATH.fullmatch(path)
        stream = "journal" if path == "/journal" else f"log:{match[1]}" if match else None
        if stream is None:
            raise RefusedRequestError(404, "there is no such stream")
        if not live_token.is_good(query.get("token", [""])[0], stream):
            raise RefusedRequestError(401, "this token does not open the stream; ask the hub again")
        if self._readers >= MOST_READERS:
            raise RefusedRequestError(503, "too many readers; try again later")
        place = _last_event_id(scope) or query.get("from", [""])[0]
        if match is None:
            try:
                return self._journal.follow(Cursor.parse(place) if place else None)
            except ValueError as error:
                raise RefusedRequestError(400, str(error)) from None
        if place and _OFFSET.fullmatch(place) is None:
            raise RefusedRequestError(400, "the place in a log is a number of bytes")
        return follow_log(self._pool, self._listener, self._store, int(match[1]), int(place or "0"))

    async def _send(self, events: AsyncIterator[Event | None], send: Send) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [
                    (b"content-type", b"text/event-stream; charset=utf-8"),
                    (b"cache-control", b"no-store"),
                    (b"access-control-allow-origin", b"*"),  # the token is what admits
                    (b"x-accel-buffering", b"no"),
                ],
            }
        )
        await _write(send, b"retry: 1000\n\n")
        began = quiet_since = time.monotonic()
        with suppress(LookupError, psycopg.OperationalError, PoolTimeout):
            async for event in events:
                now = time.monotonic()
                if event is not None:
                    await _write(send, event.encode())
                    quiet_since = now
                elif now - quiet_since > QUIET_SECONDS:
                    await _write(send, b": still here\n\n")
                    quiet_since = now
                if now - began > MOST_SECONDS:
                    break
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _write(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _refuse(send: Send, refused: RefusedRequestError) -> None:
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"access-control-allow-origin", b"*"),
    ]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{refused}\n".encode(), "more_body": False})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _last_event_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name.lower() == b"last-event-id":
            return str(value.decode("latin-1"))
    return ""
