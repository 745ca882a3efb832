"""What the verbs' arguments are called, once."""

from __future__ import annotations

from datetime import UTC, date, datetime

import typer

from commonfarm.lib.errors import BadInputError, Problem

AS_JSON = typer.Option(False, "--json", help="Print JSON.")
# Not checked by Typer: whether it can be read is said in our words, and may be the hub's affair.
DIRECTORY = typer.Argument(metavar="DIR", readable=False, help="The folder of the YAML files.")
FULL = typer.Option(False, "--full", help="Print everything.")
AT = typer.Option(
    None, "--at", formats=["%Y-%m-%d"], metavar="DATE", help="As of this day, else today."
)


FIRST, LAST = 1970, 9000


def day(at: datetime | None, option: str = "--at") -> date:
    """Return the day asked for by an option, today in UTC where none was.

    Raise BadInputError for a year from which one cannot reckon on.
    """
    asked = (at or datetime.now(UTC)).date()
    if not FIRST <= asked.year <= LAST:
        what, to_do = f"{asked} is no day to plan for", f"name one of {FIRST} to {LAST}"
        raise BadInputError(Problem(option, 0, 0, what, to_do))
    return asked


def judged(at: datetime | None) -> date:
    """Return the day as of which it is judged what runs where: that of `--at`, but today at most.

    What runs today on a host that is gone by a later day is no fault: it has to move.
    """
    return min(day(at), day(None))
