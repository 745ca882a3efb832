"""A request as it was read, judged before anything is done about it. Pure.

Connections are read head by head: everything up to an empty line is one request, since a download
has no body. What the lines below the request line say is kept for equal lines, since a client sends
the same ones again and again, and so do all that use the same program: reading them costs one
look-up then. Only what httptools read as one whole request without a body is kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote_to_bytes

import httptools

from commonfarm.redirector.networks import Address, Network, normal

if TYPE_CHECKING:
    from commonfarm.redirector.redirects import Route

MOST_HEAD_BYTES = 16 * 1024
MOST_KEPT_BYTES = 1024
"""Longer header lines are read anew each time."""
MOST_KEPT = 8192
MOST_KEPT_TOGETHER = 4 * 2**20
"""How many different header lines are kept, and bytes of them, at most twice over: 5 MB of usual
ones, 25 MB of those that somebody made as large as they may be."""
READ = frozenset(
    b"accept content-length forwarded host if-modified-since if-none-match if-range range"
    b" transfer-encoding x-forwarded-for x-forwarded-proto".split()
)
"""The names of header lines that mean something here. No other is kept: anybody may send us some
hundred of them in each of many requests."""
MOST_PARAMETERS = 20
SAFE = "/~+:=@,!$&'()*"
"""What stands in an address as it is, beside letters, digits and `_.-`."""

PLAIN = re.compile(rb"GET /([A-Za-z0-9/_.~+:=@,!$&'()*-]+) HTTP/1\.1\r\n")
"""A request line whose path is the same with and without its escapes, and that has no query."""

RANGE = re.compile(rb"bytes=([0-9]{0,18})-([0-9]{0,18})")
"""One range of bytes (RFC 9110, section 14.1.2)."""

_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_NOT_PLAIN = re.compile(rb"^/|//|(?:^|/)\.\.?(?:/|$)")
_ABSOLUTE = re.compile(rb"^https?://[^/?]*", re.IGNORECASE)
_INTERNAL = re.compile(r"\.|[^/]*\.r[0-9]+(?:/|$)")
_HIDDEN = re.compile(r"(?:^|/)\.")
_AUTHORITY = re.compile(
    rb"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"
)
_OFTEN_ONCE = (b"range", b"if-none-match")


class BadRequestError(ValueError):
    """What came is no request that is answered; the text says why."""


def _no_route() -> Route | None:
    return None


@dataclass(slots=True)
class Head:
    """What the lines below a request line say; header names are in lower case, and among READ.

    `plain` means that they ask for nothing but the file; `host` is what they name, b"" when that is
    no name or address. `route` keeps what was made of these lines when they last came from the
    trusted proxy `peer`, in the `era` of then, as long as that is known elsewhere.
    """

    keep_alive: bool
    headers: Mapping[bytes, bytes]
    plain: bool = False
    host: bytes = b""
    route: Callable[[], Route | None] = _no_route
    peer: Address | None = None
    era: int = -1


@dataclass(slots=True)
class Request:
    """One request as it was read."""

    method: bytes
    target: bytes
    head: Head = field(default_factory=lambda: Head(keep_alive=False, headers={}))


class Heads:
    """Reads requests, and keeps what equal header lines say."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._young: dict[bytes, Head] = {}
        self._old: dict[bytes, Head] = {}
        self._bytes = 0
        self.get = self._young.get

    def read(self, data: bytes) -> Request:
        """Return the request that `data`, up to and with its empty line, is; or BadRequestError."""
        line = PLAIN.match(data)
        lines = data[line.end() :] if line is not None else b""
        if line is not None:
            head = self.get(lines) or self.again(lines)
            if head is not None:
                return Request(b"GET", b"/" + line[1], head)
        request = parse(data)
        if line is not None and len(lines) <= MOST_KEPT_BYTES:
            self._keep(lines, request.head)
        return request

    def again(self, lines: bytes) -> Head | None:
        """Return what these `lines` say if they are among the older ones that are kept."""
        head = self._old.get(lines)
        if head is not None:
            self._keep(lines, head)
        return head

    def _keep(self, lines: bytes, head: Head) -> None:
        if len(self._young) >= self._most or self._bytes >= MOST_KEPT_TOGETHER:
            self._old, self._young, self._bytes = self._young, {}, 0
            self.get = self._young.get
        self._young[lines] = head
        self._bytes += len(lines)
        if self._old:
            self._old.popitem()  # one by one: to free thousands at once takes milliseconds


class _Collector:
    """What httptools calls."""

    def __init__(self) -> None:
        self.target = b""
        self.headers: dict[bytes, bytes] = {}
        self.begun = self.completed = 0
        self.keep_alive = False
        self.ask_keep_alive: Callable[[], bool] = bool

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_url(self, part: bytes) -> None:
        self.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        # One that comes twice is one list (RFC 9110, section 5.3).
        name = name.lower()
        if name not in READ:
            return
        known = self.headers.get(name)
        self.headers[name] = value if known is None else known + b", " + value

    def on_message_complete(self) -> None:
        self.completed += 1
        self.keep_alive = self.ask_keep_alive()  # later it is that of the next one


