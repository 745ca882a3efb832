"""What every answer of the hub is given."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers

from commonfarm.http.interface import problem
from commonfarm.lib.errors import Reason

Answer = Callable[[HttpRequest], HttpResponse]

REFUSALS = {
    HTTPStatus.FORBIDDEN: Reason(
        "csrf-failed", "the session's secret is missing", "send X-CSRFToken, or an API token"
    ),
    HTTPStatus.METHOD_NOT_ALLOWED: Reason(
        "method-not-allowed", "this address has no such method", "see `Allow`"
    ),
}


class ContentSecurityPolicy:
    """Lets a page load only what this hub serves, and its live streams."""

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response
        live = settings.COMMONFARM.public_url("live")
        self.policy = (
            f"default-src 'self'; connect-src 'self' {live}; img-src 'self' data:;"
            " object-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
        )

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Add the policy to the answer; pages of the signed-in are not kept by caches."""
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", self.policy)
        if not response.has_header("Cache-Control"):
            response.headers["Cache-Control"] = "private, no-cache"
            patch_vary_headers(response, ["Cookie"])
        return response


class ProblemDetails:
    """Gives what Django itself refuses below `/api/` the form of the API's refusals."""

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Replace a refusal that is no problem document by one that is."""
        response = self.get_response(request)
        status = HTTPStatus(response.status_code)
        if (
            request.path.startswith("/api/")
            and status >= HTTPStatus.BAD_REQUEST
            and not response.headers.get("Content-Type", "").startswith("application/problem+json")
        ):
            reason = REFUSALS.get(
                status, Reason(status.phrase.lower().replace(" ", "-"), status.phrase)
            )
            kept = {key: value for key, value in response.headers.items() if key == "Allow"}
            return problem(status, reason, headers=kept)
        return response
