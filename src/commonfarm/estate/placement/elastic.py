"""The exact model of which hosts to get, for CP-SAT: an elastic one, so that it has an answer.

Hosts that could be had are in the model with a switch each, and shared limits can be widened; what
is lost in a scenario is missing there. Objectives come one after the other: most placed, most
placed after each loss, fewest limits widened, least cost and fewest hosts, least widened.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import floor, gcd

from ortools.sat.python import cp_model

from commonfarm.estate.placement.model import Counts, Term, total_of
from commonfarm.estate.placement.problem import Effort, Item, Limit, Problem
from commonfarm.estate.placement.question import Chosen, Question, Scenario

_SHARES = (4, 4, 2, 8, 1)  # of the effort, for each objective; what one leaves is the others'
_COST = 3
_EPSILON = 1e-6


def best(question: Question, effort: Effort) -> Chosen:
    """Return the cheapest hosts that are found, beginning with those of the question."""
    return _Model(question).best(effort)


class _Placement(Counts):
    """One scenario; what is on a host that can be had is there only if that is had."""

    def __init__(
        self,
        scenario: Scenario,
        cp: cp_model.CpModel,
        had: Mapping[str, cp_model.IntVar],
        wider: Mapping[Limit, Term],
    ) -> None:
        self.scenario, self.had, self.wider = scenario, had, wider
        super().__init__(scenario.problem, cp, scenario.start)
        for (number, host), one in self.at.items():
            if host in had:
                cp.add(one <= self.most[number, host] * had[host])

    def keep(self, limit: Limit, terms: Sequence[Term]) -> None:
        """Keep within a limit, which is none of a host that is not had, and may be widened."""
        scope, name, _ = limit
        if scope == "host" and name in self.had:
            unit = gcd(*(many for _, many in terms))
            room = self.problem.limits[limit] // unit * unit
            self.at_most([*terms, (self.had[name], -room)], 0)
        elif limit in self.wider:
            more, unit = self.wider[limit]
            own = [(self.had[host], 1) for host in self.scenario.own.get(limit, ())]
            room = self.scenario.limits[limit]
            if not own and room >= 0:
                self.at_most([*terms, (more, -unit)], room)
                return
            # Hosts may have more addresses themselves than there are: then none is left for others.
            used = self.cp.new_bool_var("")
            self.cp.add(total_of(terms) == 0).only_enforce_if(~used)
            total = total_of([*terms, *own, (more, -unit)])
            self.cp.add(total <= room).only_enforce_if(used)
        else:
            super().keep(limit, terms)


class _Model:
    def __init__(self, question: Question) -> None:
        self.question, self.cp = question, cp_model.CpModel()
        self.hint: dict[int, int] = {}
        self.spent = 0.0
        self.had: dict[str, cp_model.IntVar] = {}
        for kind in question.offered:
            begin = question.begin.get(kind.name, 0)
            ones = [self.new(1, number < begin) for number in range(len(kind.hosts))]
            self.had.update(zip(kind.hosts, ones, strict=True))
            for first, second in itertools.pairwise(ones):
                self.cp.add(first >= second)  # alike, so the first ones are had
        self.wider = self._limits()
        self.placements = [
            _Placement(one, self.cp, self.had, self.wider) for one in question.scenarios
        ]
        for one in self.placements:
            self.hint.update(one.hint)

    def new(self, most: int, hint: int) -> cp_model.IntVar:
        one = self.cp.new_int_var(0, most, "")
        self.hint[one.index] = min(hint, most)
        return one

    def _limits(self) -> dict[Limit, Term]:
        """Make for each shared limit how much it is widened, and the unit of that."""
        begin = self.question.begin
        offered = self.question.offered
        had = [host for kind in offered for host in kind.hosts[: begin.get(kind.name, 0)]]
        units: dict[Limit, int] = {}
        most: Counter[Limit] = Counter()
        lacking: Counter[Limit] = Counter()
        for scenario in self.question.scenarios:
            problem = scenario.problem
            all_of: Counter[Limit] = Counter()
            for item in problem.items:
                shared: dict[Limit, int] = {}
                for host in item.kind.hosts:
                    takes = _shared(problem, item, host)
                    shared.update({one: max(n, shared.get(one, 0)) for one, n in takes.items()})
                for limit, amount in shared.items():
                    units[limit] = gcd(amount, units.get(limit, 0))
                    all_of[limit] += amount
            for limit, hosts in scenario.own.items():
                all_of[limit] += len(hosts)
            used = _taken(scenario, scenario.start, had)
            for limit, amount in all_of.items():
                most[limit] = max(amount - min(0, scenario.limits[limit]), most[limit])
                lacking[limit] = max(used[limit] - scenario.limits[limit], lacking[limit])
        found: dict[Limit, Term] = {}
        for limit, unit in units.items():
            unit = 1 if limit[0] == "network" else unit
            found[limit] = (self.new(-(-most[limit] // unit), -(-lacking[limit] // unit)), unit)
        return found

    def best(self, effort: Effort) -> Chosen:
        """Take one objective after the other, each kept as it is reached."""
        question = self.question
        flags: list[Term] = []
        parts: list[Term] = []
        for limit, (more, unit) in self.wider.items():
            flag = self.new(1, self.hint[more.index])
            self.cp.add(more == 0).only_enforce_if(flag.negated())
            flags.append((flag, -1))
            there = max(1, question.scenarios[0].limits.get(limit, 1))
            parts.append((more, -max(1, unit * 1000 // there)))
        cost = [(self.had[host], -kind.cost) for kind in question.offered for host in kind.hosts]
        first, *others = self.placements
        after_losses = [term for one in others for term in one.weight]
        objectives: list[tuple[list[Term], int]] = [
            (first.weight, _all(first)),
            (after_losses, sum(map(_all, others))),
            (flags, 0),
            (cost, 0),
            (parts, 0),
        ]
        proven, bound = True, 0
        for number, (terms, ideal) in enumerate(objectives):
            if number == _COST and self._value(first.weight) == _all(first):
                ideal = -question.least
            best = ideal
            if self._value(terms) < ideal:
                share = _SHARES[number] / sum(_SHARES[number:])
                best = self._improve(terms, ideal, replace(effort, limit=effort.limit * share))
                effort = replace(effort, limit=effort.limit - self.spent)
            reached = self._value(terms)
            proven &= reached >= best or number > _COST
            bound = -best if number == _COST else bound
            if terms:
                self.cp.add(total_of(terms) >= reached)
        return self._chosen(bound, proven)

    def _improve(self, terms: Sequence[Term], ideal: int, effort: Effort) -> int:
        """Raise a sum as far as can be; return what it cannot be above."""
        total = total_of(terms)
        self.cp.maximize(total)
        self.cp.clear_hints()  # type: ignore[no-untyped-call]
        for index, value in self.hint.items():
            self.cp.add_hint(self.cp.get_int_var_from_proto_index(index), value)
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.random_seed = effort.seed
        solver.parameters.max_deterministic_time = effort.limit
        status = solver.solve(self.cp)
        self.spent = solver.response_proto.deterministic_time
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            return ideal
        self.hint = dict(enumerate(solver.response_proto.solution))
        return min(ideal, floor(solver.best_objective_bound + _EPSILON))

    def _value(self, terms: Sequence[Term]) -> int:
        return sum(many * self.hint[one.index] for one, many in terms)

    def _chosen(self, bound: int, proven: bool) -> Chosen:
        counts = {
            kind.name: sum(self.hint[self.had[host].index] for host in kind.hosts)
            for kind in self.question.offered
        }
        on = tuple(one.read(self.hint, {}) for one in self.placements)
        had = [host for kind in self.question.offered for host in kind.hosts[: counts[kind.name]]]
        widened: dict[Limit, int] = {}
        for scenario, placed in zip(self.question.scenarios, on, strict=True):
            for limit, amount in _taken(scenario, placed, had).items():
                more = amount - scenario.limits[limit]
                if limit in self.wider and more > widened.get(limit, 0):
                    widened[limit] = more
        return Chosen(counts, on, widened, bound, proven)


def _shared(problem: Problem, item: Item, host: str) -> dict[Limit, int]:
    """Return what an item takes of what several hosts share."""
    takes = problem.takes(item.kind, host).items()
    return {limit: amount for limit, amount in takes if limit[0] != "host"}


def _taken(scenario: Scenario, on: Mapping[str, str], had: Iterable[str]) -> Counter[Limit]:
    """Return how much of each shared limit is taken that a placement takes of, with its hosts."""
    used: Counter[Limit] = Counter()
    for item in scenario.problem.items:
        if item.name in on:
            used.update(_shared(scenario.problem, item, on[item.name]))
    hosts = set(had)
    for limit, own in scenario.own.items():
        if used[limit]:
            used[limit] += len(hosts.intersection(own))
    return +used


def _all(placement: Counts) -> int:
    return sum(item.priority for item in placement.problem.items if item.kind.hosts)
