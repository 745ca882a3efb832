"""The server: HTTP/1.1 on uvloop and httptools, a few bytes of work per request.

It needs the mirror map, the published folder and nothing else. Without a map, or without a mirror
for a file, it serves the file itself.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections import deque
from collections.abc import Collection, Iterable
from email.utils import formatdate
from http import HTTPStatus
from ipaddress import ip_network
from pathlib import Path
from typing import cast

import httptools
import uvloop

from commonfarm.redirector import limits, mirror_map, response
from commonfarm.redirector.mirror_map import MapError, MirrorMap
from commonfarm.redirector.origin import Published, Transfer, part_of
from commonfarm.redirector.request import (
    Network,
    Request,
    client_of,
    is_internal,
    split_target,
)
from commonfarm.redirector.selection import Choice, Client, Ranking, choose, explain, normal, rank

MOST_HEAD_BYTES = 16 * 1024
MOST_RANKINGS = 50_000
HEAD_SECONDS = 15.0
IDLE_SECONDS = 60.0
STOP_SECONDS = 10.0

log = logging.getLogger("commonfarm.redirector")


class Redirector:
    """What all connections share: the map in force, the published folder, the counts of use."""

    def __init__(
        self,
        published: Path,
        map_file: Path,
        public_key: Path,
        trusted_proxies: Collection[Network] = (),
        most_connections: int = limits.MOST_CONNECTIONS,
        most_transfers: int = limits.MOST_TRANSFERS,
    ) -> None:
        self.published = Published(published)
        self.trusted_proxies = trusted_proxies
        self.map: MirrorMap = mirror_map.EMPTY
        self.connections: set[Connection] = set()
        self.transfers: set[Transfer] = set()
        self.most_connections = most_connections
        self.most_transfers = most_transfers
        self.date = b""
        self._map_file = map_file
        self._public_key = public_key
        self._seen: tuple[int, int, int] | None = None
        self._rankings: dict[tuple[str, str, str, str], Ranking] = {}

    def choose(self, path: str, client: Client) -> Choice:
        """Choose from the map in force; equal clients share one ranking."""
        tree = path.partition("/")[0]
        key = (tree, client.network, client.country, client.scheme)
        ranking = self._rankings.get(key)
        if ranking is None:
            if len(self._rankings) >= MOST_RANKINGS:
                self._rankings.clear()
            ranking = self._rankings[key] = rank(self.map, tree, client)
        return choose(self.map, path, client, ranking)

    async def reload(self) -> None:
        """Take up a new map file; a bad one is refused and the map in force stays."""
        try:
            status, key = self._map_file.stat(), self._public_key.stat()
        except OSError:
            return
        seen = (status.st_ino, status.st_mtime_ns, key.st_mtime_ns)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            fresh = await asyncio.to_thread(self._read)
            if fresh.generation < self.map.generation:
                raise MapError(
                    f"its generation {fresh.generation} is older than {self.map.generation};"
                    " restart the redirector if a backup was restored"
                )
        except (MapError, OSError) as error:
            log.error(
                "mirror map %s is refused: %s; generation %d stays in force",
                self._map_file,
                error,
                self.map.generation,
            )
            return
        self.map, self._rankings = fresh, {}
        log.info("mirror map %d is in force: %d mirrors", fresh.generation, len(fresh.mirrors))

    def _read(self) -> MirrorMap:
        return mirror_map.read(self._map_file, mirror_map.read_key(self._public_key))

    async def keep_up(self) -> None:
        """Once a second: the date, the map, and connections whose time is over."""
        loop = asyncio.get_running_loop()
        while True:
            self.date = formatdate(usegmt=True).encode()
            await self.reload()
            now = loop.time()
            for connection in list(self.connections):
                if connection.deadline < now:
                    connection.give_up()
            await asyncio.sleep(1)


class Connection(asyncio.Protocol):
    """One client's connection. Requests are answered one after the other, in their order."""

    def __init__(self, redirector: Redirector) -> None:
        self._shared = redirector
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._transfer: Transfer | None = None
        self._closing = False
        self._blocked = False
        self._paused = False
        self._reading = False
        self._has_body = False
        self._ended = False
        self._head_bytes = 0
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self.deadline = self._loop.time() + HEAD_SECONDS

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, unless there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        if peer is None:
            self._transport.abort()
            return
        self._peer = normal(peer[0])
        self._client = client_of(self._peer, {}, ())
        self._shared.connections.add(self)
        if len(self._shared.connections) > self._shared.most_connections:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections; come again")

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection and end its transfer."""
        self._closing = True
        self._shared.connections.discard(self)
        if self._transfer is not None:
            self._transfer.stop(ok=False)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a head that grows too long is refused."""
        if self._closing:
            return
        self._head_bytes += len(data)
        self._ended = False
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._go_on()
            self._refuse(HTTPStatus.BAD_REQUEST, "this is not plain HTTP")
            return
        if self._ended:
            self._head_bytes = 0
        self._go_on()
        if self._has_body:
            self._refuse(HTTPStatus.BAD_REQUEST, "a download has no body")
        elif self._reading and self._head_bytes > MOST_HEAD_BYTES:
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"a request's head may have {MOST_HEAD_BYTES} bytes",
            )

    def pause_writing(self) -> None:
        """The client does not take our answers: take none of its requests."""
        self._blocked = True

    def resume_writing(self) -> None:
        """It takes them again."""
        self._blocked = False
        self._go_on()

    def give_up(self) -> None:
        """End a connection whose time is over."""
        if self._reading:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "the request did not come in time")
        else:
            self._transport.abort() if self._blocked else self._transport.close()

    def finish_and_close(self) -> None:
        """Stop taking requests; close when what is under way is done."""
        self._closing = True
        self._waiting.clear()
        if self._transfer is None:
            self._transport.close()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Start a request and its deadline."""
        self._reading = True
        self._target, self._headers = b"", {}
        self.deadline = self._loop.time() + HEAD_SECONDS

    def on_url(self, part: bytes) -> None:
        """Collect the target."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header; one that comes twice is one list (RFC 9110, section 5.3)."""
        name = name.lower()
        known = self._headers.get(name)
        self._headers[name] = value if known is None else known + b", " + value

    def on_headers_complete(self) -> None:
        """Note a body, which no download has."""
        self._has_body |= (
            self._headers.get(b"content-length", b"0") != b"0"
            or b"transfer-encoding" in self._headers
        )

    def on_message_complete(self) -> None:
        """Queue the request."""
        if self._has_body:
            return
        self._reading, self._ended = False, True
        self.deadline = self._loop.time() + IDLE_SECONDS
        self._waiting.append(
            Request(
                self._parser.get_method(),
                self._target,
                self._parser.should_keep_alive(),
                self._headers,
            )
        )

    # Answering.

    def _go_on(self) -> None:
        """Answer what waits, until a transfer or a slow client is in the way."""
        while self._waiting and self._transfer is None and not self._blocked and not self._closing:
            self._answer(self._waiting.popleft())
        busy = bool(self._waiting) or self._transfer is not None or self._blocked
        if busy != self._paused and not self._transport.is_closing():
            self._paused = busy
            self._transport.pause_reading() if busy else self._transport.resume_reading()

    def _answer(self, request: Request) -> None:
        if request.method not in (b"GET", b"HEAD"):
            self._send(
                request, *response.refusal(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD")
            )
            return
        target = split_target(request.target)
        if target is None:
            self._send(
                request, *response.refusal(HTTPStatus.BAD_REQUEST, "the path is not a plain one")
            )
            return
        path, query = target
        if self._shared.trusted_proxies:
            self._client = client_of(self._peer, request.headers, self._shared.trusted_proxies)
        if query == "mirrorlist":
            self._list_mirrors(request, path)
            return
        choice = self._shared.choose(path, self._client)
        if choice.mirrors:
            self._send(request, response.redirect(choice))
        else:
            self._serve(request, path)

    def _list_mirrors(self, request: Request, path: str) -> None:
        choice = explain(self._shared.map, path, self._client)
        as_json = b"application/json" in request.headers.get(b"accept", b"")
        self._send(request, *response.mirror_list(choice, self._client, as_json))

    def _serve(self, request: Request, path: str) -> None:
        try:
            self._serve_file(request, path)
        except OSError as error:  # may pass: no descriptor is free, the disk fails
            log.error("%s cannot be served: %s", path, error)
            text = "this file cannot be read at this moment; come again"
            self._send(request, *response.refusal(HTTPStatus.SERVICE_UNAVAILABLE, text))

    def _serve_file(self, request: Request, path: str) -> None:
        file = None if is_internal(path) else self._shared.published.open(path)
        if file is None:
            self._send(request, *response.refusal(HTTPStatus.NOT_FOUND, "there is no such file"))
            return
        part = part_of(file, request.headers)
        head = response.file_head(file, part)
        if request.method == b"HEAD" or part.length == 0:
            file.close()
            self._send(request, head)
            return
        if len(self._shared.transfers) >= self._shared.most_transfers:
            file.close()
            text = "too many downloads from here at this moment; come again"
            self._send(request, *response.refusal(HTTPStatus.SERVICE_UNAVAILABLE, text))
            return
        self._transfer = transfer = Transfer(
            self._transport,
            file,
            part,
            lambda ok: self._transferred(transfer, ok and request.keep_alive),
        )
        self._shared.transfers.add(transfer)
        self.deadline = float("inf")
        self._transport.write(response.finish(head, self._shared.date, request.keep_alive))

    def _transferred(self, transfer: Transfer, keep_alive: bool) -> None:
        self._shared.transfers.discard(transfer)
        self._transfer = None
        self.deadline = self._loop.time() + IDLE_SECONDS
        if self._closing or not keep_alive:
            self._closing = True
            self._transport.close()
        else:
            self._go_on()

    def _send(self, request: Request, head: bytes, body: bytes = b"") -> None:
        finished = response.finish(head, self._shared.date, request.keep_alive)
        self._transport.write(finished if request.method == b"HEAD" else finished + body)
        if not request.keep_alive:
            self._closing = True
            self._transport.close()

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        """Answer what was no proper request, and close; what came before it is answered first."""
        if self._closing:
            return
        if self._transfer is not None or self._waiting:
            self.finish_and_close()
            return
        self._send(Request(b"GET", b"", keep_alive=False), *response.refusal(status, text))


async def serve(redirector: Redirector, address: str, port: int) -> None:
    """Answer on `address` and `port` until SIGTERM or SIGINT, then let transfers end."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    redirector.date = formatdate(usegmt=True).encode()
    await redirector.reload()
    upkeep = asyncio.create_task(redirector.keep_up())
    server = await loop.create_server(
        lambda: Connection(redirector), address, port, backlog=1024, reuse_address=True
    )
    log.info("answering on %s", server.sockets[0].getsockname()[:2])
    await asyncio.wait(
        [upkeep, stopping := asyncio.create_task(stopped.wait())],
        return_when=asyncio.FIRST_COMPLETED,
    )
    server.close()
    for connection in list(redirector.connections):
        connection.finish_and_close()
    deadline = loop.time() + STOP_SECONDS
    while redirector.connections and loop.time() < deadline:
        await asyncio.sleep(0.05)
    if stopping.done():
        upkeep.cancel()
    else:
        upkeep.result()


def run(
    *,
    address: str,
    port: int,
    published: Path,
    mirror_map: Path,
    public_key: Path,
    trusted_proxies: Iterable[str] = (),
) -> None:
    """Run the redirector until it is told to stop.

    `mirror_map` and `public_key` (PEM, ed25519) may appear later. `trusted_proxies` are networks
    whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed; by default there are none.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    networks = [ip_network(text) for text in trusted_proxies]
    shared = Redirector(published, mirror_map, public_key, networks, *limits.fit_open_files())
    uvloop.run(serve(shared, address, port))
