"""An estate with more in it: hosts of the catalogue, wider networks, more of what a site shares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from commonfarm.estate.facts import Facts, Host, HostKind, Instance, Site
from commonfarm.estate.placement.problem import Limit


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """A kind of host at a site, or wherever there is room for it. `prefix`: of its hosts' names."""

    kind: HostKind
    site: str | None
    prefix: str

    @property
    def name(self) -> str:
        """Return the kind, and the site where that is not the kind's own."""
        own = self.site is None or self.site == self.kind.host.site
        return self.kind.name if own else f"{self.kind.name} at {self.site}"

    def named(self, number: int) -> str:
        """Return the name of the host of that number, from 1 on."""
        place = f"-{self.site}" if self.name != self.kind.name else ""
        return f"{self.prefix}{self.kind.name}{place}-{number}"

    def host(self, number: int) -> Host:
        """Return the host of that number."""
        return replace(
            self.kind.host, name=self.named(number), site=self.site, status="planned", source=None
        )


def variants(facts: Facts, instances: Iterable[Instance]) -> tuple[Variant, ...]:
    """Return what can be asked for.

    A kind without a site can stand anywhere; at one of ours only where that is of use: where an
    instance asks for that site, or for a network that it has.
    """
    prefix = "new-"
    while any(name.startswith(prefix) for name in facts.hosts):
        prefix = f"more-{prefix}"
    asked: set[str] = set()
    networks: set[str] = set()
    for one in instances:
        asked.update(one.requirement.sites)
        networks.update(name for name, many in one.requirement.addresses.items() if many)
    of_use = [
        site.name
        for site in facts.sites.values()
        if site.name in asked or not networks.isdisjoint(site.networks)
    ]
    return tuple(
        Variant(kind, site, prefix)
        for kind in facts.catalogue.values()
        for site in ([kind.host.site] if kind.host.site else [None, *of_use])
    )


def with_hosts(facts: Facts, counts: Mapping[Variant, int]) -> Facts:
    """Return the facts with so many more hosts."""
    new = [one.host(number + 1) for one, many in counts.items() for number in range(many)]
    hosts = {**facts.hosts, **{one.name: one for one in new}}
    return replace(facts, hosts=dict(sorted(hosts.items())))


def widened(facts: Facts, more: Mapping[Limit, int]) -> Facts:
    """Return the facts with more of what hosts share."""
    sites = dict(facts.sites)
    for (scope, name, key), amount in more.items():
        if scope == "site":
            site = sites[name]
            limits = {**site.limits, key: site.limits[key] + amount}
            sites[name] = replace(site, limits=limits)
        elif scope == "network":
            where, _, network = name.partition("/")
            sites[where] = _with_addresses(sites[where], network, amount)
    return replace(facts, sites=sites)


def _with_addresses(site: Site, name: str, more: int) -> Site:
    network = site.networks[name]
    wide = replace(network, capacity=network.capacity + more)
    return replace(site, networks={**site.networks, name: wide})
