"""When a network is full, and which prefix is enough."""

from __future__ import annotations

from datetime import date, timedelta
from ipaddress import ip_network
from typing import Any

import pytest

from commonfarm.estate.answers.addresses import NetworkAhead, networks_ahead
from commonfarm.estate.facts import Facts
from commonfarm.estate.prefixes import usable
from tests.estate.futures import growth, network
from tests.estate.making import facts, host, instance, pledge, site

DAY = date(2012, 1, 1)
END = date(2014, 1, 1)


@pytest.mark.parametrize(
    ("prefix", "number"),
    [
        ("10.5.124.0/24", 254),
        ("10.5.124.0/23", 510),
        ("10.0.0.0/30", 2),
        ("10.0.0.0/31", 2),
        ("10.0.0.1/32", 1),
        ("0.0.0.0/0", 2**32 - 2),
        ("2001:db8::/126", 3),
        ("2001:db8::/127", 2),
        ("2001:db8::1/128", 1),
        ("2001:db8::/64", 2**53),
    ],
)
def test_what_machines_can_have_of_a_prefix(prefix: str, number: int) -> None:
    assert usable(ip_network(prefix)) == number


def phx2(*things: Any, **said: Any) -> Facts:
    """Fedora's builders in 2012: two /24s beside each other, 100 nodes in the build network."""
    nets = (
        network("build", "phx2", "10.5.124.0/24", 253),
        network("storage", "phx2", "10.5.125.0/24", 253),
    )
    nodes = [host(f"node-{n:03}", site="phx2", networks=("build",)) for n in range(100)]
    return facts(site("phx2", nets), *nodes, *things, **said)


def builders(count: int, level: Any = "low", first: int = 1) -> list[Any]:
    return [
        instance(f"arm/builder/production/{first + n}", level=level, addresses={"build": 1})
        for n in range(count)
    ]


def build(estate: Facts) -> NetworkAhead:
    return next(one for one in networks_ahead(estate, DAY, END) if one.network.name == "build")


def test_100_nodes_and_100_to_300_builders_fit_a_24_only_at_low() -> None:
    more = [*builders(100), *builders(100, "likely", 101), *builders(100, "high", 201)]
    found = build(phx2(*more))
    assert found.taken == 100
    assert (found.planned.low, found.planned.likely, found.planned.high) == (100, 200, 300)
    assert (found.most.low, found.most.likely, found.most.high) == (200, 300, 400)
    assert (found.out.earliest, found.out.likely, found.out.latest) == (DAY, DAY, None)
    enough = {level: one and (one.prefix, one.capacity) for level, one in found.enough.items()}
    wide = ("10.5.124.0/23", 509)
    assert enough == {"low": ("10.5.124.0/24", 253), "likely": wide, "high": wide}
    assert found.enough["high"]
    assert found.enough["high"].overlaps == ("phx2/storage",)
    assert str(found.reason) == (
        "network build of phx2 has 253 addresses, and 300 would be needed; "
        "10.5.124.0/23 has 509, once phx2/storage is elsewhere"
    )


def test_the_154th_builder_is_the_first_without_an_address() -> None:
    assert build(phx2(*builders(153))).out.earliest is None
    assert build(phx2(*builders(154))).out.earliest == DAY


def test_builders_that_become_more_fill_it_on_a_day() -> None:
    growing = growth("arm", ("0.1", "0.1", "1"), DAY, "instances", days=30)
    found = build(phx2(*builders(100), growth=(growing,)))
    # 100 hosts and 154 of 100 * 1.1^(t/30): ln 1.54 / ln 1.1 = 4.53 periods = 135.9 days;
    # 100 * 2^(t/30): log2 1.54 = 0.623 periods = 18.7 days.
    assert found.out.likely == DAY + timedelta(days=136)
    assert found.out.earliest == DAY + timedelta(days=19)


def test_hosts_come_and_go_with_their_addresses() -> None:
    loan = pledge("loan", start=date(2011, 1, 1), until=date(2012, 6, 1))
    waves = [
        *(host(f"lent-{n}", site="phx2", networks=("build",), pledge="loan") for n in range(100)),
        *(
            host(
                f"new-{n}",
                site="phx2",
                networks=("build",),
                status=status,
                available_from=date(2012, 3, 1),
            )
            for n, status in enumerate(["planned"] * 30 + ["needed"] * 30)
        ),
    ]
    found = build(phx2(loan, *waves))
    assert (found.taken, found.planned.likely, found.most.likely) == (200, 60, 260)
    assert found.out.likely == date(2012, 3, 1)
    without = build(phx2(loan, *waves[:150]))
    assert (without.out.likely, without.most.likely) == (None, 250)


def test_an_instance_that_may_go_to_two_networks_is_in_neither() -> None:
    estate = facts(
        *(site(name, [network("lan", name, f"10.{n}.0.0/30", 1)]) for n, name in enumerate("ab")),
        host("there", site="a"),
        instance("wiki", addresses={"lan": 1}),
        instance("bugs", on="there", addresses={"lan": 1}),
        instance("mail", sites=("b",), addresses={"lan": 3}),
    )
    found = {one.network.site: one for one in networks_ahead(estate, DAY, END)}
    assert [found[name].undecided.likely for name in "ab"] == [1, 1]
    assert [found[name].most.likely for name in "ab"] == [1, 3]
    assert (found["a"].taken, found["b"].taken, found["b"].planned.likely) == (1, 0, 3)
    assert found["b"].enough["likely"]
    assert found["b"].enough["likely"].prefix == "10.1.0.0/29"
