"""The answers that need the solver, with the solver: its process is started here and ends here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date

from commonfarm.estate import planner
from commonfarm.estate.answers.asking import Tools
from commonfarm.estate.answers.cliffs import Cliffs, cliffs
from commonfarm.estate.answers.offers import Offer, offer
from commonfarm.estate.answers.wanted import Wanted, wanted
from commonfarm.estate.facts import Facts
from commonfarm.estate.placement import packed, question, search
from commonfarm.estate.placement.problem import Effort, Found, Item, Problem
from commonfarm.estate.placement.process import Solver
from commonfarm.estate.plan import Plan

EFFORT = 1.0
"""Deterministic time for the answer to one loss."""
CHOICE = 20.0
"""Deterministic time for one choice of what to ask for."""
PACKING = 5.0
"""Seconds of counted work for one packing."""


def cliffs_of(facts: Facts, at: date, *, seed: int = 1) -> Cliffs:
    """Return what breaks when, as of a day. Raise RefusedError if the solver was ended."""
    with Solver() as solver:
        plan = planner.plan(facts, at, seed=seed, solver=solver)
        return cliffs(facts, plan, tools(solver, seed).solve)


def wanted_of(facts: Facts, day: date, *, seed: int = 1) -> tuple[Wanted, Wanted]:
    """Return what to ask for at likely and at high, for a day. Raise as `cliffs_of`."""
    with Solver() as solver:
        likely, high = (
            wanted(facts, day, level, tools(solver, seed)) for level in ("likely", "high")
        )
    return likely, high


def offer_of(facts: Facts, then: Facts, at: date, *, seed: int = 1) -> Offer:
    """Return what the hosts change that only `then` has. Raise as `cliffs_of`."""
    with Solver() as solver:

        def plan(of: Facts, day: date) -> Plan:
            return planner.plan(of, day, seed=seed, solver=solver)

        return offer(facts, then, at, plan, tools(solver, seed).solve)


def tools(solver: Solver, seed: int) -> Tools:
    """Return what the answers have done in the solver's process, where it needs a solver."""

    def solve(problem: Problem) -> Found:
        found = search.at_once(problem, {})
        return found or solver.call(search.solve, problem, Effort(seed, EFFORT))

    def pack(
        problem: Problem, items: Sequence[Item], standing: Sequence[str], kinds: Mapping[str, int]
    ) -> tuple[Counter[str], int]:
        return solver.call(packed.pack, problem, items, standing, kinds, PACKING)

    def choose(asked: question.Question) -> question.Chosen:
        return solver.call(_chosen, asked, Effort(seed, CHOICE))

    return Tools(solve, pack, choose)


def _chosen(asked: question.Question, effort: Effort) -> question.Chosen:
    # The model's library is loaded in the solver's process alone.
    from commonfarm.estate.placement.elastic import best

    return best(asked, effort)
