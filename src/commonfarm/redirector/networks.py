"""Networks, and tables of them in which the longest prefix that holds an address is found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Generic, TypeVar

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Value = TypeVar("Value")

TOGETHER = {4: 24, 6: 48}
"""The prefix length of a client's network, by IP version: what is smaller is told apart by nobody,
unless a prefix that was configured is longer."""


def normal(address: str) -> Address:
    """Parse an address; an IPv4 client of an IPv6 socket is an IPv4 client. ValueError: it is none.

    A zone (`%eth0`) is dropped.
    """
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


class Prefixes(Generic[Value]):
    """Values by network. One that is named twice has the value that came last."""

    def __init__(self, values: Iterable[tuple[str | Network, Value]] = ()) -> None:
        tables: dict[tuple[int, int], dict[int, tuple[Network, Value]]] = {}
        for name, value in values:
            network = ip_network(name)
            host_bits = network.max_prefixlen - network.prefixlen
            table = tables.setdefault((network.version, host_bits), {})
            table[int(network.network_address) >> host_bits] = network, value
        self._tables = {
            version: [
                (host_bits, table)
                for (of, host_bits), table in sorted(tables.items())
                if of == version
            ]
            for version in (4, 6)
        }

    def holding(self, address: Address) -> Iterator[tuple[Network, Value]]:
        """Give every network that holds `address` with its value, the longest prefix first."""
        tables = self._tables[address.version]
        if tables:
            number = int(address)
            for host_bits, table in tables:
                found = table.get(number >> host_bits)
                if found is not None:
                    yield found

    def find(self, address: Address) -> tuple[Network, Value] | None:
        """Return the longest prefix that holds `address` with its value, or None."""
        return next(self.holding(address), None)
