"""Where a mirror map's bytes come from: a file that is mapped, or bytes in memory."""

from __future__ import annotations

import errno
import mmap
import os
import stat
import weakref
from collections.abc import Iterator
from pathlib import Path

from commonfarm.redirector.mirror_map.model import MapError, MissingError

CHUNK = 256 * 1024


class FileSource:
    """An open file. What it maps and reads stays there when another file takes its name.

    `mark` tells it from other files, and from itself when it was written to.
    """

    __slots__ = ("__weakref__", "_descriptor", "mark", "size")

    def __init__(self, file: Path) -> None:
        try:
            # A pipe of that name must not make us wait.
            self._descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            raise MissingError("it is not there") from None
        except OSError as error:
            raise unreadable(error) from None
        weakref.finalize(self, os.close, self._descriptor)
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise MapError("it is not a regular file")
        self.size = status.st_size
        self.mark = _mark(status)

    def read(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`: fewer only at the end."""
        pieces = []
        try:
            while length > 0:
                piece = os.pread(self._descriptor, length, offset)
                if not piece:
                    break
                pieces.append(piece)
                offset += len(piece)
                length -= len(piece)
        except OSError as error:
            raise unreadable(error) from None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def chunks(self, offset: int, length: int) -> Iterator[memoryview]:
        """Yield the bytes there in turn, each only until the next is asked for."""
        buffer = memoryview(bytearray(min(CHUNK, length)))
        while length > 0:
            piece = buffer[: min(CHUNK, length)]
            filled = 0
            while filled < len(piece):
                try:
                    count = os.preadv(self._descriptor, [piece[filled:]], offset + filled)
                except OSError as error:
                    raise unreadable(error) from None
                if not count:
                    raise MapError("it ends before it should")
                filled += count
            yield piece
            offset += len(piece)
            length -= len(piece)

    def view(self, length: int) -> memoryview:
        """Return the first `length` bytes, mapped: only those that are looked at take memory."""
        if not length:
            return memoryview(b"")
        try:
            mapped = mmap.mmap(self._descriptor, length, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise MapError(f"it cannot be mapped: {error}") from None
        return memoryview(mapped)


class BytesSource:
    """The same over bytes in memory."""

    __slots__ = ("_data", "mark", "size")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)
        self.mark: tuple[int, ...] = ()

    def read(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`."""
        return self._data[offset : offset + length]

    def chunks(self, offset: int, length: int) -> Iterator[memoryview]:
        """Yield the bytes there in turn."""
        view = memoryview(self._data)
        for at in range(offset, offset + length, CHUNK):
            yield view[at : min(at + CHUNK, offset + length)]

    def view(self, length: int) -> memoryview:
        """Return the first `length` bytes."""
        return memoryview(self._data)[:length]


Source = FileSource | BytesSource


def mark_of(file: Path) -> tuple[int, ...]:
    """Return what tells this state of a file from others, empty when it is not there."""
    try:
        return _mark(file.stat())
    except OSError:
        return ()


def _mark(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size


def unreadable(error: OSError) -> MapError:
    """Return the MapError for a failed read."""
    name = errno.errorcode.get(error.errno or 0, "")
    return MapError(f"it cannot be read: {error.strerror} ({name})")
