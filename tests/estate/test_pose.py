"""What may run where, and what is left there."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from commonfarm.estate.facts import Network
from commonfarm.estate.placement.pose import Rule, broken, pose
from commonfarm.estate.placement.problem import Problem
from tests.estate.making import facts, host, instance, pledge, requirement, site, spread

GIB = 2**30


def posed(*things: Any, level: Any = "likely", **current: str) -> Problem:
    estate = facts(*things)
    return pose(
        estate, list(estate.hosts), level, {f"{k}/app/production/1": v for k, v in current.items()}
    )


@pytest.mark.parametrize(
    ("need", "rules"),
    [
        ({}, ()),
        ({"architectures": ("amd64", "arm64")}, ()),
        ({"architectures": ("arm64",)}, (Rule.ARCHITECTURE,)),
        ({"required": (("CUSTOM_A", "CUSTOM_B"),)}, ()),
        ({"required": (("CUSTOM_A",), ("CUSTOM_B",))}, (Rule.REQUIRED,)),
        ({"forbidden": ("CUSTOM_A",)}, (Rule.FORBIDDEN,)),
        ({"sites": ("there",)}, (Rule.SITE,)),
        ({"addresses": {"build": 1}}, ()),
        ({"addresses": {"store": 1}}, (Rule.NETWORK,)),
        ({"sites": ("there",), "architectures": ("arm64",)}, (Rule.ARCHITECTURE, Rule.SITE)),
    ],
)
def test_each_rule_of_its_own(need: dict[str, Any], rules: tuple[Rule, ...]) -> None:
    here = site("here", [Network("build", "here", "10.0.0.0/29", 1, 5, "x")])
    one = host("a", site="here", traits=["CUSTOM_A"])
    assert broken(requirement(**need), one, here) == rules


def test_an_instance_without_a_site_has_no_network() -> None:
    assert broken(requirement(addresses={"build": 1}), host("a"), None) == (Rule.NETWORK,)


def test_instances_alike_are_one_kind() -> None:
    problem = posed(
        host("a", cores=4, memory="8 GiB"),
        instance("x", cores=1, memory="1 GiB"),
        instance("y", cores="1000m", memory="1024 MiB"),
        instance("z", cores=2),
    )
    assert [problem.kinds.index(item.kind) for item in problem.items] == [0, 0, 1]
    assert problem.items[0].kind is problem.items[1].kind


def test_a_host_takes_what_fits_it_alone() -> None:
    problem = posed(
        host("big", memory="8 GiB", traits=["CUSTOM_A"]),
        host("small", memory="8 GiB", reserved={"memory": "1 GiB"}),
        host("more", memory="7 GiB", allocation_ratio={"memory": 2}),
        instance("x", memory="8 GiB", preferred=("CUSTOM_A", "CUSTOM_B")),
    )
    assert problem.kinds[0].hosts == {"big": 1, "more": 2}
    assert problem.limits["host", "more", "memory"] == 14 * GIB


def test_what_a_host_does_not_limit_is_no_limit() -> None:
    problem = posed(
        host("a", cores=1), instance("x", bandwidth="1 Gbit/s"), instance("y", disk="1 GB")
    )
    assert list(problem.limits) == [("host", "a", "disk")]
    assert [list(item.kind.hosts) for item in problem.items] == [["a"], []]


def test_isolated_cores_take_what_could_be_shared_on_them() -> None:
    problem = posed(
        host("a", cores=4, allocation_ratio={"cores": 4}), instance("x", isolated_cores=3)
    )
    assert problem.takes(problem.kinds[0], "a") == {
        ("host", "a", "isolated_cores"): 3000,
        ("host", "a", "cores"): 12000,
    }
    assert problem.limits["host", "a", "cores"] == 16000


def test_sites_and_networks_are_shared_and_hosts_take_addresses_too() -> None:
    here = site("here", [Network("build", "here", "10.0.0.0/29", 1, 5, "x")], bandwidth="1 Gbit/s")
    problem = posed(
        here,
        host("a", site="here", networks=("build",)),
        host("b", site="here"),
        instance("x", bandwidth="100 Mbit/s", addresses={"build": 2}),
    )
    assert problem.limits == {
        ("site", "here", "bandwidth"): 10**9,
        ("network", "here/build", "addresses"): 4,
    }
    assert problem.takes(problem.kinds[0], "b") == {
        ("site", "here", "bandwidth"): 10**8,
        ("network", "here/build", "addresses"): 2,
    }


def test_only_what_stands_is_where_something_runs_now() -> None:
    estate = facts(host("a"), host("b"), instance("x"), instance("y"))
    current = {"x/app/production/1": "a", "y/app/production/1": "b"}
    problem = pose(estate, ["a"], "likely", current)
    assert [item.now for item in problem.items] == ["a", None]


def test_a_level_has_its_amounts_and_instances() -> None:
    things = (
        host("a", memory="8 GiB"),
        instance("x", memory=("1 GiB", "4 GiB", "16 GiB")),
        instance("x/app/production/2", level="high"),
        spread("x/app/production/1", "x/app/production/2"),
    )
    low, high = posed(*things, level="low"), posed(*things, level="high")
    assert (low.items[0].kind.amounts, len(low.items)) == ({"memory": GIB}, 1)
    assert (high.items[0].kind.hosts, len(high.items)) == ({}, 2)
    assert [len(one.spreads[0].items) for one in (low, high)] == [1, 2]


def test_the_order_of_what_is_said_changes_nothing() -> None:
    things = [
        host("a", memory="8 GiB", networks=("n",)),
        host("b", memory="4 GiB"),
        instance("x", memory="1 GiB"),
        instance("y", cores=1),
        spread("x/app/production/1", "y/app/production/1"),
        spread("y/app/production/1", "x/app/production/1", over="site"),
    ]
    one, other = posed(*things), posed(*reversed(things))
    assert [s.domains for s in one.spreads] == [s.domains for s in other.spreads]
    assert (one.items, one.limits, one.hosts) == (other.items, other.limits, other.hosts)


def test_hosts_are_ranked_by_when_they_leave() -> None:
    problem = posed(
        pledge("long", until=date(2028, 1, 1)),
        pledge("short", until=date(2027, 1, 1)),
        host("a", pledge="short"),
        host("b", pledge="long"),
        host("c"),
        instance("x"),
    )
    assert problem.leaving == {"a": 2, "b": 1, "c": 0}
