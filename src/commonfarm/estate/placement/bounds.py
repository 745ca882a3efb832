"""How much could be placed at most, with a certificate that the verifier checks without a solver.

The bound is that of the linear relaxation over instances alike and hosts alike, made tighter by
rounded rows (Chvátal 1973, Gomory 1958) and by spreads, each added once a solution breaks it
(Dantzig, Fulkerson and Johnson 1954). The multipliers are its dual values, rounded to integers;
by weak duality any multipliers prove a bound, so nothing rests on the solver's arithmetic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import gcd
from typing import Any

from ortools.linear_solver import pywraplp

from commonfarm.estate.placement.problem import Kind, Limit, Problem
from commonfarm.estate.plan import Certificate, Row

MOST_DIVISORS = 8
"""So many rows of one limit a certificate has at most."""

_MOST_COLUMNS = 200_000
_MOST_ROUNDS = 20
_MOST_STEPS = 500_000  # of the simplex method in each round: the same everywhere, as time is not
_PRECISION = 20  # bits that a multiplier has behind those of the limit it is for
_EPSILON = 1e-6

Prices = dict[Limit, dict[int, int]]
"""Limit -> divisor -> multiplier: the rows of a certificate."""


def certify(problem: Problem, weight: int = 0) -> tuple[int, Certificate]:
    """Return the most weight that any placement can have, and the certificate of it.

    `weight` is what a placement has already: no bound below it is looked for.
    """
    trivial = sum(item.priority for item in problem.items if item.kind.hosts)
    if trivial <= weight:
        return trivial, Certificate(1, ())
    alike = _Alike(problem)
    blocks = [[names] for names in alike.classes]
    if len(blocks) * len(alike.groups) > _MOST_COLUMNS:
        blocks = alike.coarse()
    prices, scale = _Relaxation(alike, blocks).solve(weight)
    bound = alike.bound(prices, scale)
    if bound >= trivial:
        return trivial, Certificate(1, ())
    rows = (
        Row(limit[0], limit[1], limit[2], divisor, multiplier)  # type: ignore[arg-type]
        for limit in sorted(prices)
        for divisor, multiplier in sorted(prices[limit].items())
    )
    return bound, Certificate(scale, tuple(rows))


_Key = tuple[str, str | int, str | int]
"""Of a pool: a limit, or what the hosts of a block have, or a rule and its block or domain."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Items alike: their kind and priority, and the rules of spread that limit them."""

    kind: int
    priority: int
    spreads: tuple[int, ...]


