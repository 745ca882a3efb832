"""A server that says whatever a test wants, byte by byte, and remembers what it was asked."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from commonfarm.mirrors.addresses import Policy

LOCAL = Policy(loopback_allowed=True, own_ports=frozenset())
PUBLIC = Policy(loopback_allowed=False, own_ports=frozenset())


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]


Answer = Callable[[Asked], bytes | Iterable[bytes]]


@dataclass
class Hostile:
    """The server under way: where it is, what it was asked, and an event that ends its waiting."""

    url: str
    port: int
    asked: list[Asked] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def paths(self) -> list[str]:
        return [one.path for one in self.asked]


def answer(body: bytes = b"", status: int = 200, kind: str = "text/html", **headers: str) -> bytes:
    """Return a whole answer of HTTP/1.1; headers by name with _ for -."""
    told = {"Content-Type": kind, "Content-Length": str(len(body))} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items() if value)
    return f"HTTP/1.1 {status} Said\r\n{lines}\r\n".encode() + body


def index(*names: str) -> bytes:
    """Return an index page that links to `names` as they stand."""
    rows = "".join(
        f'<a href="{name}">x</a>  21-Nov-2026 10:00  {"-" if name.endswith("/") else 7}\n'
        for name in names
    )
    return answer(f"<html><title>Index of /</title><pre>{rows}</pre></html>".encode())


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64
    allow_reuse_address = True


@contextmanager
def saying(
    say: Answer, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> Iterator[Hostile]:
    """Answer each request with what `say` gives, until the block ends."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with suppress(OSError, ValueError):
                if tls is not None:
                    self.request = tls.wrap_socket(self.request, server_side=True)
                    self.rfile = self.request.makefile("rb")
                while line := self.rfile.readline(65536):
                    method, path, _ = line.decode("latin-1").split(" ", 2)
                    headers = {}
                    while (head := self.rfile.readline(65536).strip()) != b"":
                        name, _, value = head.decode("latin-1").partition(":")
                        headers[name.lower()] = value.strip()
                    asked = Asked(method, path, headers)
                    server.asked.append(asked)
                    said = say(asked)
                    for piece in [said] if isinstance(said, bytes) else said:
                        if asked.method == "HEAD" and isinstance(said, bytes):
                            piece = piece.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
                        self.request.sendall(piece)
                        if server.over.is_set():
                            return
                    if not isinstance(said, bytes):
                        return

    class Six(_Server):
        address_family = socket.AF_INET6

    kind = Six if ":" in host else _Server
    with kind((host, 0), Handler) as running:
        port = int(running.server_address[1])
        place = f"[{host}]" if ":" in host else host
        server = Hostile(f"{'https' if tls else 'http'}://{place}:{port}/", port)
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            running.shutdown()
            thread.join()


def without_end(piece: bytes, begin: bytes = b"") -> Iterator[bytes]:
    """Yield `begin`, then `piece` for ever."""
    yield begin
    while True:
        yield piece


def dripping(over: threading.Event, begin: bytes, seconds: float = 0.05) -> Iterator[bytes]:
    """Yield `begin`, then a byte now and then."""
    yield begin
    while not over.wait(seconds):
        yield b" "
