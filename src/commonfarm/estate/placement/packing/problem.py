"""What is to be packed, into what, and the answer; and the same in arrays, as the solvers want it.

A rule that two items must not share a bin is one more dimension: 1 for each of them, capacity 1.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MOST = 2**62
"""Sums of sizes stay below this, so that they fit 64 bits."""


@dataclass(frozen=True, slots=True)
class Item:
    """What goes into one bin, whole. `kinds` are those it may go in; None is any."""

    name: str
    sizes: tuple[int, ...]
    kinds: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of bin: `cost` of each used, `most` of them (None: as many as wanted).

    What is there already is a kind of cost 0 of which there is one, with its free room.
    """

    name: str
    capacity: tuple[int, ...]
    cost: int
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Bin:
    """One bin that is used: its kind and the names of the items in it."""

    kind: str
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Packing:
    """The answer: the bins used, what they cost, and how good that is.

    `too_large`: items that no kind they may go in could take. `left_out`: items for which there
    are not bins enough. No packing leaves fewer out and costs less than `lower_bound`; `proven`
    says that none leaves fewer out, and none that leaves as few costs less.
    """

    bins: tuple[Bin, ...]
    cost: int
    lower_bound: int
    proven: bool
    too_large: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class Pattern:
    """What is in one bin: its kind and the types in it, sorted, each as often as it is in it."""

    kind: int
    types: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Solution:
    """A whole packing in types: the patterns used, the types left out, and the cost of both."""

    patterns: tuple[Pattern, ...]
    left_out: tuple[int, ...]
    cost: int


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """The problem in arrays: T types of equal items, K kinds of equal bins, D dimensions.

    `outside` is what leaving one item out counts: more than any packing costs, so that as many as
    possible are packed. `step` divides every cost. The order of types and kinds depends on what
    they are, never on the order in which they were given.
    """

    sizes: Ints  # T x D
    demand: Ints  # T
    capacity: Ints  # K x D
    cost: Ints  # K
    most: Ints  # K
    allowed: Bools  # K x T: may go in and fits alone
    unlimited: Bools  # K: as many as there are items
    may_stay_out: Bools  # T
    outside: int
    step: int
    items: tuple[tuple[str, ...], ...]  # per type, their names
    bins: tuple[tuple[tuple[str, int], ...], ...]  # per kind, the names it has and how many each
    too_large: tuple[str, ...]

    @classmethod
    def of(cls, items: Iterable[Item], kinds: Iterable[Kind]) -> Problem:
        """Return the problem in arrays; raise ValueError where the input makes no sense."""
        items, kinds = tuple(items), tuple(kinds)
        _check(items, kinds)
        dimensions = len(kinds[0].capacity) if kinds else 0
        if not kinds:
            items = tuple(replace(item, sizes=()) for item in items)
        units = [gcd(*(item.sizes[d] for item in items)) or 1 for d in range(dimensions)]
        total = [sum(item.sizes[d] for item in items) // units[d] for d in range(dimensions)]
        if any(one >= MOST for one in total):
            raise ValueError("the items together are larger than can be counted")

        names: defaultdict[tuple[tuple[int, ...], tuple[str, ...]], list[str]] = defaultdict(list)
        too_large = []
        for item in items:
            fitting = tuple(
                sorted(
                    kind.name
                    for kind in kinds
                    if (item.kinds is None or kind.name in item.kinds)
                    and kind.most != 0
                    and all(s <= c for s, c in zip(item.sizes, kind.capacity, strict=True))
                )
            )
            if fitting:
                sizes = tuple(s // u for s, u in zip(item.sizes, units, strict=True))
                names[sizes, fitting].append(item.name)
            else:
                too_large.append(item.name)
        order = sorted(names, reverse=True)
        count = sum(len(names[key]) for key in order)

        alike: defaultdict[tuple[object, ...], list[Kind]] = defaultdict(list)
        for kind in kinds:
            capacity = tuple(
                min(c // u, t) for c, u, t in zip(kind.capacity, units, total, strict=True)
            )
            takes = tuple(kind.name in key[1] for key in order)
            if any(takes):
                alike[kind.cost, capacity, takes].append(kind)
        groups = sorted(alike.items(), key=lambda pair: pair[0])
        most = [
            min(count, sum(count if kind.most is None else kind.most for kind in same))
            for _, same in groups
        ]
        cost = [same[0].cost for _, same in groups]
        step = gcd(*cost) or 1
        allowed = np.array([key[2] for key, _ in groups], bool).reshape(len(groups), len(order))
        unlimited = np.array([m >= count for m in most], bool)
        return cls(
            sizes=np.array([key[0] for key in order], np.int64).reshape(len(order), dimensions),
            demand=np.array([len(names[key]) for key in order], np.int64),
            capacity=np.array([key[1] for key, _ in groups], np.int64).reshape(
                len(groups), dimensions
            ),
            cost=np.array(cost, np.int64),
            most=np.array(most, np.int64),
            allowed=allowed,
            unlimited=unlimited,
            may_stay_out=~allowed[unlimited].any(axis=0),
            outside=(count * max(cost, default=0) // step + 1) * step,
            step=step,
            items=tuple(tuple(sorted(names[key])) for key in order),
            bins=tuple(
                tuple(sorted((k.name, count if k.most is None else k.most) for k in same))
                for _, same in groups
            ),
            too_large=tuple(sorted(too_large)),
        )

    def solution(self, patterns: Iterable[Pattern]) -> Solution:
        """Return the packing that `patterns` make; what they hold too often is left out of them."""
        short = self.demand.copy()
        kept = []
        for pattern in sorted(patterns):
            types = []
            for t in pattern.types:
                if short[t]:
                    short[t] -= 1
                    types.append(t)
            if types:
                kept.append(Pattern(pattern.kind, tuple(types)))
        left = tuple(int(t) for t in np.repeat(np.arange(len(short)), short))
        cost = sum(int(self.cost[p.kind]) for p in kept) + self.outside * len(left)
        return Solution(tuple(sorted(kept)), left, cost)

    def named(self, solution: Solution, lower_bound: int) -> Packing:
        """Return the answer with the names people gave."""
        free = [list(names) for names in self.items]
        spare = [[name for name, most in names for _ in range(most)] for names in self.bins]
        bins = []
        for pattern in solution.patterns:
            content = tuple(sorted(free[t].pop(0) for t in pattern.types))
            bins.append(Bin(spare[pattern.kind].pop(0), content))
        out = len(solution.left_out) * self.outside
        return Packing(
            bins=tuple(sorted(bins, key=lambda one: (one.kind, one.items))),
            cost=solution.cost - out,
            lower_bound=max(0, lower_bound - out),
            proven=lower_bound >= solution.cost,
            too_large=self.too_large,
            left_out=tuple(sorted(name for names in free for name in names)),
        )


def _check(items: Sequence[Item], kinds: Sequence[Kind]) -> None:
    for what, names in (("item", [i.name for i in items]), ("kind", [k.name for k in kinds])):
        if len(set(names)) != len(names):
            raise ValueError(f"two {what}s have one name")
    lengths = {len(i.sizes) for i in items} | {len(k.capacity) for k in kinds}
    if len(lengths) > 1:
        raise ValueError("items and kinds do not have the same dimensions")
    amounts = [s for i in items for s in i.sizes] + [c for k in kinds for c in k.capacity]
    amounts += [k.cost for k in kinds] + [k.most for k in kinds if k.most is not None]
    if min(amounts, default=0) < 0:
        raise ValueError("an amount is negative")


def faults(items: Iterable[Item], kinds: Iterable[Kind], packing: Packing) -> tuple[str, ...]:
    """Return what is wrong with `packing` by what was asked alone; empty: it is a packing."""
    by_name: Mapping[str, Item] = {item.name: item for item in items}
    kind_of = {kind.name: kind for kind in kinds}
    wrong = []
    seen = sorted(
        [n for b in packing.bins for n in b.items] + [*packing.too_large, *packing.left_out]
    )
    if seen != sorted(by_name):
        wrong.append("not every item is named once")
    for number, one in enumerate(packing.bins):
        kind, inside = kind_of[one.kind], [by_name[name] for name in one.items]
        wrong += [
            f"{item.name} may not go in {kind.name}"
            for item in inside
            if item.kinds is not None and kind.name not in item.kinds
        ]
        for d, capacity in enumerate(kind.capacity):
            load = sum(item.sizes[d] for item in inside)
            if load > capacity:
                wrong.append(f"bin {number} holds {load} of {capacity} in dimension {d}")
    for kind in kind_of.values():
        used = sum(one.kind == kind.name for one in packing.bins)
        if kind.most is not None and used > kind.most:
            wrong.append(f"{used} of {kind.name} are used and there are {kind.most}")
    if packing.cost != sum(kind_of[one.kind].cost for one in packing.bins):
        wrong.append("the cost is not that of the bins")
    if packing.lower_bound > packing.cost:
        wrong.append("the lower bound is above the cost")
    return tuple(wrong)
