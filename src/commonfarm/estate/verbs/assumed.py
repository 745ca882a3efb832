"""What an answer rests on that nobody said: shown below each answer, in the same words."""

from __future__ import annotations

from collections.abc import Sequence

from commonfarm.estate.facts import Assumption
from commonfarm.lib.terminal import harmless


def rests_on(assumptions: Sequence[Assumption]) -> list[str]:
    """Return the lines that say so; none where there are no assumptions."""
    if not assumptions:
        return []
    number = "1 assumption" if len(assumptions) == 1 else f"{len(assumptions)} assumptions"
    return [
        f"rests on {number}:",
        *(f"  {one.where}: {harmless(one.what)}" for one in assumptions),
    ]
