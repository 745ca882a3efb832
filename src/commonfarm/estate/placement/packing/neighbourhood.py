"""Pack a few bins anew, fewer or cheaper ones, and go on with others.

Taillard and Voss, POPMUSIC: Partial Optimization Metaheuristic under Special Intensification
Conditions, 2002: a part that is small enough is solved almost exactly, by column generation.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from commonfarm.estate.placement.packing.budget import Budget
from commonfarm.estate.placement.packing.columns import Columns
from commonfarm.estate.placement.packing.diving import dive
from commonfarm.estate.placement.packing.problem import Ints, Pattern, Problem, Solution


def part_of(problem: Problem, solution: Solution, chosen: Ints) -> tuple[Problem, Solution, Ints]:
    """Return the problem of the chosen patterns alone, how they solve it, and its types."""
    mine = [solution.patterns[number] for number in chosen]
    demand = np.zeros(len(problem.demand), np.int64)
    for pattern in mine:
        np.add.at(demand, list(pattern.types), 1)
    np.add.at(demand, list(solution.left_out), 1)
    types = np.flatnonzero(demand)
    place = {int(t): number for number, t in enumerate(types)}
    spare = problem.most.copy()
    inside = set(chosen.tolist())
    for number, pattern in enumerate(solution.patterns):
        if number not in inside:
            spare[pattern.kind] -= 1
    small = replace(
        problem,
        sizes=problem.sizes[types],
        demand=demand[types],
        most=np.minimum(spare, int(demand.sum())),
        allowed=problem.allowed[:, types],
        unlimited=spare >= int(demand.sum()),
        may_stay_out=problem.may_stay_out[types],
        items=(),
        bins=(),
    )
    start = small.solution(Pattern(p.kind, tuple(place[t] for t in p.types)) for p in mine)
    return small, start, types


def improve_small(
    problem: Problem, start: Solution, budget: Budget, chance: np.random.Generator, dives: int
) -> Solution:
    """Return a better packing of a small problem, or `start`."""
    columns = Columns(problem, start.patterns)
    columns.generate(budget, start.cost)
    for number in range(dives):
        if columns.lower_bound >= start.cost or budget.over:
            break
        better = dive(
            columns, start.cost - problem.step, budget, chance, noise=0.3 if number else 0.0
        )
        if better is not None:
            return better
    return start


def repack(
    problem: Problem, solution: Solution, budget: Budget, chance: np.random.Generator, items: int
) -> Solution:
    """Return `solution` or a cheaper one in which bins of up to `items` items are packed anew."""
    loads = np.array([problem.sizes[list(p.types)].sum(axis=0) for p in solution.patterns])
    kinds = np.array([p.kind for p in solution.patterns])
    room = 1.0 - loads / np.maximum(problem.capacity[kinds], 1)
    counts = np.array([len(p.types) for p in solution.patterns])
    free = room.mean(axis=1)
    order = np.argsort(-(free * chance.random(len(free)) ** 0.5), kind="stable")
    chosen = order[np.cumsum(counts[order]) <= items]
    small, start, types = part_of(problem, solution, chosen)
    better = improve_small(small, start, budget, chance, 2)
    if better.cost >= start.cost:
        return solution
    outside = [
        p for number, p in enumerate(solution.patterns) if number not in set(chosen.tolist())
    ]
    inside = [Pattern(p.kind, tuple(int(types[t]) for t in p.types)) for p in better.patterns]
    return problem.solution(outside + inside)
