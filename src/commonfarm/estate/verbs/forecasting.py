"""`commonfarm estate forecast`: what runs out first, when, and what would lift it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from commonfarm.estate.verbs.options import AS_JSON, AT, DIRECTORY, FULL, day, judged
from commonfarm.estate.verbs.wording import some

if TYPE_CHECKING:
    from fractions import Fraction

    from commonfarm.estate.answers.addresses import NetworkAhead
    from commonfarm.estate.answers.forecast import Forecast
    from commonfarm.estate.answers.ladder import RungAhead
    from commonfarm.estate.answers.outlooks import Outlook
    from commonfarm.estate.answers.transfers import TransferAhead
    from commonfarm.estate.facts import Range

MONTHS = typer.Option(
    None, "--months", min=1, max=600, help="How far to look, else to the policy's horizon."
)
SHORT = 5
ALL_OF_IPV4 = 2**32


def forecast(
    directory: Path = DIRECTORY,
    months: int | None = MONTHS,
    at: datetime | None = AT,
    full: bool = FULL,
    as_json: bool = AS_JSON,
) -> None:
    """Say what runs out first and when, and which split of a service comes next."""
    from commonfarm.estate.answers.forecast import document
    from commonfarm.estate.answers.forecast import forecast as look_ahead
    from commonfarm.estate.folder import read_facts
    from commonfarm.estate.verbs.assumed import rests_on

    today = day(at)
    ahead = look_ahead(read_facts(directory, judged(at)), today, months)
    if as_json:
        typer.echo(json.dumps(document(ahead, curves=full), indent=2))
        return
    for line in (*told(ahead, full), *rests_on(ahead.assumptions, full)):
        typer.echo(line)


def told(ahead: Forecast, full: bool) -> Iterator[str]:
    yield f"from {ahead.start} to {ahead.end}:"
    yield ""
    yield from _outlooks(ahead, full)
    if ahead.rungs:
        yield "rungs of the ladders:"
        for rung in ahead.rungs:
            yield from _rung(rung)
        yield ""
    if ahead.networks:
        yield "networks:"
        for network in ahead.networks:
            yield from _network(network)
        yield ""
    if ahead.transfers:
        yield "transfers:"
        for transfer in ahead.transfers:
            yield from _transfer(transfer)
        yield ""
    if ahead.at_work:
        yield "out at once, at most:"
        for one in ahead.at_work:
            name = f"{one.service}/{one.component}/{one.environment}"
            yield f"  {name}: {_counts(one.out)} of {_counts(one.instances)}"
        yield ""
    if ahead.gaps:
        yield "could not be counted:"
        yield from (f"  {gap}" for gap in ahead.gaps)
        yield ""


def _outlooks(ahead: Forecast, full: bool) -> Iterator[str]:
    """Without `full` what runs out first; a service's date is that of the host in its way."""
    own = [one for one in ahead.outlooks if one.scope != "service"]
    out = [one for one in own if one.reason]
    if not ahead.outlooks:
        yield "no service says how much it needs, so no host and no site runs out"
    elif full:
        yield "what runs out, the first first:"
        for one in ahead.outlooks:
            yield from _outlook(one)
    elif not out:
        yield "nothing runs out"
    else:
        leaving = [one for one in out if _leaves(one)]
        rest = [one for one in out if not _leaves(one)]
        yield "runs out first:"
        for one in rest[:SHORT]:
            yield from _outlook(one)
        if len(rest) > SHORT:
            yield f"  and {len(rest) - SHORT} more: see --full"
        if leaving:
            hosts = [*dict.fromkeys(f"{one.name} on {one.out.likely}" for one in leaving)]
            says = "`estate cliff` says what that breaks"
            yield f"  hosts leave that are used: {some(hosts, full, SHORT)}; {says}"
    yield ""


def _leaves(one: Outlook) -> bool:
    """Say whether it runs out as its host leaves, as all does there."""
    gone = one.reason and one.reason.code == "capacity-goes" and one.out.likely
    return bool(one.scope == "host" and gone)


def _outlook(one: Outlook) -> Iterator[str]:
    from commonfarm.estate.resources import resource

    kind = resource(one.resource)
    name = one.name if one.scope == "estate" else f"{one.scope} {one.name}"
    endless = one.scope == "service" and not one.limit
    yield f"  {one.resource} of {name}: {'nothing limits it' if endless else one.out}"
    known = {"observed": "measured", "requested": "as asked for", "planned": "planned"}
    has = f" of {kind.format(int(one.capacity[0][1]))}" if one.capacity else ""
    shown = _estimate if one.load.grows() else _amount
    now = f"    {shown(one.resource, one.today, one.most)}{has} today"
    now += f" ({' and '.join(known[basis] for basis in one.bases)})"
    if "observed" in one.bases and one.requested.high:
        now += f", asked for {shown(one.resource, one.requested, one.most)}"
    yield now + (f"; doubles by {one.doubles_on}" if one.doubles_on else "")
    if one.reason and one.limit:
        yield f"    because of {one.limit}"
    elif one.reason:
        if one.reason.code in ("event", "capacity-goes"):
            yield f"    {one.reason.text}"
        yield f"    lifted by: {one.reason.lifted_by}"


