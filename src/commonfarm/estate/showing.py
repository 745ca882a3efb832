"""How a value of the estate is shown in one line. No Django in here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from commonfarm.lib.units import format_seconds


def as_text(value: Any) -> str:
    """Return `value` as people write it: lists with commas, mappings as their values."""
    match value:
        case None | "" | []:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(as_text(one) for one in value)
        case dict():
            return " ".join(
                f"{key.removesuffix('_seconds')} for {format_seconds(one)}"
                if key.endswith("_seconds")
                else as_text(one)
                for key, one in value.items()
            )
    return str(value)


def first_of(names: Sequence[str], most: int = 3) -> str:
    """Return the first of many names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


FEW = 3
"""So many things of which the same is said are told one by one; more are told together."""


def alike(said: Iterable[tuple[str, str, str]]) -> list[str]:
    """Return lines of kind, name and what is said of it; many of which the same is said share one.

    A kind or name may be empty.
    """
    together: dict[tuple[str, str], list[str]] = {}
    for kind, name, text in said:
        together.setdefault((kind, text), []).append(name)
    lines = []
    for (kind, text), names in together.items():
        if len(names) > FEW:
            names = [_together(names)]
        for name in names:
            of = " ".join(filter(None, (kind, name)))
            lines.append(f"{of}: {text}" if of else text)
    return lines


def _together(names: list[str]) -> str:
    """Return many names as few: only numbers can be counted from one to another."""
    if len({name.rstrip("0123456789") for name in names}) == 1:
        return f"{names[0]} to {names[-1]} ({len(names)})"
    return f"{names[0]}, {names[1]} and {len(names) - 2} more"


def in_a_row(instances: Iterable[str]) -> list[str]:
    """Return instances' names with their numbers in a row as one: `wiki/web/production/1-3`."""
    parts = [name.rpartition("/") for name in instances]
    found: list[list[str]] = []
    for stem, _, number in sorted(parts, key=lambda one: (one[0], int(one[2]))):
        if found and found[-1][0] == stem and int(found[-1][2]) + 1 == int(number):
            found[-1][2] = number
        else:
            found.append([stem, number, number])
    return [f"{stem}/{a}" if a == b else f"{stem}/{a}-{b}" for stem, a, b in found]
