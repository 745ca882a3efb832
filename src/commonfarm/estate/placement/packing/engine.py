"""The driver: raise the bound and lower the cost in turn until they meet or the time is over."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from commonfarm.estate.placement.packing.bounds import volume_bound
from commonfarm.estate.placement.packing.budget import Budget
from commonfarm.estate.placement.packing.columns import Columns
from commonfarm.estate.placement.packing.diving import dive
from commonfarm.estate.placement.packing.exact import assign
from commonfarm.estate.placement.packing.heuristics import first_packings
from commonfarm.estate.placement.packing.master import Choice, Effort, choose
from commonfarm.estate.placement.packing.neighbourhood import repack
from commonfarm.estate.placement.packing.perfect import perfect_patterns
from commonfarm.estate.placement.packing.problem import (
    Item,
    Kind,
    Packing,
    Pattern,
    Problem,
    Solution,
)
from commonfarm.estate.placement.packing.squeeze import squeeze

ROUNDS = 40
CROWDED = 4
"""Items to a bin from which moving them about finds more than choosing among patterns."""
WHOLE = 130
"""Up to so many items the whole problem is one for column generation; beyond it, parts of it."""
SLIM = 6
"""Patterns for each type with which a dive over a large problem begins."""
PART = 60
LARGEST = 250
"""Items of a part, at first and at last."""
ASSIGNED = (2, 12)
"""Turns after which everything is given to CP-SAT at once."""
ENUMERATED = 30_000


def cheapest(
    items: Iterable[Item],
    kinds: Iterable[Kind],
    *,
    seconds: float,
    clock: Callable[[], float] | None = None,
    workers: int = 1,
    seed: int = 0,
) -> Packing:
    """Return the cheapest packing of `items` into bins of `kinds` that is found in `seconds`.

    With `clock` (such as time.monotonic) they are those of the clock; without it they are counted
    work, and with one worker the same input then gives the same answer. Raises ValueError for
    amounts that are negative or too large to be added up, and names that occur twice.
    """
    problem = Problem.of(items, kinds)
    if not len(problem.demand):
        return problem.named(problem.solution(()), 0)
    return _Run(problem, Budget(seconds, clock), Effort(workers, seed)).run()


class _Run:
    def __init__(self, problem: Problem, budget: Budget, effort: Effort) -> None:
        self.problem, self.budget, self.effort = problem, budget, effort
        self.chance = np.random.default_rng(effort.seed)
        self.lower = volume_bound(problem)
        self.best = problem.solution(())
        self.pool: set[Pattern] = set()
        self.part = PART

    @property
    def done(self) -> bool:
        return self.best.cost <= self.lower or self.budget.over

    def take(self, solution: Solution | None) -> bool:
        if solution is None:
            return False
        self.pool.update(solution.patterns)
        if solution.cost < self.best.cost:
            self.best = solution
            return True
        return False

    def run(self) -> Packing:
        part = self.budget.part(self.budget.left / 10)
        for solution in first_packings(self.problem, part, self.effort.seed, ROUNDS):
            self.take(solution)
            if self.done:
                break
        if not self.done:
            self.squeeze()
            self.search()
        return self.problem.named(self.best, min(self.lower, self.best.cost))

    def squeeze(self) -> None:
        """Leave out one bin after the other: for long only where many items share a bin."""
        used = max(1, len(self.best.patterns))
        crowded = int(self.problem.demand.sum()) / used >= CROWDED
        budget = self.budget.part(self.budget.left / (3 if crowded else 20))
        while not self.done and self.take(squeeze(self.problem, self.best, budget, self.chance)):
            pass

    def search(self) -> None:
        """Raise the bound, then lower the cost: of everything by dives, of parts, and by proof."""
        self.fill_exactly()
        columns = Columns(self.problem, sorted(self.pool))
        columns.lower_bound = self.lower
        self.bound(columns)
        small = int(self.problem.demand.sum()) <= WHOLE
        turns, asked, posed = 0, self.best.cost + 1, self.best.cost + 1
        while not self.done:
            if turns and not columns.solved:
                self.bound(columns)
            if small or turns % 2:
                self.whole(columns, turns)
            else:
                self.parts(self.budget.part(self.budget.left / 5))
            turns += 1
            if not small or not columns.solved:
                self.squeeze()
            if turns in ASSIGNED and posed > self.best.cost:
                posed = self.best.cost
                seconds = self.budget.left / 4
                self.settle(
                    assign(self.problem, self.best, self.lower, self.budget, self.effort, seconds)
                )
            if columns.solved and turns >= 4 and asked > self.best.cost:
                asked = self.best.cost
                self.enumerate(columns)

    def fill_exactly(self) -> None:
        """Where every bin must be full, look for a packing by such bins alone."""
        full = perfect_patterns(self.problem, self.budget)
        if full:
            self.pool.update(full)
            seconds = self.budget.left / 2
            choice = choose(
                self.problem, full, self.lower, self.lower, self.budget, self.effort, seconds,
                exactly=True,
            )  # fmt: skip
            self.take(choice.solution)

    def bound(self, columns: Columns, *, fully: bool = False) -> bool:
        """Generate patterns for a third of what is left; say whether it came to its end."""
        budget = self.budget.part(self.budget.left / 3)
        ended = columns.generate(budget, self.best.cost, fully=fully)
        self.lower = max(self.lower, columns.lower_bound)
        return ended

    def settle(self, choice: Choice) -> None:
        """Take the answer of CP-SAT, which may be the last word."""
        self.take(choice.solution)
        if choice.closed:
            self.lower = self.best.cost

    def whole(self, columns: Columns, turn: int) -> None:
        """Dive once more, straight at first and then straying."""
        noise = 0.0 if turn < 2 else 0.15 + 0.05 * (turn % 5)
        columns.add(sorted(self.pool))
        most = self.best.cost - self.problem.step
        enough = SLIM * len(self.problem.demand)
        if len(columns.patterns) > 2 * enough:
            columns.relax(self.budget)
            columns = columns.slim(enough)
        budget = self.budget.part(self.budget.left / 2)
        self.take(dive(columns, most, budget, self.chance, noise))

    def parts(self, budget: Budget) -> None:
        """Pack parts anew, larger ones where smaller ones bring nothing more."""
        misses = 0
        while not self.done and not budget.over:
            better = repack(self.problem, self.best, budget, self.effort, self.chance, self.part)
            misses = 0 if self.take(better) else misses + 1
            if misses >= 8:
                self.part, misses = min(LARGEST, self.part + 20), 0

    def enumerate(self, columns: Columns) -> None:
        """Ask CP-SAT for a better packing out of all patterns that one can use.

        One of cost `most` uses no pattern whose reduced cost is above `most` less the relaxation.
        """
        most = self.best.cost - self.problem.step
        if not self.bound(columns, fully=True) or self.done:
            return
        # The linear solver leaves patterns worth a trifle too much; each bin used may be one.
        trifle = columns.scale // 10**6 + 1
        slack = most * columns.scale - columns.worth() + trifle * int(self.problem.demand.sum())
        patterns: list[Pattern] = []
        for kind, pricer in enumerate(columns.pricers):
            floor = columns.floor(kind)
            found = pricer.find(
                columns.duals, floor - slack - 1, self.budget, width=10 * ENUMERATED
            )
            if not found.complete or found.upper > floor + trifle:
                return
            patterns += [Pattern(kind, types) for types in found.patterns]
            if len(patterns) > ENUMERATED:
                return
        seconds = self.budget.left / 3
        choice = choose(self.problem, patterns, most, self.lower, self.budget, self.effort, seconds)
        self.settle(choice)
