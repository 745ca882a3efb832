"""What a host may hold, listed: compared with looking at everything."""

from __future__ import annotations

from itertools import product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from commonfarm.estate.placement import listing
from commonfarm.estate.placement.listing import Choice, worth_at_least


@st.composite
def knapsacks(draw: Any) -> tuple[list[Choice], list[int], int]:
    resources = draw(st.integers(0, 4))
    room = draw(st.lists(st.integers(1, 30), min_size=resources, max_size=resources))
    choices = []
    for _ in range(draw(st.integers(1, 4))):
        needs = [draw(st.integers(0, most)) for most in room]
        rooms = [there // need for there, need in zip(room, needs, strict=True) if need]
        most = draw(st.integers(1, min([3, *rooms])))
        stay = draw(st.integers(0, most))
        worths = draw(st.integers(0, 9)), draw(st.integers(0, 9))
        choices.append(Choice(most, stay, *worths, needs))
    return choices, room, draw(st.integers(0, 40))


def all_of_them(choices: list[Choice], room: list[int], least: int) -> set[tuple[int, ...]]:
    def fits(counts: tuple[int, ...]) -> bool:
        pairs = list(zip(counts, choices, strict=True))
        return all(many <= one.most for many, one in pairs) and all(
            sum(many * one.needs[n] for many, one in pairs) <= there for n, there in enumerate(room)
        )

    def more(counts: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [(*counts[:n], many + 1, *counts[n + 1 :]) for n, many in enumerate(counts)]

    return {
        counts
        for counts in product(*(range(one.most + 1) for one in choices))
        if fits(counts) and not any(map(fits, more(counts)))
        if sum(one.value(many) for many, one in zip(counts, choices, strict=True)) >= least
    }


@settings(max_examples=150, deadline=None)
@given(knapsacks())
def test_it_lists_what_looking_at_everything_finds(
    knapsack: tuple[list[Choice], list[int], int],
) -> None:
    found, begun = worth_at_least(*knapsack)
    assert found is not None
    assert begun > 0
    assert len(found) == len(set(found))
    assert set(found) == all_of_them(*knapsack)


@settings(max_examples=50, deadline=None)
@given(knapsacks())
def test_a_coarse_table_loses_nothing(knapsack: tuple[list[Choice], list[int], int]) -> None:
    fine = listing._CELLS
    try:
        listing._CELLS = 6
        found, _ = worth_at_least(*knapsack)
    finally:
        listing._CELLS = fine
    assert found is not None
    assert set(found) == all_of_them(*knapsack)


def test_it_says_so_where_they_are_too_many() -> None:
    # Nothing tells these apart, and half of all subsets are full.
    choices = [Choice(1, 0, 10, 0, [100 + n]) for n in range(40)]
    found, begun = worth_at_least(choices, [2400], 190)
    assert found is None
    assert begun > 0


def test_amounts_may_be_as_large_and_as_odd_as_they_are_written() -> None:
    """256 GiB of memory and 4 TB of disk, of which each takes some odd number of bytes."""
    room = [256 * 2**30, 4 * 10**12]
    choices = [
        Choice(2, 1, 3, 1, [100 * 2**30 + 1, 10**12]),
        Choice(1, 0, 5, 0, [60 * 2**30 - 1, 3 * 10**12 + 1]),
    ]
    assert set(worth_at_least(choices, room, 1)[0] or ()) == {(2, 0), (0, 1)}
