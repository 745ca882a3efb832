"""A copy of a release tree that is looked at from outside: a folder, or a web server.

Whatever it holds or answers is hostile: everything read of it is bounded, and nothing is followed
out of it but the redirects of a web server, which lead to mirrors.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import stat
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from commonfarm.lib.errors import Reason, UnreachableError

SECONDS = 30.0
LEAST_BYTES_PER_SECOND = 10_000
MOST_REDIRECTS = 5
MOST_FOLDER_FILES = 10_000_000
_READ_BYTES = 2**18


class DiffersError(Exception):
    """A path of the copy is not as it should be; the text says how."""


class BusyError(DiffersError):
    """A server has no answer just now."""


class Copy(Protocol):
    """What `verifying` asks of a copy. All but `others` may be called by several threads."""

    workers: int
    """So many questions at once serve it best."""

    @property
    def hashes_all(self) -> bool:
        """Whether reading all of it costs nobody anything: it lies here."""

    def size(self, path: str) -> int:
        """Return a file's size in bytes; DiffersError when there is none, or it cannot be read."""

    def read(self, path: str, start: int, length: int) -> Iterator[bytes]:
        """Yield up to `length` bytes from `start` on; DiffersError as above, also meanwhile."""

    def target(self, path: str) -> str | None:
        """Return the path in the tree that a symlink leads to; None where that cannot be seen."""

    def others(self, known: Collection[str]) -> Iterator[str]:
        """Yield the files and symlinks that are not in `known`, where that can be seen."""


def open_copy(where: str) -> Copy:
    """Return the copy at an address (http or https) or in a folder.

    Raises ValueError for an address that cannot be one, OSError for no folder.
    """
    if "://" not in where:
        return FolderCopy(Path(where))
    parts = urlsplit(where)
    odd = parts.query or parts.fragment or parts.port == 0
    odd = odd or not where.isascii() or not where.isprintable() or " " in where
    if odd or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it is no address of the form http://HOST/PATH/ or https://HOST/PATH/")
    return WebCopy(where.rstrip("/") + "/")


class FolderCopy:
    """A copy in a folder. Its own name may be a symlink, as a published tree's is."""

    hashes_all = True

    def __init__(self, folder: Path) -> None:
        self.workers = os.cpu_count() or 1
        self._root = folder.resolve(strict=True)
        self._sizes: dict[str, int] = {}
        self._targets: dict[str, str] = {}
        for path, entry in walk_files(self._root):
            if entry.is_symlink():
                self._targets[path] = _leads_to(path, str(Path(entry.path).readlink()))
            elif entry.is_file(follow_symlinks=False):
                self._sizes[path] = entry.stat(follow_symlinks=False).st_size

    def size(self, path: str) -> int:
        """Return a file's size; symlinks are not followed."""
        if path in self._sizes:
            return self._sizes[path]
        raise DiffersError("is a symlink" if path in self._targets else "is missing")

    def read(self, path: str, start: int, length: int) -> Iterator[bytes]:
        """Yield a part of a file."""
        self.size(path)
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            with os.fdopen(os.open(self._root / path, flags), "rb", buffering=0) as opened:
                if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                    raise DiffersError("is no file")
                opened.seek(start)
                while length > 0 and (some := opened.read(min(_READ_BYTES, length))):
                    length -= len(some)
                    yield some
        except OSError as error:
            raise DiffersError(f"cannot be read: {error.strerror}") from None

    def target(self, path: str) -> str | None:
        """Return where a symlink leads to, by its text; None for what is none."""
        return self._targets.get(path)

    def others(self, known: Collection[str]) -> Iterator[str]:
        """Yield what else lies there."""
        yield from (path for path in (*self._sizes, *self._targets) if path not in known)


