"""Errors as problem details (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse

from commonfarm.lib.errors import (
    BadInputError,
    CommonfarmError,
    ForbiddenError,
    NotFoundError,
    Reason,
    UnreachableError,
)

MEDIA_TYPE = "application/problem+json"

PROBLEM: dict[str, Any] = {
    "title": "Problem",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "urn:commonfarm:problem: and the reason's code"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "The binding constraint"},
        "lifted_by": {"type": "string", "description": "What would lift it"},
        "problems": {"type": "array", "items": {"type": "object"}},
    },
}


class ProblemError(CommonfarmError):
    """A refusal that needs a status code of its own."""

    def __init__(self, status: HTTPStatus, reason: Reason) -> None:
        super().__init__(reason)
        self.status = status


def problem(
    status: HTTPStatus, reason: Reason, headers: dict[str, str] | None = None, **extra: Any
) -> HttpResponse:
    """Return the response that says `reason`; `extra` are further members of the document."""
    body = {
        "type": f"urn:commonfarm:problem:{reason.code}",
        "title": status.phrase,
        "status": int(status),
        "detail": reason.text,
    }
    if reason.lifted_by:
        body["lifted_by"] = reason.lifted_by
    return JsonResponse(body | extra, status=status, content_type=MEDIA_TYPE, headers=headers)


def status_of(error: CommonfarmError) -> HTTPStatus:
    """Return the status under which `error` is answered."""
    match error:
        case ProblemError():
            return error.status
        case BadInputError():
            return HTTPStatus.UNPROCESSABLE_ENTITY
        case ForbiddenError():
            return HTTPStatus.FORBIDDEN
        case NotFoundError():
            return HTTPStatus.NOT_FOUND
        case UnreachableError():
            return HTTPStatus.SERVICE_UNAVAILABLE
        case _:
            return HTTPStatus.CONFLICT


def answer(_request: HttpRequest, error: CommonfarmError) -> HttpResponse:
    """Answer a request with what went wrong, every fault of the input included."""
    extra: dict[str, Any] = {}
    if isinstance(error, BadInputError):
        extra["problems"] = [
            {
                "file": one.file,
                "line": one.line,
                "column": one.column,
                "what": one.what,
                "to_do": one.to_do,
            }
            for one in error.problems
        ]
    return problem(status_of(error), error.reason, **extra)
