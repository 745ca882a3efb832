"""`commonfarm estate verify`: whether a plan keeps what it promises, without the solver's help."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from commonfarm.estate.verbs import files
from commonfarm.estate.verbs.options import AS_JSON, DIRECTORY
from commonfarm.estate.verbs.wording import count
from commonfarm.lib.errors import ExitCode

if TYPE_CHECKING:
    from commonfarm.estate.plan import Plan
    from commonfarm.estate.verifier import Standing, Verified

PLAN = typer.Argument(metavar="PLAN", readable=False, help="What `estate plan --out` wrote.")
SHORT = 20


def verify(file: Path = PLAN, directory: Path = DIRECTORY, as_json: bool = AS_JSON) -> None:
    """Check all that a plan promises against the files; exit 1 if anything does not hold."""
    from commonfarm.estate import verifier
    from commonfarm.estate.folder import read_facts
    from commonfarm.estate.verbs.assumed import rests_on

    plan = _read(file)
    facts = read_facts(directory)
    result = verifier.verify(facts, plan)
    if as_json:
        assumptions = [asdict(one) for one in facts.assumptions]
        document = {**_document(plan, result), "assumptions": assumptions}
        typer.echo(json.dumps(document, indent=2, default=str))
    else:
        for line in (*_told(plan, result, directory), *rests_on(facts.assumptions)):
            typer.echo(line)
    if result.violations:
        raise typer.Exit(ExitCode.NO)


def _read(file: Path) -> Plan:
    from commonfarm.estate.plan import Plan
    from commonfarm.lib.errors import BadInputError, Problem

    to_do = "name a file with a plan"
    data = files.read(file, to_do)
    try:
        return Plan.from_json(data.decode(), str(file))
    except UnicodeDecodeError:
        what = "is no plan: it is not UTF-8"
        raise BadInputError(Problem(str(file), 0, 0, what, to_do)) from None


def _document(plan: Plan, result: Verified) -> dict[str, Any]:
    return {
        "holds": not result.violations,
        "at": plan.at,
        "violations": [
            {**asdict(one), "promise": one.promise.name.lower()} for one in result.violations
        ],
        "answers": [asdict(one) for one in result.standings],
        "placements": result.placements,
        "certificate_rows": result.rows,
    }


def _told(plan: Plan, result: Verified, directory: Path) -> Iterator[str]:
    from commonfarm.estate.verifier import Promise

    wrong = [one for one in result.violations if one.promise is not Promise.DIGEST]
    stale = len(result.violations) > len(wrong)
    if stale:
        yield "stale: the estate's files have changed since the plan was made"
        yield f"  make it anew: commonfarm estate plan {directory} --out FILE"
    if wrong:
        yield f"does not hold: {count(len(wrong), 'broken promise')}"
        yield from (f"  {one}" for one in wrong[:SHORT])
        if len(wrong) > SHORT:
            yield f"  and {len(wrong) - SHORT} more: see --json"
        return
    yield "all that it promises still holds" if stale else "holds: all that it promises"
    intervals = len({one.interval for one in result.standings})
    yield (
        f"checked as of {plan.at}: {count(result.placements, 'placement')} in"
        f" {count(intervals, 'interval')} at low, likely and high,"
        f" {count(result.rows, 'row')} of certificates"
    )
    yield from _claim("most placed", [(one, one.most_placed) for one in result.standings])
    yield from _claim("fewest moves", [(one, one.fewest_moves) for one in result.standings])


def _claim(claim: str, standings: list[tuple[Standing, str]]) -> Iterator[str]:
    """Say of how many answers a claim is checked; name the others, with what is checked of them."""
    from commonfarm.estate.verifier import CHECKED

    counts = Counter(standing for _, standing in standings)
    if len(counts) == 1:
        yield f"{claim}: {next(iter(counts))}"
        standings = [(one, standing) for one, standing in standings if one.bound != one.weight]
    else:
        said = (f"{standing} in {counts[standing]}" for standing in sorted(counts))
        yield f"{claim}: {', '.join(said)} of {len(standings)} answers"
    open_ones = [one for one, standing in standings if standing != CHECKED]
    for one in open_ones[:SHORT]:
        gap = ""
        if one.bound != one.weight:
            gap = f": weighs {one.weight}, and none weighs more than {one.bound}"
        yield f"  {one.interval}, {one.level}{gap}"
    if len(open_ones) > SHORT:
        yield f"  and {len(open_ones) - SHORT} more: see --json"
