"""What one host may hold: its best content under prices, and all that are nearly as good.

A knapsack of several dimensions, solved exactly, in integers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd

from ortools.sat.python import cp_model

from commonfarm.estate.placement.problem import Item, Kind, Limit, Problem

SCALE = 10**6
"""Prices are integers in this part of one stay."""
CALL = 0.003
"""Effort for any call of a solver, beside what it says itself."""
_KNAPSACK = 0.2  # effort for one column; its bound is valid also where that is too little
_MOST_LISTED = 20_000

Content = tuple[tuple[int, int, int], ...]
"""What is on a host: group, how many of it, how many of those run there already."""


@dataclass(frozen=True, slots=True)
class Group:
    """Items of one kind and priority; `now`: how many run on each host."""

    kind: Kind
    priority: int
    items: list[Item]
    now: Counter[str | None]


def groups_of(problem: Problem) -> list[Group]:
    found: dict[tuple[int, int], list[Item]] = {}
    for item in problem.items:
        if item.kind.hosts:
            found.setdefault((id(item.kind), item.priority), []).append(item)
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
        for number, group in enumerate(groups):
            if name not in group.kind.hosts:
                continue
            takes = problem.takes(group.kind, name)
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
        return int(self.solver.best_objective_bound), found, spent

    def near_best(
        self, values: Sequence[int], least: int, limit: float
    ) -> tuple[list[Content], bool, float]:
        """Return contents worth at least `least`, if those are all, and the effort, up to `limit`.

        Left out may be what another holds too, and more: none comes while one that runs there goes.
        """
        cp = self.cp.clone()
        cp.clear_objective()  # type: ignore[no-untyped-call]
        terms = [
            (n, stays, cp.get_int_var_from_proto_index(one.index)) for n, stays, one in self.counts
        ]
        cp.add(sum((values[n] + SCALE * stays) * one for n, stays, one in terms) >= least)
        staying = {n: one for n, stays, one in terms if stays}
        for number, stays, one in terms:
            if not stays and number in staying:
                full = cp.new_bool_var("")
                stay = self.most[number][0]
                cp.add(staying[number] == stay).only_enforce_if(full)
                cp.add(staying[number] < stay).only_enforce_if(~full)
                cp.add(one == 0).only_enforce_if(~full)
        solver = _solver(1, max(0.0, limit))
        solver.parameters.enumerate_all_solutions = True
        lister = _Lister(terms)
        status = solver.solve(cp, lister)
        complete = status in (cp_model.OPTIMAL, cp_model.INFEASIBLE)
        return lister.found, complete, CALL + solver.response_proto.deterministic_time


class _Lister(cp_model.CpSolverSolutionCallback):
    """Collects contents; ends when they are too many."""

    def __init__(self, terms: Sequence[tuple[int, int, cp_model.IntVar]]) -> None:
        super().__init__()
        self.terms = terms
        self.found: list[Content] = []

    def on_solution_callback(self) -> None:
        many: Counter[int] = Counter()
        stay: Counter[int] = Counter()
        for number, stays, one in self.terms:
            value = self.value(one)
            many[number] += value
            stay[number] += stays * value
        self.found.append(tuple((n, count, stay[n]) for n, count in sorted(many.items()) if count))
        if len(self.found) == _MOST_LISTED:
            self.stop_search()


def _solver(seed: int, limit: float) -> cp_model.CpSolver:
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = seed
    solver.parameters.linearization_level = 2  # the linear relaxation is what tells most here
    solver.parameters.max_deterministic_time = limit
    return solver
