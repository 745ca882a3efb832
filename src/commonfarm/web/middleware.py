"""Headers that every page carries."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse


class ContentSecurityPolicy:
    """Lets a page load only what this hub serves, and its live streams."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        live = settings.COMMONFARM.url("live")
        self.policy = (
            f"default-src 'self'; connect-src 'self' {live}; img-src 'self' data:;"
            " frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
        )

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Add the policy to the answer."""
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", self.policy)
        return response
