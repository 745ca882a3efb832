"""What breaks when machines go: at each pledge's end, and if somebody or something vanished today.

For each loss, what runs on the rest is placed again, exactly: what finds no other host is lost, and
what has to move is told too. Only room is looked at; whether there is a backup, no plan knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal

from commonfarm.estate import timeline
from commonfarm.estate.facts import Facts, Host, Level
from commonfarm.estate.placement.ledger import Ledger
from commonfarm.estate.placement.parts import part
from commonfarm.estate.placement.pose import pose
from commonfarm.estate.placement.problem import Found, Problem
from commonfarm.estate.plan import Plan, PlannedInterval

Who = Literal["pledge", "sponsor", "site", "host", "administrator"]
Solve = Callable[[Problem], Found]
"""Answers a problem of placement: as many as can be, moving as few as can be."""

LEVEL: Level = "likely"


@dataclass(frozen=True, slots=True)
class Loss:
    """What one loss takes away.

    `on`: the day (of a pledge: its end, `certain` if that day is known, else the earliest that
    notice given today could bring). `displaced` ran on the lost `hosts`; `lost`: what then has no
    host, by falling weight; `moves`: instance -> its new host, of all that goes elsewhere.
    `proven`: nothing less could be lost.
    """

    who: Who
    name: str
    on: date
    certain: bool
    hosts: tuple[str, ...]
    displaced: tuple[str, ...]
    lost: tuple[str, ...]
    moves: Mapping[str, str]
    weight: int
    proven: bool

    @property
    def size(self) -> tuple[int, int, int, str, str]:
        """Return what orders losses, the largest first."""
        return -self.weight, -len(self.lost), -len(self.moves), self.who, self.name


@dataclass(frozen=True, slots=True)
class Cliffs:
    """`ends`: what the end of each pledge breaks, in the order of days. `today`: what the loss of
    any one sponsor, site, host or administrator would, the largest loss first. `unplaced` are
    instances that have no room as it is: nothing can take it from them.
    """

    ends: tuple[Loss, ...]
    today: tuple[Loss, ...]
    unplaced: tuple[str, ...]


def cliffs(facts: Facts, plan: Plan, solve: Solve) -> Cliffs:
    """Return all losses; `plan` is the estate's plan as of the day that is asked for."""
    ends = [
        _loss(facts, plan, "pledge", name, hosts, day, certain, solve)
        for name, hosts, day, certain in _ends(facts, plan.at)
    ]
    # Who and what take the same hosts along have one answer, such as a site of one host.
    same: dict[tuple[str, ...], Loss] = {}
    today: list[Loss] = []
    for who, name, hosts in domains(facts, plan.intervals[0]):
        if hosts not in same:
            same[hosts] = _loss(facts, plan, who, name, hosts, plan.at, True, solve)
        today.append(replace(same[hosts], who=who, name=name))
    ends.sort(key=lambda one: (one.on, *one.size))
    today.sort(key=lambda one: one.size)
    unplaced = (one.instance for one in plan.intervals[0].levels[LEVEL].unplaced)
    return Cliffs(tuple(ends), tuple(today), tuple(unplaced))


def domains(facts: Facts, interval: PlannedInterval) -> Iterator[tuple[Who, str, tuple[str, ...]]]:
    """Yield whom and what hosts depend on in an interval, and which hosts each would take along.

    An administrator takes along what nobody else can get into. A sponsor, site or administrator
    whose loss takes no host is not there.
    """
    standing = [
        host for host in facts.hosts.values() if timeline.stands(facts, host, interval.start)
    ]
    found: dict[tuple[Who, str], list[str]] = {}
    for host in standing:
        found.setdefault(("host", host.name), []).append(host.name)
        if host.site:
            found.setdefault(("site", host.site), []).append(host.name)
        if host.sponsor:
            found.setdefault(("sponsor", host.sponsor), []).append(host.name)
        administrators = _administrators(facts, host)
        if len(administrators) == 1:
            found.setdefault(("administrator", administrators[0]), []).append(host.name)
    for (who, name), hosts in found.items():
        yield who, name, tuple(sorted(hosts))


def _administrators(facts: Facts, host: Host) -> Sequence[str]:
    """Return who can get into a host: its own administrators, else those of its site."""
    return host.administrators or (facts.sites[host.site].administrators if host.site else ())


def _ends(facts: Facts, at: date) -> Iterator[tuple[str, tuple[str, ...], date, bool]]:
    """Yield each pledge that hosts stand on or will, with them, its end, and if that is known."""
    for name, pledge in facts.pledges.items():
        end = timeline.ends_on(pledge)
        day = end or timeline.assured_until(pledge, at)
        before = [
            host.name
            for host in facts.hosts.values()
            if host.pledge == name and _stood(facts, host, at, day)
        ]
        if day > at and before:
            yield name, tuple(sorted(before)), day, end is not None


def _stood(facts: Facts, host: Host, at: date, day: date) -> bool:
    starts = [at, host.available_from]
    if host.pledge:
        starts.append(facts.pledges[host.pledge].start)
    first = max(one for one in starts if one)
    return first < day and timeline.stands(facts, host, first)


def _loss(
    facts: Facts,
    plan: Plan,
    who: Who,
    name: str,
    hosts: tuple[str, ...],
    day: date,
    certain: bool,
    solve: Solve,
) -> Loss:
    """Place again what is placed just before `day`, on what stands then but these hosts."""
    before = _before(plan, day).levels[LEVEL].on
    gone = set(hosts)
    rest = [
        one for one, host in facts.hosts.items()
        if one not in gone and timeline.stands(facts, host, day)
    ]  # fmt: skip
    problem = _only(pose(facts, rest, LEVEL, before), before)
    found = solve(problem)
    priority = {item.name: item.priority for item in problem.items}
    displaced = sorted(one for one, host in before.items() if host in gone)
    lost = sorted((one for one in before if one not in found.on), key=lambda n: (-priority[n], n))
    moves = {one: host for one, host in sorted(found.on.items()) if before[one] != host}
    weight = sum(priority[one] for one in lost)
    proven = found.most_placed or not lost
    return Loss(
        who, name, day, certain, hosts, tuple(displaced), tuple(lost), moves, weight, proven
    )


def _before(plan: Plan, day: date) -> PlannedInterval:
    """Return the interval that holds the day before `day`, the first for the plan's own."""
    started = [one for one in plan.intervals if one.start < day]
    return started[-1] if started else plan.intervals[0]


def _only(problem: Problem, names: Iterable[str]) -> Problem:
    """Return the problem of what was placed before: what had no host then cannot lose one."""
    kept = set(names)
    ledger = Ledger(problem)
    return part(ledger, list(problem.hosts), [one for one in problem.items if one.name in kept])
