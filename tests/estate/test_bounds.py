"""The bound is never below what can be placed, is what the verifier finds, and is tight."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from commonfarm.estate.facts import Facts, Network
from commonfarm.estate.placement.bounds import certify
from commonfarm.estate.placement.pose import pose
from commonfarm.estate.placement.problem import Problem
from commonfarm.estate.plan import Certificate
from commonfarm.estate.proof import bound, faults
from tests.estate.making import facts, host, instance, site, spread
from tests.estate.plans import assignments, supply
from tests.estate.small_estates import estates, feasible


def posed(estate: Facts) -> Problem:
    there = supply(estate)
    return pose(estate, tuple(there.hosts), "likely", {})


def checked(estate: Facts, weight: int = 0) -> tuple[int, Certificate]:
    """Return the bound and its certificate, of which the verifier has found the same."""
    found, certificate = certify(posed(estate), weight)
    there = supply(estate)
    assert list(faults(there, certificate)) == []
    assert bound(there, estate.instances_at("likely"), certificate) == found
    return found, certificate


def many(count: int, **said: Any) -> list[Any]:
    return [instance(f"i{number:04}", **said) for number in range(count)]


def names(count: int) -> list[str]:
    return [f"i{number:04}/app/production/1" for number in range(count)]


def hosts(count: int, **said: Any) -> list[Any]:
    return [host(f"h{number:04}", **said) for number in range(count)]


def test_no_rows_where_all_is_placed_or_only_what_fits_nowhere_is_not() -> None:
    estate = facts(
        *hosts(2, memory="8 GiB"), *many(2, memory="8 GiB"), instance("big", memory="9 GiB")
    )
    assert checked(estate, 2) == (2, Certificate(1, ()))
    assert checked(estate) == (2, Certificate(1, ()))


BUILD = Network("build", "here", "10.0.0.0/28", 1, 7, "sites.yaml:2:1")

TIGHT: list[tuple[list[Any], int]] = [
    # A host too small for the remaining.
    ([host("x", memory="10 GiB"), *many(4, memory="3 GiB", priority=5)], 15),
    # Two of 48 GiB have 96 together, and yet take two of 32 and not three.
    ([*hosts(2, memory="48 GiB"), *many(3, memory="32 GiB", priority=5)], 10),
    ([*hosts(50, memory="48 GiB"), *many(70, memory="32 GiB", priority=1000)], 50_000),
    # The weightier ones, and beside each what is left of its host.
    (
        [
            *hosts(2, memory="48 GiB"),
            instance("a", memory="32 GiB", priority=9),
            instance("b", memory="30 GiB", priority=7),
            instance("c", memory="25 GiB", priority=8),
            *many(4, memory="16 GiB", priority=1),
        ],
        9 + 8 + 2,
    ),
    # In bytes that divide into nothing.
    ([*hosts(3, memory="99999999977 B"), *many(9, memory="40000000003 B")], 6),
    # Not the same resource binds everywhere.
    (
        [
            host("x", cores=4, memory="64 GiB"),
            host("y", cores=64, memory="4 GiB"),
            *many(9, cores=2, memory="2 GiB", priority=3),
        ],
        12,
    ),
    # At most so many in one domain: of a host each, and of racks that differ.
    ([*hosts(3, cores=9), *many(7, cores=1), spread(*names(7))], 3),
    (
        [
            site("here"),
            *(
                host(f"h{number}", site="here", rack=f"r{number % 2}", cores=number + 5)
                for number in range(6)
            ),
            *many(12, cores=1, priority=2),
            spread(*names(12), over="rack", at_most=3),
        ],
        12,
    ),
    # Addresses used up: seven, less those of two hosts.
    (
        [
            site("here", [BUILD]),
            *hosts(2, site="here", networks=("build",), cores=99),
            *many(9, cores=1, addresses={"build": 1}),
        ],
        5,
    ),
    # What a site's hosts share.
    (
        [
            site("here", bandwidth="1 Gbit/s"),
            *hosts(3, site="here"),
            *many(5, bandwidth="400 Mbit/s"),
        ],
        2,
    ),
    # A host for each that wants to be alone, and none for others then.
    ([*hosts(3, cores=8), *many(5, cores=1, dedicated=True, priority=4)], 12),
    (
        [*hosts(2, cores=2), *many(2, cores=1, dedicated=True, priority=4), instance("z", cores=1)],
        8,
    ),
    # Only some hosts are of use.
    (
        [
            *hosts(2, cores=4),
            host("arm", cores=4, architecture="arm64"),
            *many(3, cores=3, architectures=("arm64",), priority=7),
        ],
        7,
    ),
    # Isolated cores take four times the room of the others.
    (
        [
            host("x", cores=8, allocation_ratio={"cores": 4}),
            *many(9, isolated_cores=1, priority=3),
            instance("z", cores=8),
        ],
        24,
    ),
]


@pytest.mark.parametrize(("things", "most"), TIGHT)
def test_the_bound_is_tight(things: list[Any], most: int) -> None:
    assert checked(facts(*things))[0] == most


@settings(max_examples=80, deadline=None)
@given(estates(instances=4, hosts=2))
def test_no_placement_has_more_and_the_verifier_finds_the_same(estate: Facts) -> None:
    weights = [
        sum(estate.instances[name].priority for name in on)
        for on in assignments(estate)
        if feasible(estate, on)
    ]
    assert checked(estate)[0] >= max(weights)
    assert checked(estate, max(weights))[0] >= max(weights)
