"""What one host may hold: its best content under prices, and all that are nearly as good.

A knapsack of several dimensions, solved exactly, in integers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, gcd

from ortools.sat.python import cp_model

from commonfarm.estate.placement.listing import Choice, worth_at_least
from commonfarm.estate.placement.problem import Item, Kind, Limit, Problem

SCALE = 10**6
"""Prices are integers in this part of one stay."""
CALL = 0.003
"""Effort for any call of a solver, beside what it says itself."""
_KNAPSACK = 0.2  # effort for one column; its bound is valid also where that is too little
_BEGUN = 1e-7  # effort for each content that a list begins

Content = tuple[tuple[int, int, int], ...]
"""What is on a host: group, how many of it, how many of those run there already."""


@dataclass(frozen=True, slots=True)
class Group:
    """Items that need the same of the same hosts, of one priority; `now`: how many run where."""

    kind: Kind
    priority: int
    items: list[Item]
    now: Counter[str | None]


def groups_of(problem: Problem) -> list[Group]:
    """Return the groups: what networks and sites are used matters nothing where there is enough."""
    found: dict[tuple[object, ...], list[Item]] = {}
    for item in problem.items:
        if item.kind.hosts:
            amounts = tuple(sorted(item.kind.amounts.items()))
            like = (amounts, tuple(item.kind.hosts), item.priority)
            found.setdefault(like, []).append(item)
    return [
        Group(one[0].kind, one[0].priority, one, Counter(item.now for item in one))
        for one in found.values()
    ]


class HostColumns:
    """One host and its knapsack: how many of each group stay there, and how many come."""

    def __init__(self, problem: Problem, name: str, groups: Sequence[Group], seed: int) -> None:
        self.name, self.groups = name, groups
        self.most: dict[int, tuple[int, int]] = {}  # group -> how many can stay, and come
        self.cp = cp_model.CpModel()
        self.counts: list[tuple[int, int, cp_model.IntVar]] = []  # group, whether it stays, count
        used: defaultdict[Limit, list[tuple[cp_model.IntVar, int]]] = defaultdict(list)
        asked: dict[int, dict[Limit, int]] = {}
        for number, group in enumerate(groups):
            if name not in group.kind.hosts:
                continue
            takes = asked[number] = {
                limit: amount
                for limit, amount in problem.takes(group.kind, name).items()
                if limit[0] == "host"
            }
            rooms = (problem.limits[limit] // amount for limit, amount in takes.items())
            most = min(len(group.items), *rooms) if takes else len(group.items)
            stay = min(most, group.now[name])
            self.most[number] = stay, most - stay
            for stays, many in ((1, stay), (0, most - stay)):
                if many:
                    count = self.cp.new_int_var(0, many, "")
                    self.counts.append((number, stays, count))
                    for limit, amount in takes.items():
                        used[limit].append((count, amount))
        self.room = [problem.limits[limit] for limit in used]
        self.needs = {
            number: [takes.get(limit, 0) for limit in used] for number, takes in asked.items()
        }
        for limit, terms in used.items():
            size = gcd(*(amount for _, amount in terms))
            total = sum(amount // size * count for count, amount in terms)
            self.cp.add(total <= problem.limits[limit] // size)
        self.solver = _solver(seed, _KNAPSACK)

    def content(self, on: Mapping[str, str]) -> Content:
        """Return what a placement has here."""
        found = []
        for number in self.most:
            items = self.groups[number].items
            many = sum(on.get(item.name) == self.name for item in items)
            stays = sum(on.get(item.name) == self.name == item.now for item in items)
            if many:
                found.append((number, many, stays))
        return tuple(found)

    def price(self, values: Sequence[int]) -> tuple[int, Content, float]:
        """Return what its contents can be worth at most, one worth about that, and the effort."""
        worth = [(n, stays, one, values[n] + SCALE * stays) for n, stays, one in self.counts]
        worth = [term for term in worth if term[-1] > 0]
        self.cp.clear_objective()  # type: ignore[no-untyped-call]
        self.cp.maximize(sum(value * count for *_, count, value in worth))
        status = self.solver.solve(self.cp)
        spent = CALL + float(self.solver.response_proto.deterministic_time)
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            most = sum(value * self.most[n][1 - stays] for n, stays, _, value in worth)
            return most, (), spent
        many: Counter[int] = Counter()
        stay: Counter[int] = Counter()
        for number, stays, count, _ in worth:
            value = self.solver.value(count)
            many[number] += value
            stay[number] += stays * value
        found = tuple((n, count, stay[n]) for n, count in sorted(many.items()) if count)
        # The bound is an integer, but comes as a float that may be a little less.
        return ceil(self.solver.best_objective_bound), found, spent

    def near_best(self, values: Sequence[int], least: int) -> tuple[list[Content] | None, float]:
        """Return all contents worth at least `least` to which nothing can be added, and the effort.

        None where they are too many.
        """
        choices = [
            Choice(stay + come, stay, values[number], SCALE, self.needs[number])
            for number, (stay, come) in self.most.items()
        ]
        listed, begun = worth_at_least(choices, self.room, least)
        spent = CALL + _BEGUN * begun
        if listed is None:
            return None, spent
        return [
            tuple(
                (number, many, min(many, stay))
                for many, (number, (stay, _)) in zip(counts, self.most.items(), strict=True)
                if many
            )
            for counts in listed
        ], spent


def _solver(seed: int, limit: float) -> cp_model.CpSolver:
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = seed
    solver.parameters.linearization_level = 2  # the linear relaxation is what tells most here
    solver.parameters.max_deterministic_time = limit
    return solver
