"""A first placement: what runs stays where it fits, the rest goes by best fit, largest first.

Vector packing by best fit decreasing, after Panigrahy, Talwar, Uyeda and Wieder (2011). What is
chosen for an item does not depend on hosts that stay empty.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping

from commonfarm.estate.placement.ledger import Crowded, Ledger
from commonfarm.estate.placement.problem import Item, Kind, Problem, Spread

Entry = tuple[int, int, float, str]
"""How dear a host is to a kind: preferred traits that lack, how soon it leaves, room left, name."""


def greedy(problem: Problem, near: Mapping[str, str], *, rarest_first: bool = True) -> Ledger:
    """Return a placement that breaks no rule; what fits nowhere any more is left out.

    What does not run goes where `near` has it, if it fits there. With `rarest_first`, of equal
    priority those come first that have the fewest hosts; so the order does depend on empty hosts.
    """
    ledger = Ledger(problem)
    _keep(ledger, {item.name: item.now for item in problem.items if item.now})
    _keep(ledger, {name: host for name, host in near.items() if name not in ledger.on})
    waiting = [item for item in problem.items if item.name not in ledger.on]
    fill(ledger, waiting, rarest_first=rarest_first)
    return ledger


def _keep(ledger: Ledger, on: Mapping[str, str]) -> None:
    """Put items where they are, the weightiest first, as far as limits and rules allow."""
    there = [item for item in ledger.problem.items if on.get(item.name) in item.kind.hosts]
    for item in sorted(there, key=lambda one: (-one.priority, one.name)):
        # At least so many domains: known only when all are there.
        if all(_may_yet_hold(one) for one in ledger.obstacles(item, on[item.name])):
            ledger.put(item, on[item.name])
    for spread in ledger.problem.spreads:
        if spread.must and spread.at_least is not None:
            _thin_out(ledger, spread, spread.at_least)


def _may_yet_hold(obstacle: object) -> bool:
    return isinstance(obstacle, Crowded) and not obstacle.full


def _thin_out(ledger: Ledger, spread: Spread, at_least: int) -> None:
    """Take away from the fullest domain until there are as many domains as there must be."""
    inside = ledger.inside[spread.number]
    while sum(many > 0 for many in inside.values()) < min(at_least, inside.total()):
        fullest = max(sorted(inside), key=lambda domain: inside[domain])
        there = [ledger.items[name] for name in spread.items if name in ledger.on]
        crowd = [one for one in there if spread.domains[ledger.on[one.name]] == fullest]
        if not crowd:
            return
        ledger.take(min(crowd, key=lambda one: (one.priority, one.name)))


def fill(ledger: Ledger, items: Iterable[Item], *, rarest_first: bool = True) -> None:
    """Put items where they fit best: first those of most weight, of fewest hosts, the largest."""
    prices = prices_of(ledger.problem)
    order = {id(kind): number for number, kind in enumerate(ledger.problem.kinds)}
    waiting = sorted(
        items,
        key=lambda one: (
            -one.priority,
            len(one.kind.hosts) if rarest_first else 0,
            -size_of(one.kind, prices),
            order[id(one.kind)],
            one.name,
        ),
    )
    kind: Kind | None = None
    heap: list[Entry] = []
    for item in waiting:
        if item.kind is not kind:
            kind = item.kind
            heap = [_entry(ledger, item, host, prices) for host in kind.hosts]
            heapq.heapify(heap)
        host = _take_best(ledger, item, heap)
        if host is not None:
            ledger.put(item, host)
            heapq.heappush(heap, _entry(ledger, item, host, prices))


def _take_best(ledger: Ledger, item: Item, heap: list[Entry]) -> str | None:
    """Return the best host, and leave in the heap those that another of the kind may yet take."""
    later: list[Entry] = []
    best: Entry | None = None
    while heap and best is None:
        entry = heapq.heappop(heap)
        obstacles = list(ledger.obstacles(item, entry[-1]))
        if not obstacles and not _wished_away(ledger, item, entry[-1]):
            best = entry
        elif all(isinstance(one, Crowded) for one in obstacles):
            later.append(entry)
    if best is None:
        best = next((one for one in later if ledger.fits(item, one[-1])), None)
    for entry in later:
        if entry is not best:
            heapq.heappush(heap, entry)
    return best[-1] if best else None


def _wished_away(ledger: Ledger, item: Item, host: str) -> bool:
    rules = (one for one in ledger.rules.get(item.name, ()) if not one.must)
    return any(not ledger.holds(spread, spread.domains[host]) for spread in rules)


def _entry(ledger: Ledger, item: Item, host: str, prices: dict[str, float]) -> Entry:
    takes = ledger.takes(item.kind, host)
    room = sum(
        prices.get(limit[2], 0.0) * (ledger.left[limit] - amount)
        for limit, amount in takes
        if limit[0] == "host"
    )
    return item.kind.hosts[host], ledger.problem.leaving[host], room, host


def prices_of(problem: Problem) -> dict[str, float]:
    """Return what a unit of each resource is worth: its part of all that is asked."""
    asked: Counter[str] = Counter()
    for item in problem.items:
        asked.update(item.kind.amounts)
    return {key: 1 / amount for key, amount in asked.items()}


def size_of(kind: Kind, prices: dict[str, float]) -> float:
    """Return how large one of a kind is, by the prices of what it asks."""
    return sum(prices.get(key, 0.0) * amount for key, amount in sorted(kind.amounts.items()))
