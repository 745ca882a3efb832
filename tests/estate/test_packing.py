"""The engine of `wanted`: the cheapest bins of given kinds that take all items."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commonfarm.estate.placement.packing.engine import cheapest
from commonfarm.estate.placement.packing.problem import Bin, Item, Kind, Packing, faults


def by_brute_force(items: list[Item], kinds: list[Kind]) -> tuple[int, int]:
    """Return how many items stay out at least, and the least cost with so few, by trying all."""
    best = (len(items) + 1, 0)

    def go(number: int, open_: list[tuple[Kind, tuple[int, ...]]], out: int, cost: int) -> None:
        nonlocal best
        if (out, cost) >= best:
            return
        if number == len(items):
            best = (out, cost)
            return
        item = items[number]
        for at, (kind, room) in enumerate(open_):
            if item.kinds is None or kind.name in item.kinds:
                left = tuple(r - s for r, s in zip(room, item.sizes, strict=True))
                if min(left) >= 0:
                    go(number + 1, [*open_[:at], (kind, left), *open_[at + 1 :]], out, cost)
        for kind in kinds:
            used = sum(one is kind for one, _ in open_)
            if (kind.most is None or used < kind.most) and (
                item.kinds is None or kind.name in item.kinds
            ):
                left = tuple(c - s for c, s in zip(kind.capacity, item.sizes, strict=True))
                if min(left) >= 0:
                    go(number + 1, [*open_, (kind, left)], out, cost + kind.cost)
        go(number + 1, open_, out + 1, cost)

    go(0, [], 0, 0)
    return best


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[Item], list[Kind]]:
    """Draw up to seven items in up to three dimensions, and up to three kinds of bins."""
    dimensions = draw(st.integers(1, 3))
    vector = st.tuples(*[st.integers(0, 9)] * dimensions)
    names = ["a", "b", "c"][: draw(st.integers(1, 3))]
    kinds = [
        Kind(
            name,
            draw(st.tuples(*[st.integers(3, 14)] * dimensions)),
            draw(st.integers(0, 4)),
            draw(st.sampled_from([None, None, 0, 1, 2])),
        )
        for name in names
    ]
    may = st.sampled_from([None, None, None, frozenset(names[:1]), frozenset(names[-1:])])
    items = [
        Item(f"i{number}", draw(vector), draw(may)) for number in range(draw(st.integers(0, 7)))
    ]
    return items, kinds


def pack(items: list[Item], kinds: list[Kind], seconds: float = 2.0) -> Packing:
    """Pack by counted work, and see that the answer is one."""
    packing = cheapest(items, kinds, seconds=seconds)
    assert faults(items, kinds, packing) == ()
    return packing


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problems())
def test_the_engine_finds_what_brute_force_finds(problem: tuple[list[Item], list[Kind]]) -> None:
    items, kinds = problem
    packing = pack(items, kinds)
    out, cost = by_brute_force(items, kinds)
    assert len(packing.too_large) + len(packing.left_out) == out
    assert packing.proven
    assert packing.lower_bound == packing.cost == cost


@settings(max_examples=25, deadline=None)
@given(problems(), st.randoms(use_true_random=False))
def test_order_and_units_change_nothing(
    problem: tuple[list[Item], list[Kind]], chance: random.Random
) -> None:
    items, kinds = problem
    first = pack(items, kinds)
    chance.shuffle(items)
    chance.shuffle(kinds)
    assert pack(items, kinds) == first
    larger = [replace(i, sizes=tuple(s << 40 for s in i.sizes)) for i in items]
    wider = [replace(k, capacity=tuple(c << 40 for c in k.capacity)) for k in kinds]
    assert pack(larger, wider) == first


def test_existing_hosts_are_filled_before_any_is_wanted() -> None:
    items = [Item(f"web{n}", (4, 8)) for n in range(5)]
    kinds = [
        Kind("host-a", (8, 16), 0, most=1),
        Kind("host-b", (4, 7), 0, most=1),
        Kind("small", (4, 8), 30),
        Kind("large", (16, 32), 70),
    ]
    packing = pack(items, kinds)
    assert (packing.cost, packing.proven) == (70, True)
    assert [one.kind for one in packing.bins] == ["host-a", "large"]


def test_one_large_or_several_small_ones() -> None:
    items = [Item(f"vm{n}", (1,)) for n in range(10)]
    kinds = [Kind("small", (3,), 4), Kind("large", (8,), 9)]
    packing = pack(items, kinds)
    # The ten need one large and one small; four small cost 16.
    assert (packing.cost, [one.kind for one in packing.bins]) == (13, ["large", "small"])


def test_an_item_goes_in_no_kind_that_is_forbidden_to_it() -> None:
    kinds = [Kind("arm", (8,), 1), Kind("amd64", (8,), 5)]
    items = [Item("a", (2,), frozenset({"amd64"})), Item("b", (2,)), Item("c", (7,))]
    packing = pack(items, kinds)
    assert packing.cost == 6
    assert Bin("arm", ("c",)) in packing.bins
    assert Bin("amd64", ("a", "b")) in packing.bins


def test_what_fits_nowhere_is_named_and_the_rest_is_packed() -> None:
    kinds = [Kind("small", (4, 4), 1), Kind("bare metal", (90, 90), 10)]
    items = [
        Item("tall", (5, 1), frozenset({"small"})),
        Item("huge", (91, 1)),
        Item("for none", (1, 1), frozenset()),
        Item("fits", (4, 4)),
    ]
    packing = pack(items, kinds)
    assert packing.too_large == ("for none", "huge", "tall")
    assert packing.bins == (Bin("small", ("fits",)),)
    assert (packing.left_out, packing.proven) == ((), True)


def test_where_bins_run_out_as_few_as_possible_stay_out() -> None:
    kinds = [Kind("here", (10,), 0, most=1), Kind("lent", (6,), 7, most=1)]
    items = [Item("big", (9,))] + [Item(f"small{n}", (3,)) for n in range(5)]
    packing = pack(items, kinds)
    assert packing.left_out == ("big",)
    assert (packing.cost, packing.lower_bound, packing.proven) == (7, 7, True)


def test_bins_that_exclude_each_other_by_a_dimension_of_their_own() -> None:
    items = [Item("dns1", (1, 1)), Item("dns2", (1, 1)), Item("wiki", (1, 0))]
    packing = pack(items, [Kind("host", (8, 1), 1)])
    assert packing.cost == 2


def test_no_items_and_no_kinds() -> None:
    assert pack([], []) == Packing((), 0, 0, proven=True)
    assert pack([Item("a", (1,))], []).too_large == ("a",)
    assert pack([], [Kind("host", (1,), 1)]).bins == ()


def test_items_that_need_nothing_take_no_more_than_one_bin() -> None:
    items = [Item(name, (0, 0)) for name in "abc"]
    assert pack(items, [Kind("host", (4, 4), 3)]).cost == 3


@pytest.mark.parametrize(
    ("items", "kinds"),
    [
        ([Item("a", (1,)), Item("a", (2,))], [Kind("k", (3,), 1)]),
        ([Item("a", (1,))], [Kind("k", (3, 4), 1)]),
        ([Item("a", (-1,))], [Kind("k", (3,), 1)]),
        ([Item("a", (1,))], [Kind("k", (3,), -1)]),
        ([Item("a", (2**61 + 1,)), Item("b", (2**61,))], [Kind("k", (2**62,), 1)]),
    ],
)
def test_what_makes_no_sense_is_refused(items: list[Item], kinds: list[Kind]) -> None:
    with pytest.raises(ValueError, match=r"."):
        cheapest(items, kinds, seconds=1)


def triples(count: int, dimensions: int, seed: int) -> list[Item]:
    """Return items that fill `count` bins of 100 exactly, three to a bin."""
    chance = random.Random(seed)
    sizes = []
    for _ in range(count):
        columns = []
        for _ in range(dimensions):
            large = chance.randint(38, 49)
            middle = chance.randint(25, (100 - large) // 2)
            columns.append((large, middle, 100 - large - middle))
        sizes += list(zip(*columns, strict=True))
    return [Item(f"i{number:03}", tuple(one)) for number, one in enumerate(sizes)]


@pytest.mark.parametrize("dimensions", [1, 3])
def test_triples_that_fill_their_bins_exactly_are_found(dimensions: int) -> None:
    packing = pack(triples(14, dimensions, seed=dimensions), [Kind("host", (100,) * dimensions, 1)])
    assert (packing.cost, packing.proven) == (14, True)


def test_the_same_input_gives_the_same_packing_where_time_runs_out() -> None:
    chance = random.Random(5)
    items = [Item(f"i{n}", tuple(chance.randint(100, 400) for _ in range(4))) for n in range(150)]
    kinds = [Kind("host", (1000,) * 4, 1)]
    first = pack(items, kinds, seconds=0.4)
    assert pack(list(reversed(items)), kinds, seconds=0.4) == first
    assert first.lower_bound < first.cost


def test_the_check_sees_what_is_wrong() -> None:
    items = [Item("a", (2,)), Item("b", (2,), frozenset({"y"}))]
    kinds = [Kind("x", (3,), 1, most=1), Kind("y", (4,), 5)]

    def wrong(*bins: Bin, cost: int, bound: int = 0) -> str:
        return "; ".join(faults(items, kinds, Packing(bins, cost, bound, proven=False)))

    assert wrong(Bin("y", ("a", "b")), cost=5) == ""
    assert wrong(Bin("y", ("a",)), cost=5) == "not every item is named once"
    assert "b may not go in x" in wrong(Bin("x", ("a", "b")), cost=1)
    assert "holds 4 of 3" in wrong(Bin("x", ("a", "b")), cost=1)
    assert "there are 1" in wrong(Bin("x", ("a",)), Bin("x", ("b",)), cost=2)
    assert "cost is not" in wrong(Bin("y", ("a", "b")), cost=4)
    assert "above the cost" in wrong(Bin("y", ("a", "b")), cost=5, bound=6)


def test_permutations_of_a_worst_case_all_end_alike() -> None:
    sizes = [(6, 1), (1, 6), (4, 5), (5, 4)]
    kinds = [Kind("k", (10, 10), 1)]
    answers = {pack([Item(str(s), s) for s in order], kinds) for order in permutations(sizes)}
    assert len(answers) == 1
