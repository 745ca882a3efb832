"""How answers name many things in a line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from commonfarm.estate.showing import first_of, in_a_row
from commonfarm.lib.terminal import harmless

if TYPE_CHECKING:
    from commonfarm.estate.plan import Unplaced
    from commonfarm.lib.errors import Reason

NAMES = 6


def count(many: int, what: str) -> str:
    """Return `1 host` or `2 hosts`."""
    return f"{many} {what}{'' if many == 1 else 's'}"


def some(names: Sequence[str], full: bool, most: int) -> str:
    """Return the first of many names and how many more there are; with `full` all of them."""
    return first_of(names, len(names) if full else most)


def instances(names: Sequence[str], full: bool, most: int) -> str:
    """Return instances' names, those in a row as one, and how many more instances there are."""
    rows = in_a_row(names)
    shown = rows if full else rows[:most]
    left = len(names) - sum(_in(row) for row in shown)
    return ", ".join(shown) + (f" and {left} more" if left else "")


def without_place(found: Sequence[Unplaced], full: bool, most: int) -> Iterator[str]:
    """Tell why these have no place; those that share all reasons together, the most first."""
    together: dict[tuple[Reason, ...], list[str]] = {}
    for one in found:
        together.setdefault(one.reasons if full else one.reasons[:1], []).append(one.instance)
    shown = sorted(together.items(), key=lambda one: -len(one[1]))[: None if full else most]
    for reasons, names in shown:
        late = "" if reasons else ": not found in the time given"
        yield f"  {instances(names, full, NAMES)}{late}"
        yield from reasons_of(reasons)
    left = len(found) - sum(len(names) for _, names in shown)
    if left:
        yield f"  and {left} more: see --full"


def reasons_of(reasons: Iterable[Reason]) -> Iterator[str]:
    """Tell each reason, and what would lift it."""
    for reason in reasons:
        yield f"    {harmless(reason.text)}"
        yield f"      lifted by: {harmless(reason.lifted_by)}"


def placements(on: Mapping[str, str], full: bool, most: int) -> list[str]:
    """Return where instances are, those in a row on a host as one, and how many more there are."""
    by_host: dict[str, list[str]] = {}
    for name, host in on.items():
        by_host.setdefault(host, []).append(name)
    rows = [(row, host) for host, names in by_host.items() for row in in_a_row(names)]
    rows.sort(key=lambda one: counted(one[0]))
    shown = rows if full else rows[:most]
    left = len(on) - sum(_in(row) for row, _ in shown)
    return [f"{row} on {host}" for row, host in shown] + ([f"{left} more"] if left else [])


def counted(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts names as people count: a2 before a10."""
    parts = re.split(r"(\d+)", name)
    return [(len(part) if part.isdecimal() else 0, part) for part in parts]


def _in(row: str) -> int:
    first, _, last = row.rpartition("/")[2].partition("-")
    return int(last or first) - int(first) + 1
