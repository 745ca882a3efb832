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
from numpy.typing import NDArray

from commonfarm.estate.placement.packing.budget import Budget
from commonfarm.estate.placement.packing.problem import Bools, Floats, Ints, Problem

Shorts = NDArray[np.int16]

CELLS = 300_000
"""Cells of an array that is made in one step, so that it stays in the cache."""


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
        self, values: Ints, floor: int, budget: Budget, *, width: int, keep: int | None = None,
        thorough: bool = False,
    ) -> Found:  # fmt: skip
        """Return patterns worth more than `floor`; `values` are those of all types.

        At most `width` sets stay on a level, or, where it is `thorough`, are looked at together.
        With `keep`, so many patterns are enough, and types that are worth nothing are not in them.
        """
        mine = values[self.types]
        chosen = np.flatnonzero(mine >= (0 if keep is None else 1))
        if not len(chosen):
            return Found((), (), 0, complete=True)
        lambdas = [self._tighten(number, mine, share) for number, share in enumerate((1.0, 0.5))]
        price = self._share[chosen] @ np.array(lambdas).T  # T x L
        # A type that even the root's bound does not allow beside it is in no such pattern.
        reduced = mine[chosen][:, None] - price
        gain = (np.maximum(reduced, 0.0) * self.copies[chosen][:, None]).sum(axis=0)
        bound = (np.minimum(reduced, 0.0) + gain + np.array(lambdas).sum(axis=1)).min(axis=1)
        useful = np.flatnonzero(bound > floor)
        if not len(useful):
            return Found((), (), max(0, floor), complete=True)
        efficiency = mine[chosen[useful]] / (price[useful, 0] + 1e-9)
        order = useful[np.argsort(-efficiency, kind="stable")]
        chosen, price = chosen[order], price[order]
        search = _Search(
            self.sizes[chosen], self.copies[chosen], mine[chosen], price, np.array(lambdas),
            self.capacity, floor,
        )  # fmt: skip
        found, upper, complete = search.run(width, budget, keep, thorough=thorough)
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


@dataclass(frozen=True, slots=True, eq=False)
class _Sets:
    """Sets of equally many types: the room each leaves, its value, and what is in it."""

    room: Ints
    value: Ints
    path: Shorts


