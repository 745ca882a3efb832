"""A forecast's curve as SVG: use and capacity over months, with the day on which it runs out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

from pydantic import TypeAdapter

from commonfarm.estate.answers.outlooks import Point
from commonfarm.estate.answers.trends import Window
from commonfarm.estate.drawing.plot import Line, plot
from commonfarm.estate.facts import LEVELS, Level, Period
from commonfarm.estate.resources import MOST_SHOWN, ResourceClass, resource
from commonfarm.estate.timeline import after

_LABELS = 6
_HEADROOM = 1.6
"""How far above the capacity (or today's use) the curve is drawn; compound growth has no end."""

_LOOK = {
    "has": ("there is", "has", ""),
    "high": ("use, high", "use", "7 4"),
    "likely": ("use, likely", "use", ""),
    "low": ("use, low", "use", "2 4"),
    "out": ("runs out", "out", ""),
}


@dataclass(frozen=True, slots=True)
class Curve:
    """What is drawn of a row of a forecast's document."""

    scope: str
    name: str
    resource: str
    points: tuple[Point, ...]
    out: Window

    @property
    def title(self) -> str:
        """Return what it is the curve of."""
        where = self.name if self.scope == "estate" else f"{self.scope} {self.name}"
        return f"{self.resource} of {where}"


_CURVE = TypeAdapter(Curve)


def draw(row: Mapping[str, Any]) -> str:
    """Return the SVG of a row of `forecast.document(…, curves=True)` that has points.

    Raise ValueError where it has fewer than two.
    """
    curve = _CURVE.validate_python(row)
    if len(curve.points) < 2:
        raise ValueError(f"{curve.title} has no curve")
    kind = None if curve.resource == "addresses" else resource(curve.resource)
    unit, size = _unit(kind, curve.points) if kind else ("", Fraction(1))
    lines = _lines(curve, float(size))
    look = [(name, _LOOK[name]) for name in lines]
    return plot(
        [Line(label, colour, lines[name], dashes) for name, (label, colour, dashes) in look],
        heading=f"{curve.title}{f' ({unit})' if unit else ''}\n{_ends(curve)}",
        title=curve.title,
        description=_said(curve),
        labels=_months(curve.points),
        top=_top(curve.points) / float(size),
    )


def _unit(kind: ResourceClass, points: Sequence[Point]) -> tuple[str, Fraction]:
    """Return the unit in which the numbers are read best, and how much it is."""
    # What is beyond all measure is told in words, but drawn by a number.
    most = min(int(_top(points)), MOST_SHOWN - 1)
    unit = kind.format(most).partition(" ")[2]
    return unit, Fraction(kind.written[unit])


def _top(points: Sequence[Point]) -> float:
    used = max(one.use.high for one in points)
    # A service has no capacity of its own: then four times today's use are shown.
    most = max(one.capacity or 0 for one in points) or 4 * points[0].use.likely or used
    return max(1.0, min(most * _HEADROOM, max(most, used) * 1.1))


def _lines(curve: Curve, size: float) -> dict[str, list[tuple[int, float | None]]]:
    """Return the lines: day numbers, and amounts in units of `size`."""
    top = _top(curve.points) / size
    lines: dict[str, list[tuple[int, float | None]]] = {}
    if curve.points[0].capacity is not None:
        has = [(one.day.toordinal(), (one.capacity or 0) / size) for one in curve.points]
        lines["has"] = [*has]
    exact = all(one.use.exact for one in curve.points)
    levels: tuple[Level, ...] = ("likely",) if exact else ("high", "likely", "low")
    for level in levels:
        used = [(one.day.toordinal(), one.use.at(level) / size) for one in curve.points]
        lines[level] = _within(used, top)
    days = sorted({day for level in LEVELS if (day := curve.out.at(level))})
    if days:
        out: list[tuple[int, float | None]] = []
        for day in days:
            out += [(day.toordinal(), 0.0), (day.toordinal(), top), (day.toordinal(), None)]
        lines["out"] = out[:-1]
    return lines


def _within(points: list[tuple[int, float]], top: float) -> list[tuple[int, float | None]]:
    """Return a line without what lies above `top`, cut where it crosses that."""
    kept: list[tuple[int, float | None]] = []
    for (day, value), (next_day, next_value) in pairwise([*points, points[-1]]):
        kept.append((day, value if value <= top else None))
        if (value <= top) != (next_value <= top):
            share = (top - value) / (next_value - value)
            kept.append((round(day + share * (next_day - day)), top))
    return kept


def _months(points: Sequence[Point]) -> list[dict[str, int | str]]:
    first, last = points[0].day, points[-1].day
    months = (last.year - first.year) * 12 + last.month - first.month
    step = max(1, -(-months // _LABELS))
    days = (after(first, Period(number)) for number in range(0, months + 1, step))
    return [{"value": day.toordinal(), "label": f"{day:%Y-%m}"} for day in days if day <= last]


def _said(curve: Curve) -> str:
    first = curve.points[0]
    known = None if curve.resource == "addresses" else resource(curve.resource)
    use, has = first.use.likely, first.capacity
    shown = [known.format(one) if known else str(one) for one in (use, has) if one is not None]
    return f"{' of '.join(shown)} on {first.day}; {_ends(curve)}"


def _ends(curve: Curve) -> str:
    if curve.out.earliest is None:
        return f"does not run out by {curve.points[-1].day}"
    return f"runs out {curve.out}"
