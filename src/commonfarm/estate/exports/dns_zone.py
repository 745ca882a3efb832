"""The hosts as a DNS zone file (RFC 1035, section 5), forward or reverse."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from commonfarm.estate.exports.common import Exported, checked, joined, running
from commonfarm.estate.facts import Facts, Host
from commonfarm.lib.errors import Reason, RefusedError

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Zone:
    """What a zone says besides its hosts. Names are full ones; times are in seconds."""

    origin: str
    name_servers: tuple[str, ...]
    contact: str
    serial: int
    ttl: int = 3600

    def __post_init__(self) -> None:
        for name in (self.origin, *self.name_servers, self.contact):
            if not is_domain(name):
                what = f"{name!r:.80} is no name in the DNS"
                raise RefusedError(Reason("no-domain", what, "write one such as example.org"))
        if not self.name_servers:
            to_do = "name a server with `--name-server`"
            raise RefusedError(Reason("no-name-server", "a zone needs a name server", to_do))

    def head(self, zone: str) -> Iterator[str]:
        """Yield how the file begins: what a server does with the zone as a whole."""
        yield "; Made by `commonfarm estate export dns-zone` from the estate; changes are lost."
        yield f"$ORIGIN {zone}."
        yield f"$TTL {self.ttl}"
        # Refresh, retry, expire, and how long "no such name" is remembered (RIPE-203).
        times = "86400 7200 3600000 3600"
        yield f"@ IN SOA {self.name_servers[0]}. {self.contact}. {self.serial} {times}"
        for server in self.name_servers:
            yield f"@ IN NS {server}."


def is_domain(name: str) -> bool:
    """Say whether `name` is a host's full name (RFC 1123), in small letters, no dot at its end."""
    return len(name) <= 253 and all(_LABEL.fullmatch(label) for label in name.split("."))


def forward(facts: Facts, hosts: Sequence[Host], zone: Zone, *, services: bool = False) -> Exported:
    """Return the zone of the hosts' addresses.

    A name that ends with the origin is taken as it is, any other lies below the origin. `services`
    adds an alias for each service that runs in production on one host alone.
    """
    lines, left_out = [], []
    named: dict[str, str] = {}
    for host in map(checked, hosts):
        name = _below(zone.origin, host.name)
        if not is_domain(f"{name}.{zone.origin}" if name != "@" else zone.origin):
            left_out.append(f"{host.name}: no name for the DNS; use letters, digits, hyphens")
        elif host.address is None:
            left_out.append(f"{host.name}: it has no address; write its `address`")
        elif name in named:
            why = f"{named[name]} has the same name in {zone.origin}"
            left_out.append(f"{host.name}: {why}; rename one of them")
        else:
            named[name] = host.name
            version = ipaddress.ip_address(host.address).version
            lines.append(f"{name} IN {'AAAA' if version == 6 else 'A'} {host.address}")
    for server in zone.name_servers:
        inside = _below(zone.origin, server) if server.endswith(f".{zone.origin}") else None
        if inside is not None and inside not in named:
            what = f"the name server {server} lies in the zone, and no host has its address"
            to_do = f"give the host {inside} an address, or name another server"
            raise RefusedError(Reason("name-server-unknown", what, to_do))
    if services:
        aliases, more = _aliases(facts, hosts, zone.origin, named)
        lines += aliases
        left_out += more
    return Exported(joined([*zone.head(zone.origin), *lines]), tuple(left_out))


def _below(origin: str, name: str) -> str:
    return "@" if name == origin else name.removesuffix(f".{origin}")


def _aliases(
    facts: Facts, hosts: Sequence[Host], origin: str, named: dict[str, str]
) -> tuple[list[str], list[str]]:
    """Return the aliases of services, and why others have none."""
    found, left_out = [], []
    at = {host: name for name, host in named.items()}
    where: dict[str, set[str]] = {name: set() for name in facts.services}
    own: set[str] = set()
    for host, instances in running(facts, hosts).items():
        for one in instances:
            if one.environment == "production":
                where[one.service].add(host)
                if one.requirement.addresses:
                    own.add(one.service)
    for service, its in where.items():
        name = _below(origin, service)
        why = ""
        if service in own:
            why = "it has addresses of its own; write them beside this zone"
        elif len(its) > 1:
            why = f"it runs on {len(its)} hosts; choose one"
        elif its and not its & at.keys():
            why = f"its host {min(its)} is not in the zone"
        elif its and (name in named or name == "@"):
            why = "a host has its name; rename one of them"
        elif its and not is_domain(f"{name}.{origin}"):
            why = "no name for the DNS; use letters, digits, hyphens"
        if why:
            left_out.append(f"service {service}: {why}")
        elif its:
            target = at[min(its)]
            found.append(f"{name} IN CNAME {target if target == '@' else f'{target}.{origin}.'}")
    return found, left_out


def reverse(hosts: Sequence[Host], zone: Zone, prefix: Network) -> Exported:
    """Return the zone of the names of the addresses in a prefix, which must end where names do."""
    step = 8 if prefix.version == 4 else 4
    if prefix.prefixlen % step or not prefix.prefixlen:
        what = f"{prefix} ends within a label of the reverse DNS"
        to_do = f"take a prefix whose length is a multiple of {step}"
        raise RefusedError(Reason("no-reverse-zone", what, to_do))
    count = (prefix.max_prefixlen - prefix.prefixlen) // step
    labels = prefix.network_address.reverse_pointer.split(".")
    lines: list[str] = []
    left_out: list[str] = []
    found: dict[str, str] = {}
    for host in map(checked, hosts):
        address = ipaddress.ip_address(host.address) if host.address else None
        if address is None or address not in prefix:
            continue
        name = _below(zone.origin, host.name)
        full = zone.origin if name == "@" else f"{name}.{zone.origin}"
        label = ".".join(address.reverse_pointer.split(".")[:count]) or "@"
        if not is_domain(full):
            left_out.append(f"{host.name}: no name for the DNS; use letters, digits, hyphens")
        elif label in found:
            left_out.append(f"{host.name}: {found[label]} has its address; give it another")
        else:
            found[label] = host.name
            lines.append(f"{label} IN PTR {full}.")
    return Exported(joined([*zone.head(".".join(labels[count:])), *lines]), tuple(left_out))
