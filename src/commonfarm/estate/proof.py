"""What no placement can exceed: the bound that a plan's certificate proves, from the facts alone.

Weak duality: the limits are added up, each times its multiplier, and no placement takes more. All
in integers, so that nothing rests on rounding. Knows no solver, nor who made the certificate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import gcd

from commonfarm.estate.facts import Facts, Host, Instance, Level, Requirement
from commonfarm.estate.plan import Certificate, Row

MOST_DIVISORS = 8
"""So many rows of one limit can a certificate have: more say nothing new, and take time."""

Limit = tuple[str, str, str]
"""Scope, name and resource, as in `plan.Row`."""
Price = tuple[tuple[int, int], ...]
"""The rows of one limit: divisor and multiplier of each."""


def misfits(requirement: Requirement, host: Host, facts: Facts) -> Iterator[tuple[str, str]]:
    """Yield each rule that an instance breaks on a host, however empty: which, and in words."""
    if requirement.architectures and host.architecture not in requirement.architectures:
        yield (
            "architecture",
            f"is {host.architecture}, not {' or '.join(requirement.architectures)}",
        )
    for any_of in requirement.required:
        if host.traits.isdisjoint(any_of):
            yield "traits", f"lacks {' or '.join(any_of)}"
    for trait in requirement.forbidden:
        if trait in host.traits:
            yield "traits", f"has {trait}, which is forbidden"
    if requirement.sites and host.site not in requirement.sites:
        yield "site", f"is at {host.site or 'no site'}, not at {' or '.join(requirement.sites)}"
    site = facts.sites.get(host.site) if host.site else None
    for network, count in requirement.addresses.items():
        if count and (site is None or network not in site.networks):
            yield "network", f"is at {host.site or 'no site'}, which has no network {network}"


@dataclass(frozen=True)
class Supply:
    """What there is to have together on the hosts that stand, limit by limit."""

    facts: Facts
    hosts: Mapping[str, Host]
    level: Level

    def limit(self, scope: str, name: str, resource: str) -> int | None:
        """Return a limit; None where there is none of that name, or nothing is limited."""
        match scope:
            case "host" if name in self.hosts:
                return self.hosts[name].room(resource)
            case "site" if name in self.facts.sites:
                return self.facts.sites[name].limits.get(resource)
            case "network" if resource == "addresses":
                return self.addresses.get(name)
            case "spread" if resource == "instances":
                rule, _, domain = name.partition(" ")
                return self.spreads.get(int(rule)) if domain in self.domains(rule) else None
        return None

    @cached_property
    def addresses(self) -> dict[str, int]:
        """Return the addresses left in each network (`site/network`): hosts have theirs first."""
        left = {f"{one.site}/{one.name}": one.capacity for one in self.facts.networks()}
        for host in self.hosts.values():
            for name in {f"{host.site}/{network}" for network in host.networks} & left.keys():
                left[name] -= 1
        return {name: max(0, count) for name, count in left.items()}

    @cached_property
    def spreads(self) -> dict[int, int]:
        """Return how many instances a domain can have, by the number of the rule."""
        rules = enumerate(self.facts.spreads)
        return {n: rule.at_most for n, rule in rules if rule.must and rule.at_most is not None}

    def domains(self, rule: str) -> frozenset[str]:
        """Return the domains of a rule that limits what is in one; none where there is no such."""
        known = self._domains.get(rule)
        return known if known is not None else frozenset()

    @cached_property
    def _domains(self) -> dict[str, frozenset[str]]:
        by_key = {
            key: frozenset(host.domain(key) for host in self.hosts.values())
            for key in {self.facts.spreads[number].over for number in self.spreads}
        }
        return {str(number): by_key[self.facts.spreads[number].over] for number in self.spreads}

    def taken(self, one: Instance, host: Host) -> dict[Limit, int]:
        """Return what an instance takes on a host of what the host, its site and networks have."""
        amounts = one.requirement.at(self.level)
        taken = {("host", host.name, key): n for key, n in host.takes(amounts).items()}
        if host.site is not None:
            taken.update({("site", host.site, key): n for key, n in amounts.items()})
            for network, count in one.requirement.addresses.items():
                taken["network", f"{host.site}/{network}", "addresses"] = count
        return taken

    def may_run(self, one: Instance, host: Host) -> bool:
        """Say whether an instance could run on a host if no other ran anywhere."""
        if next(misfits(one.requirement, host, self.facts), None) is not None:
            return False
        for limit, amount in self.taken(one, host).items():
            room = self.limit(*limit)
            if room is not None and amount > room:
                return False
        return True


def faults(supply: Supply, certificate: Certificate) -> Iterator[str]:
    """Yield in words what makes a certificate no proof; without any, `bound` can be trusted."""
    if certificate.scale < 1:
        yield f"a scale of {short(certificate.scale)}, which is less than 1"
    rows: dict[Limit, set[int]] = {}
    unknown: list[str] = []
    negative: list[str] = []
    undivided: list[str] = []
    again: list[str] = []
    for row in certificate.rows:
        said = f"{row.scope} {row.name} {row.resource}"
        divisors = rows.setdefault((row.scope, row.name, row.resource), set())
        if row.divisor in divisors or len(divisors) == MOST_DIVISORS:
            again.append(said)
            continue
        divisors.add(row.divisor)
        if supply.limit(row.scope, row.name, row.resource) is None:
            unknown.append(said)
        if row.multiplier < 0:
            negative.append(said)
        if row.divisor < 1:
            undivided.append(said)
    for names, what in (
        (unknown, "rows of what limits nothing"),
        (negative, "rows with a multiplier below 0"),
        (undivided, "rows with a divisor below 1"),
        (again, f"rows twice, or more than {MOST_DIVISORS} of one limit"),
    ):
        if names:
            yield f"{what}: {some(names)}"


def bound(supply: Supply, instances: Iterable[Instance], certificate: Certificate) -> int:
    """Return the most weight of these instances that any placement has, by a faultless certificate.

    A row with a divisor q holds as well: whole instances that take a_i each of a limit b together
    take sum(floor(a_i / q)) <= floor(b / q) (Chvátal 1973, Gomory 1958). A dedicated instance has
    all of its host's room, since nothing else is there. What is placed weighs a multiple of what
    all priorities are multiples of.
    """
    prices = _Prices(supply, certificate.rows)
    total = prices.of_limits()
    alike: dict[tuple[object, ...], list[Instance]] = {}
    unit = 0
    for one in instances:
        unit = gcd(unit, one.priority)
        alike.setdefault(prices.kind(one), []).append(one)
    for kind in alike.values():
        cheapest = prices.cheapest(kind[0])
        if cheapest is not None:
            total += sum(max(0, certificate.scale * one.priority - cheapest) for one in kind)
    return total // (certificate.scale * (unit or 1)) * unit


class _Prices:
    """What the rows ask of an instance on a host; hosts and instances alike are asked but once."""

    def __init__(self, supply: Supply, rows: Iterable[Row]) -> None:
        self.supply = supply
        found: dict[Limit, list[tuple[int, int]]] = {}
        for row in rows:
            if row.multiplier:
                limit = (row.scope, row.name, row.resource)
                found.setdefault(limit, []).append((row.divisor, row.multiplier))
        self.rows: dict[Limit, Price] = {
            limit: tuple(sorted(price)) for limit, price in found.items()
        }
        self.on_host: dict[str, dict[str, Price]] = {}
        self.in_domain: dict[int, dict[str, int]] = {}
        for (scope, name, resource), price in self.rows.items():
            if scope == "host":
                self.on_host.setdefault(name, {})[resource] = price
            elif scope == "spread":
                rule, _, domain = name.partition(" ")
                self.in_domain.setdefault(int(rule), {})[domain] = _times(price, 1)
        self.rules: dict[str, list[int]] = {}
        for number in sorted(self.in_domain):
            for instance in set(supply.facts.spreads[number].instances):
                self.rules.setdefault(instance, []).append(number)
        self.classes: dict[tuple[int, ...], list[Host]] = {}

    def of_limits(self) -> int:
        """Return what all limits together cost."""
        return sum(
            _times(price, self.supply.limit(*limit) or 0) for limit, price in self.rows.items()
        )

    def kind(self, one: Instance) -> tuple[object, ...]:
        """Return what two instances have in common that cost the same everywhere."""
        need, level = one.requirement, self.supply.level
        return (
            tuple(sorted(need.at(level).items())),
            tuple(sorted(need.addresses.items())),
            (need.architectures, need.required, need.forbidden, need.sites, need.dedicated),
            tuple(self.rules.get(one.name, ())),
        )

    def cheapest(self, one: Instance) -> int | None:
        """Return the least that the rows ask of an instance anywhere; None if it fits nowhere."""
        rules = tuple(self.rules.get(one.name, ()))
        least: int | None = None
        for host in self.alike(rules):
            asked = self.on(one, host) + sum(self._in_domain(rule, host) for rule in rules)
            if (least is None or asked < least) and self.supply.may_run(one, host):
                least = asked
        return least

    def on(self, one: Instance, host: Host) -> int:
        """Return what the rows of a host, its site and its networks ask of an instance there."""
        taken = self.supply.taken(one, host)
        asked = 0
        for resource, price in self.on_host.get(host.name, {}).items():
            amount = taken.pop(("host", host.name, resource), 0)
            if one.requirement.dedicated:
                amount = max(amount, host.room(resource) or 0)
            asked += _times(price, amount)
        for limit, amount in taken.items():
            if limit[0] != "host" and limit in self.rows:
                asked += _times(self.rows[limit], amount)
        return asked

    def alike(self, rules: tuple[int, ...]) -> list[Host]:
        """Return one host of each class that no instance under these rules can tell apart."""
        if rules not in self.classes:
            first: dict[tuple[object, ...], Host] = {}
            for host in self.supply.hosts.values():
                domains = tuple(self._in_domain(rule, host) for rule in rules)
                first.setdefault((*self._described[host.name], domains), host)
            self.classes[rules] = list(first.values())
        return self.classes[rules]

    @cached_property
    def _described(self) -> dict[str, tuple[object, ...]]:
        return {
            host.name: (
                host.architecture,
                host.site,
                host.traits,
                tuple(sorted(host.capacity.items())),
                tuple(sorted(host.reserved.items())),
                tuple(sorted(host.allocation_ratio.items())),
                tuple(sorted(self.on_host.get(host.name, {}).items())),
            )
            for host in self.supply.hosts.values()
        }

    def _in_domain(self, rule: int, host: Host) -> int:
        over = self.supply.facts.spreads[rule].over
        return self.in_domain[rule].get(host.domain(over), 0)


def _times(price: Price, amount: int) -> int:
    return sum(multiplier * (amount // divisor) for divisor, multiplier in price)


def some(names: Iterable[str], shown: int = 3) -> str:
    """Return the first few of many names, each cut short, and how many more there are."""
    every = list(names)
    first = ", ".join(name[:80] for name in every[:shown])
    return f"{first} and {len(every) - shown} more" if len(every) > shown else first


def short(number: int) -> str:
    """Return a number that a stranger wrote, in words where it would fill the screen."""
    return str(number) if abs(number) < 10**18 else "a number of many digits"
