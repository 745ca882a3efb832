"""Column generation: the linear relaxation over all patterns, its bound, and good patterns.

Gilmore and Gomory, Operations Research 9 (1961); the bound before the end is Lagrange's, with
Farley's scaling for kinds that are unlimited (Operations Research 38, 1990). Bounds are computed
in integers from what the pricing proved, so that no rounding of the linear solver enters them.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import numpy as np
from ortools.linear_solver import pywraplp

from commonfarm.estate.placement.packing.budget import Budget
from commonfarm.estate.placement.packing.patterns import Pricer
from commonfarm.estate.placement.packing.problem import Floats, Ints, Pattern, Problem

SCALE = 10**8
"""Duals are integers in this part of the dearest cost."""
NARROW = 1000
WIDE = 5000
"""Sets on a level of the search: quick at first, thorough once that finds few patterns."""
PER_ROUND = 250
FEW = 40
"""Patterns to be added at once: of all kinds together, and of one at least."""


class Columns:
    """The restricted master: patterns found so far and the linear program over them."""

    def __init__(self, problem: Problem, patterns: Iterable[Pattern]) -> None:
        self.problem = problem
        self.pricers = [Pricer(problem, kind) for kind in range(len(problem.cost))]
        self.patterns: list[Pattern] = []
        self.lower_bound = 0
        self.value = np.inf  # of the linear program, once it is solved over all patterns
        self.duals: Ints = np.zeros(len(problem.demand), np.int64)
        self.limits: Ints = np.zeros(len(problem.cost), np.int64)
        self.scale = 1
        self.shares: Floats = np.zeros(0)  # how much of each pattern the last solution takes
        self.solved = False
        self._keep = max(FEW, PER_ROUND // max(1, len(problem.cost)))
        self._seen: set[Pattern] = set()
        self._variables: list[pywraplp.Variable] = []
        self._solver = solver = pywraplp.Solver.CreateSolver("GLOP")
        infinity = solver.infinity()
        self._rows = [solver.Constraint(int(one), infinity) for one in problem.demand]
        self._limits = {
            int(k): solver.Constraint(-infinity, int(problem.most[k]))
            for k in np.flatnonzero(~problem.unlimited)
        }
        self._objective = solver.Objective()
        self._objective.SetMinimization()
        for row in self._rows:  # also where none may stay out, so that there always is a solution
            out = solver.NumVar(0, infinity, "")
            self._objective.SetCoefficient(out, float(problem.outside))
            row.SetCoefficient(out, 1)
        self._parameters = pywraplp.MPSolverParameters()
        self._parameters.SetIntegerParam(
            pywraplp.MPSolverParameters.INCREMENTALITY,
            pywraplp.MPSolverParameters.INCREMENTALITY_ON,
        )
        self._parameters.SetIntegerParam(
            pywraplp.MPSolverParameters.PRESOLVE, pywraplp.MPSolverParameters.PRESOLVE_OFF
        )
        self.add(patterns)

    def add(self, patterns: Iterable[Pattern]) -> int:
        """Take in patterns; return how many were new."""
        before = len(self.patterns)
        infinity = self._solver.infinity()
        for pattern in patterns:
            if pattern in self._seen:
                continue
            self._seen.add(pattern)
            self.patterns.append(pattern)
            variable = self._solver.NumVar(0, infinity, "")
            self._variables.append(variable)
            self._objective.SetCoefficient(variable, float(self.problem.cost[pattern.kind]))
            for t in set(pattern.types):
                self._rows[t].SetCoefficient(variable, pattern.types.count(t))
            if pattern.kind in self._limits:
                self._limits[pattern.kind].SetCoefficient(variable, 1)
        return len(self.patterns) - before

    def relax(self, budget: Budget) -> float:
        """Solve the linear program over the patterns so far; return its value, keep its duals."""
        if self._solver.Solve(self._parameters) != pywraplp.Solver.OPTIMAL:
            # Degenerate programs end so at times when they are gone on with: begin anew.
            self._solver.Reset()
            if self._solver.Solve(self._parameters) != pywraplp.Solver.OPTIMAL:
                self.shares = np.zeros(len(self._variables))
                self.duals, self.limits = self.duals * 0, self.limits * 0
                return float("inf")
        self.shares = np.array([variable.solution_value() for variable in self._variables])
        budget.count(5e4 * self._solver.iterations() + 200.0 * len(self.patterns))
        problem = self.problem
        duals = np.array([max(0.0, row.dual_value()) for row in self._rows])
        limits = np.zeros(len(problem.cost))
        for k, row in self._limits.items():
            limits[k] = max(0.0, -row.dual_value())
        self.scale = max(1, int(SCALE / max(1.0, float(problem.cost.max(initial=1)))))
        self.duals = np.floor(duals * self.scale + 1e-6).astype(np.int64)
        out = problem.may_stay_out
        self.duals[out] = np.minimum(self.duals[out], problem.outside * self.scale)
        self.limits = np.ceil(limits * self.scale).astype(np.int64)
        return float(self._objective.Value())

    def require(self, short: Ints, spare: Ints) -> None:
        """Ask from now on for `short` of each type alone, with `spare` bins of each kind left.

        Bounds then are for the rest, and are not kept.
        """
        infinity = self._solver.infinity()
        for row, one in zip(self._rows, short, strict=True):
            row.SetBounds(int(one), infinity)
        for k, row in self._limits.items():
            row.SetBounds(-infinity, int(spare[k]))

    def improve(self, budget: Budget, rounds: int) -> float:
        """Add patterns for what is required, at most `rounds` times; return the value reached."""
        for _ in range(rounds):
            value = self.relax(budget)
            added = 0
            for kind, pricer in enumerate(self.pricers):
                floor = self.floor(kind)
                found = pricer.find(self.duals, floor, budget, width=NARROW, keep=self._keep)
                added += self.add(Pattern(kind, types) for types in found.patterns)
            if not added or budget.over:
                return value
        return self.relax(budget)

    def generate(self, budget: Budget, stop_at: int, *, fully: bool = False) -> bool:
        """Add patterns until none improves; say whether that was reached, or a bound that tells.

        It ends early once the bound is `stop_at`, or, unless `fully`, no better bound can come.
        """
        width = NARROW
        while not budget.over:
            value = self.relax(budget)
            if value == np.inf:
                return False
            uppers, added, complete = [], 0, True
            for kind, pricer in enumerate(self.pricers):
                floor = self.floor(kind)
                found = pricer.find(
                    self.duals, floor, budget, width=width, keep=self._keep, thorough=width == WIDE
                )
                uppers.append(found.upper)
                complete &= found.upper <= floor or bool(found.patterns)
                added += self.add(Pattern(kind, types) for types in found.patterns)
            self.lower_bound = max(self.lower_bound, self._bound(uppers))
            enough = not fully and self.lower_bound >= self._round_up(value)
            if enough or self.lower_bound >= stop_at:
                self.value, self.solved = value, True
                return True
            if not added and (complete or width == WIDE):
                self.value, self.solved = value, complete
                return complete
            if added < FEW:
                width = WIDE
        return False

    def slim(self, most: int) -> Columns:
        """Return a program over the `most` patterns that cost least by the duals."""
        worth = [
            int(self.problem.cost[p.kind]) * self.scale - int(self.duals[list(p.types)].sum())
            for p in self.patterns
        ]
        order = np.argsort(np.array(worth), kind="stable")[:most]
        return Columns(self.problem, [self.patterns[number] for number in order])

    def floor(self, kind: int) -> int:
        """Return what a pattern of `kind` must be worth more than to improve the program."""
        return int(self.problem.cost[kind]) * self.scale + int(self.limits[kind])

    def worth(self) -> int:
        """Return the value of the duals, times `scale`."""
        pairs = zip(self.duals, self.problem.demand, strict=True)
        bounds = zip(self.limits, self.problem.most, strict=True)
        return sum(int(v) * int(d) for v, d in pairs) - sum(int(u) * int(m) for u, m in bounds)

    def _round_up(self, value: float) -> int:
        step = self.problem.step
        return -(-int(value * 1e4) // (10**4 * step)) * step

    def _bound(self, uppers: list[int]) -> int:
        """Return the bound on every packing's cost that the duals prove by the patterns' worth."""
        problem = self.problem
        shrink = Fraction(1)
        for kind, upper in enumerate(uppers):
            cost = int(problem.cost[kind]) * self.scale
            if problem.unlimited[kind] and upper > cost:
                shrink = min(shrink, Fraction(cost, upper))
        total = shrink * sum(
            int(v) * int(d) for v, d in zip(self.duals, problem.demand, strict=True)
        )
        for kind, upper in enumerate(uppers):
            if not problem.unlimited[kind]:
                cost = int(problem.cost[kind]) * self.scale
                total -= int(problem.most[kind]) * max(Fraction(0), shrink * upper - cost)
        step = self.scale * problem.step
        return int(-(-total // step)) * problem.step