def parse(data: bytes) -> Request:
    """Read one whole head; BadRequestError for anything else, and for a request with a body."""
    found = _Collector()
    parser = httptools.HttpRequestParser(found)
    found.ask_keep_alive = parser.should_keep_alive
    try:
        parser.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        raise BadRequestError("this is not plain HTTP") from None
    finally:
        found.ask_keep_alive = bool  # no cycle is left for the collector
    headers = found.headers
    if headers.get(b"content-length", b"0").strip(b"0") or b"transfer-encoding" in headers:
        raise BadRequestError("a download has no body")
    if (found.begun, found.completed) != (1, 1):
        raise BadRequestError("this is not plain HTTP")
    # HTTP/1.0 would have to be told that its connection stays (RFC 9112, section 9.3).
    keep_alive = found.keep_alive and parser.get_http_version() == "1.1"
    plain = (
        keep_alive
        and not any(name in headers for name in _OFTEN_ONCE)
        and b"metalink" not in headers.get(b"accept", b"").lower()
    )
    host = headers.get(b"host", b"")
    head = Head(
        keep_alive=keep_alive,
        headers=headers,
        plain=plain,
        host=host if _AUTHORITY.fullmatch(host) else b"",
    )
    return Request(parser.get_method(), found.target, head)


def split_target(target: bytes) -> tuple[bytes, str] | None:
    """Return path (decoded, without its first slash) and query, or None for a path we refuse.

    Refused are bad escapes, control characters, empty, `.` and `..` parts, decoded or not.
    """
    path, _, query = _ABSOLUTE.sub(b"", target, count=1).partition(b"?")
    if not path.startswith(b"/") or _ESCAPE.search(path):
        return None
    decoded = unquote_to_bytes(path[1:])
    if _CONTROL.search(decoded) or _NOT_PLAIN.search(decoded):
        return None
    return decoded, query.decode("latin-1")


def parameters(query: str) -> dict[str, str]:
    """Return what a query says, the first of each name; of one that is too long, nothing."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
    except ValueError:
        return {}
    return dict(reversed(pairs))


def escaped(path: bytes) -> bytes:
    """Return `path` as it stands in an address."""
    return quote(path, safe=SAFE).encode()


def shown(path: bytes) -> str:
    """Return `path` as it is shown to people, and to programs that read text."""
    return path.decode("utf-8", "replace")


def is_internal(path: str) -> bool:
    """Say whether `path` starts with a hidden name or a tree's revision on its way (`tree.r7`)."""
    return _INTERNAL.match(path) is not None


def is_hidden(path: str) -> bool:
    """Say whether a part of `path` starts with a dot."""
    return _HIDDEN.search(path) is not None


def asked_by(
    peer: Address, headers: Mapping[bytes, bytes], trusted_proxies: Collection[Network]
) -> tuple[Address, str]:
    """Return the address of who asks and the scheme it spoke.

    `X-Forwarded-For` is read from its right end, and only as far as the addresses are those of
    trusted proxies: what stands further left anybody may have written.
    """

    def trusted(address: Address) -> bool:
        return any(address in network for network in trusted_proxies)

    if not trusted_proxies or not trusted(peer):
        return peer, "http"
    address = peer
    for text in reversed(headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")):
        if not trusted(address):
            break
        try:
            address = normal(text.strip())
        except ValueError:
            break
    # Of several proxies each may have added its own: the client came by https if one says so.
    schemes = headers.get(b"x-forwarded-proto", b"").lower().split(b",")
    secure = any(one.strip() == b"https" for one in schemes)
    return address, "https" if secure else "http"


def matches(condition: bytes, etag: bytes) -> bool:
    """Say whether an `If-None-Match` names `etag` (RFC 9110, section 13.1.2: weak comparison)."""
    tags = [tag.strip().removeprefix(b"W/") for tag in condition.split(b",")]
    return etag in tags or b"*" in tags


def length_of(headers: Mapping[bytes, bytes], size: int) -> tuple[int, int]:
    """Return how many downloads and bytes of a file of `size` bytes a redirected request is.

    A range from the first byte is a download, any other only its bytes: a client that fetches a
    file in eight parts, or goes on where it was cut off, has it once. Several ranges count whole.
    """
    asked = headers.get(b"range")
    found = RANGE.fullmatch(asked.strip()) if asked is not None else None
    if found is None or found[1] == found[2] == b"":
        return 1, size
    if found[1] == b"":
        length = min(int(found[2]), size)
        return int(length == size), length
    start = int(found[1])
    if found[2] and int(found[2]) < start:
        return 1, size
    end = min(int(found[2]), size - 1) if found[2] else size - 1
    return int(start == 0), max(end - start + 1, 0)
