"""Our own bytes: files of the published folder, by sendfile, and never too many at once."""

from __future__ import annotations

import asyncio
import errno
import mimetypes
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from commonfarm.redirector.request import RANGE, matches

CHUNK_BYTES = 512 * 1024
SLOWEST_BYTES = 64 * 1024
"""What a client must take of a file within PATIENCE_SECONDS, or it loses its place."""
PATIENCE_SECONDS = 60.0

_NO_SUCH_FILE = {
    *(errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG),
    *(errno.EACCES, errno.ENXIO),  # not ours to read; a socket
}
_TYPES = {
    ".deb": "application/vnd.debian.binary-package",
    ".asc": "application/pgp-signature",
    ".gpg": "application/octet-stream",
}


@dataclass(frozen=True, slots=True)
class Opened:
    """An open file of the published folder; whoever gets it closes `handle`."""

    handle: int
    size: int
    modified_ns: int
    path: str

    @property
    def etag(self) -> bytes:
        """A strong validator: a published file is replaced by renaming, never written over."""
        return b'"%x-%x"' % (self.modified_ns, self.size)

    @property
    def last_modified(self) -> bytes:
        """The time of change as HTTP writes it."""
        return formatdate(self.modified_ns // 10**9, usegmt=True).encode()

    @property
    def content_type(self) -> bytes:
        """The media type by the file's name."""
        name = self.path.rpartition("/")[2]
        suffix = Path(name).suffix
        if suffix in _TYPES:
            return _TYPES[suffix].encode()
        kind, encoding = mimetypes.guess_type(name)
        if encoding is not None or kind is None:
            # A compressed index is a file of its own, not a text sent in compressed form.
            kind = "application/octet-stream" if "." in name else "text/plain"
        return kind.encode()

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.handle)


class Published:
    """A folder whose files may be given out."""

    def __init__(self, root: Path | str) -> None:
        self._root = os.path.realpath(root)

    def open(self, path: str) -> Opened | None:
        """Open the plain file at `path`; None when there is none that may be given out.

        The kernel is asked what was opened, so a symlink that leaves the folder is found out
        however it was slipped in; O_NONBLOCK keeps a FIFO from holding us up. OSError when the
        file may be there but cannot be opened now (no descriptor is free, the disk fails).
        """
        try:
            handle = os.open(
                f"{self._root}/{path}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
            )
        except ValueError:
            return None
        except OSError as error:
            if error.errno in _NO_SUCH_FILE:
                return None
            raise
        try:
            status = os.fstat(handle)
            real = str(Path(f"/proc/self/fd/{handle}").readlink())
        except OSError:
            os.close(handle)
            raise
        if not stat.S_ISREG(status.st_mode) or not real.startswith(self._root + "/"):
            os.close(handle)
            return None
        return Opened(handle, status.st_size, status.st_mtime_ns, path)


@dataclass(frozen=True, slots=True)
class Part:
    """What of a file is answered: status, first byte, and how many bytes."""

    status: int
    start: int
    length: int


def part_of(file: Opened, etag: bytes, headers: Mapping[bytes, bytes]) -> Part:
    """Judge conditions and range (RFC 9110, sections 13.2.2 and 14.2); several ranges give all.

    `etag` is the file's validator. If-Modified-Since must equal Last-Modified: a tree may go back
    to older bytes.
    """
    condition = headers.get(b"if-none-match")
    if condition is not None:
        if matches(condition, etag):
            return Part(304, 0, 0)
    elif headers.get(b"if-modified-since") == file.last_modified:
        return Part(304, 0, 0)
    whole = Part(200, 0, file.size)
    asked = RANGE.fullmatch(headers.get(b"range", b"").strip())
    if asked is None or asked[1] == asked[2] == b"":
        return whole
    if headers.get(b"if-range", etag) not in (etag, file.last_modified):
        return whole
    if asked[1] == b"":
        length = min(int(asked[2]), file.size)
        return Part(206, file.size - length, length) if length else Part(416, 0, 0)
    start = int(asked[1])
    end = min(int(asked[2]), file.size - 1) if asked[2] else file.size - 1
    if asked[2] and int(asked[2]) < start:
        return whole
    return Part(206, start, end - start + 1) if start <= end else Part(416, 0, 0)


class Transfer:
    """Sends a part of a file straight from the page cache to a socket.

    We write beside the event loop's transport, once that has nothing left to write, to a duplicate
    of its descriptor: uvloop has no `sendfile`. `done(sent, ok)` is called once, with the bytes
    that went out; the file is closed, also when OSError is raised as no descriptor is free.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        file: Opened,
        part: Part,
        done: Callable[[int, bool], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        try:
            self._socket = os.dup(transport.get_extra_info("socket").fileno())
        except OSError:
            file.close()
            raise
        self._file = file.handle
        self._start = self._at = part.start
        self._end = part.start + part.length
        self._checked = self._at
        self._done = done
        self._timer = self._loop.call_later(PATIENCE_SECONDS, self._check)
        self._loop.add_writer(self._socket, self._send)

    def _send(self) -> None:
        if self._transport.get_write_buffer_size():
            return
        try:
            sent = os.sendfile(
                self._socket, self._file, self._at, min(CHUNK_BYTES, self._end - self._at)
            )
        except BlockingIOError:
            return
        except OSError:
            self.stop(ok=False)
            return
        self._at += sent
        if self._at == self._end or sent == 0:
            self.stop(ok=self._at == self._end)

    def _check(self) -> None:
        if self._at - self._checked < SLOWEST_BYTES:
            self.stop(ok=False)
            return
        self._checked = self._at
        self._timer = self._loop.call_later(PATIENCE_SECONDS, self._check)

    def stop(self, *, ok: bool) -> None:
        """End the transfer and give everything back; idempotent."""
        if self._socket < 0:
            return
        self._timer.cancel()
        self._loop.remove_writer(self._socket)
        os.close(self._socket)
        os.close(self._file)
        self._socket = -1
        done = self._done
        del self._done  # it refers to us
        done(self._at - self._start, ok)
