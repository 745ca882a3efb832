"""Place what there is: what runs stays where it fits, the rest by best fit, then exactly.

A greedy placement is enough where it places everything and moves nothing that could stay: nothing
is better. Otherwise the exact model goes on from it; on the whole problem where that is small, else
on parts of it, one after the other (large neighbourhood search, Shaw 1998).
"""

from __future__ import annotations

from collections.abc import Mapping

from commonfarm.estate.placement.greedy import greedy
from commonfarm.estate.placement.ledger import Score, score
from commonfarm.estate.placement.problem import Effort, Found, Problem
from commonfarm.estate.plan import Certificate

MOST_COLUMNS = 40_000
"""Pairs of a kind and a host up to which the exact model takes the whole problem."""


def certified(
    problem: Problem, effort: Effort, near: Mapping[str, str]
) -> tuple[Found, int, Certificate]:
    """Return what `solve` finds, and how much any placement could weigh, with its certificate."""
    from commonfarm.estate.placement.bounds import certify

    found = solve(problem, effort, near)
    bound, certificate = certify(problem, score(problem, found.on).weight)
    return found, bound, certificate


def solve(problem: Problem, effort: Effort, near: Mapping[str, str] | None = None) -> Found:
    """Return the best placement found, and of those as good the nearest to `near`."""
    started = greedy(problem, near or {})
    begun = Found(started.on, *_proven(problem, started.on))
    if not problem.items or _perfect(problem, begun.on):
        return begun
    from commonfarm.estate.placement import model

    found = model.place(problem, begun.on, effort, near or begun.on)
    return found if score(problem, found.on) >= score(problem, begun.on) else begun


def _perfect(problem: Problem, on: Mapping[str, str]) -> bool:
    """Say whether nothing can be better in any respect."""
    return score(problem, on) == ideal(problem)


def ideal(problem: Problem) -> Score:
    """Return what no placement can be better than."""
    return Score(
        weight=sum(item.priority for item in problem.items if item.kind.hosts),
        stays=sum(item.now in item.kind.hosts for item in problem.items),
        wishes=0,
        leaving=0,
    )


def _proven(problem: Problem, on: Mapping[str, str]) -> tuple[bool, bool]:
    found, best = score(problem, on), ideal(problem)
    most = found.weight == best.weight
    return most, most and found.stays == best.stays
