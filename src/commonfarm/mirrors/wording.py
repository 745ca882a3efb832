"""How pages and the command line write what both tell. No Django."""

from __future__ import annotations

from collections.abc import Sequence

from commonfarm.lib.units import format_bytes, parse_bytes


def percent(part: float) -> str:
    """Return a part of one as a text; what is neither all nor nothing is never said to be."""
    if 0 < part < 0.001:
        return "under 0.1%"
    if 0.999 < part < 1:
        return "over 99.9%"
    return f"{part:.1%}"


def overridden(country: str, mirrors: Sequence[str], origin: bool) -> str:
    """Say of clients what an operator's override of their network says."""
    if origin:
        return "are served by ourselves"
    if country:
        return f"count as in {country}"
    return f"get {', '.join(mirrors)} first" if mirrors else "are sent as others are"


def exact(size: int) -> str:
    """Return a size as it can be read again without any loss; empty for none."""
    if not size:
        return ""
    text = format_bytes(size)
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if size % (factor // 10) == 0 and size >= factor:
            return f"{size / factor:g} {unit}"
    return text if parse_bytes(text) == size else f"{size} B"
