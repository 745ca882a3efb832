"""How answers name many things in a line."""

from __future__ import annotations

from collections.abc import Sequence


def count(many: int, what: str) -> str:
    """Return `1 host` or `2 hosts`."""
    return f"{many} {what}{'' if many == 1 else 's'}"


def some(names: Sequence[str], full: bool, most: int) -> str:
    """Return the first of many names and how many more there are; with `full` all of them."""
    more = f" and {len(names) - most} more" if len(names) > most and not full else ""
    return ", ".join(names if full else names[:most]) + more
