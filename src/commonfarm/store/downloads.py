"""Sends a file of the store, or the range of it that was asked for (RFC 9110, section 14)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

_PIECE = 1 << 18
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})")


def ranged(request: HttpRequest, path: Path) -> HttpResponseBase:
    """Return all of the file, or one range that begins at a given byte; 416 beyond its end."""
    size = path.stat().st_size
    first, last, status = 0, size - 1, HTTPStatus.OK
    asked = _RANGE.fullmatch(request.headers.get("Range", ""))
    if asked is not None:
        first = int(asked[1])
        last = min(last, int(asked[2])) if asked[2] else last
        status = HTTPStatus.PARTIAL_CONTENT
        if first >= size or last < first:
            return HttpResponse(
                status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                headers={"Content-Range": f"bytes */{size}"},
            )
    response = StreamingHttpResponse(
        _pieces(path, first, last - first + 1),
        status=status,
        content_type="application/octet-stream",
    )
    response.headers["Content-Length"] = str(last - first + 1)
    response.headers["Accept-Ranges"] = "bytes"
    if status == HTTPStatus.PARTIAL_CONTENT:
        response.headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return response


def _pieces(path: Path, first: int, count: int) -> Iterator[bytes]:
    with path.open("rb") as data:
        data.seek(first)
        while count > 0 and (piece := data.read(min(count, _PIECE))):
            count -= len(piece)
            yield piece
