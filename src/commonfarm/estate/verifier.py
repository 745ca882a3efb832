"""Checks a plan against the facts, and believes nothing in it.

Every promise is derived anew: what stands when, what fits where, what moves, what is safe until
when, and the bound from its certificate. There is no solver here and none is imported; what only
the solver knows (that no plan has fewer moves) is said to be its word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cached_property

from commonfarm.estate import timeline
from commonfarm.estate.facts import LEVELS, Facts, Host, Instance, Level, Spread
from commonfarm.estate.plan import Certificate, Placed, Plan, PlannedInterval
from commonfarm.estate.proof import Supply, bound, faults, misfits, short, some
from commonfarm.estate.resources import resource
from commonfarm.lib.terminal import harmless


class Promise(StrEnum):
    """What a plan promises, one by one."""

    DIGEST = "made for these facts"
    TIME = "the intervals follow from the pledges"
    LEVELS = "answers at low, likely and high"
    ONCE = "each instance is placed or unplaced, once"
    STANDS = "a host stands when it is used"
    ARCHITECTURE = "architecture"
    TRAITS = "traits"
    SITE = "site"
    NETWORK = "network"
    ROOM = "room on a host"
    SHARED = "what a site's hosts share"
    ADDRESSES = "addresses of a network"
    DEDICATED = "a dedicated host"
    SPREAD = "spread"
    MOVES = "what moves"
    WEIGHT = "weight"
    WISHES = "wishes that are not kept"
    CERTIFICATE = "certificate"
    BOUND = "bound"
    SAFE_UNTIL = "safe until"


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that a plan does not keep: in which interval (its start), at which level, how.

    `found` and `expected` are the numbers, where it is about numbers.
    """

    promise: Promise
    what: str
    interval: date | None = None
    level: Level | None = None
    found: int | None = None
    expected: int | None = None

    def __str__(self) -> str:
        where = ", ".join(str(one) for one in (self.interval, self.level) if one)
        return f"{where}: {self.what}" if where else self.what


@dataclass(frozen=True, slots=True)
class Standing:
    """How far an answer's claims to be the best are checked, and how far they are a word.

    `most_placed` is checked where the bound is met; `fewest_moves` where
    whatever did not stay where it was, moved or left without a host, could not have.
    """

    interval: date
    level: Level
    weight: int
    bound: int
    most_placed: str
    fewest_moves: str


