"""Answers as bytes. Pure, but for the date, which is passed in."""

from __future__ import annotations

import json
from collections.abc import Iterable
from http import HTTPStatus
from urllib.parse import quote

from commonfarm.redirector.mirror_map import SERVER_NAME, Mirror
from commonfarm.redirector.origin import Opened, Part
from commonfarm.redirector.selection import Choice, Client, changes_in_place

RETRY_SECONDS = 5

_LINE = {status: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_SERVER = f"Server: {SERVER_NAME}\r\n".encode()
_DAY = b"Cache-Control: public, max-age=86400\r\n"
_ASK_AGAIN = b"Cache-Control: no-cache\r\n"


def locations(mirrors: Iterable[Mirror], path: str) -> list[bytes]:
    """Return the address of `path` (`tree/path/in/it`) on each of `mirrors`."""
    inside = path.partition("/")[2].encode("utf-8", "surrogateescape")
    escaped = quote(inside, safe="/~+:=@,!$&'()*")
    return [(mirror.url + escaped).encode() for mirror in mirrors]


def redirect(choice: Choice) -> bytes:
    """Return the head that sends to the chosen mirror and names the next best (RFC 6249).

    One `Link` line each, since aria2 reads no list; the first equals `Location`, since wget2
    takes the lowest `pri` for its target.
    """
    places = locations(choice.mirrors, choice.path)
    links = b"".join(
        b"Link: <%s>; rel=duplicate; pri=%d; geo=%s\r\n"
        % (place, number, mirror.country.lower().encode())
        for number, (place, mirror) in enumerate(zip(places, choice.mirrors, strict=True), 1)
    )
    return (
        b"%s%sLocation: %s\r\n%sCache-Control: private, no-cache\r\nVary: Accept\r\n"
        b"Content-Length: 0\r\n"
    ) % (_LINE[HTTPStatus.FOUND], _SERVER, places[0], links)


def file_head(file: Opened, part: Part) -> bytes:
    """Return the head before a part of one of our own files."""
    lines = [
        _LINE[HTTPStatus(part.status)],
        _SERVER,
        b"ETag: %s\r\nLast-Modified: %s\r\n" % (file.etag, file.last_modified),
        _ASK_AGAIN if changes_in_place(file.path) else _DAY,
    ]
    if part.status == 416:
        lines.append(b"Content-Range: bytes */%d\r\nContent-Length: 0\r\n" % file.size)
    elif part.status != 304:
        lines.append(
            b"Accept-Ranges: bytes\r\nContent-Length: %d\r\nContent-Type: %s\r\n"
            b"X-Content-Type-Options: nosniff\r\nContent-Security-Policy: sandbox\r\n"
            % (part.length, file.content_type)
        )
    if part.status == 206:
        last = part.start + part.length - 1
        lines.append(b"Content-Range: bytes %d-%d/%d\r\n" % (part.start, last, file.size))
    return b"".join(lines)


def refusal(status: HTTPStatus, text: str) -> tuple[bytes, bytes]:
    """Return head and body of a refusal that says why."""
    body = f"{status.value} {status.phrase}: {text}\n".encode()
    extra = b""
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        extra = b"Retry-After: %d\r\n" % RETRY_SECONDS
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        extra = b"Allow: GET, HEAD\r\n"
    return _LINE[status] + _SERVER + extra + _text_head("text/plain; charset=utf-8", body), body


def mirror_list(choice: Choice, client: Client, as_json: bool) -> tuple[bytes, bytes]:
    """Return head and body of the list of all mirrors of a file, with why each is left out."""
    chosen = [
        {
            "mirror": mirror.name,
            "country": mirror.country,
            "url": place.decode(),
        }
        for mirror, place in zip(
            choice.mirrors, locations(choice.mirrors, choice.path), strict=True
        )
    ]
    left_out = [
        {
            "mirror": mirror.name,
            "country": mirror.country,
            "code": str(reason.code),
            "reason": reason.text,
            "lifted_by": reason.lifted_by,
        }
        for mirror, reason in choice.excluded
    ]
    shown = choice.path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if as_json:
        document = {
            "path": shown,
            "country": client.country,
            "served_by": choice.mirror.name if choice.mirror else "origin",
            "code": str(choice.reason.code),
            "reason": str(choice.reason),
            "mirrors": chosen,
            "left_out": left_out,
        }
        kind, body = "application/json", (json.dumps(document, indent=2) + "\n").encode()
    else:
        lines = [f"# {shown} for a client in {client.country}: {choice.reason}"]
        lines += [one["url"] for one in chosen]
        lines += [
            f"# {mirror.name} ({mirror.country}) is left out: {reason}"
            for mirror, reason in choice.excluded
        ]
        kind, body = "text/plain; charset=utf-8", ("\n".join(lines) + "\n").encode()
    head = _LINE[HTTPStatus.OK] + _SERVER + b"Vary: Accept\r\nCache-Control: private, no-cache\r\n"
    return head + _text_head(kind, body), body


def _text_head(kind: str, body: bytes) -> bytes:
    return (
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        "X-Content-Type-Options: nosniff\r\n"
    ).encode()


def finish(head: bytes, date: bytes, keep_alive: bool) -> bytes:
    """Close a head with the date and what becomes of the connection."""
    connection = b"" if keep_alive else b"Connection: close\r\n"
    return b"%sDate: %s\r\n%s\r\n" % (head, date, connection)
