"""What is taken of every limit while instances come and go: the one place that says what fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from commonfarm.estate.placement.problem import Item, Kind, Limit, Problem, Spread


@dataclass(frozen=True, slots=True)
class Short:
    """A limit of which too little is left: `left` of it, and `needed`."""

    limit: Limit
    left: int
    needed: int


@dataclass(frozen=True, slots=True)
class Taken:
    """A host that one needs for itself: `by` are on it, or the one who is alone there."""

    host: str
    by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Crowded:
    """A spread that must hold and would not: `inside` are in the domain already.

    `full`: it has as many as it can; else too few other domains are used as yet.
    """

    spread: Spread
    domain: str
    inside: tuple[str, ...]
    full: bool


Obstacle = Short | Taken | Crowded


class Ledger:
    """A placement in the making. What is put must fit; `obstacles` says whether it does."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.items = {item.name: item for item in problem.items}
        self.on: dict[str, str] = {}
        self.left: dict[Limit, int] = dict(problem.limits)
        self.guests: dict[str, dict[str, Item]] = {host: {} for host in problem.hosts}
        self.rules: dict[str, list[Spread]] = {}
        self.inside: dict[int, Counter[str]] = {}
        self._takes: dict[tuple[int, str], tuple[tuple[Limit, int], ...]] = {}
        for spread in problem.spreads:
            self.inside[spread.number] = Counter(spread.there)
            for name in spread.items:
                self.rules.setdefault(name, []).append(spread)

    def takes(self, kind: Kind, host: str) -> tuple[tuple[Limit, int], ...]:
        """Return what one of a kind takes on a host; remembered."""
        key = (id(kind), host)
        if key not in self._takes:
            self._takes[key] = tuple(self.problem.takes(kind, host).items())
        return self._takes[key]

    def put(self, item: Item, host: str) -> None:
        """Place an item."""
        self.on[item.name] = host
        self.guests[host][item.name] = item
        self._count(item, host, 1)

    def take(self, item: Item) -> str:
        """Take an item away; return the host where it was."""
        host = self.on.pop(item.name)
        del self.guests[host][item.name]
        self._count(item, host, -1)
        return host

    def _count(self, item: Item, host: str, many: int) -> None:
        for limit, amount in self.takes(item.kind, host):
            self.left[limit] -= many * amount
        for spread in self.rules.get(item.name, ()):
            self.inside[spread.number][spread.domains[host]] += many

    def fits(self, item: Item, host: str) -> bool:
        """Say whether an item may be put on a host now."""
        return (
            host in item.kind.hosts
            and all(self.left[limit] >= n for limit, n in self.takes(item.kind, host))
            and not any(self._others(item, host))
        )

    def obstacles(self, item: Item, host: str) -> Iterator[Obstacle]:
        """Yield what keeps an item off a host whose rules it meets."""
        for limit, needed in self.takes(item.kind, host):
            if self.left[limit] < needed:
                yield Short(limit, self.left[limit], needed)
        yield from self._others(item, host)

    def _others(self, item: Item, host: str) -> Iterator[Obstacle]:
        guests = self.guests[host]
        if guests and (item.kind.dedicated or any(one.kind.dedicated for one in guests.values())):
            yield Taken(host, tuple(sorted(guests)))
        for spread in self.rules.get(item.name, ()):
            domain = spread.domains[host]
            if spread.must and not self.holds(spread, domain):
                there = (one for one in spread.items if one in self.on)
                inside = tuple(one for one in there if spread.domains[self.on[one]] == domain)
                yield Crowded(spread, domain, inside, self._full(spread, domain))

    def holds(self, spread: Spread, domain: str) -> bool:
        """Say whether a spread holds with one more in a domain."""
        if self._full(spread, domain):
            return False
        if spread.at_least is None:
            return True
        inside = self.inside[spread.number]
        domains = sum(many > 0 for many in inside.values()) + (not inside[domain])
        return domains >= min(spread.at_least, inside.total() + 1)

    def _full(self, spread: Spread, domain: str) -> bool:
        return spread.at_most is not None and self.inside[spread.number][domain] >= spread.at_most


@dataclass(frozen=True, slots=True, order=True)
class Score:
    """How good a placement is; the larger the better, the first that differs counts."""

    weight: int
    stays: int
    wishes: int
    leaving: int


def score(problem: Problem, on: Mapping[str, str]) -> Score:
    """Return how good a placement is. Wishes and leaving hosts count below zero."""
    placed = [item for item in problem.items if item.name in on]
    return Score(
        weight=sum(item.priority for item in placed),
        stays=sum(on[item.name] == item.now for item in placed),
        wishes=-sum(item.kind.hosts[on[item.name]] for item in placed)
        - sum(excess(spread, on) for spread in problem.spreads if not spread.must),
        leaving=-sum(problem.leaving[on[item.name]] for item in placed),
    )


def excess(spread: Spread, on: Mapping[str, str]) -> int:
    """Return by how many instances or domains a placement misses a spread; 0 keeps it."""
    inside = Counter(spread.there)
    inside.update(spread.domains[on[name]] for name in spread.items if name in on)
    over = sum(max(0, many - spread.at_most) for many in inside.values()) if spread.at_most else 0
    domains = sum(many > 0 for many in inside.values())
    return over + max(0, min(spread.at_least or 0, inside.total()) - domains)
