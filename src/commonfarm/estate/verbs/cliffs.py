"""`commonfarm estate cliff`: what breaks when a pledge ends, or when somebody vanishes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from commonfarm.estate.verbs.options import AS_JSON, AT, DIRECTORY, FULL, day, judged
from commonfarm.estate.verbs.wording import count, instances, some

if TYPE_CHECKING:
    from commonfarm.estate.answers.cliffs import Cliffs, Loss
    from commonfarm.estate.facts import Facts

SHORT = 6
LOSSES = 12


def cliff(
    directory: Path = DIRECTORY,
    at: datetime | None = AT,
    full: bool = FULL,
    as_json: bool = AS_JSON,
) -> None:
    """Say what breaks at each pledge's end, and if a sponsor, site, host or person vanished."""
    from commonfarm.estate.answers.solving import cliffs_of
    from commonfarm.estate.folder import read_facts
    from commonfarm.estate.verbs.assumed import rests_on

    today = day(at)
    facts = read_facts(directory, judged(at))
    found = cliffs_of(facts, today)
    if as_json:
        assumptions = [asdict(one) for one in facts.assumptions]
        document = {**asdict(found), "assumptions": assumptions}
        typer.echo(json.dumps(document, indent=2, default=str))
        return
    for line in (*_told(facts, found, full), *rests_on(facts.assumptions, full)):
        typer.echo(line)


def _told(facts: Facts, found: Cliffs, full: bool) -> Iterator[str]:
    if not found.today:
        yield "no host stands, so there is nothing to lose"
        return
    if found.unplaced:
        have = "has" if len(found.unplaced) == 1 else "have"
        many = count(len(found.unplaced), "instance")
        yield f"{many} {have} no room as it is, and so nothing to lose: `estate plan` says why"
        yield f"  {instances(found.unplaced, full, SHORT)}"
        yield ""
    if found.ends:
        yield "when pledges end:"
        for one in found.ends[: _most(full)]:
            yield from _end(facts, one, full)
        yield from _more(found.ends, full)
        yield ""
    breaking = [one for one in found.today if one.lost]
    moving = [one for one in found.today if not one.lost and one.moves]
    idle = [one for one in found.today if not one.lost and not one.moves]
    if breaking:
        yield "if it vanished today, the largest loss first:"
        for one in breaking[: _most(full)]:
            yield from _vanished(one, full)
        yield from _more(breaking, full)
    else:
        others = "all the others have" if found.unplaced else "all has"
        yield f"whatever one sponsor, site, host or administrator vanished today, {others} room"
    if moving:
        yield "all has room elsewhere without:"
        for one in moving[: _most(full)]:
            yield f"  {one.who} {one.name}: {count(len(one.moves), 'move')}"
        yield from _more(moving, full)
    if idle:
        names = [f"{one.who} {one.name}" for one in idle]
        yield f"nothing is placed on: {some(names, full, SHORT)}"
    yield "room is what is counted here; what was not backed up is lost with its host"
    yield ""


def _most(full: bool) -> int | None:
    return None if full else LOSSES


def _more(losses: Sequence[Loss], full: bool) -> Iterator[str]:
    if len(losses) > LOSSES and not full:
        yield f"  and {len(losses) - LOSSES} more: see --full"


def _end(facts: Facts, one: Loss, full: bool) -> Iterator[str]:
    pledge = facts.pledges[one.name]
    how = "ends" if one.certain else "could end, if notice were given today"
    whose = f"pledge {one.name} of {pledge.sponsor} ({pledge.terms})"
    yield f"  {one.on} {whose} {how}: {_hosts(one, full)}"
    yield from _effect(one, full)


def _vanished(one: Loss, full: bool) -> Iterator[str]:
    yield f"  {one.who} {one.name}{'' if one.who == 'host' else f': {_hosts(one, full)}'}"
    yield from _effect(one, full)


def _effect(one: Loss, full: bool) -> Iterator[str]:
    if one.lost:
        many = count(len(one.lost), "instance")
        least = "" if one.proven else ", or fewer: the search was ended"
        yield f"    {many} without a host{least}: {instances(one.lost, full, SHORT)}"
        others = [name for name in one.lost if name not in one.displaced]
        if others:
            gone = instances(others, full, SHORT) if len(others) < len(one.lost) else ""
            yield f"      that makes room for what weighs more{f': {gone}' if gone else ''}"
    if one.moves:
        yield f"    {count(len(one.moves), 'move')}"
    for host in sorted(set(one.moves.values())):
        names = [name for name, its in one.moves.items() if its == host]
        yield f"      to {host}: {instances(names, full, SHORT)}"
    if not one.lost and not one.moves:
        yield "    nothing is placed there"


def _hosts(one: Loss, full: bool) -> str:
    return f"{'host' if len(one.hosts) == 1 else 'hosts'} {some(one.hosts, full, SHORT)}"