class _Alike:
    """A problem with what is alike in it counted instead of repeated.

    `groups`: how many items there are of each. `classes`: hosts that nothing tells apart, but for
    spreads over domains of one host each. `domains`: spread -> host -> domain.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.spreads = {
            one.number: one for one in problem.spreads if one.must and one.at_most is not None
        }
        rules: dict[str, list[int]] = {}
        for number, one in self.spreads.items():
            for item in one.items:
                rules.setdefault(item, []).append(number)
        kinds = {id(kind): number for number, kind in enumerate(problem.kinds)}
        self.groups = Counter(
            _Group(kinds[id(item.kind)], item.priority, tuple(rules.get(item.name, ())))
            for item in problem.items
            if item.kind.hosts
        )
        self.classes = self._classes()

    def _classes(self) -> list[list[str]]:
        problem = self.problem
        accepts: dict[str, list[int]] = {name: [] for name in problem.hosts}
        for number, kind in enumerate(problem.kinds):
            for name in kind.hosts:
                accepts[name].append(number)
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
                tuple(accepts[name]),
                tuple(one.get(name) for one in domains),
            )
            found.setdefault(key, []).append(name)
        return list(found.values())

    def coarse(self) -> list[list[list[str]]]:
        """Return the classes, those of hosts much alike together: fewer columns, a weaker bound."""
        blocks: dict[tuple[object, ...], list[list[str]]] = {}
        for names in self.classes:
            host = self.problem.hosts[names[0]]
            blocks.setdefault((host.site, host.architecture), []).append(names)
        return list(blocks.values())

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
                limits[_in(number, domain)] = one.at_most or 0
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
        limit = _in(number, self.spreads[number].domains[host])
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


@dataclass(slots=True)
class _Pool:
    """Limits with one price: those of hosts alike together, or one alone.

    `takes`: column -> amount, the least where hosts differ. `rows`: divisor -> linear row.
    """

    limits: list[tuple[Limit, int]]
    takes: dict[int, int] = field(default_factory=dict)
    rows: dict[int, Any] = field(default_factory=dict)

    def total(self, divisor: int) -> int:
        """Return how much there is of all, each divided and rounded down."""
        return sum(room // divisor for _, room in self.limits)

    def divisors(self, amounts: Iterable[int]) -> set[int]:
        """Return the divisors that may cut off a solution in which such amounts are taken.

        What is taken itself, and what goes into the room just so many times.
        """
        if not self.rows:
            return {gcd(*self.takes.values())}
        room = self.limits[0][1]
        parts = {room // (times + 1) + 1 for times in range(1, 5)}
        return {one for one in parts.union(amounts) if one > 1} - self.rows.keys()


class _Relaxation:
    """The linear program: how many of each group are in each block of hosts, in fractions."""

    def __init__(self, alike: _Alike, blocks: list[list[list[str]]]) -> None:
        self.alike, self.blocks = alike, blocks
        self.most = max(group.priority for group in alike.groups)
        self.lp: Any = pywraplp.Solver.CreateSolver("GLOP")
        self.lp.SetSolverSpecificParametersAsString(f"max_number_of_iterations: {_MOST_STEPS}")
        self.pools: dict[_Key, _Pool] = self._host_pools()
        for limit, room in alike.problem.limits.items():
            if limit[0] != "host":
                self.pools[limit] = _Pool([(limit, room)])
        self.in_spread = {number: self._spread_pools(number) for number in alike.spreads}
        self.columns: list[Any] = []
        self.used: list[list[_Pool]] = []
        objective = self.lp.Objective()
        objective.SetMaximization()
        for group, count in alike.groups.items():
            together = self.lp.Constraint(0, count)
            for block in range(len(blocks)):
                takes = self._takes(group, block)
                if takes is not None:
                    column = self._column(takes)
                    together.SetCoefficient(column, 1)
                    objective.SetCoefficient(column, group.priority / self.most)
        for key, pool in self.pools.items():
            if key[0] != "spread" and pool.takes:
                self._add(pool, *pool.divisors(()))

    def solve(self, weight: int) -> tuple[Prices, int]:
        """Return the rows of a certificate and their scale, once no more rows are broken.

        Ends as soon as the bound is down to `weight`, or after so many rounds.
        """
        prices: dict[tuple[Limit, int], float] = {}
        for _ in range(_MOST_ROUNDS):
            if self.lp.Solve() != pywraplp.Solver.OPTIMAL:
                break
            prices = {
                (limit, divisor): row.dual_value() * self.most / max(1, pool.total(divisor))
                for pool in self.pools.values()
                for divisor, row in pool.rows.items()
                if row.dual_value() > _EPSILON**2
                for limit, _ in pool.limits
            }
            if self.lp.Objective().Value() * self.most < weight + 1 - _EPSILON or not self._cut():
                break
        largest = max((pool.total(1) for pool in self.pools.values()), default=1)
        scale = 1 << (_PRECISION + largest.bit_length())
        rounded: Prices = {}
        for (limit, divisor), price in prices.items():
            multiplier = round(price * scale)
            if multiplier:
                rounded.setdefault(limit, {})[divisor] = multiplier
        return rounded, scale

    def _host_pools(self) -> dict[_Key, _Pool]:
        pools: dict[_Key, _Pool] = {}
        for number, block in enumerate(self.blocks):
            hosts = [host for names in block for host in names]
            rooms: dict[str, list[tuple[Limit, int]]] = {}
            for host in hosts:
                for limit, room in self.alike.rooms[host].items():
                    rooms.setdefault(limit[2], []).append((limit, room))
            for resource, limits in rooms.items():
                if len(limits) == len(hosts):
                    pools["host", number, resource] = _Pool(limits)
        return pools

    def _spread_pools(self, number: int) -> dict[int, _Pool]:
        """Return the pool of a rule for each block in whose hosts it limits something together."""
        spread = self.alike.spreads[number]
        sizes = Counter(spread.domains.values())
        inside: Counter[str] = Counter()
        found: dict[int, _Pool] = {}
        domain_of: dict[int, str] = {}
        most = spread.at_most or 0
        for block, classes in enumerate(self.blocks):
            domains = [spread.domains[host] for names in classes for host in names]
            if all(sizes[domain] == 1 for domain in domains):
                limits = [(_in(number, domain), most) for domain in domains]
                found[block] = self.pools["spread", number, block] = _Pool(limits)
            elif len(set(domains)) == 1:
                domain_of[block] = domains[0]
                inside[domains[0]] += len(domains)
        for block, domain in domain_of.items():
            # A domain of which only a part can be told apart limits nothing here.
            if inside[domain] == sizes[domain]:
                pool = _Pool([(_in(number, domain), most)])
                found[block] = self.pools.setdefault(("spread", number, domain), pool)
        return found

    def _takes(self, group: _Group, block: int) -> list[tuple[_Pool, int]] | None:
        """Return what one takes there at least; None where it may not run."""
        kind = self.alike.problem.kinds[group.kind]
        hosts = [names[0] for names in self.blocks[block] if names[0] in kind.hosts]
        if not hosts:
            return None
        least: dict[_Key, int] | None = None
        for host in hosts:
            taken: dict[_Key, int] = {
                ("host", block, limit[2]) if limit[0] == "host" else limit: amount
                for limit, amount in self.alike.takes(kind, host).items()
            }
            least = (
                taken
                if least is None
                else {key: min(amount, taken.get(key, 0)) for key, amount in least.items()}
            )
        found = [
            (self.pools[key], amount)
            for key, amount in (least or {}).items()
            if amount and key in self.pools
        ]
        spreads = (self.in_spread[number].get(block) for number in group.spreads)
        return found + [(pool, 1) for pool in spreads if pool is not None]

    def _column(self, takes: list[tuple[_Pool, int]]) -> Any:
        column = self.lp.NumVar(0, self.lp.infinity(), "")
        for pool, amount in takes:
            pool.takes[len(self.columns)] = amount
        self.columns.append(column)
        self.used.append([pool for pool, _ in takes])
        return column

    def _add(self, pool: _Pool, divisor: int) -> None:
        """Add a row, divided by its limit: the solver's numbers are then of one size."""
        total = pool.total(divisor)
        row = pool.rows[divisor] = self.lp.Constraint(-self.lp.infinity(), min(1, total))
        for column, amount in pool.takes.items():
            if amount // divisor:
                row.SetCoefficient(self.columns[column], amount // divisor / max(1, total))

    def _cut(self) -> bool:
        """Add to each pool the row that the solution breaks most; say whether there was any."""
        taken: dict[int, tuple[_Pool, list[tuple[int, float]]]] = {}
        for number, column in enumerate(self.columns):
            value = column.solution_value()
            if value > _EPSILON:
                for pool in self.used[number]:
                    _, amounts = taken.setdefault(id(pool), (pool, []))
                    amounts.append((pool.takes[number], value))
        added = False
        for pool, amounts in taken.values():
            if len(pool.rows) == MOST_DIVISORS:
                continue
            excess = {
                divisor: sum(amount // divisor * value for amount, value in amounts)
                / max(1, pool.total(divisor))
                - min(1, pool.total(divisor))
                for divisor in pool.divisors(amount for amount, _ in amounts)
            }
            worst = max(sorted(excess), key=lambda one: excess[one], default=None)
            if worst is not None and excess[worst] > _EPSILON:
                self._add(pool, worst)
                added = True
        return added


def _in(number: int, domain: str) -> Limit:
    return ("spread", f"{number} {domain}", "instances")
