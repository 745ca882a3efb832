"""Access logs of Apache and nginx, line by line: the common and the combined format.

https://httpd.apache.org/docs/2.4/mod/mod_log_config.html,
https://nginx.org/en/docs/http/ngx_http_log_module.html. Each may have the virtual host before it
(Apache's `vhost_combined`) and further fields behind.
"""

from __future__ import annotations

import gzip
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import IO, NamedTuple, cast
from urllib.parse import unquote_to_bytes

from commonfarm.lib.errors import BadInputError, Problem

LONGEST_LINE = 64 * 1024
_GZIP = b"\x1f\x8b"
_LINE = re.compile(
    rb"(?:[^\s:]+:\d+ )?"  # the virtual host
    rb"(\S+) [^\[]{1,300}\[(\d\d)/(\w{3})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)\] "
    rb'"((?:[^"\\]|\\.)*)" (\d{3}) (\d{1,18}|-)(?:\s|$)'
)
_REQUEST = re.compile(rb"([A-Z]{1,20}) (\S+)(?: HTTP/[\d.]{1,4})?")
_ABSOLUTE = re.compile(rb"[a-zA-Z]+://[^/]*")
_ESCAPE = re.compile(rb'\\x([0-9A-Fa-f]{2})|\\(["\\])')
_NAMES = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_MONTHS = {name: number for number, name in enumerate(_NAMES, 1)}


class Request(NamedTuple):
    """One request: by whom, when (epoch seconds), what was asked, and the bytes it was answered.

    `path` is decoded and has no query; it is empty where the line holds no request.
    """

    client: str
    at: float
    method: str
    path: str
    status: int
    size: int


def parse(line: bytes) -> Request | None:
    """Return the request that a line tells of, None for a line of another format."""
    found = _LINE.match(line)
    if found is None:
        return None
    client, day, month, year, hour, minute, second, sign, ahead, and_, asked, status, size = (
        found.groups()
    )
    at = _moment(year, month, day, hour, sign + ahead + and_)
    if at is None:
        return None
    request = _REQUEST.fullmatch(asked)
    method, target = request.groups() if request else (b"", b"")
    return Request(
        client.decode("ascii", "replace"),
        at + int(minute) * 60 + int(second),
        method.decode("ascii"),
        _path(target),
        int(status),
        0 if size == b"-" else int(size),
    )


@lru_cache(maxsize=64)
def _moment(year: bytes, month: bytes, day: bytes, hour: bytes, zone: bytes) -> float | None:
    """Return the epoch seconds at which an hour begins."""
    ahead = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:]))
    try:
        where = timezone(-ahead if zone[:1] == b"-" else ahead)
        return datetime(int(year), _MONTHS[month], int(day), int(hour), tzinfo=where).timestamp()
    except (KeyError, ValueError, OverflowError):
        return None


def _path(target: bytes) -> str:
    if b"\\" in target:  # how the server wrote down what does not belong into a line
        target = _ESCAPE.sub(
            lambda one: bytes.fromhex(one[1].decode()) if one[1] else one[2], target
        )
    if not target.startswith(b"/"):
        target = _ABSOLUTE.sub(b"", target, count=1)
    path = target.partition(b"?")[0]
    return unquote_to_bytes(path).decode("utf-8", "surrogateescape")


def read(files: Iterable[Path]) -> Iterator[bytes]:
    """Yield the lines of logs, one after the other; `-` is the standard input, `.gz` is unpacked.

    A line longer than LONGEST_LINE is yielded empty. BadInputError names a file that cannot be
    read, or is damaged.
    """
    for file in files:
        with ExitStack() as opened:
            try:
                yield from _lines(_open(file, opened))
            except (OSError, EOFError, zlib.error) as error:
                why = error.strerror if isinstance(error, OSError) and error.strerror else error
                to_do = "name a log of Apache or nginx, or `-` for the standard input"
                raise BadInputError(
                    Problem(str(file), 0, 0, f"cannot be read: {why}", to_do)
                ) from None


def _open(file: Path, opened: ExitStack) -> IO[bytes]:
    if str(file) == "-":
        raw = cast("BufferedReader", sys.stdin.buffer)
    else:
        raw = opened.enter_context(file.open("rb"))
    if raw.peek(2)[:2] != _GZIP:
        return raw
    return cast("IO[bytes]", opened.enter_context(gzip.GzipFile(fileobj=raw)))


def _lines(source: IO[bytes]) -> Iterator[bytes]:
    while line := source.readline(LONGEST_LINE):
        if line.endswith(b"\n") or len(line) < LONGEST_LINE:
            yield line
            continue
        while (rest := source.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
            pass
        yield b""


def day_of(at: float) -> str:
    """Return the UTC day of a moment."""
    return datetime.fromtimestamp(at, UTC).date().isoformat()
