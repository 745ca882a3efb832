"""What an answer rests on that nobody said: shown below each answer, in the same words."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

from commonfarm.estate.facts import Assumption
from commonfarm.lib.terminal import harmless


def rests_on(assumptions: Sequence[Assumption], full: bool = False) -> list[str]:
    """Return the lines that say so; none where there are no assumptions.

    On a terminal each is one line of it, unless `full`.
    """
    if not assumptions:
        return []
    number = "1 assumption" if len(assumptions) == 1 else f"{len(assumptions)} assumptions"
    lines = [f"  {one.where}: {harmless(one.what)}" for one in assumptions]
    if not full and sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        lines = [one if len(one) <= width else f"{one[: width - 1]}…" for one in lines]
    return [f"rests on {number}:", *lines]
