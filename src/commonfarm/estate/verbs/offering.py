"""`commonfarm estate offer`: what one offer would unlock, until when, and what it would not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from commonfarm.estate.verbs.options import AS_JSON, AT, DIRECTORY, FULL, day, judged
from commonfarm.estate.verbs.wording import count, without_place
from commonfarm.lib.errors import ExitCode

if TYPE_CHECKING:
    from commonfarm.estate.answers.offers import Given, Offer
    from commonfarm.estate.facts import Facts

FILE = typer.Argument(
    metavar="FILE", readable=False, help="The offer: sponsors, pledges, sites and hosts, as YAML."
)
MAY_HOLD = ("hosts", "pledges", "sites", "sponsors")
SHORT = 6


def offer(
    directory: Path = DIRECTORY,
    file: Path = FILE,
    at: datetime | None = AT,
    full: bool = FULL,
    as_json: bool = AS_JSON,
) -> None:
    """Say what an offer would unlock and until when; exit 1 if it unlocks nothing."""
    from commonfarm.estate.answers.solving import offer_of
    from commonfarm.estate.verbs.assumed import rests_on

    today = day(at)
    facts, then = _both(directory, file, judged(at))
    found = offer_of(facts, then, today)
    if as_json:
        assumptions = [asdict(one) for one in then.assumptions]
        answer = {**asdict(found), "unlocks": found.unlocks, "assumptions": assumptions}
        typer.echo(json.dumps(answer, indent=2, default=str))
    else:
        for line in (*_told(found, full), *rests_on(then.assumptions, full)):
            typer.echo(line)
    if not found.unlocks:
        raise typer.Exit(ExitCode.NO)


def _both(directory: Path, file: Path, today: date) -> tuple[Facts, Facts]:
    """Return the estate without and with an offer; raise BadInputError for both's faults."""
    from commonfarm.estate.files import read_files
    from commonfarm.estate.folder import resolved
    from commonfarm.estate.reader import Text
    from commonfarm.estate.verbs import files
    from commonfarm.lib.errors import BadInputError, Problem

    texts = read_files(directory)
    data = files.read(file)
    if file.resolve().parent == directory.resolve() and file.name in {one.name for one in texts}:
        what = "lies in the estate's own folder, and so is part of the estate already"
        raise BadInputError(Problem(str(file), 0, 0, what, "move it elsewhere"))
    _, facts = resolved(texts, today)
    estate, then = resolved([*texts, Text(str(file), data)], today)
    document = estate.documents[-1]
    problems = [
        document.at((section,), f"an offer has no `{section}`", "leave it out", key=True)
        for section in document.value or ()
        if section not in MAY_HOLD
    ]
    if not problems and facts.hosts.keys() == then.hosts.keys():
        problems.append(Problem(str(file), 0, 0, "offers no host", "say which, under `hosts:`"))
    if problems:
        raise BadInputError(*problems)
    return facts, then


def _told(found: Offer, full: bool) -> Iterator[str]:
    for given in found.hosts if full else found.hosts[:SHORT]:
        yield _given(given)
    if len(found.hosts) > SHORT and not full:
        yield f"and {len(found.hosts) - SHORT} more hosts: see --full"
    yield ""
    if found.unlocked:
        yield f"it unlocks {count(len(found.unlocked), 'instance')} from {found.day} on:"
        lines = [f"{name} {_until(end)}" for name, end in found.unlocked.items()]
        yield from _list(lines, full)
    if found.longer:
        yield f"it keeps {count(len(found.longer), 'instance')} longer:"
        lines = [
            f"{name} {_until(end)}, and without it until {short}"
            for name, (short, end) in found.longer.items()
        ]
        yield from _list(lines, full)
    if found.survived:
        yield "what has a place without it then survives the loss of:"
        yield from _list([f"{who} {name}" for who, name in found.survived], full)
    if not found.unlocks:
        yield from _nothing(found)
    if found.moves:
        yield f"{count(len(found.moves), 'move')}:"
        yield from _list([f"{n}: {was} -> {to}" for n, (was, to) in found.moves.items()], full)
    if not found.proven:
        yield "the search was ended: there may be more in it"
    yield ""
    yield from _unplaced(found, full)


def _nothing(found: Offer) -> Iterator[str]:
    if found.unplaced:
        yield "it unlocks nothing: what has no place fits there neither"
    else:
        yield "it unlocks nothing: all has a place without it, and no loss is mended by it"


def _unplaced(found: Offer, full: bool) -> Iterator[str]:
    if not found.unplaced:
        return
    yield f"without a place even so: {count(len(found.unplaced), 'instance')}"
    yield from without_place(found.unplaced, full, SHORT)
    yield ""


def _given(given: Given) -> str:
    whose = f" of {given.sponsor}" if given.sponsor else ""
    if given.end and given.end <= given.start:
        ask = "ask as of an earlier day, with --at"
        return f"host {given.host}{whose} is no longer there on {given.end}: {ask}"
    if given.end:
        end = f"until {given.end}"
    elif given.assured:
        end = f"with no known end, assured until {given.assured} if notice were given at once"
    else:
        end = "with no known end"
    return f"host {given.host}{whose} is there from {given.start} on, {end}"


def _until(end: date | None) -> str:
    return f"until {end}" if end else "without a known end"


def _list(lines: Sequence[str], full: bool) -> Iterator[str]:
    yield from (f"  {line}" for line in (lines if full else lines[:SHORT]))
    if len(lines) > SHORT and not full:
        yield f"  and {len(lines) - SHORT} more: see --full"
