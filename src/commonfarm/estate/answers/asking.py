"""The search for what to ask for: a start by packing, then the exact choice, loss by loss.

A loss joins the question once it breaks what was chosen without it, the worst first, until none
does: what was proven of the losses asked about then holds for all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache

from commonfarm.estate import timeline
from commonfarm.estate.answers.additions import Variant, variants, widened, with_hosts
from commonfarm.estate.facts import Facts, Host, Level
from commonfarm.estate.placement.greedy import greedy
from commonfarm.estate.placement.pose import pose
from commonfarm.estate.placement.problem import Found, Item, Limit, Problem
from commonfarm.estate.placement.question import Chosen, Offered, Question, Scenario
from commonfarm.estate.planner import running

MOST_COLUMNS = 60_000
"""Pairs of what an instance needs and a host, over all losses, up to which the choice is exact."""
_MOST_ROUNDS = 12
_WORST = 3  # losses that join the question at a time
_EACH = 40  # hosts of one kind, where no cost bounds their number
_OWN_ADDRESSES = 10_000  # that new hosts may take themselves, where a network is as wide as can be

Pack = Callable[
    [Problem, Sequence[Item], Sequence[str], Mapping[str, int]], tuple[Counter[str], int]
]
Counts = Mapping[Variant, int]


@dataclass(frozen=True, slots=True)
class Tools:
    """What the solver does: `search.solve`, `packed.pack` and `elastic.best`."""

    solve: Callable[[Problem], Found]
    pack: Pack
    choose: Callable[[Question], Chosen]


@dataclass(frozen=True, slots=True)
class Loss:
    """A domain of a topology key that is lost; of no key, nothing is."""

    key: str = ""
    domain: str = ""

    def takes(self, host: Host) -> bool:
        """Say whether a host is lost."""
        return bool(self.key) and host.domain(self.key) == self.domain


NOTHING = Loss()


@dataclass(frozen=True, slots=True)
class Choice:
    """How many of each kind, and by how much what is shared is widened.

    `bound`: nothing with which as much has a place costs less. `proven`: and nothing that costs as
    little has fewer hosts. `on`: loss -> a placement, for those that were asked about.
    """

    counts: Counts
    more: Mapping[Limit, int]
    bound: int
    proven: bool
    on: Mapping[Loss, Mapping[str, str]]


class Asking:
    """What is asked for on a day, so that all that `level` counts has a place."""

    def __init__(self, facts: Facts, day: date, level: Level, tools: Tools) -> None:
        self.facts, self.level, self.tools = facts, level, tools
        hosts = facts.hosts.values()
        self.standing = [one for one in hosts if timeline.stands(facts, one, day)]
        self.now = running(facts)
        instances = facts.instances_at(level)
        self.variants = variants(facts, instances)
        # Less cost is better, then fewer hosts: one number for both.
        self.step = 1 + 2 * len(instances)
        self.demand = self._demand()
        self.probed = cache(self._probed)
        self.known: dict[tuple[object, ...], Mapping[str, str]] = {}

    def problem(
        self, counts: Counts, loss: Loss = NOTHING, more: Mapping[Limit, int] | None = None
    ) -> Problem:
        """Return the problem with such hosts on top, after a loss, `more` of what is shared."""
        facts = widened(with_hosts(self.facts, counts), more or {})
        there = [*self.standing, *(host for _, host in _new(counts))]
        names = [host.name for host in there if not loss.takes(host)]
        return pose(facts, names, self.level, self.now)

    def losses(self, counts: Counts) -> Iterator[Loss]:
        """Yield each loss that the policy wants survived, one of those that come to the same."""
        seen: set[tuple[frozenset[str], frozenset[tuple[str, int]]]] = set()
        new = list(_new(counts))
        for key in self.facts.policy.survive:
            domains = [host.domain(key) for host in (*self.standing, *(host for _, host in new))]
            for loss in (Loss(key, domain) for domain in dict.fromkeys(domains)):
                standing = frozenset(host.name for host in self.standing if loss.takes(host))
                alike = Counter(one.name for one, host in new if loss.takes(host))
                lost = (standing, frozenset(alike.items()))
                if lost not in seen:
                    seen.add(lost)
                    yield loss

    def placeable(self, loss: Loss) -> set[str]:
        """Return what some host could take after a loss, one that is there or one to ask for."""
        return {item.name for item in self.probed(loss).items if item.kind.hosts}

    def choice(self) -> Choice:
        """Return what to ask for."""
        packed, least = self._packed()
        counts, left = self._grown({}, NOTHING, {})
        if left:
            counts, left = self._grown(packed or counts, NOTHING, {})
        wide: Mapping[Limit, int] = {}
        if left:
            grown, still = self._grown(counts, NOTHING, self.demand)
            if len(still) < len(left):
                counts, left, wide = grown, still, self.demand
        asked, choice = [NOTHING], Choice({}, {}, 0, proven=True, on={})
        for _ in range(_MOST_ROUNDS):
            choice = self._exactly(asked, counts, wide, 0 if left else least)
            worst = self._worst(choice)
            if not worst:
                return choice
            asked += worst
            counts = choice.counts
            for loss in worst:
                counts, _ = self._grown(counts, loss, wide)
        return Choice(choice.counts, choice.more, choice.bound, proven=False, on=choice.on)

    def best(self, choice: Choice) -> Mapping[str, str]:
        """Return where everything is with what is chosen: as few moves as can be."""
        on = self.tools.solve(self.problem(choice.counts, NOTHING, choice.more)).on
        known = choice.on[NOTHING]
        return on if len(on) >= len(known) else known

    def after(self, choice: Choice, loss: Loss) -> Mapping[str, str]:
        """Return where everything can be after a loss, whatever moves for that."""
        if loss in choice.on:
            return choice.on[loss]
        named = tuple((one.name, many) for one, many in choice.counts.items())
        key = (named, loss, tuple(choice.more.items()))
        if key not in self.known:
            self.known[key] = self._again(self.problem(choice.counts, loss, choice.more))
        return self.known[key]

    def _again(self, problem: Problem) -> Mapping[str, str]:
        """Return a placement of as much as can be; the solver is asked only if need be."""
        anew = replace(problem, items=tuple(replace(one, now=None) for one in problem.items))
        for one in (problem, anew):
            on = greedy(one, {}).on
            if all(item.name in on for item in problem.items if item.kind.hosts):
                return on
        return self.tools.solve(problem).on

    def _demand(self) -> dict[Limit, int]:
        """Return how much could be taken of all that hosts share."""
        instances = self.facts.instances_at(self.level)
        amounts: Counter[str] = Counter()
        addresses: Counter[str] = Counter()
        for one in instances:
            amounts.update(one.requirement.at(self.level))
            addresses.update(one.requirement.addresses)
        found: dict[Limit, int] = {}
        for site in self.facts.sites.values():
            found.update({("site", site.name, key): amounts[key] for key in site.limits})
            for name in site.networks:
                most = addresses[name] + _OWN_ADDRESSES
                found["network", f"{site.name}/{name}", "addresses"] = most
        return found

    def _probed(self, loss: Loss) -> Problem:
        # Two of each, so that one is left after the loss of one.
        return self.problem(dict.fromkeys(self.variants, 2), loss, self.demand)

    def _packed(self) -> tuple[Counts, int]:
        """Return the cheapest packing of everything, and what nothing costs less than."""
        problem = self.probed(NOTHING)
        standing = [host.name for host in self.standing]
        return self._pack(problem, problem.items, standing, NOTHING)

    def _pack(
        self, problem: Problem, items: Sequence[Item], standing: Sequence[str], loss: Loss
    ) -> tuple[Counts, int]:
        one_of: dict[str, Variant] = {}
        for variant in self.variants:
            hosts = (variant.host(1), variant.host(2))
            left = [host.name for host in hosts if not loss.takes(host)]
            one_of.update(dict.fromkeys(left[:1], variant))
        costs = {host: self._cost(one) for host, one in one_of.items()}
        found, least = self.tools.pack(problem, items, standing, costs)
        return {one_of[host]: many for host, many in found.items()}, least

    def _cost(self, one: Variant) -> int:
        return one.kind.cost * self.step + 1

    def _grown(
        self, counts: Counts, loss: Loss, more: Mapping[Limit, int]
    ) -> tuple[Counts, set[str]]:
        """Return hosts, these and more, until more do not help; and what then has no place."""
        placeable = self.placeable(loss)

        def without_a_place(counts: Counts) -> set[str]:
            return placeable - self._again(self.problem(counts, loss, more)).keys()

        left = without_a_place(counts)
        while left:
            problem = self.problem(dict.fromkeys(self.variants, 2), loss, more)
            waiting = [item for item in problem.items if item.name in left]
            packed, _ = self._pack(problem, waiting, (), loss)
            # What is packed may be of no use, as by rules of spread; then any kind may be.
            useful = {one: self._takers(one, waiting) for one in self.variants}
            for added in (packed, useful):
                then = dict(Counter(counts) + Counter(added))
                still = without_a_place(then)
                if len(still) < len(left):
                    counts, left = then, still
                    break
            else:
                break
        return counts, left

    def _exactly(
        self, losses: Sequence[Loss], counts: Counts, wide: Mapping[Limit, int], least: int
    ) -> Choice:
        """Return the cheapest choice that these losses leave everything a place."""
        cost = sum(self._cost(one) * many for one, many in counts.items())
        starts = [self._again(self.problem(counts, loss, wide)) for loss in losses]
        most = {one: self._most(one, counts.get(one, 0), cost, wide) for one in self.variants}
        problems = [self.problem(most, loss, self.demand) for loss in losses]
        columns = sum(len(kind.hosts) for problem in problems for kind in problem.kinds)
        if (cost <= least and not wide) or columns > MOST_COLUMNS:
            found = Chosen({}, tuple(starts), {}, least, proven=cost <= least)
            chosen = counts
        else:
            offered = [
                Offered(one.name, self._cost(one), tuple(one.named(n + 1) for n in range(many)))
                for one, many in most.items()
            ]
            begin = {one.name: many for one, many in counts.items()}
            scenarios = [
                Scenario(problem, *self._shared(problem, most), start)
                for problem, start in zip(problems, starts, strict=True)
            ]
            found = self.tools.choose(Question(tuple(scenarios), tuple(offered), begin, least))
            chosen = {one: found.counts[one.name] for one in self.variants}
        return Choice(
            {one: many for one, many in chosen.items() if many},
            found.widened,
            found.bound // self.step,
            found.proven,
            dict(zip(losses, found.on, strict=True)),
        )

    def _most(self, one: Variant, begin: int, cost: int, wide: Mapping[Limit, int]) -> int:
        """Return how many of a kind could be of use: by cost, and by what goes there at all."""
        takes = self._takers(one, self.probed(NOTHING).items)
        fits = takes + bool(takes and self.facts.policy.survive)
        by_cost = _EACH if wide else cost // self._cost(one)
        return max(begin, min(fits, by_cost))

    def _takers(self, one: Variant, items: Sequence[Item]) -> int:
        """Return how many of some items a kind could take, one of them at a time."""
        hosts = {one.named(1), one.named(2)}
        return sum(not hosts.isdisjoint(item.kind.hosts) for item in items)

    def _shared(
        self, problem: Problem, most: Counts
    ) -> tuple[dict[Limit, int], dict[Limit, tuple[str, ...]]]:
        """Return what there is now of all that is shared, and what new hosts take of it."""
        new = {host.name for _, host in _new(most)}
        limits: dict[Limit, int] = {}
        own: dict[Limit, tuple[str, ...]] = {}
        for limit in problem.limits:
            scope, name, key = limit
            if scope == "site":
                limits[limit] = self.facts.sites[name].limits[key]
            elif scope == "network":
                site, _, network = name.partition("/")
                here = [
                    host.name
                    for host in problem.hosts.values()
                    if host.site == site and network in host.networks
                ]
                capacity = self.facts.sites[site].networks[network].capacity
                limits[limit] = capacity - sum(host not in new for host in here)
                own[limit] = tuple(host for host in here if host in new)
        return limits, own

    def _worst(self, choice: Choice) -> list[Loss]:
        """Return the losses that break most of what is chosen, of those not asked about yet."""
        broken: list[tuple[int, int, Loss]] = []
        for number, loss in enumerate(self.losses(choice.counts)):
            if loss not in choice.on:
                left = self.placeable(loss) - self.after(choice, loss).keys()
                weight = sum(self.facts.instances[name].priority for name in left)
                if left:
                    broken.append((-weight, number, loss))
        return [loss for _, _, loss in sorted(broken, key=lambda one: one[:2])[:_WORST]]


def _new(counts: Counts) -> Iterator[tuple[Variant, Host]]:
    for one, many in counts.items():
        for number in range(many):
            yield one, one.host(number + 1)
