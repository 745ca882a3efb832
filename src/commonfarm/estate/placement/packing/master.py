"""Choose among patterns: a set cover by CP-SAT, which says whether they hold a better packing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ortools.sat.python import cp_model

from commonfarm.estate.placement.packing.budget import Budget
from commonfarm.estate.placement.packing.problem import Pattern, Problem, Solution


@dataclass(frozen=True, slots=True)
class Effort:
    """How CP-SAT may search."""

    workers: int
    seed: int


@dataclass(frozen=True, slots=True)
class Choice:
    """The best packing found within the limit, if any; `closed`: there is no better one."""

    solution: Solution | None
    closed: bool


def solver_for(budget: Budget, effort: Effort, seconds: float) -> cp_model.CpSolver:
    """Return a CP-SAT solver that keeps to `seconds` of the budget."""
    solver = cp_model.CpSolver()
    limit = min(seconds, budget.left)
    if budget.deterministic:
        solver.parameters.max_deterministic_time = limit
    else:
        solver.parameters.max_time_in_seconds = limit
    solver.parameters.num_workers = effort.workers
    solver.parameters.random_seed = effort.seed
    solver.parameters.linearization_level = 2  # the linear relaxation is what tells most here
    return solver


def choose(
    problem: Problem, patterns: Sequence[Pattern], most: int, lower_bound: int, budget: Budget,
    effort: Effort, seconds: float, *, exactly: bool = False,
) -> Choice:  # fmt: skip
    """Return the cheapest packing of at most cost `most` that `patterns` make.

    They may hold an item too often, which then is left out of one, unless `exactly`.
    """
    model = cp_model.CpModel()
    covering: defaultdict[int, list[tuple[cp_model.IntVar, int]]] = defaultdict(list)
    of_kind: defaultdict[int, list[cp_model.IntVar]] = defaultdict(list)
    used = []
    for number, pattern in enumerate(patterns):
        useful = max(-(-int(problem.demand[t]) // pattern.types.count(t)) for t in pattern.types)
        upper = min(int(problem.most[pattern.kind]), useful)
        variable = model.new_int_var(0, upper, f"p{number}")
        used.append(variable)
        of_kind[pattern.kind].append(variable)
        for t in set(pattern.types):
            covering[t].append((variable, pattern.types.count(t)))
    total = [
        int(problem.cost[p.kind]) // problem.step * v for p, v in zip(patterns, used, strict=True)
    ]
    for t, demand in enumerate(problem.demand):
        terms = [times * variable for variable, times in covering[t]]
        if problem.may_stay_out[t]:
            out = model.new_int_var(0, int(demand), f"out{t}")
            terms.append(out)
            total.append(problem.outside // problem.step * out)
        wanted, there = int(demand), sum(terms)
        model.add(there == wanted if exactly else there >= wanted)
    for kind, variables in of_kind.items():
        if len(variables) > problem.most[kind]:
            model.add(sum(variables) <= int(problem.most[kind]))
    objective = sum(total)
    model.add_linear_constraint(objective, lower_bound // problem.step, most // problem.step)
    model.minimize(objective)
    solver = solver_for(budget, effort, seconds)
    status = solver.solve(model)
    budget.charge(solver.deterministic_time)
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        chosen = [
            pattern
            for pattern, variable in zip(patterns, used, strict=True)
            for _ in range(solver.value(variable))
        ]
        return Choice(problem.solution(chosen), closed=status == cp_model.OPTIMAL)
    return Choice(None, closed=status == cp_model.INFEASIBLE)
