"""What to say of a name that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_SHOWN = 30


def hint(wrong: str, known: Iterable[str]) -> str:
    """Return the known name that was likely meant, else the first of them; empty without any."""
    names = sorted(known)
    close = get_close_matches(wrong[:100], names, 1)
    if not close:  # of those written in other capitals
        alike = {name.casefold(): name for name in reversed(names)}
        found = get_close_matches(wrong[:100].casefold(), alike, 1)
        close = [alike[one] for one in found]
    if close:
        return f"did you mean `{close[0]}`?"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"there are: {', '.join(names[:_SHOWN])}{more}" if names else ""
