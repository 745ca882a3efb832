"""Bounds that cost nothing: how much is to be packed, seen through dual feasible functions.

A function f is dual feasible if sizes that fit together still do so by f; what it makes of all
items then bounds the bins, in each dimension. Used are the identity, Martello and Toth's rounding
of large and small items, and u(k) of Fekete and Schepers (Mathematical Programming 91, 2001).
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from commonfarm.estate.placement.packing.problem import Ints, Problem

STEPS = 40


def volume_bound(problem: Problem) -> int:
    """Return a bound on every packing's cost."""
    best = Fraction(0)
    for d in range(problem.sizes.shape[1]):
        capacities = problem.capacity[:, d]
        best = max(best, _cost_of(problem, problem.sizes[:, d], capacities))
        if len(set(capacities.tolist())) == 1 and capacities[0] > 0:
            for sizes, capacity in _seen(problem.sizes[:, d], int(capacities[0])):
                whole = np.full(len(capacities), capacity, np.int64)
                best = max(best, _cost_of(problem, sizes, whole))
    return int(-(-best // problem.step)) * problem.step


def _seen(sizes: Ints, capacity: int) -> Iterator[tuple[Ints, int]]:
    """Yield sizes and capacity through dual feasible functions."""
    halves = np.unique(sizes[(sizes > 0) & (2 * sizes <= capacity)])
    for threshold in halves[:: max(1, len(halves) // STEPS)]:
        large = np.where(sizes > capacity - threshold, capacity, sizes)
        yield np.where(sizes < threshold, 0, large), capacity
    for k in range(1, 20):
        if int(sizes.max()) * (k + 1) * (k + 1) >= 2**62 or capacity * (k + 1) >= 2**62:
            return
        steps = sizes * (k + 1)
        even = steps % capacity == 0
        yield np.where(even, sizes * k, steps // capacity * capacity), capacity * k


def _cost_of(problem: Problem, sizes: Ints, capacities: Ints) -> Fraction:
    """Return what the cheapest room for all sizes costs, were they fluid."""
    left = sum(int(s) * int(n) for s, n in zip(sizes, problem.demand, strict=True))
    cost = Fraction(0)
    usable = [k for k in range(len(capacities)) if capacities[k] > 0]
    usable.sort(key=lambda k: Fraction(int(problem.cost[k]), int(capacities[k])))
    for k in usable:
        room = int(capacities[k]) * int(problem.most[k])
        if room >= left:
            return cost + Fraction(left * int(problem.cost[k]), int(capacities[k]))
        cost += int(problem.cost[k]) * int(problem.most[k])
        left -= room
    return cost