CHECKED, WORD, BEST_FOUND = "checked", "the solver's word", "the best that was found"


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found: nothing in `violations` where the plan holds."""

    violations: tuple[Violation, ...]
    standings: tuple[Standing, ...]
    placements: int
    rows: int


def violations(facts: Facts, plan: Plan) -> list[Violation]:
    """Return every promise that a plan does not keep; empty where it holds."""
    return list(verify(facts, plan).violations)


def verify(facts: Facts, plan: Plan) -> Verified:
    """Check a plan; whatever it holds, the answer is a list of violations."""
    found: list[Violation] = []
    if plan.digest != facts.digest:
        what = "the plan was made for other facts: the estate's files have changed since"
        found.append(Violation(Promise.DIGEST, what))
    wrong_time = list(_time(facts, plan))
    if wrong_time:
        return Verified((*found, *wrong_time), (), 0, 0)
    standings: list[Standing] = []
    before: Mapping[Level, Mapping[str, str]] = {
        level: {one.name: one.on for one in facts.instances_at(level) if one.on} for level in LEVELS
    }
    placements = rows = 0
    for interval, planned in zip(timeline.intervals(facts, plan.at), plan.intervals, strict=True):
        hosts = {name: facts.hosts[name] for name in interval.hosts}
        for level in LEVELS:
            placed = planned.levels[level]
            answer = _Answer(Supply(facts, hosts, level), interval.start, before[level], placed)
            found += answer.violations()
            standings.append(answer.standing())
            placements += len(placed.on)
            rows += len(placed.certificate.rows)
        before = {level: planned.levels[level].on for level in LEVELS}
    found += _safe_until(facts, plan)
    return Verified(tuple(found), tuple(standings), placements, rows)


def broken_rules(
    facts: Facts, hosts: Iterable[str], level: Level, on: Mapping[str, str]
) -> list[Violation]:
    """Return the rules that a placement on these hosts breaks, whoever made it; empty: none."""
    supply = Supply(facts, {name: facts.hosts[name] for name in hosts}, level)
    certificate = Certificate(1, ())
    placed = Placed(on, (), {}, 0, 0, certificate, "best found", "best found", (), {})
    return list(_Answer(supply, date.min, {}, placed).broken_rules())


def _time(facts: Facts, plan: Plan) -> Iterator[Violation]:
    try:
        expected = timeline.intervals(facts, plan.at)
    except (OverflowError, ValueError):
        yield Violation(Promise.TIME, f"{plan.at} is too far in time for a plan")
        return
    due = {(one.start, one.end): (one.ending, one.starting) for one in expected}
    said = {(one.start, one.end): (one.ending, one.starting) for one in plan.intervals}
    for days, changes in due.items():
        if days not in said:
            yield Violation(Promise.TIME, f"there is no answer {_days(*days)}", days[0])
        elif said[days] != changes:
            what = f"other pledges end or other hosts appear than it says {_days(*days)}"
            yield Violation(Promise.TIME, what, days[0])
    extra = [one for one in plan.intervals if (one.start, one.end) not in due]
    if extra:
        what = some([_days(one.start, one.end) for one in extra])
        yield Violation(Promise.TIME, f"nothing comes or goes as it says {what}")
    elif len(plan.intervals) != len(due) or list(said) != list(due):
        yield Violation(Promise.TIME, "its intervals are not in order, each once")
    for one in plan.intervals:
        missing = [level for level in LEVELS if level not in one.levels]
        if missing:
            what = f"there is no answer at {' and '.join(missing)}"
            yield Violation(Promise.LEVELS, what, one.start)
            return


def _days(start: date, end: date | None) -> str:
    return f"from {start} to {end or 'no known end'}"


def _safe_until(facts: Facts, plan: Plan) -> Iterator[Violation]:
    first: PlannedInterval = plan.intervals[0]
    placed = first.levels["likely"].on
    expected: dict[str, date | None] = {}
    for name, host in placed.items():
        if host not in facts.hosts:
            return  # Said already; nothing can be said of that host's time.
        ends = [timeline.assured(facts, facts.hosts[host], plan.at)]
        ends += [one.start for one in plan.intervals if one.levels["likely"].on.get(name) != host][
            :1
        ]
        expected[name] = min((day for day in ends if day), default=None)
    if plan.safe_until.keys() != expected.keys():
        what = some(sorted(plan.safe_until.keys() ^ expected.keys()))
        yield _harmless(Promise.SAFE_UNTIL, f"it says for others than are placed: {what}")
    for name, day in expected.items():
        said = plan.safe_until.get(name, day)
        if said != day:
            what = f"{name} is said to be safe until {said or 'no known end'}, and is until {day}"
            yield Violation(Promise.SAFE_UNTIL, what.replace("None", "no known end"))


def _harmless(promise: Promise, what: str) -> Violation:
    return Violation(promise, harmless(what))


@dataclass(frozen=True)
class _Answer:
    """One answer, at one level in one interval, beside what the facts say of it."""

    supply: Supply
    start: date
    before: Mapping[str, str]
    placed: Placed

    @cached_property
    def instances(self) -> dict[str, Instance]:
        return {one.name: one for one in self.supply.facts.instances_at(self.supply.level)}

    @cached_property
    def there(self) -> list[tuple[Instance, Host]]:
        """Return what is placed on hosts that stand; all else is a violation already."""
        hosts = self.supply.hosts
        return [
            (self.instances[name], hosts[host])
            for name, host in self.placed.on.items()
            if name in self.instances and host in hosts
        ]

    def violations(self) -> Iterator[Violation]:
        yield from self._once()
        yield from self.broken_rules()
        for check in (self._wishes, self._moves, self._weight):
            yield from check()

    def broken_rules(self) -> Iterator[Violation]:
        """Yield what keeps this from being a placement at all."""
        for check in (self._stands, self._rules, self._limits, self._dedicated, self._spreads):
            yield from check()

    def _no(
        self, promise: Promise, what: str, found: int | None = None, expected: int | None = None
    ) -> Violation:
        # Numbers that no estate has are in words only: they may be too long to be printed.
        numbers = [n if n is not None and abs(n) < 2**63 else None for n in (found, expected)]
        return Violation(promise, harmless(what), self.start, self.supply.level, *numbers)

    def _once(self) -> Iterator[Violation]:
        unplaced = [one.instance for one in self.placed.unplaced]
        said = self.placed.on.keys() | set(unplaced)
        for names, what in (
            (sorted(self.instances.keys() - said), "neither placed nor unplaced"),
            (sorted(said - self.instances.keys()), "not instances at this level"),
            (sorted(self.placed.on.keys() & set(unplaced)), "both placed and unplaced"),
            (_twice(unplaced), "unplaced more than once"),
        ):
            if names:
                yield self._no(Promise.ONCE, f"{what}: {some(names)}", len(names), 0)

    def _stands(self) -> Iterator[Violation]:
        gone = [
            f"{name} on {host}"
            for name, host in self.placed.on.items()
            if host not in self.supply.hosts
        ]
        if gone:
            what = f"on hosts that do not stand then: {some(gone)}"
            yield self._no(Promise.STANDS, what, len(gone), 0)

    def _rules(self) -> Iterator[Violation]:
        for one, host in self.there:
            for rule, what in misfits(one.requirement, host, self.supply.facts):
                yield self._no(Promise[rule.upper()], f"{one.name}: host {host.name} {what}")

    def _limits(self) -> Iterator[Violation]:
        taken: dict[tuple[str, str, str], int] = {}
        for one, host in self.there:
            for limit, amount in self.supply.taken(one, host).items():
                taken[limit] = taken.get(limit, 0) + amount
        promises = {
            "host": Promise.ROOM,
            "site": Promise.SHARED,
            "network": Promise.ADDRESSES,
        }
        for limit, amount in taken.items():
            room = self.supply.limit(*limit)
            if room is not None and amount > room:
                scope, name, key = limit
                parts = (amount, room)
                if scope != "network":
                    shown = [resource(key).format(part) for part in parts]
                else:
                    shown = [str(part) for part in parts]
                what = f"{scope} {name}: {key} {shown[0]} taken, {shown[1]} there"
                yield self._no(promises[scope], what, amount, room)

    def _dedicated(self) -> Iterator[Violation]:
        guests: dict[str, list[Instance]] = {}
        for one, host in self.there:
            guests.setdefault(host.name, []).append(one)
        for name, ones in guests.items():
            alone = [one.name for one in ones if one.requirement.dedicated]
            if alone and len(ones) > 1:
                what = f"host {name} is for {alone[0]} alone, and has {len(ones)} instances"
                yield self._no(Promise.DEDICATED, what, len(ones), 1)

    def _broken(self, rule: Spread) -> tuple[str, int, int] | None:
        """Return how a rule of spread is broken, and by how much; None where it is kept."""
        domains: dict[str, int] = {}
        for name in set(rule.instances):
            host = self.supply.hosts.get(self.placed.on.get(name, ""))
            if host is not None and name in self.instances:
                domain = host.domain(rule.over)
                domains[domain] = domains.get(domain, 0) + 1
        if not domains:
            return None
        fullest = max(sorted(domains), key=lambda domain: domains[domain])
        if rule.at_most is not None and domains[fullest] > rule.at_most:
            count = domains[fullest]
            return f"{count} in {fullest}, at most {rule.at_most}", count, rule.at_most
        least = min(rule.at_least or 0, sum(domains.values()))
        if len(domains) < least:
            return f"over {len(domains)} of at least {least}", len(domains), least
        return None

    def _spreads(self) -> Iterator[Violation]:
        for number, rule in enumerate(self.supply.facts.spreads):
            broken = self._broken(rule) if rule.must else None
            if broken:
                what, found, expected = broken
                what = f"spread {number} over {rule.over} ({rule.where}): {what}"
                yield self._no(Promise.SPREAD, what, found, expected)

    def _wishes(self) -> Iterator[Violation]:
        rules = enumerate(self.supply.facts.spreads)
        broken = [number for number, one in rules if not one.must and self._broken(one)]
        if sorted(self.placed.broken_spreads) != broken:
            said = some([short(number) for number in sorted(self.placed.broken_spreads)])
            what = f"spreads that are not kept: {some(map(str, broken)) or 'none'}; it says "
            yield self._no(Promise.WISHES, what + (said or "none"))
        missing: dict[str, list[str]] = {}
        for one, host in self.there:
            lacking = sorted(set(one.requirement.preferred) - host.traits)
            if lacking:
                missing[one.name] = lacking
        said_missing = {name: sorted(traits) for name, traits in self.placed.missing_traits.items()}
        names = sorted(missing.keys() | said_missing.keys())
        wrong = [name for name in names if missing.get(name) != said_missing.get(name)]
        if wrong:
            what = f"preferred traits that are missing are others than it says: {some(wrong)}"
            yield self._no(Promise.WISHES, what, len(wrong), 0)

    def _moves(self) -> Iterator[Violation]:
        moved = {
            name: self.before[name]
            for name, host in self.placed.on.items()
            if self.before.get(name, host) != host
        }
        names = sorted(moved.keys() | self.placed.moved.keys())
        wrong = [name for name in names if moved.get(name) != self.placed.moved.get(name)]
        if wrong:
            what = f"what moves, or from where, is other than it says: {some(wrong)}"
            yield self._no(Promise.MOVES, what, len(wrong), 0)

    def _weight(self) -> Iterator[Violation]:
        claimed, certificate = self.placed, self.placed.certificate
        known = self.instances.keys() & self.placed.on.keys()
        weight = sum(self.instances[name].priority for name in known)
        if claimed.weight != weight:
            what = f"what is placed weighs {weight}, not {short(claimed.weight)}"
            yield self._no(Promise.WEIGHT, what, claimed.weight, weight)
        wrong = list(faults(self.supply, certificate))
        for what in wrong:
            yield self._no(Promise.CERTIFICATE, f"the certificate has {what}")
        if not wrong:
            most = bound(self.supply, self.instances.values(), certificate)
            if claimed.bound != most:
                what = f"the certificate proves a bound of {short(most)}, not "
                what += short(claimed.bound)
                yield self._no(Promise.BOUND, what, claimed.bound, most)
            if weight > most:
                what = f"what is placed weighs {weight}, above the bound of {short(most)}"
                yield self._no(Promise.BOUND, what, weight, most)

    def standing(self) -> Standing:
        placed = self.placed
        most = CHECKED if placed.bound == placed.weight else _word(placed.most_placed)
        fewest = _word(placed.fewest_moves) if self._could_have_stayed() else CHECKED
        return Standing(self.start, self.supply.level, placed.weight, placed.bound, most, fewest)

    def _could_have_stayed(self) -> bool:
        """Say whether anything left a host that still stands and would take it."""
        hosts = self.supply.hosts
        return any(
            self.placed.on.get(name) != was
            and was in hosts
            and name in self.instances
            and self.supply.may_run(self.instances[name], hosts[was])
            for name, was in self.before.items()
        )


def _word(claim: str) -> str:
    return WORD if claim == "proven" else BEST_FOUND


def _twice(names: Iterable[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)
