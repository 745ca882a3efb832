"""What to say of a name that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_SHOWN = 20


def hint(wrong: str, known: Iterable[str]) -> str:
    """Return the known name that was likely meant, else the first of them; empty without any."""
    names = sorted(known)
    close = get_close_matches(wrong[:100], names, 1)
    if close:
        return f"did you mean `{close[0]}`?"
    return f"there are: {', '.join(names[:_SHOWN])}" if names else ""
