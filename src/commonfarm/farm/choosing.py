"""Which targets of a project are meant. No Django here: the command line asks before it uploads."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from commonfarm.lib.errors import BadInputError, Problem, Reason, RefusedError
from commonfarm.lib.hints import hint


def choose_targets(named: Sequence[str], project: str, known: Collection[str]) -> list[str]:
    """Return the names of the targets that are `named`, of all that are `known` where none is.

    Raises BadInputError for each that is not among the project's, RefusedError when it has none.
    """
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
    if not known:
        raise RefusedError(
            Reason("no-target", f"the project {project} has no target", "add one in the estate")
        )
    return list(dict.fromkeys(named)) or sorted(known)
