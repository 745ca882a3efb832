"""What an API that receives files in chunks shares: the shape of requests and of answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from django.http import HttpRequest, HttpResponse
from ninja import Field, Query, Schema

from commonfarm.agent.protocol import CHUNK_BYTES
from commonfarm.http.interface import problem
from commonfarm.lib.errors import BadInputError, Problem
from commonfarm.store.errors import GapError

Offset = Annotated[int, Query(ge=0, le=2**53)]
BYTES_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class UploadIn(Schema):
    """Announces a file; an upload of the same bytes that began before is gone on with."""

    size: Annotated[int, Field(ge=0, le=2**50)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Received(Schema):
    """How many bytes the hub has."""

    received: int


def received(call: Callable[[], int]) -> HttpResponse | dict[str, int]:
    """Answer with how much there is now; a gap is answered with from where to go on."""
    try:
        return {"received": call()}
    except GapError as gap:
        return problem(gap.status, gap.reason, received=gap.received)


def checked_chunk(request: HttpRequest) -> bytes:
    """Return the body of a chunk, refusing one that is larger than the protocol allows."""
    if len(request.body) > CHUNK_BYTES:
        what = f"a chunk of {len(request.body)} bytes"
        raise BadInputError(Problem("body", 0, 0, what, f"send at most {CHUNK_BYTES} at a time"))
    return request.body
