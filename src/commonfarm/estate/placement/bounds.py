"""How much could be placed at most, with a certificate that the verifier checks without a solver.

The bound is that of the linear relaxation over instances alike and hosts alike, made tighter by
rounded rows (Chvátal 1973, Gomory 1958) and by spreads, each added once a solution breaks it
(Dantzig, Fulkerson and Johnson 1954). The multipliers are its dual values, rounded to integers;
by weak duality any multipliers prove a bound, so nothing rests on the solver's arithmetic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import gcd
from typing import Any

from ortools.linear_solver import pywraplp

from commonfarm.estate.placement.alike import Alike, Blocks, Group, Prices, in_domain
from commonfarm.estate.placement.problem import Limit, Problem
from commonfarm.estate.plan import Certificate, Row

MOST_DIVISORS = 8
"""So many rows of one limit a certificate has at most."""

_MOST_COLUMNS = 20_000
_MOST_ROUNDS = 20
_IDLE_ROUNDS = 3  # that lower nothing, and it is the last
_MOST_STEPS = 500_000  # of the simplex method in each round: the same everywhere, as time is not
_PRECISION = 20  # bits that a multiplier has behind those of the limit it is for
_SMALL_SCALE = 1000
_EPSILON = 1e-6


def certify(problem: Problem, weight: int = 0) -> tuple[int, Certificate]:
    """Return the most weight that any placement can have, and the certificate of it.

    `weight` is what a placement has already: no bound below it is looked for.
    """
    trivial = sum(item.priority for item in problem.items if item.kind.hosts)
    if trivial <= weight:
        return trivial, Certificate(1, ())
    alike, blocks = _small_enough(problem)
    prices, scale = _Relaxation(alike, blocks).solve(weight)
    unit = gcd(*(item.priority for item in problem.items))
    bound = alike.bound(prices, scale) // unit * unit
    if bound >= trivial:
        return trivial, Certificate(1, ())
    rows = (
        Row(limit[0], limit[1], limit[2], divisor, multiplier)  # type: ignore[arg-type]
        for limit in sorted(prices)
        for divisor, multiplier in sorted(prices[limit].items())
    )
    return bound, Certificate(scale, tuple(rows))


def _small_enough(problem: Problem) -> tuple[Alike, Blocks]:
    """Return the finest view of a problem, and its hosts in blocks, that is solved in seconds."""
    alike = Alike(problem)
    blocks = next(alike.blockings())
    if len(alike.groups) * len(blocks) > _MOST_COLUMNS:
        alike = Alike(problem, tight_only=True)
        for blocks in alike.blockings():
            if len(alike.groups) * len(blocks) <= _MOST_COLUMNS:
                break
    return alike, blocks


_Key = tuple[str, str | int, str | int]
"""Of a pool: a limit, or what the hosts of a block have, or a rule and its block or domain."""


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

    def __init__(self, alike: Alike, blocks: Blocks) -> None:
        self.alike, self.blocks = alike, blocks
        self.most = max(group.priority for group in alike.groups)
        self.lp: Any = pywraplp.Solver.CreateSolver("GLOP")
        self.lp.SetSolverSpecificParametersAsString(f"max_number_of_iterations: {_MOST_STEPS}")
        self.pools: dict[_Key, _Pool] = self._host_pools()
        for limit, room in alike.problem.limits.items():
            if limit[0] != "host":
                self.pools[limit] = _Pool([(limit, room)])
        self.in_spread = {number: self._spread_pools(number) for number in alike.spreads}
        self.least: dict[tuple[int, int], list[tuple[_Pool, int]] | None] = {}
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
        lowest: list[float] = []
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
            lowest.append(self.lp.Objective().Value() * self.most)
            idle = len(lowest) > _IDLE_ROUNDS and lowest[-_IDLE_ROUNDS - 1] - lowest[-1] < _EPSILON
            if idle or lowest[-1] < weight + 1 - _EPSILON or not self._cut():
                break
        scale = self._scale(list(prices.values()))
        rounded: Prices = {}
        for (limit, divisor), price in prices.items():
            multiplier = round(price * scale)
            if multiplier:
                rounded.setdefault(limit, {})[divisor] = multiplier
        return rounded, scale

    def _scale(self, prices: list[float]) -> int:
        """Return a small scale at which all prices are whole, if there is one, else a fine one."""
        for scale in range(1, _SMALL_SCALE + 1):
            if all(abs(price * scale - round(price * scale)) <= 1e-9 * price for price in prices):
                return scale
        largest = max(pool.total(1) for pool in self.pools.values())
        return 1 << (_PRECISION + largest.bit_length())

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
                limits = [(in_domain(number, domain), most) for domain in domains]
                found[block] = self.pools["spread", number, block] = _Pool(limits)
            elif len(set(domains)) == 1:
                domain_of[block] = domains[0]
                inside[domains[0]] += len(domains)
        for block, domain in domain_of.items():
            # A domain of which only a part can be told apart limits nothing here.
            if inside[domain] == sizes[domain]:
                pool = _Pool([(in_domain(number, domain), most)])
                found[block] = self.pools.setdefault(("spread", number, domain), pool)
        return found

    def _takes(self, group: Group, block: int) -> list[tuple[_Pool, int]] | None:
        """Return what one takes there at least; None where it may not run."""
        place = (group.kind, block)
        if place not in self.least:
            self.least[place] = self._least(*place)
        least = self.least[place]
        if least is None:
            return None
        spreads = (self.in_spread[number].get(block) for number in group.spreads)
        return least + [(pool, 1) for pool in spreads if pool is not None]

    def _least(self, number: int, block: int) -> list[tuple[_Pool, int]] | None:
        kind = self.alike.problem.kinds[number]
        hosts = [names[0] for names in self.blocks[block] if names[0] in kind.hosts]
        least: dict[_Key, int] | None = None
        for host in hosts:
            taken: dict[_Key, int] = {
                ("host", block, limit[2]) if limit[0] == "host" else limit: amount
                for limit, amount in self.alike.takes(kind, host).items()
            }
            if least is None:
                least = taken
            least = {key: min(amount, taken.get(key, 0)) for key, amount in least.items()}
        if least is None:
            return None
        pools = ((self.pools.get(key), amount) for key, amount in least.items() if amount)
        return [(pool, amount) for pool, amount in pools if pool is not None]

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
