"""A redirector without a process: a small map, and a connection whose client is the test."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from commonfarm.redirector.connection import Connection
from commonfarm.redirector.mirror_map import File, Mirror
from commonfarm.redirector.state import Redirector
from tests.redirector.world import public_pem, settings_of, write_map

NOW = 1_800_000_000.0
PEER = "127.0.0.1"


class Wire(asyncio.Transport):
    """The transport of a connection whose other side is the test. It has no socket."""

    def __init__(self, peer: str = PEER) -> None:
        super().__init__({"peername": (peer, 1)})
        self.sent = b""
        self.closed = self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed
        self.sent += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        """Others have their turn: see `talk`."""

    def resume_reading(self) -> None:
        """It goes on."""

    def get_write_buffer_size(self) -> int:
        return 0


def redirector(
    home: Path,
    mirrors: Iterable[Mirror],
    files: Mapping[str, File],
    settings: Mapping[str, Any] | None = None,
    **more: Any,
) -> Redirector:
    """Return a redirector with this map in force, at the time NOW."""
    key = Ed25519PrivateKey.generate()
    (home / "key.pub").write_bytes(public_pem(key))
    (home / "published").mkdir(exist_ok=True)
    write_map(home / "map", key, mirrors, files, **more)
    shared = Redirector(settings_of(home, **(settings or {})))
    asyncio.run(shared.reload())
    shared.set_time(NOW)
    return shared


def talk(shared: Redirector, *pieces: bytes, peer: str = PEER) -> tuple[bytes, bool]:
    """Send `pieces` one after the other; return all that came back, and whether it was closed."""
    wire = Wire(peer)
    connection = Connection(shared)

    async def scene() -> None:
        connection.connection_made(cast("asyncio.BaseTransport", wire))
        for piece in pieces:
            connection.data_received(piece)
            while connection._waits:
                await asyncio.sleep(0)
        connection.connection_lost(None)

    _loop().run_until_complete(scene())
    return wire.sent, wire.closed


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """Return one loop for all tests: making one takes longer than a request."""
    return asyncio.new_event_loop()


def get(
    shared: Redirector, target: str, headers: str = "", method: str = "GET", peer: str = PEER
) -> tuple[int, dict[str, str], bytes]:
    """Ask once; return status, headers (last of a name wins) and body."""
    lines = f"{method} {target} HTTP/1.1\r\nHost: dl.example.org\r\n{headers}\r\n"
    answer, _ = talk(shared, lines.encode("latin-1"), peer=peer)
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    found = dict(line.split(": ", 1) for line in rest)
    assert method == "HEAD" or len(body) == int(found.get("Content-Length", 0))
    return int(first.split()[1]), found, body
