"""Pages that belong to no room: the errors."""

from __future__ import annotations

import sys
from http import HTTPStatus

from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.template.loader import render_to_string

from commonfarm.http.interface import problem, refusal
from commonfarm.lib.errors import Reason

NOT_FOUND = Reason("not-found", "there is nothing at this address", "look at the address again")
FORBIDDEN = Reason(
    "forbidden",
    "the form was sent without the secret that this page puts into it",
    "let the browser accept cookies, load the page again and send the form again",
)
BROKEN = Reason(
    "internal-error",
    "something broke here, and it is not your doing",
    "try again; if it stays, the hub's log says more",
)
DATABASE_AWAY = Reason(
    "database-away",
    "the database does not answer",
    "`commonfarm status` shows whether it runs; try again when it does",
)
RETRY = {"Retry-After": "5"}
_AWAY_STATES = ("08", "57P", "53300")
"""Connection lost or refused, shutting down or starting, too many clients (PostgreSQL, app. A)."""


def _answer(request: HttpRequest, status: HTTPStatus, reason: Reason) -> HttpResponse:
    if request.path.startswith("/api/"):
        return problem(status, reason)
    return refusal(request, status, reason)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer 404."""
    said = str(exception) if isinstance(exception, Http404) and len(exception.args) == 1 else ""
    plain = said if said and not said.startswith("{") else ""
    return _answer(
        request, HTTPStatus.NOT_FOUND, Reason("not-found", plain) if plain else NOT_FOUND
    )


def bad_request(_request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer 400: the request itself is malformed, a host name that is not ours included."""
    reason = Reason("bad-request", "the request is malformed", "send it again as HTTP has it")
    return problem(HTTPStatus.BAD_REQUEST, reason)


def forbidden(request: HttpRequest, **_why: object) -> HttpResponse:
    """Answer 403 to a form without its CSRF token."""
    return _answer(request, HTTPStatus.FORBIDDEN, FORBIDDEN)


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer 403."""
    reason = Reason("forbidden", "this is not for you to see", "ask an admin for the role")
    return _answer(request, HTTPStatus.FORBIDDEN, reason)


def broken(request: HttpRequest) -> HttpResponse:
    """Answer 500, or 503 to the loss of the database; without touching that, which may be broken.

    Django calls this while it handles what was raised, in a view or around it.
    """
    if _is_database_away(sys.exc_info()[1]):
        status, reason, headers = HTTPStatus.SERVICE_UNAVAILABLE, DATABASE_AWAY, RETRY
        phrase = "The database is away"
    else:
        status, reason, headers = HTTPStatus.INTERNAL_SERVER_ERROR, BROKEN, {}
        phrase = "Something broke"
    if request.path.startswith("/api/"):
        return problem(status, reason, headers=headers)
    text = render_to_string("web/broken.html", {"phrase": phrase, "reason": reason})
    return HttpResponse(text, status=status, headers=headers)


def _is_database_away(error: BaseException | None) -> bool:
    """Tell a lost database from one that answers with an error, as after a deadlock."""
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    state = getattr(error.__cause__, "sqlstate", None)
    return state is None or state.startswith(_AWAY_STATES)