class WebCopy:
    """A copy behind a web server, or a redirector and its mirrors."""

    hashes_all = False
    workers = 8

    def __init__(self, base: str) -> None:
        self._base = base
        self._local = threading.local()

    def size(self, path: str) -> int:
        """Ask for a file's size by HEAD."""
        with self._asked("HEAD", path) as answer:
            told = answer.getheader("Content-Length", "")
        if not told.isascii() or not told.isdigit() or len(told) > 18:
            raise DiffersError("comes without its size")
        return int(told)

    def read(self, path: str, start: int, length: int) -> Iterator[bytes]:
        """Fetch a part of a file; from its beginning if the server knows no ranges."""
        wanted = {"Range": f"bytes={start}-{start + length - 1}"} if start else {}
        deadline = time.monotonic() + SECONDS + (start + length) / LEAST_BYTES_PER_SECOND
        with self._asked("GET", path, wanted) as answer:
            skip = 0 if answer.status == http.client.PARTIAL_CONTENT else start
            while length > 0:
                some = answer.read(min(_READ_BYTES, skip + length))
                if not some:
                    return
                if time.monotonic() > deadline:
                    raise DiffersError("comes too slowly")
                skipped = min(skip, len(some))
                skip -= skipped
                length -= len(some) - skipped
                yield some[skipped:]

    def target(self, path: str) -> str | None:
        """Nobody sees that from outside."""
        return None

    def others(self, known: Collection[str]) -> Iterator[str]:
        """Nobody lists a web server."""
        yield from ()

    @contextmanager
    def _asked(
        self, method: str, path: str, headers: Mapping[str, str] = {}
    ) -> Iterator[http.client.HTTPResponse]:
        """Ask, follow redirects, and give the answer's body to the caller.

        UnreachableError when the first server does not answer at all; DiffersError for what any of
        them answers other than a file.
        """
        url = urljoin(self._base, quote(path))
        for hop in range(MOST_REDIRECTS + 1):
            parts = urlsplit(url)
            try:
                connection, answer = self._ask(method, parts, headers)
            except (OSError, http.client.HTTPException) as error:
                what = f"{parts.netloc} does not answer: {str(error)[:200] or type(error).__name__}"
                if hop == 0:
                    raise UnreachableError(
                        Reason("copy-unreachable", what, "see that it runs, and try again")
                    ) from None
                raise DiffersError(what) from None
            try:
                if answer.status in (301, 302, 303, 307, 308):
                    url = _next(url, answer.getheader("Location", ""))
                    continue
                if answer.status in (404, 410):
                    raise DiffersError("is missing")
                if answer.status == 429 or answer.status >= 500:
                    raise BusyError(f"is answered with {answer.status}")
                if answer.status not in (200, 206):
                    raise DiffersError(f"is answered with {answer.status}")
                try:
                    yield answer
                except (OSError, http.client.HTTPException) as error:
                    raise DiffersError(f"comes only in part: {str(error)[:200]}") from None
                return
            finally:
                # What was not read to its end would be taken for the next answer.
                if not answer.isclosed():
                    connection.close()
        raise DiffersError(f"is redirected more than {MOST_REDIRECTS} times")

    def _ask(
        self, method: str, parts: SplitResult, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Ask one server, over the connection that this thread has to it if it still is there."""
        kept: dict[tuple[str, str], http.client.HTTPConnection]
        kept = self._local.__dict__.setdefault("connections", {})
        key = parts.scheme, parts.netloc
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        all_headers = {"User-Agent": "commonfarm-tree-verify", "Accept-Encoding": "identity"}
        for again in (True, False):
            if key not in kept:
                kind = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
                kept[key] = kind[parts.scheme](parts.hostname or "", parts.port, timeout=SECONDS)
                again = False
            connection = kept[key]
            try:
                connection.request(method, target or "/", headers={**all_headers, **headers})
                return connection, connection.getresponse()
            except (OSError, http.client.HTTPException):
                connection.close()
                del kept[key]
                if not again:
                    raise
        raise AssertionError


def _next(url: str, location: str) -> str:
    """Return where a redirect leads to; DiffersError where nobody should go."""
    try:
        found = urljoin(url, location)
        parts = urlsplit(found)
        somewhere = bool(location and parts.hostname) and parts.port != 0
    except ValueError:
        somewhere = False
    if not somewhere or not found.isascii() or not found.isprintable() or " " in found:
        raise DiffersError("is redirected to nowhere")
    if parts.scheme not in ("http", "https"):
        raise DiffersError(f"is redirected to {parts.scheme[:20]}, which is not the web")
    if parts.scheme == "http" and url.startswith("https:"):
        raise DiffersError("is redirected away from https")
    return found


def walk_files(root: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield all but folders below `root`, with their paths; symlinks are not followed."""
    folders, count = [""], 0
    while folders:
        below = folders.pop()
        with os.scandir(root / below) as found:
            for entry in found:
                count += 1
                if count > MOST_FOLDER_FILES:
                    raise OSError(0, f"more than {MOST_FOLDER_FILES} files", str(root))
                path = f"{below}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    folders.append(f"{path}/")
                else:
                    yield path, entry


def _leads_to(path: str, text: str) -> str:
    """Return the path in the tree that a symlink at `path` leads to; above it, with its dots."""
    return os.path.normpath(os.path.join(os.path.dirname(path), text))  # noqa: PTH118, PTH120


def hash_of(copy: Copy, path: str, size: int) -> str:
    """Return the SHA-256 of a file of `size` bytes in hex; DiffersError when it has another."""
    digest, found = hashlib.sha256(), 0
    for some in copy.read(path, 0, size + 1):
        digest.update(some)
        found += len(some)
    if found != size:
        raise DiffersError(f"has {'more' if found > size else found} bytes instead of {size}")
    return digest.hexdigest()
