"""`commonfarm estate wanted`: what to ask for, and the letter that asks for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from commonfarm.estate.verbs.options import AS_JSON, AT, DIRECTORY, FULL, day, judged
from commonfarm.estate.verbs.wording import count, instances, without_place
from commonfarm.lib.errors import BadInputError, ExitCode, Problem
from commonfarm.lib.terminal import harmless

if TYPE_CHECKING:
    from commonfarm.estate.answers.wanted import Addition, Wanted, Wider
    from commonfarm.estate.facts import Facts

FOR = typer.Option(
    None,
    "--for",
    formats=["%Y-%m-%d"],
    metavar="DATE",
    help="For this day, when only what is known to stand then counts; else as of --at.",
)
LETTER = typer.Option(False, "--letter", help="Print a letter that a sponsor can read.")
SHORT = 4


def wanted(
    directory: Path = DIRECTORY,
    at: datetime | None = AT,
    wanted_for: datetime | None = FOR,
    letter: bool = LETTER,
    full: bool = FULL,
    as_json: bool = AS_JSON,
) -> None:
    """Say what to ask for so that all has a place; exit 1 if something cannot be helped."""
    from commonfarm.estate.answers.letter import letter as written
    from commonfarm.estate.answers.solving import wanted_of
    from commonfarm.estate.folder import read_facts
    from commonfarm.estate.verbs.assumed import rests_on

    today = day(at)
    then = day(wanted_for, "--for") if wanted_for else today
    if then < today:
        what, to_do = f"{then} is before {today}", "name a later day, or with --at an earlier one"
        raise BadInputError(Problem("--for", 0, 0, what, to_do))
    facts = read_facts(directory, judged(at))
    likely, high = wanted_of(facts, then)
    if as_json:
        assumptions = [asdict(one) for one in facts.assumptions]
        answer = {"day": then, "likely": asdict(likely), "high": asdict(high)}
        typer.echo(json.dumps({**answer, "assumptions": assumptions}, indent=2, default=str))
    elif letter:
        for line in written(facts, likely, then):
            typer.echo(harmless(line))
    else:
        told = _told(likely, high, then, _grows(facts, then), full)
        for line in (*told, *rests_on(facts.assumptions, full)):
            typer.echo(line)
    if likely.nowhere or likely.exposed:
        raise typer.Exit(ExitCode.NO)


def _grows(facts: Facts, then: date) -> bool:
    """Say whether needs are others on that day than they are written."""
    return any(one.since < then for one in facts.growth) or any(
        one.on <= then for one in facts.steps
    )


def _told(likely: Wanted, high: Wanted, then: date, grows: bool, full: bool) -> Iterator[str]:
    many = len(likely.on) + len(likely.nowhere)
    if not many:
        yield "no service says what it needs, so nothing is wanted"
        yield ""
        return
    survive = _survive(likely)
    placed = f"{count(len(likely.on), 'instance')} of {many}" if likely.nowhere else _all(many)
    if not likely.additions and not likely.wider:
        has = "has" if len(likely.on) == 1 else "have"
        yield f"{placed} {has} a place on {then}{survive}: no host is wanted"
    else:
        yield f"so that {placed} can run on {then}{survive}, ask for:"
        yield from _asked(likely, full)
        yield f"  {_best(likely)}"
    if _list(high) != _list(likely):
        yield f"  at high: {', '.join(_list(high)) or 'nothing'}; cost {high.cost}"
    elif likely.additions:
        yield "  at high, it is the same list"
    if grows:
        yield "  needs are taken as written; what they grow to by then, `estate forecast` says"
    yield ""
    if likely.nowhere:
        yield "what has no place whatever is asked for:"
        yield from without_place(likely.nowhere, full, 2 * SHORT)
        yield ""
    if likely.exposed:
        yield "what has no place after a loss, whatever is asked for:"
        for gone in likely.exposed if full else likely.exposed[: 2 * SHORT]:
            yield f"  without {gone.key} {gone.domain}: {instances(gone.instances, full, SHORT)}"
        yield from _more(len(likely.exposed) - 2 * SHORT, full)
        yield ""


def _asked(found: Wanted, full: bool) -> Iterator[str]:
    for one in found.additions:
        yield f"  {_of_kind(one)}: {one.title}, cost {one.cost}{' each' * (len(one.hosts) > 1)}"
        if full:
            for host, there in one.hosts.items():
                yield f"    {host}: {instances(there, full, SHORT) or 'a spare'}"
        else:
            guests = sorted(who for there in one.hosts.values() for who in there)
            yield f"    for {instances(guests, full, SHORT)}" if guests else "    spare"
    for more in found.wider:
        yield f"  {_wider(more)}"


def _wider(one: Wider) -> str:
    from commonfarm.estate.resources import resource

    if one.scope == "network":
        addresses = f"{one.more} more address{'' if one.more == 1 else 'es'}"
        prefix = f", {one.prefix} would do" if one.prefix else ""
        return f"{addresses} in network {one.name}, which has {one.there}{prefix}"
    show = resource(one.resource).format
    return f"{show(one.more)} more {one.resource} at site {one.name}, which has {show(one.there)}"


def _best(found: Wanted) -> str:
    hosts = f"{count(found.hosts, 'host')}, cost {found.cost}"
    if found.proven:
        return f"{hosts}: none is cheaper, nor as cheap with fewer hosts (the solver's word)"
    return f"{hosts}: the best that was found; none costs less than {found.bound}"


def _survive(found: Wanted) -> str:
    if not found.survive:
        return ""
    far = " as far as can be" if found.exposed else ""
    return f", also after the loss of any one {' or '.join(found.survive)}{far}"


def _list(found: Wanted) -> list[str]:
    return [_of_kind(one) for one in found.additions] + [_wider(one) for one in found.wider]


def _of_kind(one: Addition) -> str:
    return f"{len(one.hosts)} x {one.kind}{f' at {one.site}' if one.site else ''}"


def _all(many: int) -> str:
    return f"all {many} instances" if many > 1 else "the one instance"


def _more(many: int, full: bool) -> Iterator[str]:
    if many > 0 and not full:
        yield f"  and {many} more: see --full"
