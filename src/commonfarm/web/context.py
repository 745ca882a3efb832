"""What every template is given."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

from commonfarm import __version__

NAVIGATION = (
    ("Overview", "overview", ()),
    ("Builds", "builds", ("/jobs/",)),
    ("Builders", "builders", ()),
    ("Trees", "trees", ()),
    ("Repositories", "repositories", ()),
    ("Mirrors", "mirrors", ()),
    ("Estate", "estate", ("/sponsors/",)),
    ("Journal", "journal", ()),
)


def navigation(request: HttpRequest) -> dict[str, Any]:
    """Name the installation, so that nobody mistakes testing for production, and the way about."""
    items = []
    for label, name, also in NAVIGATION:
        try:
            url = reverse(name)
        except NoReverseMatch:
            continue
        here = request.path == url
        below = url != "/" and request.path.startswith((url, *also))
        items.append({"label": label, "url": url, "here": here, "current": here or below})
    return {
        "installation": settings.COMMONFARM.name,
        "navigation": items,
        "version": __version__,
    }
