"""Place by columns: what a whole host may hold is one choice, and a linear program mixes those.

Dantzig and Wolfe, Operations Research 8 (1960); Gilmore and Gomory, Operations Research 9 (1961).
Each host's best column under the program's prices is a small knapsack, solved exactly. Its bound is
far nearer to the truth than that of counts on hosts where few large instances fit a host, and is
Lagrange's, in integers: it does not rest on the linear solver's arithmetic. Placements come of
diving (Sadykov et al., INFORMS Journal on Computing 31, 2019) and of the best choice among all
columns. Where one unit is left between the two, all columns that could close it are listed
(Baldacci, Christofides and Mingozzi, Mathematical Programming 115, 2008) and chosen from; that none
of them do is the word of the branch and bound.

For problems whose hosts share nothing but instances: no spreads, nothing dedicated, no limit of a
site or network that could be reached; and whose weights are no larger than can be reckoned with.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from math import gcd
from typing import Any

from ortools.linear_solver import pywraplp

from commonfarm.estate.placement.contents import CALL, SCALE, Content, Group, HostColumns, groups_of
from commonfarm.estate.placement.parts import sharing
from commonfarm.estate.placement.problem import Effort, Problem

_SMOOTH = 0.7  # share of the prices that stay those of the best bound (Wentges 1997)
_FEW_ROUNDS = 4  # between two steps of a dive, and in one of the search
_FREE = 6  # hosts that are filled anew in one step
_IDLE = 15  # steps in a row that gain nothing, and more hosts are free
_FEW_NODES = 50  # of the branch and bound of a step
_NODES = 5000  # and of that over all columns
_NODE = 2e-2  # effort for one of them
_PIVOT = 1e-4  # effort for one of the linear solver's
_COLUMN = 1e-4  # effort for one that is chosen among
_THREADS = 2  # hosts are priced independently: how many threads do so changes no answer
_MOST_LISTED = 30_000  # columns, of all hosts
_MOST_WORTH = 2**46  # of a placement, in the scale of prices: floats tell such numbers well apart
_NEAR = 1e-3
_EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class Best:
    """The best placement found, and what none can have more of.

    `weight` bounds all placements, `stays` those of so much weight.
    """

    on: Mapping[str, str]
    weight: int
    stays: int
    spent: float


def applies(problem: Problem) -> bool:
    """Say whether hosts share nothing but instances, and no weight is too large to reckon with."""
    unit = gcd(*(item.priority for item in problem.items)) or 1
    weight = sum(item.priority for item in problem.items) // unit
    stays = sum(item.now is not None for item in problem.items)
    return weight * (stays + 1) * SCALE <= _MOST_WORTH and not (
        problem.spreads or any(kind.dedicated for kind in problem.kinds) or any(sharing(problem))
    )


def best(problem: Problem, start: Mapping[str, str], effort: Effort, bound: int) -> Best:
    """Return the best placement found from `start` on. `bound`: none is known to weigh more."""
    groups = groups_of(problem)
    unit = gcd(*(one.priority for one in groups))
    hosts = [HostColumns(problem, name, groups, effort.seed) for name in problem.hosts]
    hosts = [one for one in hosts if one.most]
    with ThreadPoolExecutor(_THREADS) as threads:
        program = _Program(groups, hosts, start, bound // unit, effort, threads)
        program.run()
    return Best(program.placement(), program.weight * unit, program.bound, program.spent)


class _Program:
    """The program over the columns so far: least missing of `weight`, then most stays.

    A column is what may be on a host: of a group that is on more hosts than there are of it, some
    do not run. Those who stay are never more than there are, so they always do.
    """

    def __init__(
        self, groups: Sequence[Group], hosts: Sequence[HostColumns], start: Mapping[str, str],
        weight: int, effort: Effort, threads: Executor,
    ) -> None:  # fmt: skip
        self._threads = threads
        self.groups, self.hosts, self.weight, self.effort = groups, hosts, weight, effort
        unit = gcd(*(group.priority for group in groups))
        self.priorities = [group.priority // unit for group in groups]
        self.most = sum(one.now[host.name] for one in groups for host in hosts)
        self.columns: list[tuple[int, Content]] = []
        self.spent = 0.0
        self._chance = random.Random(effort.seed)  # noqa: S311 - the same seed, the same search
        self._numbers: dict[tuple[int, Content], int] = {}
        self.lp: Any = pywraplp.Solver.CreateSolver("GLOP")
        infinity = self.lp.infinity()
        self._goal = self.lp.Objective()
        self._goal.SetMaximization()
        self._host_rows = [self.lp.Constraint(-infinity, 1) for _ in hosts]
        self._group_rows = [self.lp.Constraint(-infinity, 0) for _ in groups]
        self._weight_row = self.lp.Constraint(weight, infinity)
        self._shares: list[Any] = []
        for row, group, priority in zip(self._group_rows, groups, self.priorities, strict=True):
            placed = self.lp.NumVar(0, len(group.items), "")
            row.SetCoefficient(placed, 1)
            self._weight_row.SetCoefficient(placed, priority)
        # A unit of weight that is missing counts more than all stays.
        missing = self.lp.NumVar(0, infinity, "")
        self._weight_row.SetCoefficient(missing, 1)
        self._goal.SetCoefficient(missing, -(self.most + 1))
        self.chosen = [self._add(n, host.content(start)) for n, host in enumerate(hosts)]
        self.reached = self._value(self.chosen)
        self._ask(weight)

    def _ask(self, weight: int) -> None:
        """Ask for so much weight, and forget the prices that were for another."""
        self.weight = weight
        self._weight_row.SetBounds(weight, self.lp.infinity())
        self.bound = self.most
        self._lowest: int | None = None
        self._center: tuple[list[float], float] = ([], 0.0)
        self.reached = self._value(self.chosen)

    def _add(self, host: int, content: Content) -> int:
        """Add a column if it is new; return its number."""
        number = self._numbers.setdefault((host, content), len(self.columns))
        if number == len(self.columns):
            self.columns.append((host, content))
            share = self.lp.NumVar(0, self.lp.infinity(), "")
            self._shares.append(share)
            self._host_rows[host].SetCoefficient(share, 1)
            for group, many, _ in content:
                self._group_rows[group].SetCoefficient(share, -many)
            self._goal.SetCoefficient(share, sum(stays for _, _, stays in content))
        return number

    def run(self) -> None:
        """Search until the best is proven or the effort is spent."""
        self._search()
        while self.bound < 0:
            # Some weight is missing in the best there is: the most stays are those beside less.
            self._ask(self.weight + self.bound // (self.most + 1))
            self._search()

    def _search(self) -> None:
        while not self._generate(frozenset()):
            pass
        while not self.done and self._settle():
            pass
        if not self.done:
            self._dive()
        if not self.done:
            self._choose(frozenset(), _NODES)
        idle, free = 0, _FREE
        while not self.done and free < len(self.hosts):
            before = self.reached
            hosts = self._chance.sample(range(len(self.hosts)), free)
            fixed = frozenset(range(len(self.hosts))).difference(hosts)
            self._fix({n: one for n, one in self._where().items() if n in fixed})
            self._generate(fixed, _FEW_ROUNDS)
            self._release()
            self._choose(fixed, _FEW_NODES)
            idle = idle + 1 if self.reached == before else 0
            if idle == _IDLE:
                idle, free = 0, free + 2
        if not self.done:
            self._choose(frozenset(), _NODES)

    @property
    def done(self) -> bool:
        """Say whether nothing is left to gain or to spend."""
        return self.reached >= self.bound or self._left <= 0

    @property
    def _left(self) -> float:
        return self.effort.limit - self.spent

    def _settle(self) -> bool:
        """Find a placement as good as the bound, or prove that there is none; False: neither.

        No column that is worth less, by more than the bound is above, can be in such a placement.
        """
        if self._lowest is None:
            return False
        values = [round(price * SCALE) for price in self._center[0]]
        gap = self._lowest - self.bound * SCALE
        use: set[int] = set()
        for number, host in enumerate(self.hosts):
            most, _, spent = host.price(values)
            contents, more = host.near_best(values, most - gap)
            self.spent += spent + more
            if contents is None or len(use) + len(contents) > _MOST_LISTED or self._left <= 0:
                return False
            use.update(self._add(number, content) for content in contents)
        if not self._choose(frozenset(), _NODES, use):
            return False
        self.bound -= 1
        # What nearly was the best is often among them.
        self._choose(frozenset(), _NODES, use)
        return True

    def _where(self) -> dict[int, int]:
        return {self.columns[one][0]: one for one in self.chosen}

    def _fix(self, columns: Mapping[int, int]) -> None:
        for one in columns.values():
            self._shares[one].SetBounds(1, 1)

    def _release(self) -> None:
        for one in self._shares:
            one.SetBounds(0, self.lp.infinity())

    def _generate(self, fixed: frozenset[int], rounds: int = 1000) -> bool:
        """Add columns until none improves, the bound tells, or the effort or rounds are spent.

        Return False if less weight is asked for now, since so much is proven to be impossible.
        """
        smooth = 0.0 if fixed else _SMOOTH
        for _ in range(rounds):
            if self.done:
                return True
            self.lp.Solve()
            self.spent += _PIVOT * self.lp.iterations()
            value = self._goal.Value()
            exact = [max(0.0, row.dual_value()) for row in self._group_rows]
            each = max(0.0, -self._weight_row.dual_value())
            hosts = [row.dual_value() for row in self._host_rows]
            used, used_each = exact, each
            if smooth and self._lowest is not None:
                used = [
                    smooth * old + (1 - smooth) * new
                    for old, new in zip(self._center[0], exact, strict=True)
                ]
                used_each = smooth * self._center[1] + (1 - smooth) * each
            total, found = self._price(used, used_each, fixed)
            added = 0
            for number, content in found:
                gain = sum(exact[group] * many + stays for group, many, stays in content)
                if gain > hosts[number] + _EPSILON:
                    added += (number, content) not in self._numbers
                    self._add(number, content)
            if not fixed and (self._lowest is None or total < self._lowest):
                self._lowest, self._center = total, (used, used_each)
                if total < 0:
                    missing = -(total // (SCALE * (self.most + 1)))
                    self._ask(self.weight - missing)
                    return False
                self.bound = min(self.bound, total // SCALE)
            if not fixed and self._lowest is not None and self._lowest <= (value + _NEAR) * SCALE:
                return True
            if not added:
                if not smooth:
                    return True
                smooth = max(0.0, smooth - 0.35)
        return True

    def _price(
        self, prices: Sequence[float], each: float, fixed: frozenset[int]
    ) -> tuple[int, list[tuple[int, Content]]]:
        """Return the bound that these prices prove, and each host's best column under them."""
        values = [round(price * SCALE) for price in prices]
        weight = min(round(each * SCALE), (self.most + 1) * SCALE)
        total = -weight * self.weight
        for group, priority, value in zip(self.groups, self.priorities, values, strict=True):
            total += len(group.items) * max(0, weight * priority - value)
        found = []
        free = [number for number in range(len(self.hosts)) if number not in fixed]
        priced = self._threads.map(lambda number: self.hosts[number].price(values), free)
        for number, (most, content, spent) in zip(free, priced, strict=True):
            total += most
            self.spent += spent
            found.append((number, content))
        return total, found

    def _dive(self) -> None:
        """Fix one host after the other to the column that the program takes most of."""
        fixed: dict[int, int] = {}
        while len(fixed) < len(self.hosts):
            self._generate(frozenset(fixed), _FEW_ROUNDS)
            self.lp.Solve()
            shares = {
                number: share.solution_value()
                for number, share in enumerate(self._shares)
                if self.columns[number][0] not in fixed
            }
            if max(shares.values(), default=0) < _EPSILON:
                break
            sure = [number for number, share in shares.items() if share > 1 - _EPSILON]
            new = sure or [max(shares, key=lambda one: (shares[one], -one))]
            fixed.update((self.columns[number][0], number) for number in new)
            self._fix(fixed)
        self._release()
        self._take(list(fixed.values()))

    def _take(self, chosen: list[int]) -> None:
        """Keep a choice of columns if it is better."""
        value = self._value(chosen)
        if value > self.reached:
            self.reached, self.chosen = value, chosen

    def _value(self, chosen: Iterable[int]) -> int:
        """Return what a choice of columns is worth: its stays, less what is missing."""
        many: Counter[int] = Counter()
        value = 0
        for one in chosen:
            for group, count, stays in self.columns[one][1]:
                many[group] += count
                value += stays
        weight = sum(
            priority * min(len(self.groups[number].items), many[number])
            for number, priority in enumerate(self.priorities)
        )
        return value - (self.most + 1) * max(0, self.weight - weight)

    def _choose(self, fixed: frozenset[int], nodes: int, use: set[int] | None = None) -> bool:
        """Take the best choice among all columns; `fixed` hosts keep theirs.

        With `use`: only as good as the bound, of these columns; return whether there is none.
        """
        mip: Any = pywraplp.Solver.CreateSolver("SCIP")
        here = set(self.chosen)
        taken = {
            number: mip.BoolVar("")
            for number, (host, _) in enumerate(self.columns)
            if (host not in fixed or number in here) and (use is None or number in use)
        }
        self.spent += CALL + _COLUMN * len(taken)
        most = max(1, min(nodes, int(self._left / _NODE)))
        mip.SetSolverSpecificParametersAsString(f"limits/totalnodes = {most}")
        where = self._where()
        one_each = [
            mip.Constraint(int(n in fixed and n in where), 1) for n in range(len(self.hosts))
        ]
        supply = [mip.Constraint(-mip.infinity(), 0) for _ in self.groups]
        weight = mip.Constraint(self.weight, mip.infinity())
        value = mip.Constraint(self.reached + 1 if use is None else self.bound, self.bound)
        goal = mip.Objective()
        goal.SetMaximization()
        for number, one in taken.items():
            host, content = self.columns[number]
            one_each[host].SetCoefficient(one, 1)
            for group, many, _ in content:
                supply[group].SetCoefficient(one, -many)
            stays = sum(stays for _, _, stays in content)
            value.SetCoefficient(one, stays)
            goal.SetCoefficient(one, stays)
        for row, same, priority in zip(supply, self.groups, self.priorities, strict=True):
            placed = mip.IntVar(0, len(same.items), "")
            row.SetCoefficient(placed, 1)
            weight.SetCoefficient(placed, priority)
        missing = mip.IntVar(0, self.weight, "")
        weight.SetCoefficient(missing, 1)
        value.SetCoefficient(missing, -(self.most + 1))
        goal.SetCoefficient(missing, -(self.most + 1))
        status = mip.Solve()
        self.spent += _NODE * mip.nodes() + _PIVOT * mip.iterations()
        if status in (mip.OPTIMAL, mip.FEASIBLE):
            self._take([number for number, one in taken.items() if one.solution_value() > 0.5])
        # A solution that in integers is none proves nothing: the solver's sums are floats.
        return bool(status == mip.INFEASIBLE)

    def placement(self) -> dict[str, str]:
        """Return the best placement that was found, item -> host: first those who stay."""
        on: dict[str, str] = {}
        rest: defaultdict[int, list[str]] = defaultdict(list)
        for one in sorted(self.chosen):
            host, content = self.columns[one]
            name = self.hosts[host].name
            for group, many, stays in content:
                there = [item.name for item in self.groups[group].items if item.now == name]
                on.update(dict.fromkeys(there[:stays], name))
                rest[group] += [name] * (many - stays)
        for group, hosts in rest.items():
            others = (item.name for item in self.groups[group].items if item.name not in on)
            on.update(zip(others, hosts, strict=False))
        return dict(sorted(on.items()))
