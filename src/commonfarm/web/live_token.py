"""Tokens by which the hub lets a page, or the command line, open one live stream.

They are signed, not kept: the live process knows nobody's session. One is good for one stream and
for a minute to connect.
"""

from __future__ import annotations

from django.core import signing

SALT = "live"
SECONDS = 60


def make(stream: str, user_id: int) -> str:
    """Return a token with which the user may open `stream` within the next minute."""
    return signing.dumps({"stream": stream, "user": user_id}, salt=SALT)


def is_good(token: str, stream: str) -> bool:
    """Say whether `token` opens `stream` now."""
    try:
        held = signing.loads(token, salt=SALT, max_age=SECONDS)
    except signing.BadSignature:
        return False
    return isinstance(held, dict) and held.get("stream") == stream
