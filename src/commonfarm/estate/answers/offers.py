"""What one offer would unlock: the estate planned twice, as it is and with the offer in it.

As of the day on which the offered hosts are there. What is placed without the offer comes first:
whose loss it then survives is asked of that alone, so that no offer is worse than none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date

from commonfarm.estate import timeline
from commonfarm.estate.answers.cliffs import LEVEL, Solve, Who, domains
from commonfarm.estate.facts import Facts, Host
from commonfarm.estate.placement.ledger import Ledger
from commonfarm.estate.placement.parts import part
from commonfarm.estate.placement.pose import pose
from commonfarm.estate.placement.reasons import unplaced
from commonfarm.estate.plan import Placed, Plan, Unplaced

Planner = Callable[[Facts, date], Plan]


@dataclass(frozen=True, slots=True)
class Given:
    """An offered host: from when it is there, its known end, and until when it is assured then."""

    host: str
    sponsor: str | None
    start: date
    end: date | None
    assured: date | None


@dataclass(frozen=True, slots=True)
class Offer:
    """What an offer changes from `day` on, the first on which most of its hosts are there.

    `unlocked`: what has no place without it -> until when it has one with it (None: no end is
    known). `longer`: what keeps its place longer with it -> until when without, and with it.
    `moves`: what runs elsewhere with it than without -> from and to. `survived`: whose loss then
    takes no place from what is placed without it, and does without it. `unplaced`: what has no
    place even so; its reasons are of the offered hosts where they tell why.
    """

    day: date
    hosts: tuple[Given, ...]
    unlocked: Mapping[str, date | None]
    longer: Mapping[str, tuple[date, date | None]]
    moves: Mapping[str, tuple[str, str]]
    survived: tuple[tuple[Who, str], ...]
    unplaced: tuple[Unplaced, ...]
    proven: bool

    @property
    def unlocks(self) -> bool:
        """Say whether it changes anything for the better."""
        return bool(self.unlocked or self.longer or self.survived)


def offer(facts: Facts, then: Facts, at: date, plan: Planner, solve: Solve) -> Offer:
    """Return what hosts change that `then` has and `facts` has not, from `at` on at the earliest.

    There must be such hosts.
    """
    offered = [host for name, host in then.hosts.items() if name not in facts.hosts]
    day = _day(then, offered, at)
    without, with_it = plan(facts, day), plan(then, day)
    before, after = _first(without), _first(with_it)
    unlocked = {name: _until(with_it, name) for name in after.on if name not in before.on}
    return Offer(
        day=day,
        hosts=tuple(_given(then, host, at, day) for host in offered),
        unlocked=unlocked,
        longer=dict(_longer(without, with_it)),
        moves={
            name: (was, after.on[name])
            for name, was in before.on.items()
            if after.on.get(name, was) != was
        },
        survived=tuple(_survived(facts, then, without, with_it, solve)),
        unplaced=tuple(_unplaced(then, offered, after, day)),
        proven=before.most_placed == after.most_placed == "proven",
    )


def _first(plan: Plan) -> Placed:
    return plan.intervals[0].levels[LEVEL]


def _start(facts: Facts, host: Host, at: date) -> date:
    pledge = facts.pledges[host.pledge] if host.pledge else None
    return max(filter(None, (at, host.available_from, pledge.start if pledge else None)))


def _day(facts: Facts, offered: list[Host], at: date) -> date:
    """Return the first day on which as many of the offered hosts are there as ever are."""
    days = sorted({_start(facts, host, at) for host in offered})
    return max(
        days,
        key=lambda day: (sum(timeline.stands(facts, h, day) for h in offered), -day.toordinal()),
    )


def _given(facts: Facts, host: Host, at: date, day: date) -> Given:
    end = timeline.leaves_on(facts, host)
    assured = timeline.assured(facts, host, day)
    return Given(host.name, host.sponsor, _start(facts, host, at), end, assured)


def _until(plan: Plan, name: str) -> date | None:
    """Return the first day on which an instance has no place in a plan any more."""
    starts = (one.start for one in plan.intervals if name not in one.levels[LEVEL].on)
    return next(starts, None)


def _longer(without: Plan, with_it: Plan) -> Iterator[tuple[str, tuple[date, date | None]]]:
    after = _first(with_it).on
    for name in _first(without).on:
        short, long = _until(without, name), _until(with_it, name)
        if name in after and short and (long is None or long > short):
            yield name, (short, long)


def _survived(
    facts: Facts, then: Facts, without: Plan, with_it: Plan, solve: Solve
) -> Iterator[tuple[Who, str]]:
    """Yield whose loss would cost what is placed without the offer its place, and does not then."""
    before, after = _first(without).on, _first(with_it).on
    # The offer may share the fate of what is lost: be of the same sponsor, or at the same site.
    gone_then = {(who, name): hosts for who, name, hosts in domains(then, with_it.intervals[0])}
    for who, name, gone in domains(facts, without.intervals[0]):
        more = gone_then.get((who, name), gone)
        if _lost(facts, without, before, before, gone, solve) and not _lost(
            then, with_it, before, {**before, **after}, more, solve
        ):
            yield who, name


def _lost(
    facts: Facts,
    plan: Plan,
    names: Mapping[str, str],
    now: Mapping[str, str],
    gone: tuple[str, ...],
    solve: Solve,
) -> bool:
    """Say whether any of `names` would have no place without the hosts that are gone."""
    day = plan.intervals[0].start
    rest = [
        name for name, host in facts.hosts.items()
        if name not in gone and timeline.stands(facts, host, day)
    ]  # fmt: skip
    problem = pose(facts, rest, LEVEL, now)
    items = [item for item in problem.items if item.name in names]
    asked = part(Ledger(problem), list(problem.hosts), items)
    return len(solve(asked).on) < len(items)


def _unplaced(facts: Facts, offered: list[Host], after: Placed, day: date) -> Iterator[Unplaced]:
    """Yield what has no place, with the reasons why the offered hosts do not take it.

    Where these alone would, what is in the way is not theirs, and the plan's reasons tell.
    """
    alone = replace(facts, hosts={host.name: host for host in offered})
    there = [host.name for host in offered if timeline.stands(facts, host, day)]
    problem = pose(alone, there, LEVEL, {})
    ledger = Ledger(problem)
    for item in problem.items:
        if after.on.get(item.name) in there:
            ledger.put(item, after.on[item.name])
    missing = {one.instance for one in after.unplaced}
    kept_off = [
        item
        for item in problem.items
        if item.name in missing and not any(ledger.fits(item, host) for host in there)
    ]
    items = (*kept_off, *(ledger.items[name] for name in ledger.on))
    reasons = unplaced(alone, replace(problem, items=items), ledger.on, LEVEL, day)
    theirs = {one.instance: one for one in reasons} if there else {}
    yield from (theirs.get(one.instance, one) for one in after.unplaced)
