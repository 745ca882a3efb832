"""Parts of a problem: those that have nothing to do with one another, and those taken out of it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterable

from commonfarm.estate.placement.ledger import Ledger
from commonfarm.estate.placement.problem import Item, Limit, Problem, Spread


def independent(problem: Problem) -> list[Problem]:
    """Return the parts whose hosts share no instance, limit or spread; together they are all."""
    leader = {host: host for host in problem.hosts}

    def find(host: str) -> str:
        while leader[host] != host:
            leader[host] = leader[leader[host]]
            host = leader[host]
        return host

    def join(hosts: Iterable[str]) -> None:
        first, *others = [find(host) for host in hosts] or [""]
        for other in others:
            leader[find(other)] = find(first)

    for kind in problem.kinds:
        join(kind.hosts)
    for several in sharing(problem):
        join(several)
    kinds = {item.name: item.kind for item in problem.items}
    for spread in problem.spreads:
        # A kind's hosts are joined already: one of each will do.
        join(host for name in spread.items for host in itertools.islice(kinds[name].hosts, 1))
    hosts: dict[str, list[str]] = {}
    for host in problem.hosts:
        hosts.setdefault(find(host), []).append(host)
    inside: dict[str, list[Item]] = {}
    for item in problem.items:
        for host in itertools.islice(item.kind.hosts, 1):
            inside.setdefault(find(host), []).append(item)
    ledger = Ledger(problem)
    return [part(ledger, hosts[one], some) for one, some in inside.items()]


def sharing(problem: Problem) -> Iterable[list[str]]:
    """Yield the hosts that share a limit which all that could take of it would exceed."""
    most: Counter[Limit] = Counter()
    sharing: dict[Limit, list[str]] = {}
    counts = Counter(id(item.kind) for item in problem.items)
    for kind in problem.kinds:
        taken: dict[Limit, int] = {}
        for host in kind.hosts:
            for limit, amount in problem.takes(kind, host).items():
                if limit[0] != "host":
                    taken[limit] = max(amount, taken.get(limit, 0))
                    sharing.setdefault(limit, []).append(host)
        for limit, amount in taken.items():
            most[limit] += amount * counts[id(kind)]
    return (hosts for limit, hosts in sharing.items() if most[limit] > problem.limits[limit])


def part(ledger: Ledger, hosts: Collection[str], items: Iterable[Item]) -> Problem:
    """Return the problem of placing some items on some hosts, all others staying as they are."""
    problem, chosen = ledger.problem, list(items)
    names = {item.name for item in chosen}
    left = dict(ledger.left)
    for item in chosen:
        if item.name in ledger.on:
            for limit, amount in ledger.takes(item.kind, ledger.on[item.name]):
                left[limit] += amount
    sites = {problem.hosts[host].site for host in hosts}
    there = set(hosts)

    def concerns(limit: Limit) -> bool:
        scope, name, _ = limit
        return name in there if scope == "host" else name.partition("/")[0] in sites

    numbers = {rule.number for name in names for rule in ledger.rules.get(name, ())}
    return Problem(
        hosts={host: problem.hosts[host] for host in hosts},
        kinds=tuple({id(item.kind): item.kind for item in chosen}.values()),
        items=tuple(chosen),
        limits={limit: n for limit, n in left.items() if concerns(limit)},
        spreads=tuple(
            _part_of(ledger, one, names) for one in problem.spreads if one.number in numbers
        ),
        leaving={host: problem.leaving[host] for host in hosts},
    )


def _part_of(ledger: Ledger, spread: Spread, names: Collection[str]) -> Spread:
    inside = Counter(ledger.inside[spread.number])
    for name in spread.items:
        if name in names and name in ledger.on:
            inside[spread.domains[ledger.on[name]]] -= 1
    return Spread(
        number=spread.number,
        items=tuple(name for name in spread.items if name in names),
        domains=spread.domains,
        must=spread.must,
        at_most=spread.at_most,
        at_least=spread.at_least,
        there={domain: many for domain, many in inside.items() if many},
    )
