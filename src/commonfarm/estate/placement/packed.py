"""Hosts to get as a packing: what one host can hold, without what hosts share.

Leaving rules out, it is a relaxation: nothing that keeps them all costs less. What it finds is
where the exact search begins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from commonfarm.estate.placement.problem import Item, Problem

_MOST = 400_000
"""Pairs of an item and a host up to which all is packed."""


def pack(
    problem: Problem,
    items: Iterable[Item],
    hosts: Collection[str],
    kinds: Mapping[str, int],
    seconds: float,
) -> tuple[Counter[str], int]:
    """Return how many of each kind take the items, and what they cost at least.

    `hosts` are there, empty, and `kinds` can be had at a cost: for each the name of a host as it
    would be. Both are hosts of the problem. What none of them can take is left out. `seconds` are
    counted work. Without an answer, the counts are empty and the cost is 0.
    """
    from commonfarm.estate.placement.packing.engine import cheapest
    from commonfarm.estate.placement.packing.problem import Item as Content
    from commonfarm.estate.placement.packing.problem import Kind as Bin

    there = set(hosts)
    asked = [one for one in items if any(h in there or h in kinds for h in one.kind.hosts)]
    if not asked or len(asked) * (len(there) + len(kinds)) > _MOST:
        return Counter(), 0
    sizes = _Sizes(problem, asked, [*sorted(there), *kinds])
    bins = [Bin(host, sizes.room(host), 0, 1) for host in sorted(there)]
    bins += [Bin(host, sizes.room(host), cost) for host, cost in kinds.items()]
    found = cheapest(
        [Content(one.name, sizes.of(one), frozenset(one.kind.hosts)) for one in asked],
        bins,
        seconds=seconds,
    )
    return Counter(one.kind for one in found.bins if one.kind in kinds), found.lower_bound


class _Sizes:
    """What items take and hosts have, dimension by dimension."""

    def __init__(self, problem: Problem, items: Sequence[Item], hosts: Sequence[str]) -> None:
        self.problem, self.many, self.hosts = problem, len(items), set(hosts)
        self.keys = sorted({limit[2] for limit in problem.limits if limit[0] == "host"})
        self.alone = any(one.kind.dedicated for one in items)
        # Where each host is a domain of its own, a rule of spread limits each host.
        self.spreads = [
            (frozenset(one.items), one.at_most)
            for one in problem.spreads
            if one.must and one.at_most is not None and not one.there and _by_host(one.domains)
        ]
        self.total = {key: sum(self._least(one, key) for one in items) for key in self.keys}

    def _least(self, item: Item, key: str) -> int:
        """Return what it takes at least: isolated cores take as many as a host shares them."""
        takes = (
            self.problem.hosts[host].takes(item.kind.amounts).get(key, 0)
            for host in item.kind.hosts
            if host in self.hosts
        )
        return min(takes, default=0)

    def of(self, item: Item) -> tuple[int, ...]:
        dimensions = [self._least(item, key) for key in self.keys]
        if self.alone:
            dimensions.append(self.many if item.kind.dedicated else 1)
        return (*dimensions, *(int(item.name in names) for names, _ in self.spreads))

    def room(self, host: str) -> tuple[int, ...]:
        limits = self.problem.limits
        dimensions = [limits.get(("host", host, key), self.total[key]) for key in self.keys]
        if self.alone:
            dimensions.append(self.many)
        return (*dimensions, *(most for _, most in self.spreads))


def _by_host(domains: Mapping[str, str]) -> bool:
    return len(set(domains.values())) == len(domains)
