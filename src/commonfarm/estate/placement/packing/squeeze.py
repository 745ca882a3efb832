"""Into so many bins and no more: move and swap what is too much until nothing is.

All items are put into a given number of bins, overfull ones if need be; then the best move or swap
out of an overfull bin is made, again and again, and what was moved stays for a while (tabu search:
Glover, ORSA Journal on Computing 1, 1989). Good where many items share a bin, where patterns are
too many to be told apart.
"""

from __future__ import annotations

import numpy as np

from commonfarm.estate.placement.packing.budget import Budget
from commonfarm.estate.placement.packing.problem import Floats, Ints, Pattern, Problem, Solution

TENURE = 12
PATIENCE = 400
"""Steps without a better state after which some bins are mixed."""


def squeeze(
    problem: Problem, start: Solution, budget: Budget, chance: np.random.Generator
) -> Solution | None:
    """Return a packing with one bin less than `start`, or None. There is one kind, unlimited."""
    if len(problem.cost) != 1 or not problem.unlimited[0] or len(start.patterns) < 2:
        return None
    search = _Squeeze(problem, start, chance)
    while not budget.over:
        if search.step(budget):
            return search.solution()
    return None


class _Squeeze:
    def __init__(self, problem: Problem, start: Solution, chance: np.random.Generator) -> None:
        self.problem, self.chance = problem, chance
        loads = [int(problem.sizes[list(p.types)].sum()) for p in start.patterns]
        dropped = int(np.argmin(loads))
        kept = [p for number, p in enumerate(start.patterns) if number != dropped]
        self.bins = len(kept)
        self.types = np.array(
            [t for p in kept for t in p.types] + list(start.patterns[dropped].types)
        )
        self.capacity = np.maximum(problem.capacity[0], 1)
        self.sizes: Floats = problem.sizes[self.types] / self.capacity
        self.where: Ints = np.repeat(np.arange(self.bins), [len(p.types) for p in kept])
        self.load: Floats = np.zeros((self.bins, self.sizes.shape[1]))
        np.add.at(self.load, self.where, self.sizes[: len(self.where)])
        for item in range(len(self.where), len(self.types)):
            more = self._excess(self.load + self.sizes[item]) - self._excess(self.load)
            target = int(np.argmin(more))
            self.where = np.append(self.where, target)
            self.load[target] += self.sizes[item]
        self.until: Ints = np.zeros(len(self.types), np.int64)
        self.number, self.stale, self.best = 0, 0, np.inf

    @staticmethod
    def _excess(load: Floats) -> Floats:
        """Return by how much bins are too full, to be made 0 for all."""
        over = np.maximum(load - (1.0 + 1e-9), 0.0)
        result: Floats = (over * (over + 0.02)).sum(axis=-1)
        return result

    def step(self, budget: Budget) -> bool:
        """Make one move or swap; say whether no bin is too full any more."""
        excess = self._excess(self.load)
        over = np.flatnonzero(excess)
        if not len(over):
            return True
        total = float(excess.sum())
        if total < self.best - 1e-12:
            self.best, self.stale = total, 0
        else:
            self.stale += 1
        if self.stale > PATIENCE:
            self._mix()
            return False
        self.number += 1
        source = int(self.chance.choice(over))
        mine = np.flatnonzero(self.where == source)
        others = np.flatnonzero(self.where != source)
        budget.count(12.0 * len(mine) * (len(others) + self.bins) * self.sizes.shape[1] + 4e4)

        left = self.load[source] - self.sizes[mine]  # I x D
        homes = self.where[others]
        swapped = self._excess(left[:, None, :] + self.sizes[others][None, :, :])
        swapped += self._excess(
            (self.load[homes] - self.sizes[others])[None, :, :] + self.sizes[mine][:, None, :]
        )
        swapped -= (excess[homes] + excess[source])[None, :]
        moved = self._excess(left)[:, None] + self._excess(
            self.load[None, :, :] + self.sizes[mine][:, None, :]
        )
        moved -= (excess + excess[source])[None, :]
        moved[:, source] = np.inf
        gain = np.concatenate([swapped, moved], axis=1)
        held = np.zeros(gain.shape, bool)
        held[self.until[mine] > self.number] = True
        held[:, : len(others)] |= (self.until[others] > self.number)[None, :]
        held &= total + gain >= self.best - 1e-12
        gain = np.where(held, np.inf, gain)
        row, column = np.unravel_index(int(np.argmin(gain)), gain.shape)
        item = int(mine[row])
        if column < len(others):
            other = int(others[column])
            self._put(other, source)
            self._put(item, int(homes[column]))
        else:
            self._put(item, int(column) - len(others))
        return False

    def _put(self, item: int, target: int) -> None:
        self.load[self.where[item]] -= self.sizes[item]
        self.load[target] += self.sizes[item]
        self.where[item] = target
        self.until[item] = self.number + TENURE + int(self.chance.integers(TENURE))

    def _mix(self) -> None:
        """Shake up a few bins, to go on from elsewhere."""
        for _ in range(max(3, len(self.types) // 20)):
            first, second = self.chance.integers(len(self.types), size=2)
            homes = int(self.where[first]), int(self.where[second])
            self._put(int(first), homes[1])
            self._put(int(second), homes[0])
        self.load = np.zeros_like(self.load)  # anew, so that no rounding adds up
        np.add.at(self.load, self.where, self.sizes)
        self.stale, self.best = 0, np.inf

    def solution(self) -> Solution:
        """Return the packing, counted in integers."""
        patterns = [
            Pattern(0, tuple(sorted(int(t) for t in self.types[self.where == number])))
            for number in range(self.bins)
        ]
        fitting = [
            p
            for p in patterns
            if (self.problem.sizes[list(p.types)].sum(axis=0) <= self.problem.capacity[0]).all()
        ]
        return self.problem.solution(fitting)
