"""Place what there is: what runs stays where it fits, the rest by best fit, then exactly.

A greedy placement is enough where it places everything and moves nothing that could stay: nothing
is better. Else each independent part is made better by exact answers to small parts of it, one
after the other (large neighbourhood search, Shaw 1998), and then as a whole where that is small.
All within one deterministic effort: what is found does not depend on the machine's load.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

from commonfarm.estate.placement.greedy import fill, greedy
from commonfarm.estate.placement.ledger import Ledger, Score, score
from commonfarm.estate.placement.parts import independent, part
from commonfarm.estate.placement.problem import Effort, Found, Item, Problem
from commonfarm.estate.plan import Certificate

MOST_COLUMNS = 6_000
"""Pairs of a kind and a host up to which the exact model takes a part as a whole."""
MOST_COUNTS = 400
"""Such pairs up to which the exact model closes a part; above, whole hosts are chosen among."""
_STEP = 0.1  # effort for one step of the search
_COLUMNS_SHARE = 0.8  # of the effort for a part that is closed by columns
_MOST_STEPS = 1.0  # effort for steps where columns come after them
_HOSTS = 8  # in one step
_WAITING = 24  # instances without a host that join a step
_MOST_IDLE = 60  # steps in a row that gain nothing


def at_once(problem: Problem, near: Mapping[str, str]) -> Found | None:
    """Return a placement that nothing can be better than, if that is found without a solver."""
    # Among few, another may be as good, and the solver always finds the same.
    for rarest_first in (False, True) if _columns(problem) > MOST_COUNTS else (False,):
        on = dict(sorted(greedy(problem, near, rarest_first=rarest_first).on.items()))
        if perfect(problem, on):
            return Found(on, most_placed=True, fewest_moves=True)
    return None


def certified(
    problem: Problem, effort: Effort, near: Mapping[str, str]
) -> tuple[Found, int, Certificate]:
    """Return what `solve` finds, and how much any placement could weigh, with its certificate."""
    from commonfarm.estate.placement.bounds import certify

    start = greedy(problem, near).on
    bound, certificate = certify(problem, score(problem, start).weight)
    return _from(start, problem, effort, near, bound), bound, certificate


def solve(problem: Problem, effort: Effort, near: Mapping[str, str] | None = None) -> Found:
    """Return the best placement found, and of those as good the nearest to `near`."""
    return _from(greedy(problem, near or {}).on, problem, effort, near or {}, None)


def _from(
    start: Mapping[str, str],
    problem: Problem,
    effort: Effort,
    near: Mapping[str, str],
    bound: int | None,
) -> Found:
    """Go on from a placement that breaks no rule. `bound`: none is known to weigh more."""
    parts = independent(problem)
    answers: list[Found] = []
    open_parts: list[Problem] = []
    for one in parts:
        found = at_once(one, _inside(one, near))
        if found:
            answers.append(found)
        else:
            open_parts.append(one)
    left, columns = effort.limit, sum(map(_columns, open_parts))
    for one in open_parts:
        # What one part leaves is the others'.
        share = replace(effort, limit=left * _columns(one) / columns)
        found = _better(
            one,
            _inside(one, start),
            share,
            _inside(one, near),
            bound if len(parts) == 1 else None,
        )
        answers.append(found)
        left, columns = max(0.0, left - found.spent), columns - _columns(one)
    return Found(
        dict(sorted((name, host) for one in answers for name, host in one.on.items())),
        all(one.most_placed for one in answers),
        all(one.fewest_moves for one in answers),
        sum(one.spent for one in answers),
    )


def perfect(problem: Problem, on: Mapping[str, str]) -> bool:
    """Say whether no placement can be better."""
    return score(problem, on) == ideal(problem)


def _inside(problem: Problem, on: Mapping[str, str]) -> dict[str, str]:
    return {item.name: on[item.name] for item in problem.items if item.name in on}


def _better(
    problem: Problem,
    start: Mapping[str, str],
    effort: Effort,
    near: Mapping[str, str],
    bound: int | None,
) -> Found:
    """Return the best that is found for one part."""
    from commonfarm.estate.placement import columns
    from commonfarm.estate.placement.bounds import certify
    from commonfarm.estate.placement.model import place

    if bound is None:
        bound, _ = certify(problem, score(problem, start).weight)
    if MOST_COUNTS < _columns(problem) <= MOST_COLUMNS and columns.applies(problem):
        return _by_columns(problem, start, effort, near or start, bound)
    small, few = (_columns(problem) <= most for most in (MOST_COLUMNS, MOST_COUNTS))
    share, spent = replace(effort, limit=effort.limit / 3) if small else effort, 0.0
    # Where all is settled to the last, nothing depends on where the search began.
    toward = near if few else near or start
    if small:
        found = place(problem, start, share, toward, bound, only_one=few)
        if found.fewest_moves:
            return found
        start, spent = found.on, found.spent
    near = near or start
    search = _Search(problem, start, near, effort.seed)
    spent += search.run(share.limit, bound)
    reached, best = score(problem, search.ledger.on), ideal(problem)
    most = reached.weight == bound
    found = Found(search.ledger.on, most, most and reached.stays == best.stays)
    if small and not found.fewest_moves:
        found = place(problem, found.on, share, toward, bound, only_one=few)
        spent += found.spent
    return replace(found, on=_filled(problem, found.on, near), spent=spent)


def _filled(problem: Problem, on: Mapping[str, str], near: Mapping[str, str]) -> Mapping[str, str]:
    """Return a placement with what has room and no host yet: a limit may have cut it short."""
    ledger = _Search(problem, on, near, 1).ledger
    fill(ledger, [item for item in problem.items if item.name not in ledger.on])
    return ledger.on


def _by_columns(
    problem: Problem, start: Mapping[str, str], effort: Effort, near: Mapping[str, str], bound: int
) -> Found:
    """Return the best that is found in steps, and then by choosing what whole hosts hold.

    Where that comes to nothing, what effort is left goes into further steps.
    """
    from commonfarm.estate.placement import columns

    search = _Search(problem, start, near, effort.seed)
    spent = search.run(min(_MOST_STEPS, effort.limit / 2), bound)
    share = (effort.limit - spent) * _COLUMNS_SHARE
    best = columns.best(problem, search.ledger.on, replace(effort, limit=share), bound)
    spent += best.spent
    if score(problem, best.on) > score(problem, search.ledger.on):
        search = _Search(problem, best.on, near, effort.seed)
    reached = score(problem, search.ledger.on)
    if (reached.weight, reached.stays) != (best.weight, best.stays):
        spent += search.run(effort.limit - spent, best.weight)
    on = _filled(problem, search.ledger.on, near)
    reached = score(problem, on)
    most = reached.weight == best.weight
    return Found(on, most, most and reached.stays == best.stays, spent)


class _Search:
    """Makes a placement better step by step: some hosts at a time are filled anew, exactly."""

    def __init__(
        self, problem: Problem, on: Mapping[str, str], near: Mapping[str, str], seed: int
    ) -> None:
        self.ledger, self.near = Ledger(problem), near
        self.chance = random.Random(seed)  # noqa: S311 - the same seed, the same search
        self.seed = seed
        for item in problem.items:
            if item.name in on:
                self.ledger.put(item, on[item.name])

    def run(self, limit: float, bound: int) -> float:
        """Go on until the effort is spent, nothing is left to gain, or nothing more is gained.

        Return the effort that was spent.
        """
        problem = self.ledger.problem
        idle, spent = 0, 0.0
        while spent < limit and idle < _MOST_IDLE:
            reached = score(problem, self.ledger.on)
            waiting = [one for one in problem.items if one.name not in self.ledger.on]
            waiting = [one for one in waiting if one.kind.hosts] if reached.weight < bound else []
            moved = [
                one
                for one in problem.items
                if one.now in one.kind.hosts and self.ledger.on.get(one.name, one.now) != one.now
            ]
            if not waiting and not moved:
                break
            both = [one for one in (waiting, moved) if one]
            gained, took = self._step(self.chance.choice(self.chance.choice(both)), waiting)
            spent += took
            idle = 0 if gained else idle + 1
        return spent

    def _step(self, wanted: Item, waiting: list[Item]) -> tuple[bool, float]:
        """Fill some hosts anew, so that `wanted` may find room; say whether it is any better."""
        from commonfarm.estate.placement.model import place

        hosts = self._hosts(wanted)
        there = [item for host in hosts for item in self.ledger.guests[host].values()]
        others = [
            one for one in waiting if one is not wanted and not hosts.isdisjoint(one.kind.hosts)
        ]
        others = self.chance.sample(others, min(len(others), _WAITING))
        items = {item.name: item for item in (*there, wanted, *others)}
        sub = part(self.ledger, sorted(hosts), [items[name] for name in sorted(items)])
        was = {name: self.ledger.on[name] for name in sorted(items) if name in self.ledger.on}
        found = place(sub, was, Effort(self.seed, _STEP), self.near)
        if score(sub, found.on) <= score(sub, was):
            return False, found.spent
        for name in was:
            self.ledger.take(items[name])
        for name, host in found.on.items():
            self.ledger.put(items[name], host)
        return True, found.spent

    def _hosts(self, wanted: Item) -> set[str]:
        """Choose hosts: where it ran and is, those that are nearest to taking it, and some more."""
        eligible = list(wanted.kind.hosts)
        some = self.chance.sample(eligible, min(len(eligible), 8 * _HOSTS))
        some.sort(key=lambda host: self._missing(wanted, host))
        known = (wanted.now, self.ledger.on.get(wanted.name))
        chosen = {host for host in known if host is not None and host in wanted.kind.hosts}
        return {*chosen, *some[: _HOSTS // 2], *some[-(_HOSTS // 2) :]}

    def _missing(self, item: Item, host: str) -> float:
        takes = self.ledger.takes(item.kind, host)
        return sum(max(0, amount - self.ledger.left[limit]) / amount for limit, amount in takes)


def ideal(problem: Problem) -> Score:
    """Return what no placement can be better than."""
    return Score(
        weight=sum(item.priority for item in problem.items if item.kind.hosts),
        stays=sum(item.now in item.kind.hosts for item in problem.items),
        wishes=0,
        leaving=0,
    )


def _columns(problem: Problem) -> int:
    return sum(len(kind.hosts) for kind in problem.kinds)
