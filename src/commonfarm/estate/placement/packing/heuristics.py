"""First packings: bins filled one after the other, by many measures of what goes in next.

The measures are those of Panigrahy, Talwar, Uyeda and Wieder, Heuristics for Vector Bin Packing,
2011: the dot product of item and room, and the distance from it, each with several weights.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from commonfarm.estate.placement.packing.budget import Budget
from commonfarm.estate.placement.packing.problem import Floats, Ints, Pattern, Problem, Solution

MEASURES = 4
TRIED = 8


def first_packings(problem: Problem, budget: Budget, seed: int, rounds: int) -> Iterator[Solution]:
    """Yield packings, by the plain measures first and then by weights drawn with `seed`."""
    filler = _Filler(problem, budget)
    chance = np.random.default_rng(seed)
    dimensions = problem.sizes.shape[1]
    even = np.ones(dimensions)
    load = problem.demand @ problem.sizes / np.maximum(problem.capacity.mean(axis=0), 1.0)
    scarce = load / max(load.max(initial=0.0), 1e-9)
    plain = [(measure, w) for w in (even, scarce, scarce**2) for measure in range(MEASURES)]
    for measure, weights in plain:
        yield filler.pack(measure, weights, 0.0, chance)
        if budget.over:
            return
    for number in range(rounds):
        weights = scarce * chance.uniform(0.3, 1.0, dimensions)
        yield filler.pack(
            number % MEASURES, weights, float(chance.choice((0.0, 0.05, 0.15))), chance
        )
        if budget.over:
            return


class _Filler:
    def __init__(self, problem: Problem, budget: Budget) -> None:
        self.problem, self.budget = problem, budget
        self.shown = np.maximum(problem.capacity, 1).astype(np.float64)

    def pack(
        self, measure: int, weights: Floats, noise: float, chance: np.random.Generator
    ) -> Solution:
        """Return one packing: existing and cheap bins first, each filled as well as it goes."""
        problem = self.problem
        short, spare = problem.demand.copy(), problem.most.copy()
        jitter = 1.0 + noise * chance.standard_normal(len(short)) if noise else np.ones(len(short))
        patterns: list[Pattern] = []
        while short.any():
            options = np.flatnonzero((spare > 0) & (problem.allowed @ short > 0))
            if not len(options):
                break
            best: tuple[float, int, list[int]] | None = None
            for kind in self._worth_trying(options, chance.random() if noise else 0.0):
                types = self._fill(kind, short, measure, weights, jitter)
                gain = float((problem.sizes[types] / self.shown.mean(axis=0)).sum()) + 1e-9
                rate = float(problem.cost[kind]) / gain
                if best is None or rate < best[0]:
                    best = rate, kind, types
            assert best is not None
            _, kind, types = best
            for t in types:
                short[t] -= 1
            spare[kind] -= 1
            patterns.append(Pattern(int(kind), tuple(sorted(types))))
        return problem.solution(patterns)

    def _worth_trying(self, options: Ints, free_first: float) -> list[int]:
        """Return the kinds to fill by way of trial: one that is free, or some to be paid."""
        free = options[self.problem.cost[options] == 0]
        if len(free):
            return [int(free[int(free_first * len(free))])]
        some = np.linspace(0, len(options) - 1, min(TRIED, len(options))).astype(int)
        return [int(k) for k in options[some]]

    def _fill(
        self, kind: int, short: Ints, measure: int, weights: Floats, jitter: Floats
    ) -> list[int]:
        problem = self.problem
        room = problem.capacity[kind].copy()
        open_ = np.flatnonzero((short > 0) & problem.allowed[kind])
        left = short[open_].copy()
        shares = problem.sizes[open_] / self.shown[kind]
        extra = jitter[open_]
        types: list[int] = []
        while True:
            fits = (problem.sizes[open_] <= room).all(axis=1) & (left > 0)
            self.budget.count(len(open_) * len(room) * 6.0 + 2000.0)
            if not fits.any():
                return types
            free = room / self.shown[kind]
            if measure == 0:
                score = shares @ (weights * free)
            elif measure == 1:
                score = -((shares - free) ** 2 @ weights)
            elif measure == 2:
                score = shares @ (weights * free) / (np.sqrt((shares**2).sum(axis=1)) + 1e-9)
            else:
                score = shares @ (weights / np.maximum(free, 1e-3))
            score = np.where(score > 0, score * extra, score / extra)
            at = int(np.argmax(np.where(fits, score, -np.inf)))
            types.append(int(open_[at]))
            left[at] -= 1
            room -= problem.sizes[open_[at]]
