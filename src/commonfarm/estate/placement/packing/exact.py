"""Which type goes how often in which bin, all at once, by CP-SAT: for few bins, of many kinds."""

from __future__ import annotations

from ortools.sat.python import cp_model

from commonfarm.estate.placement.packing.budget import Budget
from commonfarm.estate.placement.packing.master import Choice, Effort, solver_for
from commonfarm.estate.placement.packing.problem import Pattern, Problem, Solution

CELLS = 20_000
"""Above so many counts (types times bins) the model is not made."""


def assign(
    problem: Problem, start: Solution, lower_bound: int, budget: Budget, effort: Effort,
    seconds: float,
) -> Choice:  # fmt: skip
    """Return the cheapest packing that costs less than `start`, or that there is none.

    Bins of one kind are alike, so they are used in order, and the fuller by number comes first.
    """
    most = start.cost - problem.step
    bins = []
    for kind in range(len(problem.cost)):
        cost, spare = int(problem.cost[kind]), int(problem.most[kind])
        bins += [kind] * (min(spare, most // cost) if cost else spare)
    if len(bins) * len(problem.demand) > CELLS:
        return Choice(None, closed=False)
    model = cp_model.CpModel()
    ones: dict[int, list[cp_model.LinearExprT]] = {t: [] for t in range(len(problem.demand))}
    total: list[cp_model.LinearExprT] = []
    counts: list[dict[int, cp_model.IntVar]] = []
    before: tuple[int, cp_model.IntVar, cp_model.LinearExprT] | None = None
    for number, kind in enumerate(bins):
        used = model.new_bool_var(f"used{number}")
        inside = {
            int(t): model.new_int_var(0, int(problem.demand[t]), f"n{number}_{t}")
            for t in problem.allowed[kind].nonzero()[0]
        }
        for t, count in inside.items():
            ones[t].append(count)
            if not problem.sizes[t].any():
                model.add(count <= int(problem.demand[t]) * used)
        for d, capacity in enumerate(problem.capacity[kind]):
            load = sum(int(problem.sizes[t, d]) * count for t, count in inside.items())
            model.add(load <= int(capacity) * used)
        many = sum(inside.values())
        if before is not None and before[0] == kind:
            model.add_implication(used, before[1])
            model.add(before[2] >= many)
        before = kind, used, many
        total.append(int(problem.cost[kind]) // problem.step * used)
        counts.append(inside)
    for t, demand in enumerate(problem.demand):
        if problem.may_stay_out[t]:
            out = model.new_int_var(0, int(demand), f"out{t}")
            ones[t].append(out)
            total.append(problem.outside // problem.step * out)
        model.add(sum(ones[t]) == int(demand))
    model.add_linear_constraint(sum(total), lower_bound // problem.step, most // problem.step)
    model.minimize(sum(total))
    solver = solver_for(budget, effort, seconds)
    status = solver.solve(model)
    budget.charge(solver.deterministic_time)
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        patterns = []
        for kind, inside in zip(bins, counts, strict=True):
            types = tuple(t for t, count in inside.items() for _ in range(solver.value(count)))
            if types:
                patterns.append(Pattern(kind, types))
        return Choice(problem.solution(patterns), closed=status == cp_model.OPTIMAL)
    return Choice(None, closed=status == cp_model.INFEASIBLE)
