"""What a client would rather have, from its `Accept` header (RFC 9110, section 12.5.1). Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

MOST_RANGES = 32
"""How many media ranges of one header are read; more only costs time."""

METALINK4 = "application/metalink4+xml"
METALINK3 = "application/metalink+xml"

_WEIGHT = re.compile(r"\s*q\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*", re.IGNORECASE)


@lru_cache(maxsize=256)
def _ranges(accept: bytes) -> dict[str, float]:
    found: dict[str, float] = {}
    for one in accept.decode("latin-1").split(",")[:MOST_RANGES]:
        kind, *parameters = one.split(";")
        weights = [match[1] for text in parameters if (match := _WEIGHT.fullmatch(text))]
        found[kind.strip().lower()] = float(weights[0]) if weights else 1.0
    return found


def weight_of(accept: bytes, kind: str) -> float:
    """Return how much a client wants `kind`: 0 (not at all) to 1. The closest range counts."""
    ranges = _ranges(accept)
    for name in (kind, kind.partition("/")[0] + "/*", "*/*"):
        if name in ranges:
            return ranges[name]
    return 0.0


def metalink_wanted(accept: bytes) -> str:
    """Return the metalink type that a client would rather have than the file itself, or "".

    It must name the type: aria2 sends it beside `*/*`, with which everybody else asks for a file.
    """
    if b"metalink" not in accept.lower():
        return ""
    ranges = _ranges(accept)
    weights = {kind: ranges.get(kind, 0.0) for kind in (METALINK4, METALINK3)}
    best = max(weights, key=weights.__getitem__)
    return best if 0 < weights[best] >= weight_of(accept, "application/octet-stream") else ""


def best_of(accept: bytes, kinds: Sequence[str]) -> str:
    """Return which of `kinds` a client wants most: at equal weight one it names, then the first.

    A client that wants none of them gets the first: better a list in another form than none.
    """
    if not accept:
        return kinds[0]
    ranges = _ranges(accept)
    return max(kinds, key=lambda kind: (weight_of(accept, kind), kind in ranges))
