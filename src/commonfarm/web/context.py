"""What every template is given."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def navigation(_request: HttpRequest) -> dict[str, Any]:
    """Name the installation, so that nobody mistakes testing for production."""
    return {"installation": settings.COMMONFARM.name}
