"""An rsync daemon that lists whatever a test wants: protocol 29, as far as a list of files.

After rsync's flist.c, io.c and clientserver.c: greeting, module, arguments, seed, then the list in
frames of the multiplexed stream.
"""

from __future__ import annotations

import socketserver
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

_REGULAR, _FOLDER = 0o100644, 0o040755
_TOP, _LONG_NAME = 0x01, 0x40


def entry(name: bytes, size: int = 7, at: int = 1_795_000_000, mode: int = _REGULAR) -> bytes:
    """Return one name as it stands in a list of files."""
    return (
        bytes([_TOP | _LONG_NAME])
        + struct.pack("<i", len(name))
        + name
        + struct.pack("<iIi", size, at, mode)
    )


def folder(name: bytes) -> bytes:
    """Return one folder."""
    return entry(name, 4096, mode=_FOLDER)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@contextmanager
def listing(say: Callable[[threading.Event], Iterable[bytes]]) -> Iterator[str]:
    """Serve a module `tree` whose list is what `say` yields, until the block ends."""
    over = threading.Event()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                self.wfile.write(b"@RSYNCD: 29.0\n")
                self.rfile.readline()
                self.rfile.readline()
                self.wfile.write(b"@RSYNCD: OK\n")
                while self.rfile.readline() not in (b"\n", b""):
                    pass
                self.wfile.write(struct.pack("<i", 1))
                for piece in say(over):
                    for begin in range(0, len(piece), 2**20):
                        part = piece[begin : begin + 2**20]
                        self.wfile.write(struct.pack("<I", 7 << 24 | len(part)) + part)
                    if over.is_set():
                        return

    with _Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"rsync://127.0.0.1:{server.server_address[1]}/tree/"
        finally:
            over.set()
            server.shutdown()
            thread.join()
