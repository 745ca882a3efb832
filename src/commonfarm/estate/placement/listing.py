"""All that one host may hold and that is worth at least so much.

A dynamic program over the two resources that tell most bounds what can still come (Bellman 1957);
the others are priced (Lagrange). With such a bound, what is listed step by step hardly ever comes
to nothing, so the effort goes with the length of the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd, prod
from typing import Any

import numpy as np
from ortools.linear_solver import pywraplp

_CELLS = 2**14  # of the dynamic program's table; amounts are rounded down until it is as small
_MOST_BEGUN = 2_000_000  # contents, at any one step


@dataclass(frozen=True, slots=True)
class Choice:
    """So many of something, up to `most`, each worth `worth`; the first `stay` are worth `more`.

    `needs`: what one takes of each resource, in the order of the room.
    """

    most: int
    stay: int
    worth: int
    more: int
    needs: Sequence[int]

    def value(self, counts: Any) -> Any:
        """Return what each of so many are worth together (an array for an array)."""
        return counts * self.worth + np.minimum(counts, self.stay) * self.more


def worth_at_least(
    choices: Sequence[Choice], room: Sequence[int], least: int
) -> tuple[list[tuple[int, ...]] | None, int]:
    """Return counts of the choices that fit and are worth `least`, and how many were begun.

    Only those to which nothing can be added; None where too many are begun. `worth` and `more` are
    not negative; no choice needs more than the room for its `most`, nor does a resource have none.
    """
    if not room:
        # Nothing limits: there is but one to which nothing can be added.
        whole = tuple(one.most for one in choices)
        worthy = sum(one.value(one.most) for one in choices) >= least
        return [whole] if worthy else [], 1
    needs = np.array([one.needs for one in choices], dtype=np.int64).reshape(-1, len(room))
    prices = _prices(choices, needs, room)
    order = np.argsort(-(needs / np.array(room)).max(axis=1, initial=0), kind="stable")
    tables = _Tables([choices[n] for n in order], needs[order], room, prices)
    left = np.array([room], dtype=np.int64)
    worth = np.zeros(1)
    counts = np.zeros((1, 0), dtype=np.int32)
    begun = 0
    for step, number in enumerate(order):
        choice = choices[number]
        many = np.arange(choice.most + 1)
        begun += len(worth) * len(many)
        if len(worth) * len(many) > _MOST_BEGUN:
            return None, begun
        after = left[:, None, :] - many[None, :, None] * needs[number]
        content, count = np.nonzero((after >= 0).all(axis=2))
        after = after[content, count]
        value = worth[content] + choice.value(many)[count]
        kept = value + tables.most(step + 1, after) >= least - 1
        left, worth = after[kept], value[kept]
        counts = np.concatenate([counts[content[kept]], count[kept, None].astype(np.int32)], axis=1)
    full = worth >= least
    for step, number in enumerate(order):
        more = (counts[:, step] < choices[number].most) & (left >= needs[number]).all(axis=1)
        full &= ~more
    found = np.zeros((int(full.sum()), len(choices)), dtype=np.int32)
    found[:, order] = counts[full]
    return [tuple(one) for one in found.tolist()], begun


def _prices(choices: Sequence[Choice], needs: Any, room: Sequence[int]) -> Any:
    """Return what one unit of each resource is worth in the linear relaxation."""
    lp: Any = pywraplp.Solver.CreateSolver("GLOP")
    rows = [lp.Constraint(0, 1) for _ in room]
    goal = lp.Objective()
    goal.SetMaximization()
    for choice, amounts in zip(choices, needs.tolist(), strict=True):
        parts = (
            (choice.stay, choice.worth + choice.more),
            (choice.most - choice.stay, choice.worth),
        )
        for most, worth in parts:
            share = lp.NumVar(0, most, "")
            goal.SetCoefficient(share, worth)
            for row, amount, there in zip(rows, amounts, room, strict=True):
                row.SetCoefficient(share, amount / there)
    lp.Solve()
    return np.array(
        [max(0.0, row.dual_value()) / there for row, there in zip(rows, room, strict=True)]
    )


class _Tables:
    """What the choices from one on can be worth at most, by what is left of the room."""

    def __init__(
        self, choices: Sequence[Choice], needs: Any, room: Sequence[int], prices: Any
    ) -> None:
        telling = sorted(range(len(room)), key=lambda one: (-prices[one] * room[one], one))
        self._grid, self._priced = telling[:2], telling[2:]
        self._prices = prices[self._priced]
        self._units = [gcd(*needs[:, one].tolist()) or 1 for one in self._grid]
        while prod(self._sizes(room)) > _CELLS:
            sizes = self._sizes(room)
            self._units[sizes.index(max(sizes))] *= 2
        table = np.zeros(self._sizes(room))
        self._tables = [table]
        for choice, amounts in zip(reversed(choices), needs[::-1], strict=True):
            table = self._with(table, choice, amounts)
            self._tables.append(table)
        self._tables.reverse()

    def _sizes(self, room: Sequence[int]) -> list[int]:
        return [room[one] // unit + 1 for one, unit in zip(self._grid, self._units, strict=True)]

    def _with(self, table: Any, choice: Choice, amounts: Any) -> Any:
        """Return the table with one choice more: the best of all counts of it."""
        steps = [
            int(amounts[one]) // unit for one, unit in zip(self._grid, self._units, strict=True)
        ]
        price = float(amounts[self._priced] @ self._prices)
        best = table.copy()
        for many in range(1, choice.most + 1):
            to = tuple(slice(many * step, None) for step in steps)
            inside = best[to]
            of = tuple(slice(size) for size in inside.shape)
            worth = choice.value(many) - price * many
            np.maximum(inside, table[of] + worth, out=inside)
        return best

    def most(self, step: int, left: Any) -> Any:
        """Return what the choices from `step` on can add at most, for each row of what is left."""
        at = tuple(left[:, one] // unit for one, unit in zip(self._grid, self._units, strict=True))
        return self._tables[step][at] + left[:, self._priced] @ self._prices
