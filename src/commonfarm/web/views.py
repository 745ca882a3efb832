"""Pages that belong to no room: the errors."""

from __future__ import annotations

from http import HTTPStatus

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
    """Answer 500 without touching the database, which may be what is broken."""
    if request.path.startswith("/api/"):
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, BROKEN)
    text = render_to_string("web/broken.html", {"reason": BROKEN})
    return HttpResponse(text, status=HTTPStatus.INTERNAL_SERVER_ERROR)
