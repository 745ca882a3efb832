"""The API of the store: files that people bring, to be named afterwards where they belong."""

from __future__ import annotations

from typing import Annotated

from django.http import HttpRequest, HttpResponse
from ninja import Path, Router

from commonfarm.accounts.interface import Role
from commonfarm.http.interface import require
from commonfarm.store.receiving import (
    BYTES_BODY,
    Offset,
    Received,
    UploadIn,
    checked_chunk,
    received,
)
from commonfarm.store.uploads import add_chunk, start_upload

router = Router(tags=["store"])

Sha256 = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]


@router.post("/uploads", response=Received)
def announce(request: HttpRequest, body: UploadIn) -> HttpResponse | dict[str, int]:
    """Begin or resume the upload of a file."""
    who = require(request, Role.SUBMITTER).label
    return received(lambda: start_upload(who, body.sha256, body.size))


@router.put("/uploads/{sha256}", response=Received, openapi_extra=BYTES_BODY)
def upload(request: HttpRequest, sha256: Sha256, offset: Offset) -> HttpResponse | dict[str, int]:
    """Add a chunk to an announced upload."""
    who = require(request, Role.SUBMITTER).label
    return received(lambda: add_chunk(who, sha256, offset, checked_chunk(request)))
