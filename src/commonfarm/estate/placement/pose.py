"""Pose the problem of placement: which hosts stand, what each instance may run on, what is left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from enum import StrEnum

from commonfarm.estate.facts import Facts, Host, Instance, Level, Requirement, Site
from commonfarm.estate.placement.problem import Item, Kind, Limit, Problem, Spread, takes
from commonfarm.estate.timeline import leaves_on


class Rule(StrEnum):
    """What an instance asks of a host, whatever room is left there."""

    ARCHITECTURE = "architecture"
    REQUIRED = "required traits"
    FORBIDDEN = "forbidden traits"
    SITE = "site"
    NETWORK = "network"


def broken(need: Requirement, host: Host, site: Site | None) -> tuple[Rule, ...]:
    """Return the rules that a host breaks; `site` is the host's."""
    found = []
    if need.architectures and host.architecture not in need.architectures:
        found.append(Rule.ARCHITECTURE)
    if any(host.traits.isdisjoint(any_of) for any_of in need.required):
        found.append(Rule.REQUIRED)
    if not host.traits.isdisjoint(need.forbidden):
        found.append(Rule.FORBIDDEN)
    if need.sites and host.site not in need.sites:
        found.append(Rule.SITE)
    if need.addresses and not (site and need.addresses.keys() <= site.networks.keys()):
        found.append(Rule.NETWORK)
    return tuple(found)


def pose(
    facts: Facts, hosts_there: Sequence[str], level: Level, current: Mapping[str, str]
) -> Problem:
    """Return the problem of placing what `level` counts on these hosts.

    `current`: instance -> the host it runs on before, whether or not that is still there.
    """
    hosts = {name: facts.hosts[name] for name in sorted(hosts_there)}
    instances = sorted(facts.instances_at(level), key=lambda one: one.name)
    limits = _limits(facts, hosts.values(), instances, level)
    kinds = _Kinds(facts, hosts, limits, level)
    items = tuple(
        Item(one.name, kinds.of(one), one.priority, now if now in hosts else None)
        for one in instances
        for now in (current.get(one.name),)
    )
    return Problem(
        hosts, kinds.all, items, limits, _spreads(facts, hosts, items), _leaving(facts, hosts)
    )


class _Kinds:
    """Finds what instances have in common; looks at hosts alike but once."""

    def __init__(
        self, facts: Facts, hosts: Mapping[str, Host], limits: Mapping[Limit, int], level: Level
    ) -> None:
        self.facts, self.limits, self.level = facts, limits, level
        self.alike: dict[tuple[object, ...], list[Host]] = {}
        for one in hosts.values():
            ratio = one.allocation_ratio.items()
            has = (one.capacity.items(), one.reserved.items(), ratio)
            amounts = (tuple(sorted(each)) for each in has)
            key = (one.architecture, one.site, tuple(sorted(one.traits)), *amounts)
            self.alike.setdefault(key, []).append(one)
        self.found: dict[tuple[object, ...], Kind] = {}

    @property
    def all(self) -> tuple[Kind, ...]:
        return tuple(self.found.values())

    def of(self, one: Instance) -> Kind:
        need = one.requirement
        amounts = {key: n for key, n in sorted(need.at(self.level).items()) if n}
        addresses = {key: n for key, n in sorted(need.addresses.items()) if n}
        rules = (need.architectures, need.required, need.forbidden, need.preferred, need.sites)
        key = (tuple(amounts.items()), tuple(addresses.items()), need.dedicated, *rules)
        if key not in self.found:
            places = {
                host.name: len(set(need.preferred) - host.traits)
                for hosts in self.alike.values()
                if self.takes_one(need, hosts[0])
                for host in hosts
            }
            places = dict(sorted(places.items()))
            self.found[key] = Kind(amounts, places, addresses, need.dedicated)
        return self.found[key]

    def takes_one(self, need: Requirement, host: Host) -> bool:
        site = self.facts.sites.get(host.site or "")
        if broken(need, host, site):
            return False
        taken = takes(need.at(self.level), need.addresses, host)
        return all(amount <= self.limits.get(limit, amount) for limit, amount in taken.items())


def _limits(
    facts: Facts, hosts: Iterable[Host], instances: Iterable[Instance], level: Level
) -> dict[Limit, int]:
    """Return what is left of all that the instances take something of."""
    keys = {key for one in instances for key, n in one.requirement.at(level).items() if n}
    keys |= {"cores"} if "isolated_cores" in keys else set()
    limits: dict[Limit, int] = {}
    there = list(hosts)
    for host in there:
        rooms = {key: host.room(key) for key in sorted(keys)}
        limits.update({("host", host.name, key): n for key, n in rooms.items() if n is not None})
    for name in sorted({host.site for host in there if host.site}):
        site = facts.sites[name]
        amounts = {("site", name, key): n for key, n in site.limits.items() if key in keys}
        limits.update(sorted(amounts.items()))
        for network in sorted(site.networks.values(), key=lambda one: one.name):
            taken = sum(host.site == name and network.name in host.networks for host in there)
            left = max(0, network.capacity - taken)
            limits["network", f"{name}/{network.name}", "addresses"] = left
    return limits


def _spreads(facts: Facts, hosts: Mapping[str, Host], items: Iterable[Item]) -> tuple[Spread, ...]:
    names = {item.name for item in items}
    found = [
        Spread(
            number,
            tuple(sorted(names.intersection(rule.instances))),
            {name: host.domain(rule.over) for name, host in hosts.items()},
            rule.must,
            rule.at_most,
            rule.at_least,
        )
        for number, rule in enumerate(facts.spreads)
    ]
    said = {one.number: facts.spreads[one.number] for one in found}
    # What the rules say orders them, so that the order in which they were written does not matter.
    return tuple(
        sorted(
            (one for one in found if one.items),
            key=lambda one: (
                one.items,
                said[one.number].over,
                one.must,
                one.at_most or 0,
                one.at_least or 0,
            ),
        )
    )


def _leaving(facts: Facts, hosts: Mapping[str, Host]) -> dict[str, int]:
    days = {name: leaves_on(facts, host) or date.max for name, host in hosts.items()}
    ranks = {day: rank for rank, day in enumerate(sorted(set(days.values()), reverse=True))}
    return {name: ranks[day] for name, day in days.items()}
