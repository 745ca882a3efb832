"""Sizes and durations as people write them: `1.5 GiB`, `20 MB`, `90 s`, `2 h`."""

from __future__ import annotations

import re

BYTES = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_MOST = 2**63 - 1  # what a column of the database holds
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*")


def _parse(text: str, units: dict[str, int], kind: str) -> int:
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2] not in units:
        raise ValueError(f"{text!r} is not a {kind}; write a number and one of {', '.join(units)}")
    amount = float(match[1]) * units[match[2]]
    if amount > _MOST:
        raise ValueError(f"{text[:80]!r} is more than any {kind} there is")
    return round(amount)


def parse_bytes(text: str) -> int:
    """Return the bytes that `text` names; raise ValueError that says which units there are."""
    return _parse(text, BYTES, "size")


def parse_seconds(text: str) -> int:
    """Return the seconds that `text` names; raise ValueError that says which units there are."""
    return _parse(text, _SECONDS, "duration")


def format_bytes(size: int) -> str:
    """Return `size` bytes in the largest binary unit that leaves at least 1, one decimal."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size >= BYTES[unit]:
            return f"{size / BYTES[unit]:.1f} {unit}"
    return f"{size} B"


def format_seconds(seconds: float) -> str:
    """Return a duration for people: `0.4 s`, `42 s`, `3 min 05 s`, `2 h 10 min`, `7 d`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 2 * 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    hours = whole % 86400 // 3600
    return f"{whole // 86400} d {hours:02d} h" if hours else f"{whole // 86400} d"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where it is not one."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{ending}"