def _amount(key: str, amounts: Range, beside: int | None = None) -> str:
    from commonfarm.estate.resources import resource

    return _range(lambda amount: resource(key).format(amount, beside), amounts)


def _estimate(key: str, amounts: Range, beside: int | None = None) -> str:
    from commonfarm.estate.resources import resource

    return _range(lambda amount: resource(key).estimate(amount, beside), amounts)


def _range(shown: Callable[[int], str], amounts: Range) -> str:
    if amounts.exact:
        return shown(amounts.likely)
    return f"{shown(amounts.likely)} ({shown(amounts.low)} to {shown(amounts.high)})"


def _rung(one: RungAhead) -> Iterator[str]:
    from commonfarm.lib.terminal import harmless

    rung = one.rung
    where = f"site {one.site}" if one.site else f"host {one.host}"
    passes = "pass" if rung.resource.endswith("cores") else "passes"
    when = f"{rung.resource} of {where} {passes} {float(rung.above):.0%}" if one.host else ""
    due = "no date" if one.reason else f"{one.due}"
    yield f"  {rung.service} {rung.number}, {rung.component}: {due}"
    yield f"    {harmless(rung.change)}{f', when {when}' if when else ''}"
    if one.reason:
        yield f"    {one.reason}"
        return
    needs = rung.requirement.amounts if rung.requirement else {}
    shown = ", ".join(f"{key} {_amount(key, amount)}" for key, amount in sorted(needs.items()))
    takes = ", ".join(f"{key} {_estimate(key, one.takes[key])}" for key in sorted(one.takes))
    yield f"    it takes {takes} then{f'; asked for: {shown}' if shown else ''}"
    if one.rests_on:
        yield f"    the date rests on: {'; '.join(one.rests_on)}"


def _network(one: NetworkAhead) -> Iterator[str]:
    network = one.network
    yield f"  {network.site}/{network.name} {network.prefix}: {one.out}"
    left = network.capacity - one.taken
    if network.capacity > ALL_OF_IPV4:  # where they are counted, their number says nothing
        taken, find = f"{one.taken} addresses taken", ""
    else:
        taken = f"{one.taken} of {network.capacity} addresses taken, {max(0, left)} left"
        find = f", of which {max(0, left)} find one" if one.planned.high > left else ""
    yield f"    {taken}; {_counts(one.planned)} planned{find}; {one.most.high} at most"
    if one.undecided.high:
        yield f"    up to {one.undecided.high} more of instances that may go elsewhere"
    if one.reason:
        yield f"    lifted by: {one.reason.lifted_by}"


def _transfer(one: TransferAhead) -> Iterator[str]:
    from commonfarm.estate.facts import LEVELS
    from commonfarm.estate.resources import RESOURCES
    from commonfarm.lib.units import format_seconds

    said = one.transfer
    link = RESOURCES["bandwidth"]
    # Links are decimal, and so are the sizes that people put through them.
    size = RESOURCES["traffic"].format(said.size).removesuffix("/month")
    copies = "copy" if said.copies.high == 1 else "copies"
    yield f"  {said.name}: {_counts(said.copies)} {copies} of {size} over {link.format(said.link)}"

    def span(likely: Fraction, high: Fraction) -> str:
        most = f", {format_seconds(float(high))} at high" if high != likely else ""
        return f"{format_seconds(float(likely))}{most}"

    for number in range(0, len(one.ways), len(LEVELS)):
        _, likely, high = one.ways[number : number + len(LEVELS)]
        told = f"    {high.remedy}: {span(likely.seconds, high.seconds)}"
        if "cache" in high.remedy:
            told += f" ({_cross(high.copies)} the link)"
        if likely.handed_on is not None and high.handed_on is not None:
            each = "that cache" if high.copies == 1 else "each"
            told += f", {span(likely.handed_on, high.handed_on)} out of {each} by a link like it"
        yield f"{told}{'; too long at high' if high.fits is False else ''}"
    if one.needed and said.within:
        most = link.format(one.needed["high"])
        yield (
            f"    within {format_seconds(said.within)}: {link.format(one.needed['likely'])}"
            f"{'' if said.copies.exact else f', {most} at high'}"
            f" ({one.links['high']} such links, or as many caches with one each)"
        )


def _cross(copies: int) -> str:
    return "1 copy crosses" if copies == 1 else f"{copies} copies cross"


def _counts(amounts: Range) -> str:
    return _range(str, amounts)
