"""The exact model of placement, for CP-SAT: the planner's one module that knows the solver.

Objectives are taken one after the other, each kept as it is reached while the next is sought: most
weight placed; fewest moves; wishes (soft spreads, preferred traits); hosts that stay longer; and
what is then still open is as near as can be to another placement; and of those that are equally
good the one that fixed prices choose, so that an edit elsewhere in the estate changes nothing here.

Instances that may stand for one another (same kind, priority and spreads) share one count on each
host, wherever they run now: there is no symmetry between them to search through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from zlib import crc32

from ortools.sat.python import cp_model

from commonfarm.estate.placement.greedy import prices_of, size_of
from commonfarm.estate.placement.problem import Effort, Found, Item, Kind, Limit, Problem, Spread

Term = tuple[cp_model.IntVar, int]
Place = tuple[int, str]  # a group's number, a host

_SHARES = (8, 6, 3, 2, 1, 1)  # of the effort, for each objective; what one leaves is the others'


@dataclass(frozen=True, slots=True)
class _Group:
    """Items that may stand for one another."""

    kind: Kind
    priority: int
    items: list[Item]


def place(
    problem: Problem,
    start: Mapping[str, str],
    effort: Effort,
    near: Mapping[str, str],
    bound: int | None = None,
    *,
    only_one: bool = False,
) -> Found:
    """Return the best placement found from `start` on, itself a placement that breaks no rule.

    Of those as good it is the nearest to `near`. `bound`: no placement is known to weigh more.
    With `only_one`, a placement that is proven to be the best does not depend on `start`.
    """
    return _Model(problem, start, near).best(effort, bound, only_one=only_one)


class Counts:
    """How many of each group are on each host, as variables of `cp`, and the rules they keep.

    `start` is a placement that keeps them, and hints where to begin.
    """

    def __init__(self, problem: Problem, cp: cp_model.CpModel, start: Mapping[str, str]) -> None:
        self.problem, self.cp, self.start = problem, cp, start
        self.spreads = [one for one in problem.spreads if _binds(one)]
        self.groups = _groups(problem.items, self.spreads)
        self.at: dict[Place, cp_model.IntVar] = {}
        self.most: dict[Place, int] = {}
        self.hint: dict[int, int] = {}
        self.wishes: list[Term] = []
        self._count()
        for spread in self.spreads:
            self._spread(spread)

    @property
    def weight(self) -> list[Term]:
        """Return what is placed, each by its priority."""
        return [(one, self.groups[place[0]].priority) for place, one in self.at.items()]

    def keep(self, limit: Limit, terms: Sequence[Term]) -> None:
        """Keep what is taken of a limit within it."""
        self.at_most(terms, self.problem.limits[limit])

    def _count(self) -> None:
        """Make a count for each group and host; keep within the groups and all limits."""
        used: dict[Limit, list[Term]] = {}
        alone: dict[str, list[Term]] = {}
        shared: dict[str, list[Term]] = {}
        for number, group in enumerate(self.groups):
            start = _counts(group, self.start)
            counts: list[Term] = []
            for host in filter(self.problem.hosts.__contains__, group.kind.hosts):
                takes = self.problem.takes(group.kind, host)
                rooms = [self.problem.limits[limit] // amount for limit, amount in takes.items()]
                most = min([len(group.items), *rooms, *([1] if group.kind.dedicated else [])])
                if most < 1:
                    continue
                one = self.at[number, host] = self.new(most, start[host])
                self.most[number, host] = most
                counts.append((one, 1))
                (alone if group.kind.dedicated else shared).setdefault(host, []).append((one, most))
                for limit, amount in takes.items():
                    # Who is alone takes all there is of its host: a tighter relaxation.
                    whole = group.kind.dedicated and limit[0] == "host"
                    many = self.problem.limits[limit] if whole else amount
                    used.setdefault(limit, []).append((one, many))
            self.at_most(counts, len(group.items))
        for limit, terms in used.items():
            self.keep(limit, terms)
        for host, those in alone.items():
            self.at_most(those, 1)
            for guest, most in shared.get(host, ()):
                self.at_most([(guest, 1), *((one, most) for one, _ in those)], most)

    def new(self, most: int, hint: int | None = None) -> cp_model.IntVar:
        one = self.cp.new_int_var(0, most, "")
        if hint is not None:
            self.hint[one.index] = min(hint, most)
        return one

    def at_most(self, terms: Sequence[Term], limit: int) -> None:
        """Keep a sum within a limit, both in the largest unit in which the amounts are whole."""
        if terms:
            unit = gcd(*(many for _, many in terms))
            self.cp.add(total_of((one, many // unit) for one, many in terms) <= limit // unit)

    def _spread(self, spread: Spread) -> None:
        inside: dict[str, list[Term]] = {}
        members = set(spread.items)
        for (number, host), one in self.at.items():
            if self.groups[number].items[0].name in members:
                inside.setdefault(spread.domains[host], []).append((one, 1))
        if spread.at_most is not None:
            for domain, terms in inside.items():
                room = max(0, spread.at_most - spread.there.get(domain, 0))
                if not spread.must:
                    over = self.new(len(members))
                    terms = [*terms, (over, -1)]
                    self.wishes.append((over, -1))
                self.at_most(terms, room)
        if spread.at_least is not None:
            self._at_least(spread, inside, spread.at_least)

    def _at_least(self, spread: Spread, inside: Mapping[str, list[Term]], at_least: int) -> None:
        """Use so many domains, or as many as instances are placed, where those are fewer."""
        there = sum(spread.there.values())
        used: list[Term] = []
        for domain, terms in inside.items():
            if not spread.there.get(domain):
                one = self.new(1)
                self.cp.add(total_of(terms) >= one)
                used.append((one, 1))
        known = sum(1 for many in spread.there.values() if many)
        domains = total_of(used) + known
        if not spread.must:
            short = self.new(at_least)
            self.wishes.append((short, -1))
            domains = domains + short
        placed = total_of(term for terms in inside.values() for term in terms) + there
        fewer = self.cp.new_bool_var("")
        self.cp.add(domains >= at_least).only_enforce_if(~fewer)
        self.cp.add(domains >= placed).only_enforce_if(fewer)

    def read(self, values: Mapping[int, int], near: Mapping[str, str]) -> dict[str, str]:
        """Return who goes where: first those who stay, then those where `near` is, then others."""
        on: dict[str, str] = {}
        for number, group in enumerate(self.groups):
            hosts = [host for host in group.kind.hosts if (number, host) in self.at]
            left = {host: values[self.at[number, host].index] for host in hosts}
            for wish in ({item.name: item.now for item in group.items}, near):
                for item in group.items:
                    host = wish.get(item.name)
                    if item.name not in on and host is not None and left.get(host, 0) > 0:
                        on[item.name] = host
                        left[host] -= 1
            rest = (host for host in hosts for _ in range(left[host]))
            others = (item.name for item in group.items if item.name not in on)
            on.update(zip(others, rest, strict=False))
        return dict(sorted(on.items()))


class _Model(Counts):
    def __init__(self, problem: Problem, start: Mapping[str, str], near: Mapping[str, str]) -> None:
        super().__init__(problem, cp_model.CpModel(), start)
        self.near = near

    def best(self, effort: Effort, bound: int | None, *, only_one: bool) -> Found:
        """Take one objective after the other."""
        leaving, groups = self.problem.leaving, self.groups
        missing = [
            (variable, -groups[group].kind.hosts[host])
            for (group, host), variable in self.at.items()
        ]
        objectives: list[list[Term]] = [
            self.weight,
            self._same(
                [Counter(filter(None, (one.now for one in group.items))) for group in groups]
            ),
            self.wishes + missing,
            [(self.at[place], -leaving[place[1]]) for place in self.at],
            self._same([_counts(group, self.near) for group in groups]),
        ]
        if only_one:
            objectives.append(self._last())
        on, proven, spent = dict(self.start), [False] * len(objectives), 0.0
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.random_seed = effort.seed
        for number, terms in enumerate(objectives):
            if not any(weight for _, weight in terms):
                proven[number] = True
                continue
            total = total_of(terms)
            if number == 0 and bound is not None:
                self.cp.add(total <= bound)
            self.cp.maximize(total)
            self._give_hint()
            share = _SHARES[number] / sum(_SHARES[number:])
            solver.parameters.max_deterministic_time = (effort.limit - spent) * share
            status = solver.solve(self.cp)
            spent += solver.response_proto.deterministic_time
            proven[number] = status == cp_model.OPTIMAL
            if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
                break
            self.hint = dict(enumerate(solver.response_proto.solution))
            on = self.read(self.hint, self.near)
            self.cp.add(total >= sum(weight * self.hint[one.index] for one, weight in terms))
        return Found(on, proven[0], proven[0] and proven[1], spent)

    def _last(self) -> list[Term]:
        """Return what a place is worth where nothing else tells: first the larger ones run.

        Always the same, whatever other hosts there are, and hardly ever the same for two sums.
        """
        prices = prices_of(self.problem)
        sizes = [size_of(group.kind, prices) for group in self.groups]
        largest = max(sizes, default=0.0) or 1.0
        terms = []
        for (group, host), one in self.at.items():
            chance = crc32(f"{self.groups[group].items[0].name} {host}".encode()) % 2**20
            terms.append((one, 1 + round(1000 * sizes[group] / largest) * 2**20 + chance))
        return terms

    def _same(self, wanted: Sequence[Counter[str]]) -> list[Term]:
        """Return, as terms, how many of each group are on the hosts where `wanted` counts them."""
        terms: list[Term] = []
        for number, counts in enumerate(wanted):
            for host, many in sorted(counts.items()):
                one = self.at.get((number, host))
                if one is not None and many < self.most[number, host]:
                    # A variable of its own is at most the count, and at most what is wanted.
                    kept = self.new(many)
                    self.cp.add(kept <= one)
                    one = kept
                if one is not None:
                    terms.append((one, 1))
        return terms

    def _give_hint(self) -> None:
        self.cp.clear_hints()  # type: ignore[no-untyped-call]
        for index, value in self.hint.items():
            self.cp.add_hint(self.cp.get_int_var_from_proto_index(index), value)


def total_of(terms: Iterable[Term]) -> cp_model.LinearExpr:
    """Return the sum of terms."""
    pairs = list(terms)
    return cp_model.LinearExpr.weighted_sum([one for one, _ in pairs], [many for _, many in pairs])


def _binds(spread: Spread) -> bool:
    """Say whether a spread can be broken at all."""
    many = len(spread.items) + sum(spread.there.values())
    return (spread.at_most is not None and many > spread.at_most) or (
        spread.at_least is not None and min(many, spread.at_least) > 1
    )


def _groups(items: Iterable[Item], spreads: Sequence[Spread]) -> list[_Group]:
    rules: dict[str, tuple[int, ...]] = {}
    for number, spread in enumerate(spreads):
        for name in spread.items:
            rules[name] = (*rules.get(name, ()), number)
    found: dict[tuple[int, int, tuple[int, ...]], list[Item]] = {}
    for item in items:
        key = (id(item.kind), item.priority, rules.get(item.name, ()))
        found.setdefault(key, []).append(item)
    return [_Group(alike[0].kind, alike[0].priority, alike) for alike in found.values()]


def _counts(group: _Group, on: Mapping[str, str]) -> Counter[str]:
    return Counter(on[item.name] for item in group.items if item.name in on)
