"""What a replay found, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from commonfarm.lib.terminal import harmless
from commonfarm.lib.units import format_bytes
from commonfarm.mirrors.replaying.replay import Carried, Replayed, Stays, Sum
from commonfarm.mirrors.wording import percent
from commonfarm.redirector.countries import COUNTRIES

MOST_COUNTRIES = 20
MOST_FILES = 20
MOST_MIRRORS = 50


def document(found: Replayed, most_files: int = 1000) -> dict[str, Any]:
    """Return what was found, as JSON has it. No address is in it."""
    return {
        "first": _time(found.first),
        "last": _time(found.last),
        "lines_not_understood": found.odd,
        "all": _sum(found.all),
        "carried": _sum(found.carried),
        "carried_part": _part(found.carried.size, found.all.size),
        "origin": {
            "requests": found.all.requests - found.carried.requests,
            "bytes": found.all.size - found.carried.size,
            "redirects_bytes": found.redirects_size,
        },
        "origin_part": _part(found.all.size - found.carried.size, found.all.size),
        "stays": [{"code": str(why), "why": why.text, **_sum(one)} for why, one in _stays(found)],
        "mirrors": [{"mirror": name, **_sum(one)} for name, one in _most(found.mirrors)],
        "countries": [{"country": name, **_carried(one)} for name, one in _most(found.countries)],
        "files": [
            {"path": name.encode("utf-8", "replace").decode(), **_carried(one)}
            for name, one in _most(found.files)[:most_files]
        ],
        "files_forgotten": found.forgotten,
    }


def lines(found: Replayed) -> Iterator[str]:
    """Yield what was found, for people: what matters first."""
    size, carried = found.all.size, found.carried
    origin = size - carried.size
    yield (
        f"{_count(found.all.requests, ' request')} from {_time(found.first)}"
        f" to {_time(found.last)}: {format_bytes(size)}"
    )
    if found.odd:
        yield f"{_count(found.odd, ' line')} of no format that is known"
    yield (
        f"Mirrors would have carried {format_bytes(carried.size)} ({_percent(carried.size, size)})"
        f" in {_count(carried.requests, ' request')}"
    )
    yield (
        f"We would have served {format_bytes(origin)} ({_percent(origin, size)}), and about"
        f" {format_bytes(found.redirects_size)} of redirects"
    )
    yield from _table(
        "What we still serve, and why",
        [(why.text, one.requests, one.size, "") for why, one in _stays(found)],
    )
    yield from _table(
        "Mirrors",
        [
            (name, one.requests, one.size, _percent(one.size, carried.size))
            for name, one in _most(found.mirrors)[:MOST_MIRRORS]
        ],
    )
    yield from _table(
        "Countries, and how much of each mirrors would have carried",
        [
            (_country(name), one.requests, one.size, _percent(one.carried, one.size))
            for name, one in _most(found.countries)[:MOST_COUNTRIES]
        ],
    )
    about = ", about" if found.forgotten else ""
    yield from _table(
        f"Files, and how much of each mirrors would have carried{about}",
        [
            (name, one.requests, one.size, _percent(one.carried, one.size))
            for name, one in _most(found.files)[:MOST_FILES]
        ],
    )


def _table(title: str, rows: list[tuple[str, int, int, str]]) -> Iterator[str]:
    if not rows:
        return
    yield ""
    yield title
    width = min(60, max(len(row[0]) for row in rows))
    for name, requests, size, part in rows:
        cells = f"{_count(requests):>14}  {format_bytes(size):>11}  {part:>10}".rstrip()
        yield f"  {harmless(name):<{width}}{cells}"


def _stays(found: Replayed) -> list[tuple[Stays, Sum]]:
    return sorted(found.stays.items(), key=lambda item: (-item[1].size, -item[1].requests))


def _most(found: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(found.items(), key=lambda item: (-item[1].size, item[0]))


def _sum(one: Sum) -> dict[str, int]:
    return {"requests": one.requests, "bytes": one.size}


def _carried(one: Carried) -> dict[str, int]:
    return {**_sum(one), "carried_bytes": one.carried}


def _part(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


def _percent(part: int, whole: int) -> str:
    return percent(part / whole if whole else 0.0)


def _count(number: int, noun: str = "") -> str:
    return f"{number:,}{noun}{'s' if noun and number != 1 else ''}"


def _country(code: str) -> str:
    known = COUNTRIES.get(code)
    return known.name if known else "not known"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
