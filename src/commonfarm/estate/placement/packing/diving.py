"""Dive: take what the linear relaxation takes most of, generate for the rest, and so on.

The diving of column generation: Sadykov, Vanderbeck, Pessoa, Tahiri and Uchoa, Primal Heuristics
for Branch and Price, INFORMS Journal on Computing 31 (2019).
"""

from __future__ import annotations

import numpy as np

from commonfarm.estate.placement.packing.budget import Budget
from commonfarm.estate.placement.packing.columns import Columns
from commonfarm.estate.placement.packing.problem import Pattern, Solution

ROUNDS = 8
FEW_ROUNDS = 2
LARGE = 150
"""Above so many items, fewer rounds and more patterns taken at once."""
SURE = 0.999


def dive(
    columns: Columns, most: int, budget: Budget, chance: np.random.Generator, noise: float
) -> Solution | None:
    """Return a packing of at most cost `most`, or None where the dive found none.

    `noise` is how far the choice strays from the largest fractions.
    """
    problem = columns.problem
    short, spare = problem.demand.copy(), problem.most.copy()
    fixed: list[Pattern] = []
    cost = 0
    rounds = ROUNDS if int(short.sum()) <= LARGE else FEW_ROUNDS
    try:
        while short.any():
            if budget.over:
                return None
            columns.require(short, spare)
            value = columns.improve(budget, rounds)
            if cost + value > most + 1e-6:
                return None
            shares = columns.shares
            order = np.argsort(-(shares + noise * chance.random(len(shares)) * (shares > 1e-6)))
            wanted = 1 if short.sum() <= LARGE else max(1, int(shares.sum() / 12))
            taken = 0
            for number in order:
                if shares[number] < 1e-6 or (taken >= wanted and shares[number] < SURE):
                    break
                pattern = columns.patterns[number]
                if spare[pattern.kind] == 0:
                    continue
                types, counts = np.unique(pattern.types, return_counts=True)
                if (counts > short[types]).any() and taken:
                    continue
                short[types] = np.maximum(0, short[types] - counts)
                spare[pattern.kind] -= 1
                cost += int(problem.cost[pattern.kind])
                fixed.append(pattern)
                taken += 1
            if not taken:
                break
    finally:
        columns.require(problem.demand, problem.most)
    solution = problem.solution(fixed)
    return solution if solution.cost <= most else None