class _Search:
    """One run; types are here numbered by falling value for what they take."""

    def __init__(
        self, sizes: Ints, copies: Ints, values: Ints, price: Floats, multipliers: Floats,
        capacity: Ints, floor: int,
    ) -> None:  # fmt: skip
        self.sizes, self.copies, self.values, self.floor = sizes, copies, values, floor
        self.reduced = values[:, None] - price  # T x L
        single = np.float32
        self.gain = (np.maximum(self.reduced, 0.0) * copies[:, None]).T.astype(single)  # L x T
        self.loss = np.minimum(self.reduced, 0.0).T.astype(single)
        self.trifle = 6e-8 * (len(sizes) + 16) * float(self.gain.sum() + multipliers.sum())
        self.per_unit = multipliers / np.maximum(capacity, 1)  # L x D
        self.capacity = capacity
        self.numbers = np.arange(len(sizes))
        self.several = bool((copies > 1).any())

    def run(
        self, width: int, budget: Budget, enough: int | None, *, thorough: bool
    ) -> tuple[list[tuple[int, tuple[int, ...]]], int, bool]:
        """Return what is found, the most that anything can be worth, and if nothing was missed.

        Where a level has more than `width` sets, the best go on; the others follow after them if
        this is to be `thorough`, until `enough` patterns are found, and are dropped if not.
        """
        found: list[tuple[int, tuple[int, ...]]] = []
        missed, best = 0.0, self.floor
        start = _Sets(
            self.capacity[None, :].copy(), np.zeros(1, np.int64), np.zeros((1, 0), np.int16)
        )
        waiting = [(float("inf"), start)]
        while waiting:
            bound, sets = waiting.pop()
            if budget.over or (thorough and enough is not None and len(found) >= enough):
                missed = max([missed, bound, *(one for one, _ in waiting)])
                break
            states, types, bounds = self._level(sets, budget)
            worthy = np.flatnonzero(sets.value > self.floor)
            for row in worthy[self._maximal(sets.room[worthy], sets.path[worthy])]:
                worth = int(sets.value[row])
                found.append((worth, tuple(int(t) for t in sets.path[row])))
                best = max(best, worth)
            order = np.arange(len(states))
            if len(states) > width:
                order = np.argsort(-bounds, kind="stable")
                if not thorough:
                    missed = max(missed, float(bounds[order[width]]))
                    order = order[:width]
            for block in reversed([order[at : at + width] for at in range(0, len(order), width)]):
                rows, added = states[block], types[block]
                child = _Sets(
                    sets.room[rows] - self.sizes[added],
                    sets.value[rows] + self.values[added],
                    np.concatenate([sets.path[rows], added[:, None].astype(np.int16)], axis=1),
                )
                waiting.append((float(bounds[block].max()), child))
        upper = max(best, int(min(missed, 2.0**62)) + 1 if missed else 0)
        return found, upper, not missed

    def _level(self, sets: _Sets, budget: Budget) -> tuple[Ints, Ints, Floats]:
        """Return which set may be extended by which type, and the bounds of that."""
        count, dimensions = self.sizes.shape
        budget.count(len(sets.room) * count * (dimensions + 4.0 * len(self.per_unit)))
        parts = []
        step = max(1, CELLS // count)
        for start in range(0, len(sets.room), step):
            rows = slice(start, start + step)
            states, types, bounds = self._extend(sets.room[rows], sets.value[rows], sets.path[rows])
            parts.append((states + start, types, bounds))
        states, types, bounds = (np.concatenate(one) for one in zip(*parts, strict=True))
        return states, types, bounds

    def _extend(self, room: Ints, value: Ints, path: Shorts) -> tuple[Ints, Ints, Floats]:
        depth = path.shape[1]
        first = int(path[:, -1].min()) if depth else 0
        fits = np.ones((len(room), len(self.sizes) - first), bool)
        for d in range(room.shape[1]):
            fits &= room[:, d, None] >= self.sizes[None, first:, d]
        if depth:
            last = path[:, -1]
            later = self.numbers[None, first:] > last[:, None]
            if self.several:
                again = (path == last[:, None]).sum(axis=1) < self.copies[last]
                later[np.arange(len(path)), last - first] = again
            fits &= later
        bound = None
        for multiplier in range(len(self.per_unit)):
            rest = np.where(fits, self.gain[multiplier, None, first:], np.float32(0.0))
            rest = np.cumsum(rest[:, ::-1], axis=1, dtype=np.float32)[:, ::-1]
            rest += (value + room @ self.per_unit[multiplier])[:, None].astype(np.float32)
            rest += self.loss[multiplier, None, first:]
            bound = rest if bound is None else np.minimum(bound, rest, out=bound)
        assert bound is not None
        # Single precision is enough to within this: what is above the floor is never lost.
        bound += np.float32(self.trifle)
        states, types = np.nonzero(fits & (bound > self.floor))
        return (
            states.astype(np.int64),
            types.astype(np.int64) + first,
            bound[states, types].astype(np.float64),
        )

    def _maximal(self, room: Ints, path: Shorts) -> Bools:
        """Say to which sets no type can be added that is not in them."""
        fits = np.ones((len(room), len(self.sizes)), bool)
        for d in range(room.shape[1]):
            fits &= room[:, d, None] >= self.sizes[None, :, d]
        rows = np.arange(len(path))
        inside = fits.copy()
        for column in range(path.shape[1]):
            fits[rows, path[:, column]] = False
        if self.several and path.shape[1]:
            last = path[:, -1]
            again = (path == last[:, None]).sum(axis=1) < self.copies[last]
            fits[rows, last] = again & inside[rows, last]
        return np.asarray(~fits.any(axis=1))
