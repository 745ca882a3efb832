"""The hub's side of what `agent/protocol.py` says, but for the lease, which the scheduler gives."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import cache
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone
from ninja import Path, Router
from ninja.security import HttpBearer
from pydantic import TypeAdapter, ValidationError

from commonfarm.agent import protocol
from commonfarm.farm import log, reports
from commonfarm.farm.models import Lease, SourceFile
from commonfarm.fleet.interface import (
    Builder,
    bearer,
    enrol,
    generation_over,
    past_bearer,
)
from commonfarm.http.interface import ProblemError
from commonfarm.lib.errors import BadInputError, NotFoundError, Problem, Reason
from commonfarm.store.interface import (
    BYTES_BODY,
    Offset,
    Received,
    add_chunk,
    checked_chunk,
    path_of,
    ranged,
    received,
    start_upload,
)

T = TypeVar("T")

_ENROL: TypeAdapter[protocol.EnrolRequest] = TypeAdapter(protocol.EnrolRequest)
_UPLOAD: TypeAdapter[protocol.UploadRequest] = TypeAdapter(protocol.UploadRequest)
_REPORT: TypeAdapter[protocol.Report] = TypeAdapter(protocol.Report)

Id = Annotated[int, Path(ge=1, le=2**63 - 1)]
Sha256 = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]

JSON_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}


class BuilderAuth(HttpBearer):
    """`Authorization: Bearer` with the credential of a builder's present generation."""

    def authenticate(self, request: HttpRequest, token: str) -> Builder | None:
        """Return the builder; tell a past generation from a stranger."""
        builder = bearer(token)
        if builder is None:
            past = past_bearer(token)
            if past is not None:
                raise ProblemError(HTTPStatus.GONE, past)
        return builder


router = Router(auth=BuilderAuth(), tags=["agent"])


def _parsed(adapter: TypeAdapter[T], request: HttpRequest) -> T:
    """Return the body as the protocol's dataclass; raise BadInputError for anything else.

    What no table can keep (a NUL, half a surrogate) is replaced and not refused: it comes out of
    the output of builds, and a refused report would cost the whole build.
    """
    try:
        data = json.loads(request.body, parse_constant=lambda _: None)
        text = json.dumps(data, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
    except (ValueError, RecursionError) as error:
        raise BadInputError(Problem("body", 0, 0, f"it is not JSON: {error}", "mend it")) from None
    try:
        return adapter.validate_json(text.replace(b"\\u0000", b"\\ufffd"))
    except ValidationError as error:
        raise BadInputError(
            *(
                Problem(".".join(map(str, one["loc"])) or "body", 0, 0, one["msg"], "mend it")
                for one in error.errors()
            )
        ) from None


def _lease(request: HttpRequest, lease_id: int) -> Lease:
    """Return the caller's own lease while it runs; 410 once it is over."""
    builder: Builder = request.auth  # type: ignore[attr-defined]  # what BuilderAuth returned
    lease = _any_lease(builder, lease_id)
    over = lease.over()
    if over is not None:
        raise ProblemError(HTTPStatus.GONE, over)
    return lease


def _any_lease(builder: Builder, lease_id: int) -> Lease:
    lease = (
        Lease.objects.select_related("job__build__source")
        .filter(pk=lease_id, builder=builder)
        .first()
    )
    if lease is None:
        raise NotFoundError(
            Reason("no-such-lease", f"{builder} never had a lease {lease_id}", "ask for a job")
        )
    if lease.generation != builder.generation:
        reason = generation_over(builder.name, lease.generation, builder.generation)
        raise ProblemError(HTTPStatus.GONE, reason)
    return lease


@router.post("/enrol", auth=None, response=dict[str, Any], openapi_extra=JSON_BODY)
def enrol_builder(request: HttpRequest) -> dict[str, Any]:
    """Exchange an enrolment token for the credential of a new generation."""
    return asdict(enrol(_parsed(_ENROL, request), timezone.now()))


@router.post("/leases/{lease_id}/renew", response=dict[str, Any])
def renew(request: HttpRequest, lease_id: Id) -> dict[str, Any]:
    """Move the deadline on; the answer says when the job is to be cancelled."""
    lease, now = _lease(request, lease_id), timezone.now()
    lease.renew(now)
    builder: Builder = request.auth  # type: ignore[attr-defined]
    builder.seen(now, protocol.Facts(**builder.facts))
    cancel = lease.job.state_reason if lease.job.cancel_asked_at is not None else ""
    return asdict(protocol.Renewed(lease.deadline_at.isoformat(), cancel))


@router.get("/leases/{lease_id}/files/{sha256}", response={200: bytes, 206: bytes})
def source_file(request: HttpRequest, lease_id: Id, sha256: Sha256) -> HttpResponseBase:
    """Return a file of the job's own source; a single range may be asked for."""
    source = _lease(request, lease_id).job.build.source
    if not SourceFile.objects.filter(source=source, blob_id=sha256).exists():
        raise NotFoundError(
            Reason("no-such-file", f"{source} has no file {sha256}", "ask for the lease's files")
        )
    return ranged(request, path_of(sha256))


@router.put("/leases/{lease_id}/log", response=Received, openapi_extra=BYTES_BODY)
def add_log(request: HttpRequest, lease_id: Id, offset: Offset) -> HttpResponse | dict[str, int]:
    """Append a piece of the log."""
    lease = _lease(request, lease_id)
    return received(lambda: log.add_piece(lease, offset, request.body))


@router.post("/leases/{lease_id}/uploads", response=Received, openapi_extra=JSON_BODY)
def announce(request: HttpRequest, lease_id: Id) -> HttpResponse | dict[str, int]:
    """Begin or resume the upload of an artifact."""
    lease, asked = _lease(request, lease_id), _parsed(_UPLOAD, request)
    return received(lambda: start_upload(lease.label, asked.sha256, asked.size))


@router.put("/leases/{lease_id}/uploads/{sha256}", response=Received, openapi_extra=BYTES_BODY)
def upload(
    request: HttpRequest, lease_id: Id, sha256: Sha256, offset: Offset
) -> HttpResponse | dict[str, int]:
    """Add a chunk to an announced upload."""
    lease = _lease(request, lease_id)
    return received(lambda: add_chunk(lease.label, sha256, offset, checked_chunk(request)))


@router.post("/leases/{lease_id}/report", response=dict[str, Any], openapi_extra=JSON_BODY)
def report(request: HttpRequest, lease_id: Id) -> dict[str, Any]:
    """Take the end of the job."""
    lease = _any_lease(request.auth, lease_id)  # type: ignore[attr-defined]
    reports.take(lease.pk, _parsed(_REPORT, request), timezone.now())
    return {}


@router.get("/zipapp", auth=None, response=bytes)
def zipapp(request: HttpRequest) -> HttpResponse:
    """Return the agent itself, one file that Python 3.9 or later runs."""
    data, etag = _zipapp()
    if etag in request.headers.get("If-None-Match", ""):
        return HttpResponse(status=HTTPStatus.NOT_MODIFIED, headers={"ETag": etag})
    disposition = 'attachment; filename="commonfarm-agent.pyz"'
    return HttpResponse(
        data,
        content_type="application/zip",
        headers={"ETag": etag, "Content-Disposition": disposition},
    )


@cache
def _zipapp() -> tuple[bytes, str]:
    from commonfarm.agent.zipapp import build_zipapp  # only here: it reads all of the agent

    data = build_zipapp()
    return data, f'"{hashlib.sha256(data).hexdigest()[:32]}"'
