"""How many machines a prefix has addresses for."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from commonfarm.estate.resources import MOST

Prefix = IPv4Network | IPv6Network


def usable(prefix: Prefix) -> int:
    """Return how many addresses of a prefix machines can have, at most MOST.

    IPv4 loses the network's and the broadcast address, but for /31 (RFC 3021) and /32. IPv6 loses
    the subnet-router anycast address (RFC 4291, 2.6.1), but for /127 (RFC 6164) and /128.
    """
    if prefix.prefixlen >= prefix.max_prefixlen - 1:
        return prefix.num_addresses
    return min(prefix.num_addresses - (2 if prefix.version == 4 else 1), MOST)
