"""The longest prefix is found, whatever stands in the table."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonfarm.redirector.networks import Network, Prefixes, normal

small = st.integers(0, 255)
four = st.builds(
    lambda number, length: IPv4Network((number << 32 - length, length)), small, st.integers(8, 32)
)
six = st.builds(
    lambda number, length: IPv6Network((number << 128 - length, length)), small, st.integers(8, 128)
)


@settings(deadline=None)
@given(st.sets(st.one_of(four, six), max_size=30), st.one_of(small, st.integers(0, 2**32 - 1)))
def test_the_longest_prefix_is_found_as_by_looking_at_all(named: set[Network], number: int) -> None:
    table = Prefixes((network, str(network)) for network in named)
    for address in (IPv4Address(number), IPv6Address(number << 96), IPv6Address(number)):
        holding = [one for one in named if one.version == address.version and address in one]
        holding.sort(key=lambda one: -one.prefixlen)
        assert [network for network, _ in table.holding(address)] == holding
        found = table.find(address)
        assert (found and found[1]) == (str(holding[0]) if holding else None)


def test_an_empty_table_holds_nothing_and_a_whole_world_everything() -> None:
    assert Prefixes[int]().find(normal("192.0.2.1")) is None
    everything = Prefixes([("0.0.0.0/0", 4), ("::/0", 6)])
    assert [everything.find(normal(one)) for one in ("192.0.2.1", "2001:db8::1")] == [
        (IPv4Network("0.0.0.0/0"), 4),
        (IPv6Network("::/0"), 6),
    ]


@pytest.mark.parametrize("text", ["", "192.0.2.256", "192.0.2.1, 10.0.0.1", "unknown", "[::1]"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="address"):
        normal(text)
