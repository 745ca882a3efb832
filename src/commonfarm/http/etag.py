"""ETag and If-Match: an edit names the version it was made from (RFC 9110, section 13)."""

from __future__ import annotations

import hashlib
import json
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest

from commonfarm.http.problems import ProblemError
from commonfarm.lib.errors import Reason


def etag_of(shown: dict[str, Any]) -> str:
    """Return the entity tag of a resource as it is shown."""
    text = json.dumps(shown, sort_keys=True, default=str).encode()
    return f'"{hashlib.sha256(text).hexdigest()[:32]}"'


def check_if_match(request: HttpRequest, etag: str) -> None:
    """Refuse an edit that names no version (428) or an older one (412)."""
    asked = request.headers.get("If-Match")
    if asked is None:
        raise ProblemError(
            HTTPStatus.PRECONDITION_REQUIRED,
            Reason("if-match-missing", "an edit needs If-Match", "send the ETag of what you read"),
        )
    if asked != "*" and etag not in [tag.strip() for tag in asked.split(",")]:
        raise ProblemError(
            HTTPStatus.PRECONDITION_FAILED,
            Reason("changed-meanwhile", "this was changed since you read it", "read it again"),
        )
