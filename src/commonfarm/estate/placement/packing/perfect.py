"""Bins that are full to the last unit in every dimension, where no other packing can be.

If all items together fill the least number of bins exactly, every bin of such a packing is full.
Sets of two to four items that fill one are found by sums of pairs, as for the 4-sum problem
(Horowitz and Sahni, Journal of the ACM 21, 1974).
"""

from __future__ import annotations

import numpy as np

from commonfarm.estate.placement.packing.budget import Budget
from commonfarm.estate.placement.packing.problem import Ints, Pattern, Problem

MOST_TYPES = 1500
MOST_FOUND = 40_000


def perfect_patterns(problem: Problem, budget: Budget) -> list[Pattern]:
    """Return all patterns of two to four items that fill a bin; none where bins need not be full.

    Four are looked for only where three do not suffice; of too many only a part is returned.
    """
    if len(problem.cost) != 1 or len(problem.demand) > MOST_TYPES:
        return []
    capacity, total = problem.capacity[0], problem.demand @ problem.sizes
    filled = capacity > 0
    bins = set((total[filled] / capacity[filled]).tolist())
    if len(bins) != 1 or not (total % np.maximum(capacity, 1) == 0).all():
        return []
    types = np.flatnonzero(problem.allowed[0])
    first, second = np.triu_indices(len(types))
    pairs = np.stack([types[first], types[second]], axis=1)
    sums = problem.sizes[pairs].sum(axis=1)
    fits = (sums <= capacity).all(axis=1)
    pairs, sums = pairs[fits], sums[fits]
    # Sums of all dimensions as one number each: equal sums have equal ones, and few others do.
    chance = np.random.default_rng(0)
    weights = chance.integers(1, 2**62, len(capacity))
    with np.errstate(over="ignore"):
        keys, ones = sums @ weights, problem.sizes[types] @ weights
        goal = int((capacity @ weights).astype(np.int64))
    order = np.argsort(keys, kind="stable")
    pairs, keys = pairs[order], keys[order]
    budget.count(len(pairs) * 60.0)
    found = {tuple(int(t) for t in pair) for pair in pairs[keys == goal]}
    found |= _joined(types[:, None], ones, pairs, keys, goal)
    if len(_covered(found)) < len(problem.demand):
        found |= _joined(pairs, keys, pairs, keys, goal)
    patterns = []
    for content in sorted(found):
        counts = np.bincount(content, minlength=len(problem.demand))
        full = (counts @ problem.sizes == capacity).all()
        if full and (counts <= problem.demand).all():
            patterns.append(Pattern(0, content))
    return patterns


def _joined(left: Ints, some: Ints, right: Ints, keys: Ints, goal: int) -> set[tuple[int, ...]]:
    """Return what of `left` and `right` together comes to `goal`; `keys` are sorted."""
    with np.errstate(over="ignore"):
        wanted = np.int64(goal) - some
    low = np.searchsorted(keys, wanted, "left")
    high = np.searchsorted(keys, wanted, "right")
    found: set[tuple[int, ...]] = set()
    for row in np.flatnonzero(high > low):
        for other in right[low[row] : high[row]]:
            found.add(tuple(sorted([*left[row].tolist(), *other.tolist()])))
        if len(found) > MOST_FOUND:
            break
    return found


def _covered(found: set[tuple[int, ...]]) -> set[int]:
    return {t for content in found for t in content}
