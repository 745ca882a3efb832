"""Pledges on a line of time: since when, until when it is sure, and when it ends. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from xml.etree.ElementTree import Element

from commonfarm.estate.drawing.svg import NAMESPACE, node, stretched
from commonfarm.estate.facts import Facts, Period, Pledge
from commonfarm.estate.timeline import after, assured_until, ends_on

HEIGHT = 12
MOST_TICKS = 8
BEFORE = timedelta(days=60)
"""How much of what was is shown before today."""


@dataclass(frozen=True, slots=True)
class Axis:
    """The days that are drawn, from `start` to `end`; `today` lies between."""

    start: date
    today: date
    end: date

    @classmethod
    def of(cls, facts: Facts, today: date) -> Axis:
        """Return the axis to the policy's horizon, or to the last end that is known before it."""
        return cls(today - BEFORE, today, after(today, facts.policy.horizon))

    def place(self, day: date) -> float:
        """Return where a day lies, from 0 to 1000; what is out of sight lies at the edge."""
        share = (day - self.start).days / max(1, (self.end - self.start).days)
        return 1000 * min(1.0, max(0.0, share))

    def ticks(self) -> Iterator[tuple[date, float]]:
        """Yield first days of months, few enough to be read, and where they lie."""
        months = (self.end.year - self.start.year) * 12 + self.end.month - self.start.month
        step = next(n for n in (1, 2, 3, 6, 12, 24, 60, 120, 240, 1200) if months / n <= MOST_TICKS)
        day = self.start.replace(day=1)
        while (day := after(day, Period(1))) <= self.end:
            if (day.year * 12 + day.month - 1) % step == 0:
                yield day, self.place(day)


@dataclass(frozen=True, slots=True)
class Span:
    """A pledge's days. `assured`: until then it is there even if notice were given today."""

    pledge: Pledge
    begins: date | None
    assured: date
    ends: date | None
    over: bool

    @property
    def text(self) -> str:
        """Until when it is there, for people."""
        if self.over:
            return f"ended on {self.ends}"
        if self.ends:
            return f"ends on {self.ends}"
        return f"assured until {self.assured}"


def spans(facts: Facts, today: date) -> list[Span]:
    """Return the pledges, those that end first at the top, those that are over last."""

    def order(one: Span) -> tuple[bool, date, date, str]:
        return (one.over, one.ends or date.max, one.assured, one.pledge.name)

    return sorted((span(one, today) for one in facts.pledges.values()), key=order)


def span(pledge: Pledge, today: date) -> Span:
    """Return the days of a pledge."""
    end = ends_on(pledge)
    return Span(pledge, pledge.start, assured_until(pledge, today), end, bool(end and end <= today))


def draw(one: Span, axis: Axis) -> Element:
    """Return a pledge as a bar: sure, likely to go on, and a mark where it ends."""
    start = axis.place(one.begins) if one.begins else 0.0
    end = axis.place(one.ends) if one.ends else 1000.0
    sure = min(axis.place(one.assured), end)
    today = axis.place(axis.today)
    parts = []
    if end > start:
        known = max(start, min(sure, end))
        parts.append(_box("sure", start, known))
        # Beyond what is assured it goes on as long as nobody gives notice.
        if end > known:
            parts.append(_box("open", known, end))
        if one.ends and one.ends <= axis.end:
            parts.append(_box("end", max(start, end - 4), end))
    parts.append(_box("today", today - 1, today + 1))
    drawn = stretched(HEIGHT, f"{one.pledge.name}: {one.text}", *parts)
    drawn.set("class", "span over" if one.over else "span")
    return drawn


def draw_axis(axis: Axis) -> Element:
    """Return the months above pledges that are drawn below one another, in the same width."""
    ticks = [
        node("text", f"{day:%Y-%m}", x=f"{place / 10:.1f}%", y=12) for day, place in axis.ticks()
    ]
    drawn = node("svg", *ticks, xmlns=NAMESPACE, height=16, width="100%", aria_hidden="true")
    drawn.set("class", "axis")
    return drawn


def _box(kind: str, start: float, end: float) -> Element:
    return node("rect", class_=kind, x=start, y=0, width=end - start, height=HEIGHT)
