"""How a value of the estate is shown in one line. No Django in here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from commonfarm.estate.facts import Assumption
from commonfarm.lib.units import format_seconds

FEW = 10


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


def assumptions_as_text(assumptions: Sequence[Assumption], *, full: bool = False) -> Iterator[str]:
    """Yield what an answer rests on and nobody said, the first few of it unless `full`."""
    if not assumptions:
        return
    shown = assumptions if full else assumptions[:FEW]
    yield f"rests on {len(assumptions)} assumption{'s' if len(assumptions) > 1 else ''}:"
    yield from (f"  {one.where}: {one.what}" for one in shown)
    if len(shown) < len(assumptions):
        yield f"  and {len(assumptions) - len(shown)} more, see --full"
