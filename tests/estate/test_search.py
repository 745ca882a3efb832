"""The best placement there is, against all placements there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonfarm.estate.facts import Facts, Network
from commonfarm.estate.placement import model, search
from commonfarm.estate.placement.greedy import greedy
from commonfarm.estate.placement.ledger import Score, score
from commonfarm.estate.placement.parts import independent
from commonfarm.estate.placement.pose import pose
from commonfarm.estate.placement.problem import Effort, Problem
from tests.estate.making import facts, host, instance, pledge, site, spread

HOSTS = ("a", "b", "c")
FAST = settings(max_examples=60, deadline=None)


@st.composite
def estates(draw: Any) -> Facts:
    """Draw an estate so small that all placements can be tried."""
    here = site("here", [Network("lan", "here", "10.0.0.0/29", 1, 2, "x")], bandwidth="3 bit/s")
    loans = [pledge("early", until=date(2027, 1, 1)), pledge("late", until=date(2028, 1, 1))]
    hosts = [
        host(
            name,
            site=draw(st.sampled_from([None, "here"])),
            rack=draw(st.sampled_from([None, "r"])),
            cores=draw(st.integers(0, 4)),
            memory=f"{draw(st.integers(0, 8))} GiB",
            traits=draw(st.sets(st.sampled_from(["CUSTOM_A", "CUSTOM_B"]))),
            pledge=draw(st.sampled_from([None, "early", "late"])),
            allocation_ratio={"cores": draw(st.sampled_from([1, 2]))},
        )
        for name in HOSTS[: draw(st.integers(1, 3))]
    ]
    names = [f"s/app/production/{n}" for n in range(1, draw(st.integers(1, 4)) + 1)]
    amounts = st.fixed_dictionaries(
        {"memory": st.integers(0, 6).map("{} GiB".format)},
        optional={
            "cores": st.integers(1, 2),
            "isolated_cores": st.integers(1, 2),
            "bandwidth": st.just("2 bit/s"),
            "addresses": st.just({"lan": 1}),
            "dedicated": st.just(True),
            "required": st.just((("CUSTOM_A",),)),
            "preferred": st.just(("CUSTOM_B",)),
        },
    )
    kinds = draw(st.lists(amounts, min_size=1, max_size=2))
    instances = [
        instance(
            name,
            on=draw(st.sampled_from([None, *(one.name for one in hosts)])),
            priority=draw(st.sampled_from([1, 1, 3])),
            **draw(st.sampled_from(kinds)),
        )
        for name in names
    ]
    spreads = [
        spread(
            *draw(st.lists(st.sampled_from(names), min_size=1, unique=True)),
            over=draw(st.sampled_from(["host", "rack", "site"])),
            must=draw(st.booleans()),
            **draw(st.sampled_from([{"at_most": 1}, {"at_most": 2}, {"at_least": 2}])),
        )
        for _ in range(draw(st.integers(0, 2)))
    ]
    return facts(here, *loans, *hosts, *instances, *spreads)


def posed(estate: Facts) -> Problem:
    current = {name: one.on for name, one in estate.instances.items() if one.on}
    return pose(estate, list(estate.hosts), "likely", current)


def holds(problem: Problem, on: Mapping[str, str]) -> bool:
    """Say whether a placement breaks no rule, without the ledger."""
    taken: Counter[Any] = Counter()
    for item in problem.items:
        if item.name in on:
            if on[item.name] not in item.kind.hosts:
                return False
            taken.update(problem.takes(item.kind, on[item.name]))
    if any(taken[limit] > problem.limits[limit] for limit in taken):
        return False
    guests = Counter(on.values())
    alone = [item for item in problem.items if item.kind.dedicated and item.name in on]
    if any(guests[on[item.name]] > 1 for item in alone):
        return False
    for one in problem.spreads:
        inside = Counter(one.domains[on[name]] for name in one.items if name in on)
        if one.must and inside:
            if one.at_most is not None and max(inside.values()) > one.at_most:
                return False
            if one.at_least is not None and len(inside) < min(one.at_least, inside.total()):
                return False
    return True


def best(problem: Problem) -> Score:
    """Return the best score of all placements."""
    choices = product([None, *problem.hosts], repeat=len(problem.items))
    scores = []
    for hosts in choices:
        pairs = zip(problem.items, hosts, strict=True)
        on = {item.name: one for item, one in pairs if one is not None}
        if holds(problem, on):
            scores.append(score(problem, on))
    return max(scores)


@FAST
@given(estates())
def test_the_model_finds_the_best_of_all(estate: Facts) -> None:
    problem = posed(estate)
    found = model.place(problem, {}, Effort(), {})
    assert (found.most_placed, found.fewest_moves) == (True, True)
    assert holds(problem, found.on)
    assert score(problem, found.on) == best(problem)


@FAST
@given(estates())
def test_a_first_placement_breaks_no_rule_and_leaves_out_only_what_fits_nowhere(
    estate: Facts,
) -> None:
    problem = posed(estate)
    ledger = greedy(problem, {})
    assert holds(problem, ledger.on)
    for item in problem.items:
        if item.name not in ledger.on:
            assert not any(ledger.fits(item, one) for one in problem.hosts)


@FAST
@given(estates())
def test_the_search_finds_the_best_of_all(estate: Facts) -> None:
    problem = posed(estate)
    found = search.solve(problem, Effort())
    assert score(problem, found.on) == best(problem)
    assert (found.most_placed, found.fewest_moves) == (True, True)


@FAST
@given(estates())
def test_what_is_too_large_for_one_model_is_made_better_in_steps(estate: Facts) -> None:
    problem = posed(estate)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "MOST_COLUMNS", 0)
        found = search.solve(problem, Effort(limit=0.3))
    assert holds(problem, found.on)
    reached, most = score(problem, found.on), best(problem)
    assert score(problem, greedy(problem, {}).on) <= reached <= most
    assert not found.most_placed or reached.weight == most.weight
    assert not found.fewest_moves or reached.stays == most.stays


@FAST
@given(estates())
def test_parts_that_share_nothing_are_the_whole(estate: Facts) -> None:
    problem = posed(estate)
    parts = independent(problem)
    items = [item.name for one in parts for item in one.items]
    assert sorted(items) == [item.name for item in problem.items if item.kind.hosts]
    hosts = [host for one in parts for host in one.hosts]
    assert len(hosts) == len({*hosts})
    together = [best(one) for one in parts]
    assert sum(one.weight for one in together) == best(problem).weight
