"""One client's connection: requests are answered one after the other, in their order."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from http import HTTPStatus
from typing import cast
from weakref import ref

from commonfarm.redirector import answers, redirects, response
from commonfarm.redirector.networks import normal
from commonfarm.redirector.origin import Transfer
from commonfarm.redirector.redirects import Route
from commonfarm.redirector.request import MOST_HEAD_BYTES, PLAIN, BadRequestError, Head, Request
from commonfarm.redirector.response import Answer
from commonfarm.redirector.state import Redirector

HEAD_SECONDS = 15.0
IDLE_SECONDS = 60.0
MOST_AT_ONCE = 64
"""After so many redirects of one connection, or one answer of another kind, it is others' turn."""

_address = lru_cache(maxsize=1024)(normal)


class Connection(asyncio.Protocol):
    """Reads heads from one client, and writes what they are answered."""

    def __init__(self, shared: Redirector) -> None:
        self._shared = shared
        self._unread = b""
        self._transfer: Transfer | None = None
        self._closing = False
        self._blocked = False
        self._waits = False
        self._paused = False
        self._route: Route | None = None
        self._era = -1
        self.deadline = shared.clock + HEAD_SECONDS

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, unless there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        if peer is None:
            self._transport.abort()
            return
        self._peer = _address(peer[0])
        self._trusted = self._shared.trusts(self._peer)
        self._shared.connections.add(self)
        if len(self._shared.connections) > self._shared.settings.most_connections:
            text = "too many connections; come again"
            self._end([], response.refusal(HTTPStatus.SERVICE_UNAVAILABLE, text))

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection and end its transfer."""
        self._closing = True
        self._shared.connections.discard(self)
        if self._transfer is not None:
            self._transfer.stop(ok=False)

    def data_received(self, data: bytes) -> None:
        """Answer what is whole, keep the rest."""
        if self._closing:
            return
        begun = self._unread
        if not begun and self._transfer is None and not self._blocked:
            redirect = self._redirect_of(data, 0, len(data))
            if redirect is not None:
                self.deadline = self._shared.clock + IDLE_SECONDS
                self._transport.write(redirect)
                return
        self._unread = begun + data if begun else data
        self._go_on()
        if self._unread and not begun:
            self._wait(HEAD_SECONDS)

    def pause_writing(self) -> None:
        """The client does not take our answers: take none of its requests."""
        self._blocked = True

    def resume_writing(self) -> None:
        """It takes them again."""
        self._blocked = False
        self._go_on()

    def give_up(self) -> None:
        """End a connection whose time is over."""
        if self._blocked or self._closing:
            self._transport.abort()  # it does not take what it was answered
        elif self._unread:
            text = "the request did not come in time"
            self._end([], response.refusal(HTTPStatus.REQUEST_TIMEOUT, text))
        else:
            self._closing = True
            self._transport.close()

    def finish_and_close(self) -> None:
        """Stop taking requests; close when what is under way is done."""
        self._closing = True
        if self._transfer is None:
            self._transport.close()

    # Reading.

    def _wait(self, seconds: float) -> None:
        if self._transfer is None:
            self.deadline = self._shared.clock + seconds

    def _go_on(self) -> None:
        """Answer what has come, until a transfer, a slow client or its turn's end is in the way."""
        if self._unread and not self._closing and not self._waits:
            self._read()
        busy = self._transfer is not None or self._blocked or self._waits
        if busy != self._paused and not self._transport.is_closing():
            self._paused = busy
            self._transport.pause_reading() if busy else self._transport.resume_reading()

    def _take_turn(self) -> None:
        self._waits = False
        self._go_on()

    def _read(self) -> None:
        """Answer whole heads in what was not read yet, as many as one turn has."""
        data, heads = self._unread, self._shared.heads
        at, left, out = 0, MOST_AT_ONCE, list[bytes]()
        while not (self._blocked or self._closing or self._transfer is not None):
            if left <= 0 and at < len(data):
                self._waits = True
                asyncio.get_running_loop().call_soon(self._take_turn)
                break
            while data.startswith(b"\r\n", at):  # some send one more than they should
                at += 2
            end = data.find(b"\r\n\r\n", at) + 4
            if end < 4 or end - at > MOST_HEAD_BYTES or not data[at : at + 1].isalpha():
                self._judge_rest(data, at, out)
                break
            redirect = self._redirect_of(data, at, end)
            if redirect is not None:
                at, left = end, left - 1
                out.append(redirect)
                continue
            try:
                request = heads.read(data[at:end])
            except BadRequestError as error:
                self._end(out, response.refusal(HTTPStatus.BAD_REQUEST, str(error)))
                break
            at, left = end, 0
            self._answer(request, out)
        self._write(out)
        if at:
            self._unread = data[at:]
            waiting = self._unread and not self._blocked
            self._wait(HEAD_SECONDS if waiting else IDLE_SECONDS)

    def _judge_rest(self, data: bytes, at: int, out: list[bytes]) -> None:
        """Refuse what cannot become a request any more."""
        if not (data[at : at + 1].isalpha() or data[at:] in (b"", b"\r")):
            self._end(out, response.refusal(HTTPStatus.BAD_REQUEST, "this is not plain HTTP"))
        elif len(data) - at > MOST_HEAD_BYTES:
            text = f"a request's head may have {MOST_HEAD_BYTES} bytes"
            self._end(out, response.refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, text))

    # Answering.

    def _route_of(self, head: Head) -> Route:
        """Return the route of who sent `head`: a proxy's client by its lines, else the peer."""
        shared = self._shared
        if self._trusted or self._route is None or self._era != shared.era:
            self._route = shared.route(self._peer, head)
            self._era = shared.era
        if self._trusted:
            head.route, head.peer, head.era = ref(self._route), self._peer, shared.era
        return self._route

    def _redirect_of(self, data: bytes, at: int, end: int) -> bytes | None:
        """Return the redirect of a plain request that stands there; None: there is more to it.

        Such are nearly all that a redirector answers, so they cost no object of their own: the
        request line is matched, what the lines below it say was read before, and the rest is a few
        look-ups. What this answers, `answers.answer` would answer with the very same bytes.
        """
        line = PLAIN.match(data, at)
        if line is None:
            return None
        shared, lines = self._shared, data[line.end() : end]
        head = shared.heads.get(lines) or shared.heads.again(lines)
        if head is None or not head.plain:
            return None
        if self._trusted and head.peer is self._peer and head.era == shared.era:
            route = head.route() or self._route_of(head)
        else:
            route = self._route_of(head)
        path = line[1]
        found = shared.redirects.find(path, route)
        if found is None:
            return None
        shared.metrics.redirected += 1
        shared.count_redirect(path, found, 1, found[2])
        base = shared.public or shared.base(head, route.client.scheme)
        return redirects.lines(shared.found, found, path, base, b"\r\n")

    def _answer(self, request: Request, out: list[bytes]) -> None:
        shared = self._shared
        answer = answers.answer(shared, request, self._peer, self._route_of(request.head))
        keep_alive = request.head.keep_alive
        if answer.file is not None:
            answer = self._send_file(answer, keep_alive)
        shared.metrics.count(answer.outcome)
        out.append(response.finish(answer, shared.date, keep_alive=keep_alive))
        if request.method != b"HEAD":
            out.append(answer.body)
        if not keep_alive and self._transfer is None:
            self._close(out)

    def _send_file(self, answer: Answer, keep_alive: bool) -> Answer:
        """Start the transfer of a file after its head, or return why not now."""
        shared, file, part = self._shared, answer.file, answer.part
        assert file is not None
        assert part is not None

        def done(sent: int, ok: bool) -> None:
            shared.transfers.discard(transfer)
            shared.count_served(answer, sent)
            self._transfer = None
            self._wait(IDLE_SECONDS)
            if self._closing or not (ok and keep_alive):
                self._closing = True
                self._transport.close()
            else:
                self._go_on()

        try:
            transfer = Transfer(self._transport, file, part, done)
        except OSError as error:
            return answers.unreadable(file.path, error)
        shared.transfers.add(transfer)
        self._transfer = transfer
        self.deadline = float("inf")
        return answer

    def _end(self, out: list[bytes], answer: Answer) -> None:
        """Answer what was no proper request, and close."""
        self._shared.metrics.count(answer.outcome)
        out += response.finish(answer, self._shared.date, keep_alive=False), answer.body
        self._close(out)

    def _close(self, out: list[bytes]) -> None:
        self._write(out)
        self._closing = True
        self._transport.close()

    def _write(self, out: list[bytes]) -> None:
        if out:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))
            out.clear()
