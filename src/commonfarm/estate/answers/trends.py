"""How a load goes on from what is known of it: compound growth, and events that change it at once.

Every value is computed from the known amount, never from the day before, in decimals of 40 digits:
nothing drifts, and the same facts give the same day on every machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import MAX_EMAX, MIN_EMIN, ROUND_CEILING, Context, Decimal
from fractions import Fraction

from commonfarm.estate.facts import LEVELS, Facts, Growth, Level, Range, Step
from commonfarm.estate.resources import MOST_SHOWN

_EXACT = Context(prec=40, Emax=MAX_EMAX, Emin=MIN_EMIN)
# Far above the rounding of 40 digits, far below any unit: what reaches a limit does not pass it.
_TOLERANCE = 1 + Decimal("1e-30")

Amounts = Mapping[Level, Fraction]
Capacity = tuple[tuple[date, Fraction | int], ...]
"""How much there is from each day on; the first day is the first that is asked about."""


def number(value: Fraction | int) -> Decimal:
    """Return a fraction as a decimal of 40 digits."""
    exact = Fraction(value)
    return _EXACT.divide(Decimal(exact.numerator), Decimal(exact.denominator))


@dataclass(frozen=True, slots=True, eq=False)
class Trend:
    """What multiplies an amount over time: growth, each from its day on, and steps on their day."""

    growth: tuple[tuple[date, Growth], ...]
    steps: tuple[Step, ...]
    _known: dict[tuple[date, Level], Decimal] = field(default_factory=dict, repr=False)

    def factor(self, day: date, level: Level) -> Decimal:
        """Return by how much the amount has been multiplied on a day."""
        if not self.growth and not self.steps:
            return Decimal(1)
        if (day, level) not in self._known:
            factor = Decimal(1)
            for since, growth in self.growth:
                base = number(1 + growth.rate.at(level))
                periods = max(0, (day - since).days) / growth.rate.days
                if periods:
                    factor = _EXACT.multiply(factor, _EXACT.power(base, number(periods)))
            for step in self.steps:
                if step.on <= day:
                    factor = _EXACT.multiply(factor, number(step.at(level)))
            self._known[day, level] = factor
        return self._known[day, level]

    def bends(self) -> set[date]:
        """Return the days on which it ceases to be one exponential curve."""
        return {since for since, _ in self.growth} | {step.on for step in self.steps}


class Trends:
    """The trends of an estate; equal ones are one."""

    def __init__(self, facts: Facts) -> None:
        self._growth: dict[str, list[Growth]] = {}
        for growth in facts.growth:
            self._growth.setdefault(growth.service, []).append(growth)
        self._steps: dict[str, list[Step]] = {}
        for step in facts.steps:
            self._steps.setdefault(step.service, []).append(step)
        self._made: dict[tuple[tuple[tuple[date, Growth], ...], tuple[Step, ...]], Trend] = {}

    def of(
        self, service: str, component: str | None, keys: tuple[str, ...], known_on: date | None
    ) -> Trend:
        """Return the trend of the product of `keys`: resource classes, or `instances`.

        `known_on` is the day of a measurement: what came before is in it. A requirement has no such
        day: it holds as of the day since when it grows, and without growth before all steps.
        """
        growth: list[tuple[date, Growth]] = []
        steps: list[Step] = []
        for key in keys:
            mine = [g for g in self._growth.get(service, ()) if _concerns(g, component, key)]
            since = known_on or min((g.since for g in mine), default=date.min)
            growth += [(max(g.since, since), g) for g in mine]
            happens = (s for s in self._steps.get(service, ()) if _concerns(s, component, key))
            steps += [step for step in happens if step.on > since]
        same = (tuple(growth), tuple(steps))
        return self._made.setdefault(same, Trend(*same))


def _concerns(one: Growth | Step, component: str | None, key: str) -> bool:
    return one.component in (None, component) and key in one.resources


@dataclass(frozen=True, slots=True)
class Load:
    """A sum of amounts, each with its trend."""

    parts: tuple[tuple[Trend, Mapping[Level, Decimal]], ...]

    @classmethod
    def of(cls, parts: Iterable[tuple[Trend, Amounts]]) -> Load:
        """Return the sum of `parts`."""
        sums: dict[Trend, dict[Level, Fraction]] = {}
        for trend, amounts in parts:
            had = sums.setdefault(trend, dict.fromkeys(LEVELS, Fraction(0)))
            for level in LEVELS:
                had[level] += amounts[level]
        return cls(
            tuple(
                (trend, {level: number(amount) for level, amount in amounts.items()})
                for trend, amounts in sums.items()
            )
        )

    def at(self, day: date, level: Level) -> Decimal:
        """Return the load on a day."""
        total = Decimal(0)
        for trend, amounts in self.parts:
            grown = _EXACT.multiply(amounts[level], trend.factor(day, level))
            total = _EXACT.add(total, grown)
        return total

    def whole(self, day: date, level: Level) -> int:
        """Return the load on a day in whole units, rounded up, at most MOST_SHOWN."""
        exact = self.at(day, level)
        if exact >= MOST_SHOWN:
            return MOST_SHOWN
        # A rounding error must not look like one unit more.
        return int(_EXACT.divide(exact, _TOLERANCE).to_integral_value(ROUND_CEILING))

    def ones(self, day: date, level: Level) -> int:
        """Return how many whole ones the load on a day is, for what comes in ones."""
        exact = _EXACT.multiply(self.at(day, level), _TOLERANCE)
        return MOST_SHOWN if exact >= MOST_SHOWN else int(exact)

    def range(self, day: date) -> Range:
        """Return the load on a day at all levels, in whole units."""
        return Range(*(self.whole(day, level) for level in LEVELS))

    def bends(self) -> set[date]:
        """Return the days on which it ceases to be a sum of exponential curves."""
        return {day for trend, _ in self.parts for day in trend.bends()}

    def grows(self) -> bool:
        """Say whether it follows growth, which nobody knows to more than a few digits."""
        return any(trend.growth for trend, _ in self.parts)

    def pieces(self, capacity: Capacity, start: date, end: date) -> list[tuple[date, date]]:
        """Return the days from `start` to `end`, both included, between all that bends or changes.

        Within a piece the load is a sum of exponential curves, which is convex: its most is at one
        of the ends, and what fits at both fits in between.
        """
        days = self.bends() | {day for day, _ in capacity}
        starts = [start, *sorted(day for day in days if start < day <= end)]
        lasts = [day - timedelta(days=1) for day in starts[1:]]
        return list(zip(starts, [*lasts, end], strict=True))

    def first_over(
        self, capacity: Capacity, start: date, end: date, level: Level, *, whole: bool = False
    ) -> date | None:
        """Return the first day on which it is more than there is; None if not by `end`.

        `whole`: what is counted comes in ones, so more than there is means at least one more.
        """

        def over(day: date) -> bool:
            limit = number(there_is(capacity, day))
            load = self.at(day, level)
            if whole:
                return _EXACT.multiply(load, _TOLERANCE) >= limit + 1
            return load > _EXACT.multiply(limit, _TOLERANCE)

        for first, last in self.pieces(capacity, start, end):
            if over(first):
                return first
            if over(last):
                fits, full = first, last
                while (full - fits).days > 1:
                    middle = fits + (full - fits) // 2
                    fits, full = (fits, middle) if over(middle) else (middle, full)
                return full
        return None

    def short(self, capacity: Capacity, start: date, end: date, level: Level) -> int:
        """Return how much is missing at the worst, in whole units, 0 if nothing."""
        days = {day for piece in self.pieces(capacity, start, end) for day in piece}
        if any(self.whole(day, level) == MOST_SHOWN for day in days):
            return MOST_SHOWN
        return max(0, *(self.whole(day, level) - int(there_is(capacity, day)) for day in days))


def there_is(capacity: Capacity, day: date) -> Fraction | int:
    """Return how much there is on a day; before the first day as on it."""
    return next((amount for since, amount in reversed(capacity) if since <= day), capacity[0][1])


@dataclass(frozen=True, slots=True)
class Window:
    """When something happens: at high growth, likely, and at low. None: not within the horizon."""

    earliest: date | None
    likely: date | None
    latest: date | None

    @classmethod
    def of(cls, days: Mapping[Level, date | None]) -> Window:
        """Return the window of a day for each level."""
        return cls(days["high"], days["likely"], days["low"])

    def at(self, level: Level) -> date | None:
        """Return the day at `level`."""
        return {"high": self.earliest, "likely": self.likely, "low": self.latest}[level]

    def __str__(self) -> str:
        if self.earliest is None:
            return "not within the horizon"
        if self.earliest == self.latest:
            return self.earliest.isoformat()
        if self.likely is None:
            return f"{self.earliest} at the earliest, likely not"
        if self.latest is None:
            first = "" if self.earliest == self.likely else f"{self.earliest} or later, likely "
            return f"{first}{self.likely}, not at low"
        return f"{self.earliest} to {self.latest}, likely {self.likely}"
