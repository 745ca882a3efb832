"""Plans that hold, made without a solver: what the verifier's tests start from.

They say the truth of placements that a test names, good or bad, feasible or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from itertools import product

from commonfarm.estate import timeline
from commonfarm.estate.facts import LEVELS, Facts, Level, Period
from commonfarm.estate.plan import (
    FORMAT,
    Certificate,
    Placed,
    Plan,
    PlannedInterval,
    Unplaced,
)
from commonfarm.estate.proof import Supply, bound
from commonfarm.lib.errors import Reason
from tests.estate import making
from tests.estate.making import TODAY
from tests.estate.small_estates import kept

NOTHING = Certificate(1, ())
UNKNOWN = (Reason("test", "not looked for"),)


def supply(facts: Facts, level: Level = "likely", at: date = TODAY) -> Supply:
    """Return what stands on a day."""
    names = timeline.intervals(facts, at)[0].hosts
    return Supply(facts, {name: facts.hosts[name] for name in names}, level)


def answer(
    facts: Facts,
    on: Mapping[str, str],
    *,
    before: Mapping[str, str] | None = None,
    certificate: Certificate = NOTHING,
    there: Supply | None = None,
) -> Placed:
    """Return an answer that says the truth of where these instances are, feasible or not."""
    there = there or supply(facts)
    instances = facts.instances_at(there.level)
    if before is None:
        before = {one.name: one.on for one in instances if one.on}
    hosts = {one.name: facts.hosts[on[one.name]] for one in instances if one.name in on}
    missing = {
        one.name: tuple(sorted(set(one.requirement.preferred) - hosts[one.name].traits))
        for one in instances
        if one.name in on
    }
    most = bound(there, instances, certificate)
    weight = sum(one.priority for one in instances if one.name in on)
    return Placed(
        on=dict(on),
        unplaced=tuple(Unplaced(one.name, UNKNOWN) for one in instances if one.name not in on),
        moved={name: before[name] for name in on if before.get(name, on[name]) != on[name]},
        weight=weight,
        bound=most,
        certificate=certificate,
        most_placed="proven" if most == weight else "best found",
        fewest_moves="best found",
        broken_spreads=tuple(
            number
            for number, one in enumerate(facts.spreads)
            if not one.must and not kept(facts, on, number)
        ),
        missing_traits={name: traits for name, traits in missing.items() if traits},
    )


def plan(facts: Facts, *answers: Mapping[Level, Placed], at: date = TODAY) -> Plan:
    """Return a plan of these answers, one for each interval."""
    intervals = tuple(
        PlannedInterval(one.start, one.end, one.ending, one.starting, dict(levels))
        for one, levels in zip(timeline.intervals(facts, at), answers, strict=True)
    )
    made = Plan(FORMAT, facts.digest, at, "test", 1, intervals, {})
    return replace(made, safe_until=safe_until(facts, made))


def safe_until(facts: Facts, made: Plan) -> dict[str, date | None]:
    """Return until when each placement of the first interval holds, walking the intervals."""
    found: dict[str, date | None] = {}
    for name, host in made.intervals[0].levels["likely"].on.items():
        until = timeline.assured(facts, facts.hosts[host], made.at)
        for one in made.intervals:
            if one.levels["likely"].on.get(name) != host:
                until = min(until or date.max, one.start)
                break
        found[name] = until
    return found


def everywhere(facts: Facts, on: Mapping[str, str], certificate: Certificate = NOTHING) -> Plan:
    """Return a plan with the same placements at all levels, for an estate of one interval."""
    return plan(facts, {level: answer(facts, on, certificate=certificate) for level in LEVELS})


def assignments(facts: Facts, level: Level = "likely") -> Iterator[dict[str, str]]:
    """Yield each way to put instances on hosts or nowhere, feasible or not."""
    there = supply(facts, level)
    names = [one.name for one in facts.instances_at(level)]
    for hosts in product([None, *there.hosts], repeat=len(names)):
        yield {name: host for name, host in zip(names, hosts, strict=True) if host}


def leaving() -> tuple[Facts, Plan]:
    """Return an estate in which a host leaves, and a plan that moves what was there."""
    a, b, c = (f"{name}/app/production/1" for name in "abc")
    estate = making.facts(
        making.pledge("loan", until=date(2026, 6, 1), notice=Period(1)),
        making.pledge("open", notice=Period(3)),
        making.host("x", pledge="loan", memory="8 GiB"),
        making.host("y", memory="8 GiB"),
        making.host("z", pledge="open", memory="8 GiB"),
        making.instance("a", on="x", memory="4 GiB"),
        making.instance("b", on="y", memory="4 GiB"),
        making.instance("c", memory="4 GiB", level="high", priority=7),
    )
    first, then = {a: "x", b: "y"}, {a: "z", b: "y"}
    more = {c: "z"}
    return estate, plan(
        estate,
        {
            "low": answer(estate, first, there=supply(estate, "low")),
            "likely": answer(estate, first),
            "high": answer(estate, first | more, there=supply(estate, "high")),
        },
        {
            "low": answer(estate, then, before=first, there=supply(estate, "low")),
            "likely": answer(estate, then, before=first),
            "high": answer(estate, then | more, before=first | more, there=supply(estate, "high")),
        },
    )
