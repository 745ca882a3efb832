"""A mirror's end of the push: a small server that is told of a release, and has it pulled.

Whoever can reach the port may send one: only a statement of that key, for this tree, recent and
newer than all before it makes the mirror pull, and nothing of it but three checked values reaches
the command. Needs no hub, no database and no Django: it runs where the mirror is.

A statement is written down before it is answered, and ticked off once the command ended well: one
whose pull was cut off is pulled at the next start.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from commonfarm.lib.errors import BadInputError, Problem
from commonfarm.lib.terminal import harmless
from commonfarm.mirrors.push_statements import (
    MOST_BYTES,
    STATES,
    TIME,
    NotTakenError,
    Statement,
    judge,
    read,
)

MOST_AT_ONCE = 16
REQUEST_SECONDS = 15.0
COMMAND_SECONDS = 24 * 3600.0
STOP_SECONDS = 10.0
LOOK_SECONDS = 0.5
_LENGTH = re.compile("[0-9]{1,9}")

log = logging.getLogger("commonfarm.receive")


class Receiver:
    """Takes statements for one tree, and runs the command for the newest, one run at a time: what
    is public before what is staged, as neither pull stands for the other.

    `file` keeps what was taken, from one start to the next. What the command prints goes to our own
    output. Its run holds a lock beside the file, also when we are killed and it goes on alone.
    """

    def __init__(
        self, tree: str, key: Ed25519PublicKey, command: Sequence[str], file: Path
    ) -> None:
        self.tree, self.key, self.command, self.file = tree, key, list(command), file
        self._changed = threading.Condition()
        self._newest, self._left = _load(file, tree)
        self._stopping = False
        self._running: subprocess.Popen[bytes] | None = None
        lock = file.with_name(f"{file.name}.lock")
        self._lock = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._thread = threading.Thread(target=self._run, name="command")
        for one in self._left.values():
            log.info("%s was not pulled to its end: it is now", one)

    def start(self) -> None:
        """Begin to run the command, also for what was left."""
        self._thread.start()

    def take(self, envelope: bytes, now: datetime) -> bool:
        """Take a statement; False for one taken before. NotTakenError says why it is not."""
        statement = read(envelope, self.key)
        with self._changed:
            if not judge(statement, self.tree, self._newest, now):
                return False
            left = self._left | {statement.state: statement}
            try:
                _keep(self.file, statement, left)
            except OSError as error:
                log.error("%s cannot be written: %s", self.file, error.strerror)
                what = "what was taken cannot be written down here now"
                raise NotTakenError(HTTPStatus.SERVICE_UNAVAILABLE, what) from None
            self._newest, self._left = statement, left
            self._changed.notify()
        log.info("taken: %s", statement)
        return True

    def stop(self) -> None:
        """End the command under way; it is run again at the next start."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
            running = self._running
        if running is not None:
            _end(running)
        if self._thread.is_alive():
            self._thread.join()
        os.close(self._lock)

    def _run(self) -> None:
        tried: dict[str, Statement] = {}
        while self._alone():
            with self._changed:
                while (one := self._next(tried)) is None and not self._stopping:
                    self._changed.wait()
            if one is None or self._stopping:
                return
            tried[one.state] = one
            if self._pull(one):
                with self._changed:
                    if self._left.get(one.state) == one:
                        del self._left[one.state]
                        assert self._newest is not None
                        with suppress(OSError):  # it is pulled once more then, which is harmless
                            _keep(self.file, self._newest, self._left)

    def _next(self, tried: Mapping[str, Statement]) -> Statement | None:
        left = (self._left.get(state) for state in STATES)
        return next((one for one in left if one is not None and tried.get(one.state) != one), None)

    def _alone(self) -> bool:
        """Return True once no other run of the command is left, False when we are to stop."""
        said = False
        while not self._stopping:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not said:
                    log.warning("a run of an earlier start goes on: the next one waits for it")
                said = True
                time.sleep(LOOK_SECONDS)
            else:
                return True
        return False

    def _pull(self, statement: Statement) -> bool:
        told = {
            "COMMONFARM_TREE": statement.tree,
            "COMMONFARM_REVISION": str(statement.revision),
            "COMMONFARM_STATE": statement.state,
        }
        with self._changed:
            if self._stopping:
                return False
            try:
                self._running = subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    env=os.environ | told,
                    start_new_session=True,
                    pass_fds=(self._lock,),
                )
            except OSError as error:
                log.error("%s cannot be started: %s", self.command[0], error.strerror)
                return False
        log.info("%s: the command began", statement)
        try:
            code = self._running.wait(COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            _end(self._running)
            log.error(
                "%s: the command was ended after %d hours", statement, COMMAND_SECONDS // 3600
            )
            return False
        finally:
            self._running = None
        if code != 0 and not self._stopping:
            log.error("%s: the command ended with %d; the next push runs it again", statement, code)
        elif code == 0:
            log.info("%s: the command ended well", statement)
        return code == 0


def _end(running: subprocess.Popen[bytes]) -> None:
    for what in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(running.pid, what)
        with suppress(subprocess.TimeoutExpired):
            running.wait(STOP_SECONDS)
            return


def _load(file: Path, tree: str) -> tuple[Statement | None, dict[str, Statement]]:
    """Return what was taken last, and what is left to be pulled by its state; BadInputError for
    another's file.
    """
    try:
        found = json.loads(file.read_bytes())
        newest = _statement(found["newest"])
        left = {one.state: one for one in map(_statement, found["left"])}
    except FileNotFoundError:
        return None, {}
    except OSError as error:
        what, to_do = f"cannot be read: {error.strerror}", "name a file of this user's"
        raise BadInputError(Problem(str(file), 0, 0, what, to_do)) from None
    except (ValueError, TypeError, KeyError, AttributeError):
        to_do = "look what it is; without it the next push is taken whatever was before"
        raise BadInputError(Problem(str(file), 0, 0, "is damaged, or not ours", to_do)) from None
    if newest.tree != tree:
        what = f"is of the tree {newest.tree}"
        raise BadInputError(Problem(str(file), 0, 0, what, "name another file for each tree"))
    return newest, left


def _statement(said: dict[str, Any]) -> Statement:
    made_at = datetime.strptime(said["made_at"], TIME).replace(tzinfo=UTC)
    return Statement(**said | {"made_at": made_at})


def _keep(file: Path, newest: Statement, left: Mapping[str, Statement]) -> None:
    partial = file.with_name(f".{file.name}.new")
    with partial.open("w", encoding="utf-8") as out:
        json.dump({"newest": _said(newest), "left": [_said(one) for one in left.values()]}, out)
        out.flush()
        os.fsync(out.fileno())
    partial.replace(file)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _said(statement: Statement) -> dict[str, Any]:
    return asdict(statement) | {"made_at": f"{statement.made_at:{TIME}}"}


class Server(ThreadingHTTPServer):
    """Listens for statements; at most MOST_AT_ONCE connections, of REQUEST_SECONDS each."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = MOST_AT_ONCE

    def __init__(
        self,
        address: tuple[str, int],
        receiver: Receiver,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.receiver, self.clock = receiver, clock
        self._places = threading.BoundedSemaphore(MOST_AT_ONCE)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread if there is a place."""
        if self._places.acquire(blocking=False):
            try:
                super().process_request(request, client_address)
            except RuntimeError:  # no thread can be started now
                self._places.release()
            else:
                return
        with suppress(OSError):
            request.settimeout(1)
            request.sendall(b"HTTP/1.1 503 Busy\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n")
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and free the place."""
        patience = threading.Timer(REQUEST_SECONDS, _hang_up, (request,))
        patience.daemon = True
        patience.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            patience.cancel()
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what broke; a client that hung up is nothing to tell of."""
        log.debug("%s was not answered", client_address, exc_info=True)


def _hang_up(request: socket.socket) -> None:
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "commonfarm-receive", ""
    timeout = REQUEST_SECONDS

    def do_POST(self) -> None:
        """Take a statement, at whatever path: a web server before us may have chosen it."""
        try:
            taken = self.server.receiver.take(self._body(), self.server.clock())
        except NotTakenError as refused:
            log.warning("refused from %s: %s", self.client_address[0], harmless(str(refused)))
            self._answer(refused.status, str(refused))
        else:
            status = HTTPStatus.ACCEPTED if taken else HTTPStatus.OK
            self._answer(status, "it is pulled" if taken else "it was taken before")

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not _LENGTH.fullmatch(length) or "Transfer-Encoding" in self.headers:
            raise NotTakenError(HTTPStatus.LENGTH_REQUIRED, "say how many bytes you send")
        if int(length) > MOST_BYTES:
            what = f"{length} bytes are more than the {MOST_BYTES} of a statement"
            raise NotTakenError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, what)
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise NotTakenError(HTTPStatus.BAD_REQUEST, "the body was cut short")
        return body

    def _answer(self, status: HTTPStatus, text: str) -> None:
        body = f"{text}\n".encode("utf-8", "replace")
        self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            self.send_header("Retry-After", "60")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing of what is not refused: it is said when it is taken."""
