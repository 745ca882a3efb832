"""Following aliases: paths of a tree that stand for others, as symbolic links do."""

from __future__ import annotations

from collections.abc import Mapping

MOST_HOPS = 16


def follow(aliases: Mapping[str, str], longest: int, path: str) -> str | None:
    """Return what `path` stands for; `path` itself when nothing of it is an alias.

    The longest alias that is `path` or a folder above it counts, again and again. None when that
    has no end after MOST_HOPS. `longest` is the length of the longest alias: no more of a hostile
    path is looked at.
    """
    for _ in range(MOST_HOPS):
        fresh = _once(aliases, longest, path)
        if fresh is None:
            return path
        path = fresh
    return None


def _once(aliases: Mapping[str, str], longest: int, path: str) -> str | None:
    end = len(path) if len(path) <= longest else path.rfind("/", 0, longest + 1)
    while end > 0:
        target = aliases.get(path[:end])
        if target is not None:
            return target + path[end:]
        end = path.rfind("/", 0, end)
    return None
