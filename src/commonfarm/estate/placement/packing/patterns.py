"""Find what fits in one bin and is worth much: a knapsack of several dimensions, level by level.

Level n holds sets of n items as rows of arrays; each is extended by later items only. A set is
dropped once its Lagrangian bound (value + multipliers * room + what still fits at reduced value)
is not above what is asked. Where too many are left, the best by that bound stay (a beam) and the
best of those dropped bounds what was missed. Kellerer, Pferschy and Pisinger, Knapsack Problems,
2004, chapter 9.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from commonfarm.estate.placement.packing.budget import Budget
from commonfarm.estate.placement.packing.problem import Bools, Floats, Ints, Problem

CELLS = 1_500_000
"""Cells of an array that is made in one step, which bounds the memory."""


@dataclass(frozen=True, slots=True)
class Found:
    """Patterns worth more than was asked, best first. No pattern is worth more than `upper`.

    `complete`: every such pattern to which nothing can be added is among them.
    """

    patterns: tuple[tuple[int, ...], ...]
    values: tuple[int, ...]
    upper: int
    complete: bool


class Pricer:
    """Finds patterns for one kind of bin."""

    def __init__(self, problem: Problem, kind: int) -> None:
        capacity = problem.capacity[kind]
        types = np.flatnonzero(problem.allowed[kind])
        sizes = problem.sizes[types]
        with np.errstate(divide="ignore"):
            fit = np.where(sizes > 0, capacity // np.maximum(sizes, 1), problem.demand.max())
        self.types = types
        self.sizes = sizes
        self.copies = np.minimum(problem.demand[types], fit.min(axis=1, initial=2**40))
        self.capacity = capacity
        shown = np.maximum(capacity, 1).astype(np.float64)
        self._share: Floats = sizes / shown  # of the capacity
        self._multipliers = [np.full(len(capacity), 1.0) for _ in range(2)]

    def find(
        self, values: Ints, floor: int, budget: Budget, *, width: int, keep: int | None = None
    ) -> Found:
        """Return patterns worth more than `floor`; `values` are those of all types.

        At most `width` sets stay on a level. With `keep`, so many are enough, and types that are
        worth nothing are not in them.
        """
        mine = values[self.types]
        chosen = np.flatnonzero(mine >= (0 if keep is None else 1))
        if not len(chosen):
            return Found((), (), 0, complete=True)
        lambdas = [self._tighten(number, mine, share) for number, share in enumerate((1.0, 0.5))]
        price = self._share[chosen] @ np.array(lambdas).T  # T x L
        order = np.argsort(-mine[chosen] / (price[:, 0] + 1e-9), kind="stable")
        chosen, price = chosen[order], price[order]
        search = _Search(
            self.sizes[chosen], self.copies[chosen], mine[chosen], price, np.array(lambdas),
            self.capacity, floor,
        )  # fmt: skip
        found, upper, complete = search.run(width, budget)
        best = sorted(found, key=lambda pair: (-pair[0], pair[1]))
        if keep is not None and len(best) > keep:
            best, complete = _spread(best, keep), False
        patterns = tuple(
            tuple(sorted(int(t) for t in self.types[chosen[list(path)]])) for _, path in best
        )
        return Found(patterns, tuple(value for value, _ in best), upper, complete)

    def _tighten(self, number: int, values: Ints, share: float) -> Floats:
        """Return multipliers for which the Lagrangian bound of a bin is about least.

        Any are valid; these are found by subgradients from where the last call ended. `share` of
        the bin is looked at: deep in the search only a part of it is free.
        """
        multipliers = self._multipliers[number] * 1.0
        goods = values.astype(np.float64)
        scale = float(goods.max())
        if multipliers.max() <= 1.0:
            multipliers = np.full(len(multipliers), scale / max(len(multipliers), 1))
        best, best_bound, step = multipliers, np.inf, 0.5
        stale = 0
        for _ in range(60):
            reduced = goods - self._share @ multipliers
            taken = np.where(reduced > 0, self.copies, 0)
            bound = share * multipliers.sum() + float((reduced * taken).sum())
            if bound < best_bound - 1e-9 * scale:
                best, best_bound, stale = multipliers, bound, 0
            else:
                stale += 1
                if stale >= 4:
                    step, stale, multipliers = step / 2, 0, best
                    continue
            slope = taken @ self._share - share
            norm = float(slope @ slope)
            if norm < 1e-12:
                break
            multipliers = np.maximum(0.0, multipliers + step * bound * 0.2 / norm * slope)
        self._multipliers[number] = best
        return best


def _spread(
    best: list[tuple[int, tuple[int, ...]]], keep: int
) -> list[tuple[int, tuple[int, ...]]]:
    """Return up to `keep` of the patterns, of which each adds something to those before it."""
    seen: dict[int, int] = {}
    chosen: list[tuple[int, tuple[int, ...]]] = []
    rest: list[tuple[int, tuple[int, ...]]] = []
    for one in best:
        if len(chosen) >= keep:
            break
        if any(seen.get(t, 0) < 3 for t in one[1]):
            chosen.append(one)
            for t in one[1]:
                seen[t] = seen.get(t, 0) + 1
        else:
            rest.append(one)
    return chosen + rest[: keep - len(chosen)]


class _Search:
    """One run; types are here numbered by falling value for what they take."""

    def __init__(
        self, sizes: Ints, copies: Ints, values: Ints, price: Floats, multipliers: Floats,
        capacity: Ints, floor: int,
    ) -> None:  # fmt: skip
        self.sizes, self.copies, self.values, self.floor = sizes, copies, values, floor
        self.reduced = values[:, None] - price  # T x L
        self.gain = np.maximum(self.reduced, 0.0) * copies[:, None]
        self.loss = np.minimum(self.reduced, 0.0)
        self.per_unit = multipliers / np.maximum(capacity, 1)  # L x D
        self.capacity = capacity
        self.numbers = np.arange(len(sizes))
        self.several = bool((copies > 1).any())

    def run(
        self, width: int, budget: Budget
    ) -> tuple[list[tuple[int, tuple[int, ...]]], int, bool]:
        count, dimensions = self.sizes.shape
        room = self.capacity[None, :].copy()
        value = np.zeros(1, np.int64)
        path = np.zeros((1, 0), np.int64)
        found: list[tuple[int, tuple[int, ...]]] = []
        missed = 0.0
        best = self.floor
        while len(room):
            parts = []
            step = max(1, CELLS // count)
            for start in range(0, len(room), step):
                rows = slice(start, start + step)
                states, types, bound, closed = self._extend(room[rows], value[rows], path[rows])
                for row in np.flatnonzero(closed & (value[rows] > self.floor)):
                    worth = int(value[rows][row])
                    found.append((worth, tuple(int(t) for t in path[rows][row])))
                    best = max(best, worth)
                parts.append((states + start, types, bound))
            budget.count(len(room) * count * (dimensions + 4.0 * len(self.per_unit)))
            states = np.concatenate([part[0] for part in parts])
            types = np.concatenate([part[1] for part in parts])
            bound = np.concatenate([part[2] for part in parts])
            if len(states) > width or budget.over:
                kept = 0 if budget.over else width
                order = np.argsort(-bound, kind="stable")
                if kept < len(order):
                    missed = max(missed, float(bound[order[kept]]))
                states, types = states[order[:kept]], types[order[:kept]]
            room = room[states] - self.sizes[types]
            value = value[states] + self.values[types]
            path = np.concatenate([path[states], types[:, None]], axis=1)
        upper = max(best, int(missed) + 1 if missed else 0)
        return found, upper, not missed

    def _extend(self, room: Ints, value: Ints, path: Ints) -> tuple[Ints, Ints, Floats, Bools]:
        """Return who is extended by which type, the bounds of that, and who takes no more."""
        fits = np.ones((len(room), len(self.sizes)), bool)
        for d in range(room.shape[1]):
            fits &= room[:, d, None] >= self.sizes[None, :, d]
        depth = path.shape[1]
        if depth:
            rows = np.arange(len(path))
            last = path[:, -1]
            inside = fits.copy()
            for column in range(depth):
                fits[rows, path[:, column]] = False  # for `closed`: what is in it does not count
            closed = np.asarray(~fits.any(axis=1))
            fits &= self.numbers[None, :] > last[:, None]
            if self.several:
                again = (path == last[:, None]).sum(axis=1) < self.copies[last]
                fits[rows, last] = again & inside[rows, last]
                closed &= ~fits[rows, last]
        else:
            closed = np.zeros(len(room), np.bool_)
        bound = np.full(fits.shape, np.inf)
        for multiplier in range(len(self.per_unit)):
            gain = np.where(fits, self.gain[None, :, multiplier], 0.0)
            rest = np.cumsum(gain[:, ::-1], axis=1)[:, ::-1]
            rest += (value + room @ self.per_unit[multiplier])[:, None]
            rest += self.loss[None, :, multiplier]
            np.minimum(bound, rest, out=bound)
        states, types = (one.astype(np.int64) for one in np.nonzero(fits & (bound > self.floor)))
        return states, types, bound[states, types], closed
