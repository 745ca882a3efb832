"""The answers that need the solver, with the solver: its process is started here and ends here."""

from __future__ import annotations

from datetime import date

from commonfarm.estate import planner
from commonfarm.estate.answers.cliffs import Cliffs, cliffs
from commonfarm.estate.facts import Facts
from commonfarm.estate.placement import search
from commonfarm.estate.placement.problem import Effort, Found, Problem
from commonfarm.estate.placement.process import Solver

EFFORT = 2.0
"""Deterministic time for the answer to one loss."""


def cliffs_of(facts: Facts, at: date, *, seed: int = 1) -> Cliffs:
    """Return what breaks when, as of a day. Raise RefusedError if the solver was ended."""
    plan = planner.plan(facts, at, seed=seed)
    with Solver() as solver:

        def solve(problem: Problem) -> Found:
            return solver.call(search.solve, problem, Effort(seed, EFFORT))

        return cliffs(facts, plan, solve)
