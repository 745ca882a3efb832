"""Text of others on a terminal, which obeys what it is shown."""

from __future__ import annotations


def harmless(text: str, kept: str = "") -> str:
    """Return `text` with `?` for all that cannot be printed, but for the characters in `kept`."""
    return "".join(one if one.isprintable() or one in kept else "?" for one in text)
