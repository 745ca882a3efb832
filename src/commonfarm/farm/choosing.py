"""Which targets of a project are meant. No Django here: the command line asks before it uploads."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from commonfarm.lib.errors import BadInputError, Problem
from commonfarm.lib.hints import hint


def check_targets(named: Sequence[str], project: str, known: Collection[str]) -> None:
    """Raise BadInputError for each of `named` that is not among the project's `known` targets."""
    unknown = sorted(set(named) - set(known))
    if unknown:
        raise BadInputError(
            *(
                Problem(
                    "targets",
                    0,
                    0,
                    f"{name[:80]!r} is not a target of {project}",
                    hint(name, known) or "it has none",
                )
                for name in unknown
            )
        )
