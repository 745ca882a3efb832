"""Answers as bytes. Pure, but for the date, which is passed in."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from http import HTTPStatus

from commonfarm.redirector.metrics import Outcome
from commonfarm.redirector.mirror_map import SERVER_NAME
from commonfarm.redirector.origin import Opened, Part
from commonfarm.redirector.redirects import digests
from commonfarm.redirector.request import matches

RETRY_SECONDS = 5

_LINE = {status: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_SERVER = f"Server: {SERVER_NAME}\r\nDate: ".encode()
_DAY = b"Cache-Control: public, max-age=86400\r\n"
_ASK_AGAIN = b"Cache-Control: no-cache\r\n"

REDIRECT = b"Cache-Control: private, no-cache\r\nVary: Accept\r\nContent-Length: 0\r\nLocation: "
"""What stands before the address in every redirect; `redirects.lines` follow."""

PAGE_POLICY = b"Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n"


@dataclass(frozen=True, slots=True)
class Counted:
    """What an answer counts as, but for its bytes: see `counts`."""

    path: bytes
    end: bytes
    downloads: int


@dataclass(slots=True)
class Answer:
    """An answer before its date. `file` and `part` are there when a file of ours is its body."""

    status: HTTPStatus
    lines: bytes
    outcome: Outcome
    body: bytes = b""
    file: Opened | None = None
    part: Part | None = None
    counted: Counted | None = None


def start(status: HTTPStatus, date: bytes, *, keep_alive: bool) -> bytes:
    """Return the first lines of an answer."""
    end = b"\r\n" if keep_alive else b"\r\nConnection: close\r\n"
    return _LINE[status] + _SERVER + date + end


def finish(answer: Answer, date: bytes, *, keep_alive: bool) -> bytes:
    """Return the whole head of `answer`."""
    return start(answer.status, date, keep_alive=keep_alive) + answer.lines + b"\r\n"


def file_lines(
    file: Opened, part: Part, etag: bytes, sha256: bytes, described: bytes, *, changes: bool
) -> bytes:
    """Return the header lines before a part of one of our own files.

    `sha256` is that of just these bytes, b"" where that is not certain; `described` the address of
    its metalink, b"" where it has none. With `changes` caches are to ask again each time.
    """
    lines = [
        _ASK_AGAIN if changes else _DAY,
        b"Vary: Accept\r\nLast-Modified: %s\r\n" % file.last_modified,
        digests(sha256) or b"ETag: %s\r\n" % etag,
    ]
    if described:
        lines.append(
            b'Link: <%s>; rel=describedby; type="application/metalink4+xml"\r\n' % described
        )
    if part.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        lines.append(b"Content-Range: bytes */%d\r\nContent-Length: 0\r\n" % file.size)
    elif part.status != HTTPStatus.NOT_MODIFIED:
        lines.append(
            b"Accept-Ranges: bytes\r\nContent-Length: %d\r\nContent-Type: %s\r\n"
            b"X-Content-Type-Options: nosniff\r\nContent-Security-Policy: sandbox\r\n"
            % (part.length, file.content_type)
        )
    if part.status == HTTPStatus.PARTIAL_CONTENT:
        last = part.start + part.length - 1
        lines.append(b"Content-Range: bytes %d-%d/%d\r\n" % (part.start, last, file.size))
    return b"".join(lines)


def refusal(status: HTTPStatus, text: str, outcome: Outcome = Outcome.REFUSED) -> Answer:
    """Return a refusal that says why."""
    body = f"{status.value} {status.phrase}: {text}\n".encode("utf-8", "replace")
    extra = b""
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        extra = b"Retry-After: %d\r\n" % RETRY_SECONDS
        outcome = Outcome.BUSY
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        extra = b"Allow: GET, HEAD\r\n"
    elif status == HTTPStatus.NOT_FOUND:
        outcome = Outcome.NOT_FOUND
    lines = extra + _ASK_AGAIN + _described("text/plain; charset=utf-8", body)
    return Answer(status, lines, outcome, body)


def document(
    kind: str, body: bytes, outcome: Outcome, if_none_match: bytes | None = None
) -> Answer:
    """Return a document made for this request, with a validator of its bytes."""
    etag = b'"%s"' % blake2b(body, digest_size=12).hexdigest().encode()
    lines = b"Cache-Control: private, no-cache\r\nVary: Accept\r\nETag: %s\r\n" % etag
    if if_none_match is not None and matches(if_none_match, etag):
        return Answer(HTTPStatus.NOT_MODIFIED, lines, Outcome.NOT_MODIFIED)
    if kind.startswith("text/html"):
        lines += PAGE_POLICY
    return Answer(HTTPStatus.OK, lines + _described(kind, body), outcome, body)


def not_modified(etag: bytes) -> Answer:
    """Return that a file is still the one the client has."""
    lines = b"Cache-Control: private, no-cache\r\nVary: Accept\r\nETag: %s\r\n" % etag
    return Answer(HTTPStatus.NOT_MODIFIED, lines, Outcome.NOT_MODIFIED)


def _described(kind: str, body: bytes) -> bytes:
    return (
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        "X-Content-Type-Options: nosniff\r\n"
    ).encode()
