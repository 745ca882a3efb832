"""Pack a few bins anew, fewer or cheaper ones, and go on with others.

Taillard and Voss, POPMUSIC: Partial Optimization Metaheuristic under Special Intensification
Conditions, 2002: a part that is small enough is solved almost exactly. One kind of bin is best
packed by column generation, several by CP-SAT.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from commonfarm.estate.placement.packing.budget import Budget
from commonfarm.estate.placement.packing.columns import Columns
from commonfarm.estate.placement.packing.diving import dive
from commonfarm.estate.placement.packing.exact import assign
from commonfarm.estate.placement.packing.master import Effort
from commonfarm.estate.placement.packing.problem import Ints, Pattern, Problem, Solution

DIVES = 2
SECONDS = 1.0
"""For CP-SAT on one part."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A small problem out of a large one: its types and kinds are some of the large one's."""

    problem: Problem
    start: Solution
    types: Ints
    kinds: Ints

    @classmethod
    def of(cls, problem: Problem, solution: Solution, chosen: Ints) -> Part:
        """Return the problem of packing anew the chosen patterns and what is left out."""
        inside = set(chosen.tolist())
        spare = problem.most.copy()
        for number, pattern in enumerate(solution.patterns):
            if number not in inside:
                spare[pattern.kind] -= 1
        mine = [solution.patterns[number] for number in chosen]
        demand = np.zeros(len(problem.demand), np.int64)
        for pattern in mine:
            np.add.at(demand, list(pattern.types), 1)
        np.add.at(demand, list(solution.left_out), 1)
        types = np.flatnonzero(demand)
        kinds = np.flatnonzero((spare > 0) & problem.allowed[:, types].any(axis=1))
        count = int(demand.sum())
        small = replace(
            problem,
            sizes=problem.sizes[types],
            demand=demand[types],
            capacity=problem.capacity[kinds],
            cost=problem.cost[kinds],
            most=np.minimum(spare[kinds], count),
            allowed=problem.allowed[np.ix_(kinds, types)],
            unlimited=spare[kinds] >= count,
            may_stay_out=problem.may_stay_out[types],
            items=(),
            bins=(),
        )
        place = {int(t): number for number, t in enumerate(types)}
        rank = {int(k): number for number, k in enumerate(kinds)}
        start = small.solution(
            Pattern(rank[p.kind], tuple(place[t] for t in p.types)) for p in mine
        )
        return cls(small, start, types, kinds)

    def patterns(self, solution: Solution) -> list[Pattern]:
        """Return its patterns in the types and kinds of the large problem."""
        return [
            Pattern(int(self.kinds[p.kind]), tuple(int(self.types[t]) for t in p.types))
            for p in solution.patterns
        ]


def repack(
    problem: Problem, solution: Solution, budget: Budget, effort: Effort,
    chance: np.random.Generator, items: int,
) -> Solution:  # fmt: skip
    """Return `solution` or a cheaper one in which bins of about `items` items are packed anew."""
    kinds = np.array([p.kind for p in solution.patterns])
    loads = np.array([problem.sizes[list(p.types)].sum(axis=0) for p in solution.patterns])
    free = (1.0 - loads / np.maximum(problem.capacity[kinds], 1)).mean(axis=1)
    likely = (0.02 + free) * np.sqrt(chance.random(len(free)))
    paid = np.flatnonzero(problem.cost[kinds] > 0)
    if len(paid):  # something must be there that can be saved
        likely[chance.choice(paid)] = 9.0
    order = np.argsort(-likely, kind="stable")
    counts = np.array([len(p.types) for p in solution.patterns])[order]
    chosen = order[: max(2, int((np.cumsum(counts) <= items).sum()))]
    part = Part.of(problem, solution, chosen)
    better = _improve(part, budget, effort, chance)
    if better is None:
        return solution
    inside = set(chosen.tolist())
    outside = [p for number, p in enumerate(solution.patterns) if number not in inside]
    return problem.solution(outside + part.patterns(better))


def _improve(
    part: Part, budget: Budget, effort: Effort, chance: np.random.Generator
) -> Solution | None:
    """Return a cheaper packing of the part, if one is found."""
    start = part.start
    if len(part.kinds) > 1:
        return assign(part.problem, start, 0, budget, effort, SECONDS).solution
    columns = Columns(part.problem, start.patterns)
    columns.generate(budget, start.cost)
    for number in range(DIVES):
        if columns.lower_bound >= start.cost or budget.over:
            break
        most = start.cost - part.problem.step
        better = dive(columns, most, budget, chance, noise=0.3 if number else 0.0)
        if better is not None:
            return better
    return None
