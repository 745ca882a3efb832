"""The verifier finds every promise that a plan breaks, and none in a plan that keeps them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings

from commonfarm.estate.facts import LEVELS, Facts, Network, Period, Policy
from commonfarm.estate.plan import Certificate, Row
from commonfarm.estate.verifier import CHECKED, WORD, Promise, verify, violations
from tests.estate.making import facts, host, instance, site, spread
from tests.estate.plans import answer, assignments, everywhere, leaving, plan
from tests.estate.small_estates import estates, feasible

A, B, C = (f"{name}/app/production/1" for name in "abc")
GIB = 2**30


def broken(estate: Facts, on: dict[str, str]) -> set[Promise]:
    """Return the promises broken at `likely` when instances are there."""
    found = violations(estate, everywhere(estate, on))
    return {one.promise for one in found if one.level == "likely"}


def test_a_plan_that_holds_has_no_violations() -> None:
    estate = facts(host("x", cores=4, memory="8 GiB"), instance("a", memory="8 GiB", on="x"))
    made = everywhere(estate, {A: "x"})
    result = verify(estate, made)
    assert result.violations == ()
    assert (result.placements, result.rows) == (3, 0)
    assert {(one.most_placed, one.fewest_moves) for one in result.standings} == {(CHECKED, CHECKED)}


ROOM: list[tuple[list[Any], dict[str, str], set[Promise]]] = [
    # A host has what it has, less what is reserved, times the ratio.
    ([host("x", memory="8 GiB"), instance("a", memory="9 GiB")], {A: "x"}, {Promise.ROOM}),
    (
        [host("x", memory="8 GiB", reserved={"memory": "1 B"}), instance("a", memory="8 GiB")],
        {A: "x"},
        {Promise.ROOM},
    ),
    (
        [
            host("x", memory="8 B", allocation_ratio={"memory": "1.25"}),
            instance("a", memory="10 B"),
        ],
        {A: "x"},
        set(),
    ),
    # What the host does not say, it has none of, or does not limit.
    ([host("x"), instance("a", cores=1)], {A: "x"}, {Promise.ROOM}),
    ([host("x"), instance("a", traffic="1 TB/month")], {A: "x"}, set()),
    ([host("x"), instance("a", CUSTOM_GPU=1)], {A: "x"}, {Promise.ROOM}),
    # An isolated core is a physical one, and takes the room of those that share it.
    (
        [
            host("x", cores=4, allocation_ratio={"cores": 4}),
            instance("a", isolated_cores=2),
            instance("b", cores=8),
        ],
        {A: "x", B: "x"},
        set(),
    ),
    (
        [
            host("x", cores=4, allocation_ratio={"cores": 4}),
            instance("a", isolated_cores=2),
            instance("b", cores=9),
        ],
        {A: "x", B: "x"},
        {Promise.ROOM},
    ),
    (
        [host("x", cores=4, allocation_ratio={"cores": 4}), instance("a", isolated_cores=5)],
        {A: "x"},
        {Promise.ROOM},
    ),
    # Rules of one host.
    (
        [host("x"), instance("a", architectures=("arm64",))],
        {A: "x"},
        {Promise.ARCHITECTURE},
    ),
    ([host("x"), instance("a", required=(("P", "Q"),))], {A: "x"}, {Promise.TRAITS}),
    ([host("x", traits=["Q"]), instance("a", required=(("P", "Q"),))], {A: "x"}, set()),
    ([host("x", traits=["Q"]), instance("a", forbidden=("Q",))], {A: "x"}, {Promise.TRAITS}),
    (
        [site("s"), site("t"), host("x", site="t"), instance("a", sites=("s",))],
        {A: "x"},
        {Promise.SITE},
    ),
    ([host("x"), instance("a", sites=("s",))], {A: "x"}, {Promise.SITE}),
    ([host("x"), instance("a", addresses={"n": 1})], {A: "x"}, {Promise.NETWORK}),
    # Alone on its host.
    (
        [host("x"), instance("a", dedicated=True), instance("b")],
        {A: "x", B: "x"},
        {Promise.DEDICATED},
    ),
    # What a site's hosts share.
    (
        [
            site("s", bandwidth="1 Gbit/s"),
            host("x", site="s"),
            host("y", site="s"),
            instance("a", bandwidth="600 Mbit/s"),
            instance("b", bandwidth="600 Mbit/s"),
        ],
        {A: "x", B: "y"},
        {Promise.SHARED},
    ),
    # Spread.
    (
        [host("x"), host("y"), instance("a"), instance("b"), spread(A, B)],
        {A: "x", B: "x"},
        {Promise.SPREAD},
    ),
    (
        [
            site("s"),
            host("x", site="s", rack="1"),
            host("y", site="s", rack="1"),
            instance("a"),
            instance("b"),
            spread(A, B, over="rack", at_least=2),
        ],
        {A: "x", B: "y"},
        {Promise.SPREAD},
    ),
    ([host("x"), instance("a"), instance("b"), spread(A, B, at_least=2)], {A: "x"}, set()),
]


@pytest.mark.parametrize(("things", "on", "expected"), ROOM)
def test_each_rule_of_placement(
    things: list[Any], on: dict[str, str], expected: set[Promise]
) -> None:
    # A bound below the weight says the same once more.
    assert broken(facts(*things), on) - {Promise.BOUND} == expected


@pytest.mark.parametrize(("capacity", "expected"), [(3, set()), (2, {Promise.ADDRESSES})])
def test_hosts_have_their_addresses_before_instances(capacity: int, expected: set[Promise]) -> None:
    estate = facts(
        site("s", [Network("n", "s", "10.0.0.0/29", 1, capacity, "sites.yaml:1:1")]),
        host("x", site="s", networks=("n",)),
        host("y", site="s"),
        host("z", site="s", networks=("n",), status="needed"),
        instance("a", addresses={"n": 2}),
    )
    assert broken(estate, {A: "y"}) - {Promise.BOUND} == expected


@settings(max_examples=50, deadline=None)
@given(estates(instances=3, hosts=2))
def test_it_accepts_what_is_feasible_and_nothing_else(estate: Facts) -> None:
    for on in assignments(estate):
        assert (broken(estate, on) <= {Promise.BOUND}) == feasible(estate, on)


def test_wishes_that_are_not_kept_are_all_named() -> None:
    estate = facts(
        host("x"),
        instance("a", preferred=("P",)),
        instance("b"),
        spread(A, B),
        spread(A, B, must=False, over="site", at_most=2),
        spread(A, B, must=False),
    )
    estate = replace(estate, spreads=estate.spreads[1:])
    right = answer(estate, {A: "x", B: "x"})
    assert (right.broken_spreads, right.missing_traits) == ((1,), {A: ("P",)})
    for said, holds in (
        (right, True),
        (replace(right, broken_spreads=()), False),
        (replace(right, broken_spreads=(0, 1)), False),
        (replace(right, missing_traits={}), False),
        (replace(right, missing_traits={A: ("P",), B: ()}), False),
    ):
        found = violations(estate, plan(estate, dict.fromkeys(LEVELS, said)))
        assert {one.promise for one in found} == (set() if holds else {Promise.WISHES})


def test_a_plan_through_time() -> None:
    estate, made = leaving()
    result = verify(estate, made)
    assert result.violations == ()
    assert made.safe_until == {A: date(2026, 2, 15), B: None}
    # It had to leave its host, so no plan has fewer moves.
    assert {one.fewest_moves for one in result.standings} == {CHECKED}


def test_what_is_not_checked_is_said_to_be_a_word() -> None:
    estate = facts(
        host("x", memory="4 B"), host("y", memory="4 B"), instance("a", memory="1 B", on="x")
    )
    moved = replace(answer(estate, {A: "y"}), fewest_moves="proven")
    none = replace(answer(estate, {}), most_placed="proven", fewest_moves="best found")
    made = plan(estate, {"low": moved, "likely": moved, "high": none})
    result = verify(estate, made)
    assert result.violations == ()
    assert [(one.most_placed, one.fewest_moves) for one in result.standings[1:]] == [
        (CHECKED, WORD),
        (WORD, "the best that was found"),
    ]


def test_a_host_that_left_is_used() -> None:
    estate, made = leaving()
    stays = answer(estate, {A: "x", B: "y"})
    levels = {**made.intervals[1].levels, "likely": stays}
    later = replace(made.intervals[1], levels=levels)
    found = violations(estate, replace(made, intervals=(made.intervals[0], later)))
    assert {(one.promise, one.interval, one.level) for one in found} == {
        (Promise.STANDS, date(2026, 6, 1), "likely")
    }
    assert "a/app/production/1 on x" in str(found[0])


def test_a_plan_for_other_facts_says_so_and_what_else_is_wrong() -> None:
    estate, made = leaving()
    changed = replace(estate, digest="another")
    assert [one.promise for one in violations(changed, made)] == [Promise.DIGEST]
    changed = replace(changed, policy=Policy(horizon=Period(1)))
    assert [one.promise for one in violations(changed, made)][:2] == [Promise.DIGEST, Promise.TIME]


def certified() -> tuple[Facts, Certificate]:
    """Return two hosts of 48 GiB for three instances of 32 GiB, and the proof that two fit."""
    estate = facts(
        host("x", memory="48 GiB"),
        host("y", memory="48 GiB"),
        *(instance(name, memory="32 GiB", priority=5) for name in "abc"),
    )
    rows = tuple(Row("host", name, "memory", 32 * GIB, 5) for name in "xy")
    return estate, Certificate(1, rows)


def test_a_certificate_proves_what_its_rows_say() -> None:
    estate, certificate = certified()
    made = answer(estate, {A: "x", B: "y"}, certificate=certificate)
    assert (made.bound, made.weight, made.most_placed) == (10, 10, "proven")
    # Undivided, three of 32 GiB look as if they filled two of 48 GiB; seven times 5 are 3 above
    # the 32 that an instance pays: 96, and no placement weighs more than 95 and less than 100.
    rows = tuple(replace(row, divisor=GIB, multiplier=1) for row in certificate.rows)
    assert answer(estate, {}, certificate=Certificate(1, rows)).bound == 95
    assert answer(estate, {}, certificate=Certificate(7, rows)).bound == (96 + 3 * 3) // 7


@pytest.mark.parametrize(
    "wrong",
    [
        {"scale": 0},
        {"scale": -(10**30)},
        {"name": "nobody"},
        {"name": "x\x1b[2J"},
        {"resource": "bandwidth"},
        {"scope": "site"},
        {"scope": "network"},
        {"scope": "spread", "name": "0 x", "resource": "instances"},
        {"scope": "spread", "name": "", "resource": "instances"},
        {"multiplier": -1},
        {"divisor": 0},
        {"divisor": -5},
    ],
)
def test_a_certificate_that_is_no_proof(wrong: dict[str, Any]) -> None:
    estate, certificate = certified()
    scale = wrong.pop("scale", 1)
    first, *rest = certificate.rows
    bad = Certificate(scale, (replace(first, **wrong), *rest))
    made = replace(answer(estate, {A: "x", B: "y"}, certificate=certificate), certificate=bad)
    found = violations(estate, plan(estate, dict.fromkeys(LEVELS, made)))
    assert {one.promise for one in found} == {Promise.CERTIFICATE}
    assert "\x1b" not in "".join(map(str, found))


def test_a_row_twice_or_ever_again_is_no_proof() -> None:
    estate, certificate = certified()
    many = tuple(Row("host", "x", "memory", number, 1) for number in range(1, 10**5))
    for rows in (certificate.rows * 2, many):
        made = replace(answer(estate, {A: "x"}), certificate=Certificate(1, rows))
        found = violations(estate, plan(estate, dict.fromkeys(LEVELS, made)))
        assert {one.promise for one in found} == {Promise.CERTIFICATE}
        assert len(found) == 3
