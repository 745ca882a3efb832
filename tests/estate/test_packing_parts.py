"""The parts of the packing engine, each beside what it must agree with."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonfarm.estate.placement.packing.bounds import volume_bound
from commonfarm.estate.placement.packing.budget import Budget
from commonfarm.estate.placement.packing.columns import Columns
from commonfarm.estate.placement.packing.engine import cheapest
from commonfarm.estate.placement.packing.exact import assign
from commonfarm.estate.placement.packing.heuristics import first_packings
from commonfarm.estate.placement.packing.master import Effort
from commonfarm.estate.placement.packing.neighbourhood import Part
from commonfarm.estate.placement.packing.patterns import Pricer
from commonfarm.estate.placement.packing.perfect import perfect_patterns
from commonfarm.estate.placement.packing.problem import Item, Kind, Pattern, Problem
from commonfarm.estate.placement.packing.squeeze import squeeze
from tests.estate.test_packing import problems, triples

PLENTY = 1000.0


def one_kind(sizes: list[tuple[int, ...]], capacity: tuple[int, ...]) -> Problem:
    """Return the problem of packing `sizes` into as many bins as it takes."""
    items = [Item(f"i{number}", one) for number, one in enumerate(sizes)]
    return Problem.of(items, [Kind("k", capacity, 1)])


@st.composite
def knapsacks(draw: st.DrawFn) -> tuple[Problem, list[int]]:
    """Draw up to eight items with values, and a bin they may not all fit."""
    dimensions = draw(st.integers(1, 3))
    vector = st.tuples(*[st.integers(0, 6)] * dimensions)
    sizes = draw(st.lists(vector, min_size=1, max_size=8))
    capacity = draw(st.tuples(*[st.integers(6, 12)] * dimensions))
    problem = one_kind(sizes, capacity)
    count = len(problem.demand)
    return problem, draw(st.lists(st.integers(0, 1000), min_size=count, max_size=count))


def feasible(problem: Problem) -> set[tuple[int, ...]]:
    """Return all that fits into one bin of the first kind, by trying all."""
    types = [t for t, n in enumerate(problem.demand) for _ in range(n)]
    return {
        content
        for count in range(1, len(types) + 1)
        for content in combinations(types, count)
        if (problem.sizes[list(content)].sum(axis=0) <= problem.capacity[0]).all()
    }


@settings(max_examples=80, deadline=None)
@given(knapsacks(), st.integers(-1, 1500), st.sampled_from([1, 3, 1000]))
def test_the_thorough_search_finds_all_that_nothing_can_be_added_to(
    drawn: tuple[Problem, list[int]], floor: int, width: int
) -> None:
    problem, values = drawn
    found = Pricer(problem, 0).find(
        np.array(values), floor, Budget(PLENTY), width=width, thorough=True
    )
    fitting = feasible(problem)
    worth = {content: sum(values[t] for t in content) for content in fitting}
    maximal = {
        content
        for content in fitting
        if worth[content] > floor
        and not any(tuple(sorted([*content, t])) in fitting for t in range(len(values)))
    }
    assert found.complete
    assert set(found.patterns) <= fitting
    assert maximal <= set(found.patterns)
    assert found.upper >= max([floor, *worth.values()]) or max(worth.values()) <= floor


@settings(max_examples=60, deadline=None)
@given(knapsacks(), st.sampled_from([1, 2, 5]))
def test_a_beam_never_bounds_too_low(drawn: tuple[Problem, list[int]], width: int) -> None:
    problem, values = drawn
    found = Pricer(problem, 0).find(np.array(values), 0, Budget(PLENTY), width=width, keep=5)
    best = max(sum(values[t] for t in content) for content in feasible(problem))
    assert found.upper >= best
    assert all(0 < value <= best for value in found.values)


@settings(max_examples=40, deadline=None)
@given(problems())
def test_every_bound_is_below_every_packing(drawn: tuple[list[Item], list[Kind]]) -> None:
    problem = Problem.of(*drawn)
    if not len(problem.demand):
        return
    least = cheapest(*drawn, seconds=2)
    cost = least.cost + problem.outside * len(least.left_out)
    assert volume_bound(problem) <= cost
    first = list(first_packings(problem, Budget(PLENTY), 0, 4))
    assert all(one.cost >= cost for one in first)
    columns = Columns(problem, first[0].patterns)
    assert columns.generate(Budget(PLENTY), cost + problem.step, fully=True)
    assert columns.lower_bound <= cost
    assert columns.value <= cost + 1e-6


@settings(max_examples=25, deadline=None)
@given(problems())
def test_the_model_of_everything_at_once_agrees(drawn: tuple[list[Item], list[Kind]]) -> None:
    problem = Problem.of(*drawn)
    if not len(problem.demand):
        return
    least = cheapest(*drawn, seconds=2)
    cost = least.cost + problem.outside * len(least.left_out)
    start = problem.solution(())
    choice = assign(problem, start, 0, Budget(PLENTY), Effort(1, 0), 20.0)
    assert choice.closed
    assert (start if choice.solution is None else choice.solution).cost == cost


def test_the_volume_counts_what_cannot_share_a_bin() -> None:
    # Each is above a half: by volume four would do, by a dual feasible function it is six.
    assert volume_bound(one_kind([(51, 1)] * 6, (100, 100))) == 6
    assert volume_bound(one_kind([(50, 1)] * 6, (100, 100))) == 3


def test_cheap_room_is_counted_first() -> None:
    kinds = [Kind("here", (10,), 0, most=1), Kind("small", (4,), 3), Kind("large", (10,), 6)]
    problem = Problem.of([Item(f"i{number}", (2,)) for number in range(10)], kinds)
    assert volume_bound(problem) == 6


def test_full_bins_are_found_where_all_must_be_full() -> None:
    items = triples(20, 3, seed=7)
    problem = one_kind([item.sizes for item in items], (100, 100, 100))
    found = perfect_patterns(problem, Budget(PLENTY))
    assert len(found) >= 20
    assert all(problem.sizes[list(p.types)].sum(axis=0).tolist() == [100] * 3 for p in found)


@pytest.mark.parametrize(
    ("sizes", "bins"),
    [
        ([(25, 40), (25, 10), (25, 30), (25, 20)], [4]),  # four in one
        ([(50, 50), (50, 50), (60, 40), (40, 60)], [2, 2]),  # two equal ones
    ],
)
def test_full_bins_of_two_and_four(sizes: list[tuple[int, ...]], bins: list[int]) -> None:
    found = perfect_patterns(one_kind(sizes, (100, 100)), Budget(PLENTY))
    assert [len(pattern.types) for pattern in found] == bins


def test_where_a_unit_is_free_no_bin_must_be_full() -> None:
    assert perfect_patterns(one_kind([(50,), (49,), (60,)], (100,)), Budget(PLENTY)) == []


def test_what_is_squeezed_fits_into_one_bin_less() -> None:
    chance = np.random.default_rng(3)
    sizes = [tuple(int(s) for s in chance.integers(25, 101, 5)) for _ in range(80)]
    problem = one_kind(sizes, (1000,) * 5)
    packing = problem.solution(Pattern(0, (t, t + 1)) for t in range(0, 80, 2))
    spent, draws = Budget(20.0), np.random.default_rng(0)
    while (less := squeeze(problem, packing, spent, draws)) is not None:
        assert less.cost == packing.cost - 1
        loads = [problem.sizes[list(p.types)].sum(axis=0) for p in less.patterns]
        assert (np.array(loads) <= 1000).all()
        packing = less
        if packing.cost == volume_bound(problem):
            break
    assert packing.cost == volume_bound(problem)


def test_two_kinds_are_not_squeezed() -> None:
    kinds = [Kind("small", (4,), 1), Kind("large", (8,), 2)]
    problem = Problem.of([Item("a", (4,)), Item("b", (4,))], kinds)
    start = problem.solution([Pattern(0, (0,)), Pattern(0, (0,))])
    assert squeeze(problem, start, Budget(PLENTY), np.random.default_rng(0)) is None


def test_a_part_is_packed_with_what_the_others_leave() -> None:
    kinds = [Kind("here", (4,), 0, most=2), Kind("large", (8,), 5)]
    problem = Problem.of([Item(f"i{number}", (4,)) for number in range(4)], kinds)
    whole = problem.solution(
        [Pattern(0, (0,)), Pattern(1, (0,)), Pattern(1, (0,)), Pattern(1, (0,))]
    )
    chosen = np.array([n for n, p in enumerate(whole.patterns) if p.kind == 1][:2])
    part = Part.of(problem, whole, chosen)
    assert part.start.cost == 10
    assert part.problem.most.tolist() == [1, 2]
    choice = assign(part.problem, part.start, 0, Budget(PLENTY), Effort(1, 0), 5.0)
    assert choice.solution is not None
    assert choice.solution.cost == 5


def test_a_part_of_a_budget_spends_the_whole() -> None:
    whole = Budget(10.0)
    part = whole.part(4.0)
    part.charge(3.0)
    assert (part.left, whole.left) == (1.0, 7.0)
    part.charge(2.0)
    assert (part.over, whole.left) == (True, 5.0)
    now = [100.0]
    timed = Budget(10.0, lambda: now[0])
    timed.charge(1000.0)  # work costs nothing where time is measured
    now[0] = 104.0
    assert (timed.left, timed.deterministic) == (6.0, False)
    assert timed.part(50.0).left == 6.0
