"""The API's own corner: tokens for the live streams."""

from __future__ import annotations

from http import HTTPStatus

from django.conf import settings
from django.http import HttpRequest
from ninja import Field, Query, Router, Schema

from commonfarm.accounts.interface import Role
from commonfarm.http.interface import require
from commonfarm.web import live_token

router = Router(tags=["live"])


class Asked(Schema):
    """Which stream: `journal`, or `log:` and the number of a lease."""

    stream: str = Field(..., pattern=r"^(journal|log:[0-9]{1,18})$")


class LiveToken(Schema):
    """Where a stream is read, and the token that opens it within a minute."""

    token: str
    url: str


@router.get("/live-token", response={HTTPStatus.OK: LiveToken}, summary="Open a live stream")
def token(request: HttpRequest, asked: Query[Asked]) -> dict[str, str]:
    """Give a token for `journal`, or for `log:LEASE`."""
    user = require(request, Role.READER)
    path = asked.stream.replace(":", "/")
    return {
        "token": live_token.make(asked.stream, user.pk),
        "url": f"{settings.COMMONFARM.public_url('live')}/{path}",
    }
