"""A problem with what is alike in it counted instead of repeated, and what rows prove of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from commonfarm.estate.facts import Host
from commonfarm.estate.placement.problem import Kind, Limit, Problem, Spread

Prices = dict[Limit, dict[int, int]]
"""Limit -> divisor -> multiplier: the rows of a certificate."""
Blocks = list[list[list[str]]]
"""Hosts in classes in blocks: what the hosts of a block have is added up."""


@dataclass(frozen=True, slots=True)
class Group:
    """Items alike: their kind and priority, and the rules of spread that limit them."""

    kind: int
    priority: int
    spreads: tuple[int, ...]


class Alike:
    """A problem in groups of items and classes of hosts.

    `groups`: how many items there are of each. `classes`: hosts that nothing tells apart, but for
    spreads over domains of one host each. `spreads`: the rules that are looked at; with
    `tight_only`, only those that leave some unplaced wherever there is room.
    """

    def __init__(self, problem: Problem, *, tight_only: bool = False) -> None:
        self.problem = problem
        self.spreads = {
            one.number: one
            for one in problem.spreads
            if one.must and one.at_most is not None and (_tight(one) or not tight_only)
        }
        rules: dict[str, list[int]] = {}
        for number, one in self.spreads.items():
            for item in one.items:
                rules.setdefault(item, []).append(number)
        kinds = {id(kind): number for number, kind in enumerate(problem.kinds)}
        self.groups = Counter(
            Group(kinds[id(item.kind)], item.priority, tuple(rules.get(item.name, ())))
            for item in problem.items
            if item.kind.hosts
        )
        self.classes = self._classes()

    @cached_property
    def accepts(self) -> dict[str, tuple[int, ...]]:
        """Return the numbers of the kinds that may run on each host."""
        found: dict[str, list[int]] = {name: [] for name in self.problem.hosts}
        for number, kind in enumerate(self.problem.kinds):
            for name in kind.hosts:
                found[name].append(number)
        return {name: tuple(numbers) for name, numbers in found.items()}

    def _classes(self) -> list[list[str]]:
        problem = self.problem
        shared = {tuple(sorted(one.domains.items())) for one in self.spreads.values()}
        domains: list[dict[str, str]] = []
        for mapping in map(dict, sorted(shared)):
            sizes = Counter(mapping.values())
            domains.append({name: one for name, one in mapping.items() if sizes[one] > 1})
        found: dict[tuple[object, ...], list[str]] = {}
        for name, host in problem.hosts.items():
            key = (
                host.site,
                host.allocation_ratio.get("cores"),
                tuple(sorted((one[2], room) for one, room in self.rooms[name].items())),
                self.accepts[name],
                tuple(one.get(name) for one in domains),
            )
            found.setdefault(key, []).append(name)
        return list(found.values())

    def blockings(self) -> Iterator[Blocks]:
        """Yield the classes in ever fewer blocks: fewer columns, a weaker bound."""
        yield [[names] for names in self.classes]
        first = {names[0]: self.problem.hosts[names[0]] for names in self.classes}
        keys: list[Callable[[Host], tuple[object, ...]]] = [
            lambda one: (one.site, self.accepts[one.name]),
            lambda one: (one.site, one.architecture, one.traits),
            lambda one: (one.site, one.architecture),
        ]
        for key in keys:
            blocks: dict[tuple[object, ...], list[list[str]]] = {}
            for names in self.classes:
                blocks.setdefault(key(first[names[0]]), []).append(names)
            yield list(blocks.values())

    def takes(self, kind: Kind, host: str) -> dict[Limit, int]:
        """Return what one takes on a host; a dedicated one has all that its host has."""
        taken = self.problem.takes(kind, host)
        if kind.dedicated:
            taken.update(self.rooms[host])
        return taken

    def bound(self, prices: Prices, scale: int) -> int:
        """Return the bound that these rows prove: in integers, and so exactly."""
        limits: dict[Limit, int] = dict(self.problem.limits)
        for number, one in self.spreads.items():
            for domain in set(one.domains.values()):
                limits[in_domain(number, domain)] = one.at_most or 0
        total = sum(_cost(price, limits[limit]) for limit, price in prices.items())
        asked: dict[int, list[tuple[str, int]]] = {}
        for number in {group.kind for group in self.groups}:
            kind = self.problem.kinds[number]
            asked[number] = [
                (
                    names[0],
                    sum(
                        _cost(prices[limit], amount)
                        for limit, amount in self.takes(kind, names[0]).items()
                        if limit in prices
                    ),
                )
                for names in self.classes
                if names[0] in kind.hosts
            ]
        for group, count in self.groups.items():
            cheapest = min(
                cost + sum(self._spread_cost(prices, one, host) for one in group.spreads)
                for host, cost in asked[group.kind]
            )
            total += count * max(0, scale * group.priority - cheapest)
        return total // scale

    def _spread_cost(self, prices: Prices, number: int, host: str) -> int:
        limit = in_domain(number, self.spreads[number].domains[host])
        return _cost(prices.get(limit, {}), 1)

    @cached_property
    def rooms(self) -> dict[str, dict[Limit, int]]:
        """Return the limits of each host."""
        rooms: dict[str, dict[Limit, int]] = {name: {} for name in self.problem.hosts}
        for limit, room in self.problem.limits.items():
            if limit[0] == "host":
                rooms[limit[1]][limit] = room
        return rooms


def _cost(price: Mapping[int, int], amount: int) -> int:
    return sum(amount // divisor * multiplier for divisor, multiplier in price.items())


def in_domain(number: int, domain: str) -> Limit:
    """Return the limit that a rule of spread sets in a domain."""
    return ("spread", f"{number} {domain}", "instances")


def _tight(spread: Spread) -> bool:
    """Say whether a rule alone leaves some unplaced, wherever there is room."""
    return len(spread.items) > (spread.at_most or 0) * len(set(spread.domains.values()))
